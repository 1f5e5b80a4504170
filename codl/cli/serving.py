"""`codl simulate` of a scenario with a workload: one row a stream."""

from __future__ import annotations

from pathlib import Path

from codl.cli.console import note, planner_of, print_json, progress, share, table
from codl.cli.host import scenario_workspace
from codl.errors import InputError
from codl.report import Serving, write_report
from codl.runs import Row
from codl.scenario import Scenario
from codl.workloads import Begun, busy_intervals, selections, workload_rows, workload_trace

TIMES = ("stream", "planner", "p50", "p95", "p99", "alone", "per s", "lost", "late")
TIMES_CAPTION = (
    "p50, p95, p99: latency from arrival to end, ms; alone: one\n"
    "inference on the idle machine; per s: inferences; lost:\n"
    "dropped requests; late: missed deadlines"
)
LOADS = ("stream", "planner", "J", "W", "cpu", "gpu", "degC")
LOADS_CAPTION = (
    "J: energy of one inference; W: power of the device;\n"
    "cpu, gpu: share of the time that each is busy;\n"
    "degC: the hottest node at its hottest"
)


def simulate(
    scenario: Scenario, hardware: str | None, data_type: str, settings: list[str] | None,
    shapes: dict[str, tuple[int, ...]], trace: Path | None, report: Path | None, json: bool,
) -> None:  # fmt: skip
    """Simulate the workload with every model, planner and variant that the scenario names."""
    assert scenario.workload is not None
    chosen = list(selections(scenario))
    variants = {"": (), **scenario.variants}
    if trace and len(chosen) * len(variants) > 1:
        raise InputError("--trace writes one timeline; the scenario has several models, planners or variants")
    rows: list[Row] = []
    servings: list[Serving] = []
    with progress("Simulating") as ticker:
        ticker.total(len(chosen) * len(variants))
        for variant, extra in variants.items():
            workspace = scenario_workspace(scenario, hardware, data_type, [*extra, *(settings or ())], shapes)
            for model, planner in chosen:
                begun: list[Begun] = []
                found, records = workload_rows(workspace, scenario.workload, model, planner, begun if report else None)
                found = [row | ({"variant": variant} if variant else {}) for row in found]
                rows += found
                if report:
                    servings.append(Serving(scenario.workload, found, records, busy_intervals(begun)))
                ticker.step(f"{model or ''} {planner}")
                if trace:
                    workload_trace(workspace, scenario.workload, model, planner).write(trace)
                    note(f"wrote {trace}; open it in Perfetto")
    if report:
        title = f"{scenario.name}: {scenario.description or 'a workload'}, simulated on {rows[0]['hardware']}"
        write_report(report, title, [], workspace.hardware, servings=servings)
        note(f"wrote {report}; open it in a browser")
    if json:
        print_json({"runs": rows})
        return
    _show(scenario, rows)


def _show(scenario: Scenario, rows: list[Row]) -> None:
    times = [
        (r["stream"], planner_of(r), r.get("p50_ms"), r.get("p95_ms"), r.get("p99_ms"), r["alone_ms"],
         r["throughput_per_s"], share(r["drop_rate"]), share(r.get("deadline_miss_rate")))
        for r in rows
    ]  # fmt: skip
    loads = [
        (r["stream"], planner_of(r), r["energy_j"], r["average_power_w"], r.get("cpu_busy"), r.get("gpu_busy"),
         max(r["hottest_c"].values()) if "hottest_c" in r else None)
        for r in rows
    ]  # fmt: skip
    table(f"{scenario.name} on {rows[0]['hardware']}", TIMES, times, TIMES_CAPTION)
    table("", LOADS, loads, LOADS_CAPTION)
    for row in rows:
        if "confidence" in row:
            level, half = row["confidence"]["level"], row["confidence"]["half_width"]
            bounds = [f"{name} {row[name + '_ms']:.3g} ± {half[name + '_ms']:.2g} ms" for name in ("p50", "p99")]
            note(
                f"{row['stream']}, {planner_of(row)}: {', '.join(bounds)} ({level:.0%} confidence, "
                f"{row['repetitions']} repetitions)"
            )
