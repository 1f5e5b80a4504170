"""What a workload's repetitions add up to: a figure for each metric, with a confidence interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt

import numpy as np

from codl.sim.workload import Client, Served, WorkloadRecord

PERCENTILES = (50, 95, 99)
Figures = dict[str, float]


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Mean of independent values and the half width of its confidence interval (Student's t); the half width of a
    single value is not known and given as 0."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, 0.0
    from scipy.special import stdtrit  # takes long to import, and only repeated simulations need it

    quantile = float(stdtrit(len(values) - 1, (1 + level) / 2))
    return mean, quantile * float(np.std(values, ddof=1)) / sqrt(len(values))


def summary(repetitions: Sequence[Mapping[str, float]], level: float = 0.95) -> tuple[Figures, Figures]:
    """Means of all metrics and half widths of their confidence intervals.

    A metric that a repetition lacks (the latency of a stream that lost all of its requests) is left out of it.
    """
    names = list(dict.fromkeys(name for figures in repetitions for name in figures))
    found = {name: interval([f[name] for f in repetitions if name in f], level) for name in names}
    return {name: mean for name, (mean, _) in found.items()}, {name: half for name, (_, half) in found.items()}


def stream_figures(client: Client, served: Served, record: WorkloadRecord, warm_up: int = 0) -> Figures:
    """One stream in one repetition. Times in ms; see docs/metrics.md.

    Latencies are from arrival to end and leave out the first `warm_up` requests; counts, rates and energy do not.
    """
    arrived, began, ended = (np.array(times) for times in (served.arrived, served.began, served.ended))
    done = ended >= 0
    counted = done & (np.arange(len(arrived)) >= warm_up)
    figures: Figures = {
        "offered": float(len(arrived)),
        "completed": float(done.sum()),
        "dropped": float((~done).sum()),
        "drop_rate": float((~done).mean()),
        "switches": float(served.history.switches) if served.history else 0.0,
    }
    if served.history is not None:
        for plan in range(served.history.plans):
            figures[f"plan_share.{plan}"] = served.history.share(plan)
            latency = served.history.latency(plan)
            if latency is not None:
                figures[f"plan_ms.{plan}"] = latency / 1e6
    if done.any():
        # A rate needs the time in which the requests came and were served, from the stream's own start.
        span = int(ended.max()) - round(client.stream.start * 1e9)
        figures["throughput_per_s"] = float(1e9 * done.sum() / span) if span > 0 else 0.0
        all_done = sum(int((np.array(s.ended) >= 0).sum()) for s in record.streams)
        figures["energy_j"] = float(np.mean(np.array(served.joules)[done])) + record.idle_joules / all_done
    if counted.any():
        latencies = (ended - arrived)[counted] / 1e6
        figures |= {
            "latency_ms": float(latencies.mean()),
            "worst_ms": float(latencies.max()),
            "wait_ms": float((began - arrived)[counted].mean() / 1e6),
            "service_ms": float((ended - began)[counted].mean() / 1e6),
        }
        ranks = np.percentile(latencies, PERCENTILES).tolist()
        figures |= {f"p{percent}_ms": value for percent, value in zip(PERCENTILES, ranks, strict=True)}
    if client.stream.deadline is not None:
        late = ~done | (ended - arrived > client.stream.deadline * 1e9)
        figures["deadline_misses"] = float(late.sum())
        figures["deadline_miss_rate"] = float(late.mean())
    return figures


def machine_figures(record: WorkloadRecord) -> Figures:
    """What all streams of one repetition share, with dotted names for what there are several of."""
    duration = max(1, record.duration_ns)
    figures: Figures = {
        "duration_ms": record.duration_ns / 1e6,
        "average_power_w": record.total_joules / (duration * 1e-9),
    }
    figures |= {f"utilisation.{name}": busy / duration for name, busy in record.busy_ns.items()}
    for name, points in record.climate.temperatures.items():
        values = [value for _, value in points]
        figures[f"temperature_c.{name}"] = values[-1]
        figures[f"hottest_c.{name}"] = max(values)
    for name, points in record.climate.clocks.items():
        if len(points) > 1 or points[0][1] != 1.0:
            ends = [*(time for time, _ in points[1:]), duration]
            area = sum(clock * (end - time) for (time, clock), end in zip(points, ends, strict=True))
            figures[f"mean_clock.{name}"] = area / duration
    return figures
