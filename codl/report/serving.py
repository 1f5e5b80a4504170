"""What the page says of a workload: how long requests took, what waited and was lost, and what the machine went
through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codl.report.charts import Chart, Series
from codl.sim.workload import Served, WorkloadRecord
from codl.workload import Workload

SECONDS = 1e-9
WINDOWS = 120
"""Into which the time is divided where shares of it are shown."""

FIGURES = (
    ("p50_ms", "latency, median", "ms", "from arrival to end"),
    ("p95_ms", "latency, 95th percentile", "ms", "95 of 100 requests took no longer"),
    ("p99_ms", "latency, 99th percentile", "ms", "99 of 100 requests took no longer"),
    ("worst_ms", "latency, longest", "ms", ""),
    ("latency_ms", "latency, mean", "ms", "its two parts follow"),
    ("wait_ms", "waiting, mean", "ms", "from arrival to the begin of the inference"),
    ("service_ms", "service, mean", "ms", "from there to its end"),
    ("alone_ms", "alone", "ms", "one inference on the idle machine"),
    ("throughput_per_s", "throughput", "1/s", "completed requests over the time in which they came and were served"),
    ("offered", "requests", "", "that came"),
    ("dropped", "dropped", "", "requests lost because the queue was full"),
    ("drop_rate", "dropped, share", "%", "of the requests that came"),
    ("deadline_miss_rate", "late, share", "%", "late or dropped, of the requests that came"),
    ("energy_j", "energy", "J", "of one inference, its part of the idle energy included"),
    ("average_power_w", "average power", "W", "of the whole device, the load of others included"),
    ("plans", "plans", "", "made for the states that the workload reaches"),
    ("switches", "switches", "", "how often another plan was chosen"),
)  # fmt: skip
"""Keys of rows, with the words, the unit and the meaning that the page gives them; shares are printed in percent."""


@dataclass(frozen=True)
class Serving:
    """One simulation of a workload.

    Attributes:
        rows: what the command prints of it, one a stream.
        records: one a repetition.
        busy: by lane, (start, end) in nanoseconds of each task of the first repetition.
    """

    workload: Workload
    rows: Sequence[Mapping[str, Any]]
    records: Sequence[WorkloadRecord]
    busy: Mapping[str, Sequence[tuple[int, int]]]

    @property
    def title(self) -> str:
        """The streams, the planners and the variant."""
        streams = ", ".join(dict.fromkeys(str(row["stream"]) for row in self.rows))
        planners = ", ".join(dict.fromkeys(str(row["planner"]) for row in self.rows))
        variant = self.rows[0].get("variant")
        return f"{streams} · planner {planners}" + (f", {variant}" if variant else "")

    @property
    def streams(self) -> list[str]:
        return [str(row["stream"]) for row in self.rows]


def overview(servings: Sequence[Serving]) -> list[dict[str, Any]]:
    """All streams of all simulations, with their 95th percentile as a share of the longest one."""
    rows = [row for serving in servings for row in serving.rows]
    longest = max((row.get("p95_ms") or 0.0 for row in rows), default=0.0) or 1.0
    return [
        {
            "stream": row["stream"],
            "planner": f"{row['planner']}, {row['variant']}" if row.get("variant") else row["planner"],
            "p95_ms": row.get("p95_ms"),
            "percent": 100 * (row.get("p95_ms") or 0.0) / longest,
            **{key: row.get(key) for key in ("p50_ms", "p99_ms", "throughput_per_s", "drop_rate", "energy_j")},
            "late": row.get("deadline_miss_rate"),
            "average_power_w": row.get("average_power_w"),
        }
        for row in rows
    ]


def figures(serving: Serving) -> list[dict[str, Any]]:
    """Rows of (name, unit, meaning, a value a stream); each value with the half width of its confidence interval."""
    keys = [*FIGURES, *_machine_keys(serving.rows[0])]
    found = []
    for key, name, unit, meaning in keys:
        values = [_lookup(row, key) for row in serving.rows]
        if all(value is None for value in values):
            continue
        halves = [_lookup(row.get("confidence", {}).get("half_width", {}), key) for row in serving.rows]
        pairs = [{"value": _whole(value), "half": half} for value, half in zip(values, halves, strict=True)]
        found.append({"name": name, "unit": unit, "meaning": meaning, "values": pairs})
    return found


def _whole(value: Any) -> Any:
    """A count as a whole number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _machine_keys(row: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Figures of the machine, one a processor or node, as those of `FIGURES`."""
    for lane in row.get("utilisation", {}):
        yield f"utilisation.{lane}", f"utilisation of {lane}", "%", "share of the whole time that it was busy"
    for name in row.get("mean_clock", {}):
        yield f"mean_clock.{name}", f"mean clock of {name}", "%", "of the nominal one"
    for node in row.get("hottest_c", {}):
        yield f"hottest_c.{node}", f"{node} at its hottest", "°C", ""


def _lookup(row: Mapping[str, Any], key: str) -> Any:
    outer, dot, inner = key.partition(".")
    return row.get(outer, {}).get(inner) if dot else row.get(key)


def charts(serving: Serving) -> list[Chart]:
    """Latencies of all repetitions; everything over time of the first one."""
    first = serving.records[0]
    end = first.duration_ns * SECONDS
    found = [_distribution(serving), _latencies(serving, end), _waiting(serving, end), _utilisation(serving, end)]
    climate = first.climate
    moved = {name: points for name, points in climate.clocks.items() if len(points) > 1 or points[0][1] != 1}
    if moved:
        found.append(Chart("clock", "% of nominal", "time, s", end, [_steps(n, p, 100) for n, p in moved.items()]))
    if climate.temperatures:
        limits = serving.workload.thermal.trips if serving.workload.thermal else ()
        lines = {f"{trip.processor} limited above {trip.above:g} °C": trip.above for trip in limits}
        series = [
            Series(name, [(at * SECONDS, value) for at, value in points], "line")
            for name, points in climate.temperatures.items()
        ]
        found.append(Chart("temperature", "°C", "time, s", end, series, lines, from_zero=False))
    return [chart for chart in found if chart.series]


def _steps(name: str, points: Sequence[tuple[int, float]], factor: float = 1.0) -> Series:
    return Series(name, [(at * SECONDS, factor * value) for at, value in points], "steps")


def _distribution(serving: Serving) -> Chart:
    """Share of the requests that took no longer than so many ms; a dropped request never ends."""
    series, longest, deadlines = [], 0.0, {}
    for index, (name, stream) in enumerate(zip(serving.streams, serving.workload.streams, strict=True)):
        served = [record.streams[index] for record in serving.records]
        times = sorted(ms for each in served for ms in _milliseconds(each, serving.workload.warm_up))
        offered = sum(len(each.arrived) - serving.workload.warm_up for each in served)
        shares = [(ms, 100 * (k + 1) / offered) for k, ms in enumerate(times)]
        series.append(Series(name, [(0.0, 0.0), *shares], "steps"))
        longest = max([longest, *times[-1:]])
        if stream.deadline is not None:
            deadlines[f"deadline of {name}"] = 1e3 * stream.deadline
    return Chart(
        "requests that ended within", "% of those that came", "latency, ms", 1.02 * longest, series, places=deadlines,
        top=100.0,
    )  # fmt: skip


def _milliseconds(served: Served, warm_up: int = 0) -> list[float]:
    pairs = list(zip(served.arrived, served.ended, strict=True))[warm_up:]
    return [(ended - arrived) / 1e6 for arrived, ended in pairs if ended >= 0]


def _latencies(serving: Serving, end: float) -> Chart:
    series = []
    for name, served in zip(serving.streams, serving.records[0].streams, strict=True):
        times = zip(served.arrived, served.ended, strict=True)
        points = [(arrived * SECONDS, (ended - arrived) / 1e6) for arrived, ended in times if ended >= 0]
        series.append(Series(name, points, "dots"))
    return Chart("latency of each request, at its arrival", "ms", "time, s", end, series)


def _waiting(serving: Serving, end: float) -> Chart:
    """Requests that wait, and at the moment of its arrival, each that was dropped."""
    series = []
    for name, served in zip(serving.streams, serving.records[0].streams, strict=True):
        changes: dict[int, int] = {}
        for arrived, began in zip(served.arrived, served.began, strict=True):
            if began > arrived:
                changes[arrived] = changes.get(arrived, 0) + 1
                changes[began] = changes.get(began, 0) - 1
        waiting, points = 0, [(0.0, 0.0)]
        for at in sorted(changes):
            waiting += changes[at]
            points.append((at * SECONDS, float(waiting)))
        if len(points) > 1:
            series.append(Series(name, points, "steps"))
    for name, served in zip(serving.streams, serving.records[0].streams, strict=True):
        lost = [(at * SECONDS, 0.0) for at, ended in zip(served.arrived, served.ended, strict=True) if ended < 0]
        if lost:
            series.append(Series(f"dropped of {name}", lost, "losses"))
    return Chart("requests waiting (those that were served)", "requests", "time, s", end, series, top=1.0)


def _utilisation(serving: Serving, end: float) -> Chart:
    """Share of each window of time during which a lane was busy."""
    edges = np.linspace(0, end / SECONDS, WINDOWS + 1)
    series = []
    for lane, intervals in serving.busy.items():
        times = np.array(intervals, dtype=float)
        done = np.concatenate([[0.0], np.cumsum(times[:, 1] - times[:, 0])])
        # Busy time grows from start to end of each task and rests in between.
        at = np.interp(edges, times.ravel(), np.stack([done[:-1], done[1:]], axis=1).ravel())
        shares = 100 * np.diff(at) / np.diff(edges)
        points = [*zip((edges[:-1] * SECONDS).tolist(), shares.tolist(), strict=True)]
        series.append(Series(lane, points, "steps"))
    return Chart("utilisation", "% of each moment", "time, s", end, series, top=100.0)
