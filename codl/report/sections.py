"""What the page says besides the timelines, as plain values that the template prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from codl.compare import Comparison, GroupError
from codl.hardware import Hardware
from codl.plan.explain import Explanation, explain
from codl.report.entry import Entry, Fidelity
from codl.runs import Prepared
from codl.tasks import HOST_LANE, TaskKind
from codl.trace import Trace

FACTS = (
    ("latency_ms", "latency", "ms", "first enqueue to last end of one inference; measured: the median"),
    ("simulated_ms", "predicted", "ms", "latency that the simulator predicts"),
    ("measured_ms", "measured", "ms", "latency of the run whose timeline is shown"),
    ("published_ms", "published", "ms", "latency that others measured (see the scenario's source)"),
    ("error", "error", "%", "(simulated - reference) / reference, the reference measured or published"),
    ("duration_error", "duration error", "%", "part of the error: tasks take another time than predicted"),
    ("scheduling_error", "scheduling error", "%", "part of the error: left when measured durations are replayed"),
    ("within_10_percent", "operators within 10 %", "share", "share of operators predicted within 10 % of measured"),
    ("noise", "noise", "%", "interquartile range of the measured runs over their median"),
    ("pace", "pace", "", "time of a reference kernel during the runs over its time when the machine was described"),
    ("throughput_per_s", "throughput", "1/s", "inferences a second, one after another"),
    ("energy_j", "energy", "J", "of one inference, the device's idle power included"),
    ("average_power_w", "average power", "W", "energy over latency"),
    ("peak_memory_mb", "peak memory", "MB", "tensors alive at once, and the weights packed for each processor"),
    ("compute_ms", "compute", "ms", "time during which at least one processor executes a kernel"),
    ("sharing_ms", "sharing", "ms", "sum of transforms, maps, unmaps, copies and synchronisations"),
    ("summed_ms", "summed latency", "ms", "latency as CoDL's authors report it: summed over chains"),
    ("chains", "chains", "", "operator chains of the plan"),
    ("split_operators", "split operators", "", "operators computed by more than one processor"),
    ("planning_ms", "planning", "ms", "time to find the plan"),
    ("max_relative_error", "output error", "", "largest difference to ONNX Runtime's outputs over their range"),
)  # fmt: skip
"""Keys of rows, with the words, the unit and the meaning that the page gives them."""

_PARTS = (TaskKind.KERNEL, TaskKind.TRANSFORM, TaskKind.COPY, TaskKind.MAP, TaskKind.UNMAP, TaskKind.SYNC,
          TaskKind.ENQUEUE)  # fmt: skip


def facts(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The figures of a row that there are."""
    return [
        {"name": name, "value": row[key], "unit": unit, "meaning": meaning}
        for key, name, unit, meaning in FACTS
        if row.get(key) is not None
    ]


