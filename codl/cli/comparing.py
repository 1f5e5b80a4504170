"""`codl compare` and `codl validate`: prediction beside measurement, and beside what others published."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from codl.cli import options
from codl.cli.console import note, out, percent, print_json, progress, table
from codl.cli.running import Scenario_, only_one, scenario_workspace
from codl.compare import Comparison, compare_traces, rank_correlation, regret
from codl.errors import BoundExceeded, InputError
from codl.runs import IDEAL, Prepared, check_outputs, executor_for, random_inputs, require_agreement, simulated_row
from codl.scenario import load as load_scenario
from codl.sim import simulate
from codl.trace import Trace


def register(app: typer.Typer) -> None:
    app.command(name="compare")(compare)


def compare(
    scenario: Scenario_ = None,
    sim: Annotated[Path | None, typer.Option("--sim", metavar="A.json", help="Trace that `codl simulate --trace` wrote.")] = None,
    real: Annotated[Path | None, typer.Option("--real", metavar="B.json", help="Trace that `codl execute --trace` wrote.")] = None,
    fail_above: Annotated[str | None, typer.Option("--fail-above", metavar="10%", help="Exit with 1 if the error is larger.")] = None,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Timed runs of each plan.")] = 20,
    cpu: options.CpuDevice = None,
    gpu: options.GpuDevice = None,
    shape: options.Shapes = None,
    json: options.Json = False,
) -> None:
    """Simulate and execute the same plans, check the outputs, and show the differences.

    Example: codl compare host
    """
    bound = options.bound(fail_above) if fail_above else None
    if scenario is not None:
        only_one(scenario=scenario, sim=sim, real=real)
        comparisons = _compare_scenario(scenario, runs, cpu, gpu, options.shapes(shape), json)
    elif sim is None or real is None:
        raise InputError("give a SCENARIO, or both --sim and --real")
    else:
        comparisons = [compare_traces(Trace.read(sim), Trace.read(real))]
        ...
