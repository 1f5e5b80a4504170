"""Mutation tests: put one small fault at a time into a module; where its tests still pass, they do not test it.

    python tools/mutate.py geometry               # or bandwidth, compare; all of them if none is named
    python tools/mutate.py compare --list         # the mutants, none run
    python tools/mutate.py compare --only 17,20-  # some of them; of a single one, with the tests' output

A mutant is killed if its tests fail or take much longer than without it. One that nothing can tell from the original
is listed, with the reason, in tools/mutants.yaml. Survivors are printed; the exit code is 1 if there are any, or if a
listed mutant is killed after all. docs/testing.md has the numbers.

Each mutant runs in a fork of a process that has imported everything but codl, so that one costs about two seconds and
not the start of a pytest; mutmut leaves out decorated functions.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.abc
import importlib.util
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

TARGETS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "geometry": (
        ("codl/plan/partition.py", "codl/region.py", "codl/ops/window.py"),
        (
            "tests/unit/test_ops_heavy_geometry.py",
            "tests/property/test_partition.py",
            "tests/property/test_lowering.py",
        ),
    ),
    "bandwidth": (
        ("codl/sim/bandwidth.py",),
        ("tests/property/test_bandwidth.py", "tests/property/test_sim.py", "tests/unit/test_sim.py"),
    ),
    "compare": (
        tuple(f"codl/compare/{name}.py" for name in ("comparison", "errors", "drift", "ranking", "recording")),
        ("tests/unit/test_compare_details.py", "tests/unit/test_compare.py"),
    ),
}
"""What is mutated, and the tests that must notice, the quickest first. `compare/diverse.py` is left out: it draws plans
as chance has it, and most of its mutants draw others that are as good."""

PRELOADED = ("pytest", "hypothesis", "numpy", "scipy.stats", "scipy.optimize", "pydantic", "pint", "ruamel.yaml",
             "simpy", "onnx", "onnxruntime", "pyopencl", "typer", "rich", "jinja2")  # fmt: skip
SLOWER = 6.0
"""Times the tests' own time, and ten seconds: a mutant that takes longer loops forever."""


# -- mutants -----------------------------------------------------------------------------------------------------------

SWAPS: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,), ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.Div,), ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,), ast.Mod: (ast.Mult,), ast.Pow: (ast.Mult,), ast.BitOr: (ast.BitAnd,),
    ast.BitAnd: (ast.BitOr,), ast.And: (ast.Or,), ast.Or: (ast.And,),
}  # fmt: skip
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "ceil": "floor", "minimum": "maximum",
         "maximum": "minimum", "hull": "intersect", "intersect": "hull"}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One fault. `apply` puts it into the tree that it was found in."""

    path: str
    line: int
    where: str
    before: str
    after: str
    apply: Callable[[], None]

    @property
    def key(self) -> str:
        """Identifies it as long as the statement stays as it is."""
        return f"{Path(self.path).stem}.{self.where}: {_short(self.before)} -> {_short(self.after)}".replace(".:", ":")


def _short(text: str, most: int = 90) -> str:
    return text if len(text) <= most else f"{text[: most - 25]} ... {text[-20:]}"


def mutants(path: str) -> tuple[ast.Module, list[Mutant]]:
    """A module's tree and every mutant of it."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"), path)
    found, seen = [], Counter[str]()
    for mutant in _mutants_of(path, tree, ""):
        seen[mutant.key] += 1
        same = seen[mutant.key]
        found.append(replace(mutant, after=f"{mutant.after} #{same}") if same > 1 else mutant)
    return tree, found


def _mutants_of(path: str, node: ast.AST, where: str) -> Iterator[Mutant]:
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list"):
            continue
        slots: list[tuple[Any, Callable[[Any], None]]]
        if isinstance(value, list):
            slots = [(each, _into_list(value, index)) for index, each in enumerate(value)]
        else:
            slots = [(value, partial(setattr, node, field))]
        for child, put in slots:
            if not isinstance(child, ast.AST) or _left_alone(child):
                continue
            if isinstance(child, ast.boolop | ast.operator | ast.cmpop):
                for new in _alternatives(child, node, field):
                    before = ast.unparse(node)
                    put(new)
                    after = ast.unparse(node)
                    put(child)
                    yield Mutant(path, cast(ast.expr, node).lineno, where, before, after, partial(put, new))
                continue
            for new in _alternatives(child, node, field):
                after = ast.unparse(ast.fix_missing_locations(new)) if new is not None else "(nothing)"
                context = ast.unparse(node).split("\n")[0] if isinstance(child, ast.Constant) else ""
                text = ast.unparse(child).split("\n")[0] + (f" in {context}" if context else "")
                yield Mutant(path, cast(ast.expr, child).lineno, where, text, after, partial(put, new))
            inner = f"{where}.{child.name}".strip(".") if isinstance(child, ast.FunctionDef | ast.ClassDef) else where
            yield from _mutants_of(path, child, inner)


def _into_list(items: list[Any], index: int) -> Callable[[Any], None]:
    def put(new: Any) -> None:
        items[index] = new

    return put


def _left_alone(node: ast.AST) -> bool:
    """Imports, docstrings, composed messages, type aliases and what only type checkers read."""
    if isinstance(node, ast.Import | ast.ImportFrom | ast.JoinedStr):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.keyword) and node.arg == "strict":  # zip's, which no right program can notice
        return True
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return True
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id in ("__slots__", "__all__", "Range", "Replay", "Pair", "_Split")
    return False