def side_by_side(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """By model, its planners with their latencies; only models that have several."""
    models: dict[str, list[Entry]] = {}
    for entry in entries:
        models.setdefault(entry.model, []).append(entry)
    found = []
    for model, group in models.items():
        if len(group) < 2:
            continue
        latencies = [_latencies(entry) for entry in group]
        ranks = _ranks(group)
        longest = max((ms for each in latencies for ms in each.values()), default=0.0) or 1.0
        rows = [
            {
                "planner": entry.planner,
                "bars": [{"kind": kind, "ms": ms, "percent": 100 * ms / longest} for kind, ms in each.items()],
                "energy_j": entry.row.get("energy_j"),
                "split": entry.row.get("split_operators"),
                "error": entry.row.get("error"),
                "ranks": rank,
            }
            for entry, each, rank in zip(group, latencies, ranks, strict=True)
        ]
        found.append({"model": model, "rows": rows, "ranked": any(ranks)})
    return found


def _ranks(group: Sequence[Entry]) -> list[tuple[int, int] | None]:
    """The places of each entry by predicted and by measured latency, from 1; only where all of them have both."""
    pairs = [entry.pair for entry in group if entry.pair is not None]
    if len(pairs) < len(group):
        return [None] * len(group)
    orders = [sorted(column) for column in zip(*pairs, strict=True)]
    return [(orders[0].index(pair[0]) + 1, orders[1].index(pair[1]) + 1) for pair in pairs]


def fidelity(found: Fidelity) -> dict[str, Any]:
    """How well predictions order the plans, and what of the description is stale."""
    return {
        "rankings": [asdict(ranking) for ranking in found.rankings],
        "moved": [asdict(moved) for moved in found.moved],
        "judged": found.judged,
        "bound": found.bound,
    }


def _latencies(entry: Entry) -> dict[str, float]:
    """Those that are known, in ms."""
    named = {"predicted": entry.predicted_ms, "measured": entry.measured_ms, "published": entry.row.get("published_ms")}
    return {kind: ms for kind, ms in named.items() if ms is not None}


def where_time_goes(entry: Entry) -> list[dict[str, Any]]:
    """By world and lane, the time of each kind of task, and the rest of the makespan: waiting."""
    return [
        {"world": world, "lane": lane, "parts": _lane_parts(trace, lane)}
        for world, trace in entry.worlds
        for lane in trace.lanes
    ]


def _lane_parts(trace: Trace, lane: str) -> list[dict[str, Any]]:
    total = trace.makespan_ns or 1
    times = [(kind.value, trace.busy_ns(lane, [kind.value])) for kind in _PARTS]
    idle = "elsewhere" if lane == HOST_LANE else "waiting"
    times.append((idle, total - sum(ns for _, ns in times)))
    return [{"kind": kind, "ms": ns / 1e6, "percent": 100 * ns / total} for kind, ns in times if ns > 0]


def chains(run: Prepared, explained: Iterable[Explanation]) -> list[dict[str, Any]]:
    """The plan's chains of several operators, with what chaining gains."""
    by_name = {each.node.name: each for each in explained}
    found = []
    for index, chain in enumerate(run.plan.chains):
        if len(chain.operators) > 1:
            found.append({"id": f"c{index:02d}", "why": by_name[chain.operators[0]].sentence()})
    return found


def operators(entry: Entry) -> dict[str, Any]:
    """What each operator costs on each processor in either world, and why it is computed as it is.

    Returns:
        `lanes`, `worlds`, and `rows` with `operator`, `kind`, `chain`, `times` (ms by world and lane), `error`,
        `alternatives` (label, ms) and `why`, the latter two where the plan is known.
    """
    traces = list(entry.worlds)
    lanes = [lane for lane in dict.fromkeys(lane for _, trace in traces for lane in trace.lanes) if lane != HOST_LANE]
    times: dict[str, dict[tuple[str, str], int]] = {}
    where: dict[str, str] = {}
    for world, trace in traces:
        for span in trace.spans:
            if span.kind == TaskKind.KERNEL.value:
                row = times.setdefault(span.op, {})
                row[world, span.lane] = row.get((world, span.lane), 0) + span.duration_ns
                where[span.op] = span.chain
    explained = {}
    if entry.run is not None:
        found = explain(entry.run.graph, entry.run.plan, entry.run.hardware, entry.run.cost)
        explained = {each.node.name: each for each in found}
    errors = {group.name: group.error for group in entry.comparison.operators} if entry.comparison else {}
    rows = []
    for name, row in times.items():
        why = explained.get(name)
        rows.append(
            {
                "operator": name,
                "kind": (why.node.onnx_op or why.node.op) if why else "",
                "chain": where[name],
                "times": [_in_ms(row.get((world, lane))) for lane in lanes for world, _ in traces],
                "errors": [errors.get(f"{name}@{lane}") for lane in lanes],
                "alternatives": _alternatives(why) if why else [],
                "decided_by": why.decided_by if why else "",
                "why": why.sentence() if why else "",
            }
        )
    return {
        "lanes": lanes,
        "worlds": [world for world, _ in traces],
        "rows": rows,
        "explained": bool(explained),
        "compared": bool(errors),
        "chains": chains(entry.run, explained.values()) if entry.run else [],
    }


def _in_ms(ns: int | None) -> float | None:
    return None if ns is None else ns / 1e6


def _alternatives(why: Explanation) -> list[dict[str, Any]]:
    return [
        {"label": each.label, "ms": each.total_ns / 1e6, "best": each is why.best}
        for each in (*why.placements, *why.splits)
    ]


def errors(comparison: Comparison) -> dict[str, Any]:
    """Where the prediction is off: by kind of task, by term of the cost model, and the worst tasks."""
    return {
        "kinds": [_group(group) for group in comparison.kinds],
        "terms": [_group(group) for group in comparison.terms],
        "worst": [
            {"name": task.task_id, "predicted_ms": task.simulated_ns / 1e6, "measured_ms": task.measured_ns / 1e6,
             "error": task.error, "reason": task.reason}
            for task in comparison.worst(10)
        ],
        "conclusive": comparison.conclusive,
        "noise": comparison.noise,
    }  # fmt: skip


def _group(group: GroupError) -> dict[str, Any]:
    return {"name": group.name, "count": group.count, "predicted_ms": group.simulated_ns / 1e6,
            "measured_ms": group.measured_ns / 1e6, "error": group.error}  # fmt: skip


def hardware(description: Hardware) -> dict[str, Any]:
    """The machine, and where every constant of its description comes from."""
    processors = []
    for name, processor in description.processors.items():
        cores = ", ".join(f"{c.cores} × {c.name} {c.frequency / 1e9:.2f} GHz" for c in processor.clusters)
        silicon = cores or f"{processor.compute_units} compute units, waves of {processor.wave_size}"
        if processor.frequency:
            silicon += f", {processor.frequency / 1e6:.0f} MHz"
        processors.append(
            {
                "name": name,
                "silicon": f"{processor.description or processor.kind}: {silicon}",
                "data_types": ", ".join(processor.data_types),
                "bandwidth": processor.bandwidth / 1e9,
                "power": processor.active_power,
                "contention": processor.contention,
            }
        )
    sharing = description.sharing
    costs = {"transform": sharing.transform, "map": sharing.map, "unmap": sharing.unmap, "copy": sharing.copy_}
    if sharing.packed_copy is not None:
        costs["copy in many pieces"] = sharing.packed_copy
    return {
        "name": description.name,
        "description": description.description,
        "digest": description.digest,
        "settings": list(description.settings),
        "library": description.library,
        "processors": processors,
        "memory": description.memory.bandwidth / 1e9,
        "idle": description.power.idle,
        "sharing": sharing.kind,
        "costs": [
            {"name": name, "fixed_us": cost.fixed * 1e6, "per_mb_us": cost.per_byte * 1e12}
            for name, cost in costs.items()
            if cost.fixed or cost.per_byte
        ]
        + [
            {"name": "pre-sync (CPU waits for GPU)", "fixed_us": sharing.pre_sync * 1e6, "per_mb_us": 0.0},
            {"name": "post-sync (GPU waits for CPU)", "fixed_us": sharing.post_sync * 1e6, "per_mb_us": 0.0},
        ],
        "calibration": [entry.model_dump(mode="json") for entry in description.calibration],
    }


def environments(entry: Entry) -> list[dict[str, Any]]:
    """Where each timeline was made, and of what."""
    found = []
    for world, trace in entry.worlds:
        digests = {f"digest of {name}": value for name, value in trace.digests.items()}
        found.append({"world": world, "pairs": list({**trace.environment, **digests}.items())})
    return found
