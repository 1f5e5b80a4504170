"""`codl why`: why an operator is split or not, why the GPU is slower, what falls back and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from codl.cli import options
from codl.cli.console import out, print_json, share, table
from codl.cli.host import load_hardware
from codl.cost.terms import KernelTerms, kernel_terms
from codl.errors import InputError
from codl.ops import REGISTRY
from codl.plan.explain import TERMS, Alternative, Explanation, explain
from codl.region import Region
from codl.runs import Prepared, Workspace

UNITS = {
    "ms": "milliseconds that codl's cost model predicts, one inference, float32",
    "a processor's column": "the whole operator there, handing over inputs and result included",
    "best H, best OC": "the best split along height, along output channels: ms @ share of the first processor",
    "compute": "until the slower processor has computed its part",
    "sharing": "transform, copy + map, unmap + sync (waiting for each other)",
    "decided by": "the term by which the choice beats its best rival (a split, or a placement)",
}
"""What the words of the tables mean."""
SHOWN = 5
"""Operators that are named where many could be."""


def register(app: typer.Typer) -> None:
    app.command(name="why")(why)


def why(
    model: Annotated[str, typer.Argument(metavar="MODEL")],
    hardware: options.Hardware,
    operator: Annotated[
        str | None, typer.Option("--operator", metavar="NAME", help="Explain this operator in full.")
    ] = None,
    planner: options.Planner = "codl",
    data_type: options.DataType = "auto",
    settings: options.Overrides = None,
    shape: options.Shapes = None,
    json: options.Json = False,
) -> None:
    """Say why each operator is split or not: costs of the alternatives, and the term that decides.

    Example: codl why yolov2 --hardware sd865 --operator conv08
    """
    workspace = Workspace(load_hardware(hardware, settings), data_type, options.shapes(shape))
    run = workspace.prepare(model, planner)
    found = explain(run.graph, run.plan, run.hardware, run.cost)
    if operator is not None:
        found = tuple(each for each in found if each.node.name == operator)
        if not found:
            names = [node.name for node in run.graph.nodes]
            listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
            raise InputError(f"{model} has no operator {operator!r}; it has {listed}")
    document = _document(run, found)
    if json:
        print_json(document)
    elif operator is not None:
        _show_one(run, found[0])
    else:
        _show_all(run, found, document)


def _document(run: Prepared, found: Sequence[Explanation]) -> dict[str, Any]:
    rows = [_row(run, each) for each in found]
    fallbacks = [row for row in rows if row["fallback"]]
    kernels = [row["kernels"] for row in rows]
    both = [each for each in kernels if len(each) > 1]
    slower = [row for row in rows if _slower_on_gpu(run, row)]
    spent = sum(row["chosen"]["ms"] for row in fallbacks)
    total = sum(row["chosen"]["ms"] for row in rows)
    return {
        "model": run.model,
        "hardware": run.hardware.name,
        "planner": run.plan.planner,
        "data_type": run.data_type,
        "latency_ms": run.plan.predicted_ms,
        "kernel_ms": {name: sum(each[name]["ms"] for each in both) for name in (both[0] if both else {})},
        "slower_on_gpu": [row["operator"] for row in slower],
        "fallback": {
            "operators": [row["operator"] for row in fallbacks],
            "ms": spent,
            "share": spent / total if total else 0.0,
        },
        "operators": rows,
        "units": UNITS,
    }


def _row(run: Prepared, each: Explanation) -> dict[str, Any]:
    return {
        "operator": each.node.name,
        "kind": each.node.onnx_op or each.node.op,
        "chain": f"c{run.plan.chain_of[each.node.name]:02d}",
        "chosen": _alternative(each.chosen),
        "decided_by": each.decided_by,
        "why": each.sentence(),
        "alternatives": [_alternative(a) for a in (*each.placements, *each.splits)],
        "kernels": {name: _kernel(terms) for name, terms in _kernels(run, each).items()},
        "fallback": REGISTRY[each.node].host_only,
    }


def _kernels(run: Prepared, each: Explanation) -> dict[str, KernelTerms]:
    """By processor that can run it, the kernel of the whole operator, term by term."""
    whole = Region.full(run.graph.tensors[each.node.output].shape)
    names = [next(iter(a.chain.shares)) for a in each.placements]
    return {name: kernel_terms(run.cost, each.node, whole, name) for name in names}


def _kernel(terms: KernelTerms) -> dict[str, Any]:
    return {
        "kernel": terms.kernel,
        "algorithm": terms.algorithm,
        "ms": terms.total_ns / 1e6,
        "terms_ms": {name: ns / 1e6 for name, ns in terms.terms.items()},
    }


def _alternative(each: Alternative) -> dict[str, Any]:
    dimension = each.chain.dimension if len(each.chain.shares) > 1 else None
    return {
        "label": each.label,
        "dimension": dimension.value if dimension else None,
        "shares": each.chain.shares,
        "ms": each.total_ns / 1e6,
        "terms_ms": {name: ns / 1e6 for name, ns in each.terms.items()},
    }


def _slower_on_gpu(run: Prepared, row: dict[str, Any]) -> bool:
    """Whether a GPU takes longer for the whole operator than some CPU."""
    times: dict[str, list[float]] = {"cpu": [], "gpu": []}
    for name, kernel in row["kernels"].items():
        times[run.hardware.processors[name].kind].append(kernel["ms"])
    return bool(times["cpu"] and times["gpu"]) and min(times["gpu"]) > min(times["cpu"])


def _show_all(run: Prepared, found: Sequence[Explanation], document: dict[str, Any]) -> None:
    processors = list(document["kernel_ms"]) or list(run.hardware.processors)
    cells = []
    for each, row in zip(found, document["operators"], strict=True):
        alone = {next(iter(a.chain.shares)): a.total_ns / 1e6 for a in each.placements}
        best = {a.chain.dimension.value: _split(a) for a in each.splits if a.chain.dimension}
        cells.append(
            (each.node.name, _choice(each), *(alone.get(p) for p in processors), best.get("height"),
             best.get("output_channel"), row["chain"], each.decided_by)
        )  # fmt: skip
    columns = ("operator", "chosen", *processors, "best H", "best OC", "chain", "decided by")
    table(f"{run.model} on {run.hardware.name}, planner {run.plan.planner}; times in ms", columns, cells)
    _show_chains(found)
    _show_slower(run, document)
    _show_fallback(document)
    out.print("\n" + "\n".join(f"{word}: {meaning}" for word, meaning in UNITS.items()), markup=False)
    out.print("Each operator by itself, as the planner counts; --operator NAME shows the terms.")


def _choice(each: Explanation) -> str:
    chain = each.chosen.chain
    if len(chain.shares) == 1 or chain.dimension is None:
        return next(iter(chain.shares))
    return f"{_SHORT[chain.dimension.value]} {100 * next(iter(chain.shares.values())):.0f}%"


_SHORT = {"height": "H", "width": "W", "output_channel": "OC"}


def _split(each: Alternative) -> str:
    return f"{each.total_ns / 1e6:.3g} @ {100 * next(iter(each.chain.shares.values())):.0f}%"


def _show_chains(found: Sequence[Explanation]) -> None:
    sentences = list(dict.fromkeys(each.sentence() for each in found if each.chain is not None))
    for sentence in sentences:
        out.print(f"\n{sentence}", markup=False)


def _show_slower(run: Prepared, document: dict[str, Any]) -> None:
    names = set(document["slower_on_gpu"])
    if not document["kernel_ms"]:
        return
    sums = ", ".join(f"{name} {ms:.4g} ms" for name, ms in document["kernel_ms"].items())
    out.print(f"\nkernels of all operators that both can run, each whole: {sums}", markup=False)
    if not names:
        out.print("the GPU is the faster one for every operator")
        return
    rows = [row for row in document["operators"] if row["operator"] in names]
    rows.sort(key=lambda row: -max(kernel["ms"] for kernel in row["kernels"].values()))
    out.print(f"the GPU is slower for {len(rows)} operators; the longest, with the terms of their kernels (ms):")
    for row in rows[:SHOWN]:
        parts = [
            f"{name} {kernel['ms']:.3g} ({kernel['algorithm']}: {_terms(kernel['terms_ms'])})"
            for name, kernel in row["kernels"].items()
        ]
        out.print(f"  {row['operator']}: " + "; ".join(parts), markup=False)


def _terms(terms: dict[str, float]) -> str:
    largest = sorted(terms.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {ms:.3g}" for name, ms in largest[:3])


def _show_fallback(document: dict[str, Any]) -> None:
    fallback = document["fallback"]
    if not fallback["operators"]:
        out.print("nothing falls back to ONNX Runtime: codl has a kernel for every operator")
        return
    names = ", ".join(fallback["operators"][:SHOWN])
    more = len(fallback["operators"]) - SHOWN
    names += f" and {more} more" if more > 0 else ""
    out.print(
        f"run whole through ONNX Runtime on the CPU, for want of a kernel: {names}; {fallback['ms']:.3g} ms, "
        f"{share(fallback['share'])} of all operators' time",
        markup=False,
    )


def _show_one(run: Prepared, each: Explanation) -> None:
    out.print(f"{each.node.name} ({each.node.onnx_op or each.node.op}) of {run.model} on {run.hardware.name}, "
              f"planner {run.plan.planner}", markup=False)  # fmt: skip
    out.print(f"{each.sentence()}\n", markup=False)
    alternatives = [*each.placements, *each.splits]
    cells = [(a.label, *(ns / 1e6 for ns in a.terms.values()), a.total_ns / 1e6, a is each.best) for a in alternatives]
    if each.chain is not None:
        chain = each.chain
        label = f"chain of {len(chain.chain.operators)}"
        cells.append((label, *(ns / 1e6 for ns in chain.terms.values()), chain.total_ns / 1e6, None))
    table("alternatives, by itself, ms", ("alternative", *TERMS, "total", "best"), cells)
    kernels = _kernels(run, each)
    names = list(dict.fromkeys(unit for terms in kernels.values() for unit in terms.terms))
    rows = [
        (p, t.algorithm, *(t.terms[n] / 1e6 if n in t.terms else None for n in names), t.total_ns / 1e6)
        for p, t in kernels.items()
    ]
    table(
        "\nits kernel, whole, term by term (quantity x unit time), ms",
        ("processor", "algorithm", *names, "total"),
        rows,
    )
    table("\nwhat the terms mean", ("term", "meaning"), [(name, UNIT_MEANINGS.get(name, "")) for name in names])


UNIT_MEANINGS = {
    "multiply": "multiply-accumulates, whole blocks and rounds of threads or waves",
    "item": "those of one work-item: what few waves are bound by",
    "round": "those of one work-item, for every round of waves",
    "pair": "the same, for every two rounds",
    "operate": "arithmetic of element-wise work",
    "transform": "Winograd: bytes of the transformed input and output",
    "pack": "matrix product: bytes of packing its input",
    "data": "bytes of input and output",
    "read": "bytes of the input",
    "write": "bytes of the output",
    "weights": "bytes of the weights",
    "launch": "the fixed time of one kernel",
    "dispatch": "between kernels of a queue",
    "bandwidth": "what the memory's bandwidth adds where it is the bound",
}
"""Units of hardware files (`codl.cost.features`), in words."""