def _alternatives(node: ast.AST, parent: ast.AST, field: str) -> Iterator[Any]:
    """What may stand in a node's place."""
    for kind in SWAPS.get(type(node), ()):
        yield kind()
    match node:
        case ast.Constant(value=bool() as value):
            yield ast.copy_location(ast.Constant(not value), node)
        case ast.Constant(value=int() as value):
            yield ast.copy_location(ast.Constant(value + 1), node)
            yield ast.copy_location(ast.Constant(value - 1), node)
        case ast.Constant(value=float() as value):
            yield ast.copy_location(ast.Constant(value * 2 if value else 1.0), node)
        case ast.Constant(value=str() as value) if not isinstance(parent, ast.Raise):
            yield ast.copy_location(ast.Constant(f"{value}?"), node)
        case ast.Name(id=name) if name in NAMES and field == "func":
            yield ast.copy_location(ast.Name(NAMES[name], ast.Load()), node)
        case ast.Attribute(attr=name) if name in NAMES and field == "func":
            yield ast.copy_location(ast.Attribute(node.value, NAMES[name], ast.Load()), node)
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.Return(value=value) if value is not None and ast.unparse(value) != "None":
            yield ast.copy_location(ast.Return(ast.Constant(None)), node)
        case ast.Continue():
            yield ast.copy_location(ast.Break(), node)
        case ast.Expr() | ast.AugAssign() | ast.Raise():
            yield ast.copy_location(ast.Pass(), node)
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.copy_location(ast.Pass(), node)
    if field in ("test", "ifs") and not isinstance(node, ast.Constant):
        for value in (True, False):
            yield ast.copy_location(ast.Constant(value), node)


# -- running -----------------------------------------------------------------------------------------------------------


class Faulty(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a mutated tree."""

    def __init__(self, path: str, tree: ast.Module) -> None:
        self.name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        self.path, self.tree = path, tree

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, ROOT / self.path, loader=self)

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        exec(compile(ast.fix_missing_locations(self.tree), self.path, "exec"), module.__dict__)


def run_tests(tests: Sequence[str], prepare: Callable[[], None], limit: float, loud: bool) -> tuple[str, float]:
    """Run tests in a fork; (`passed`, `failed` or `too slow`, seconds)."""
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        if not loud:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
        code = 1
        try:
            prepare()
            import pytest
            from hypothesis import Phase, settings

            settings.register_profile("mutants", database=None, phases=[Phase.explicit, Phase.generate], deadline=None)
            settings.load_profile("mutants")
            options = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", "--no-header"]
            options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # hypothesis was imported before
            code = int(pytest.main([*options, *tests]))
        except BaseException as error:
            print(f"{type(error).__name__}: {error}")
        finally:
            sys.stdout.flush()
            os._exit(code)
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        seconds = time.monotonic() - began
        if done:
            return ("passed" if os.waitstatus_to_exitcode(status) == 0 else "failed"), seconds
        if seconds > limit:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "too slow", seconds
        time.sleep(0.02)


def _numbers(text: str, count: int) -> list[int]:
    """`3,7-9` as 3, 7, 8, 9; of `count` at the most."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        found += range(int(first), int(last or count - 1) + 1 if dash else int(first) + 1)
    return [number for number in found if number < count]


def run_target(name: str, arguments: argparse.Namespace, equivalent: dict[str, str]) -> bool:
    """Run all mutants of a target; whether none survived."""
    paths, tests = TARGETS[name]
    found = [(tree, mutant) for path in paths for tree, group in [mutants(path)] for mutant in group]
    chosen = _numbers(arguments.only, len(found)) if arguments.only else list(range(len(found)))
    loud = len(chosen) == 1
    if arguments.list:
        for number in chosen:
            print(f"{number:4} {found[number][1].line:4} {found[number][1].key}")
        return True
    outcome, seconds = run_tests(tests, lambda: None, 600, loud=loud)
    if outcome != "passed":
        raise SystemExit(f"{name}: the tests fail without a mutant ({', '.join(tests)})")
    limit = SLOWER * seconds + 10
    survivors: list[tuple[int, Mutant]] = []
    excused, wrong = 0, []
    for number in chosen:
        tree, mutant = found[number]

        def prepare(tree: ast.Module = tree, mutant: Mutant = mutant) -> None:
            mutant.apply()
            sys.meta_path.insert(0, Faulty(mutant.path, tree))

        listed = mutant.key in equivalent
        outcome, _ = run_tests(tests, prepare, limit, loud=loud)
        if outcome == "passed" and listed:
            excused += 1
        elif outcome == "passed":
            survivors.append((number, mutant))
            print(f"survived: {number} line {mutant.line}  {mutant.key}", flush=True)
        elif listed:
            wrong.append(mutant.key)
            print(f"listed as equivalent, but killed: {mutant.key}", flush=True)
    killed = len(chosen) - excused - len(survivors)
    print(
        f"{name}: {len(chosen)} mutants, {killed} killed, {excused} equivalent, {len(survivors)} survived", flush=True
    )
    return not survivors and not wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--list", action="store_true", help="print the mutants, run none")
    parser.add_argument("--only", metavar="N,M-", help="run these mutants of one target")
    arguments = parser.parse_args()
    unknown = set(arguments.targets) - set(TARGETS)
    if unknown:
        parser.error(f"unknown target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    os.chdir(ROOT)
    for module in PRELOADED:
        importlib.import_module(module)
    from ruamel.yaml import YAML

    document = YAML(typ="safe").load((ROOT / "tools" / "mutants.yaml").read_text(encoding="utf-8"))
    equivalent = {key: entry["why"] for entry in document["equivalent"] for key in entry["mutants"]}
    results = [run_target(name, arguments, equivalent) for name in arguments.targets or TARGETS]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
