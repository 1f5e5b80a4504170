"""What a timeline adds up to: computing, sharing, power over time. Works on traces of either world."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from codl.tasks import HOST_LANE, TaskKind
from codl.trace import Span, Trace

SHARING = ("transform", "map", "unmap", "sync", "copy")
"""Kinds whose time is the overhead of sharing data between processors."""


def compute_ns(trace: Trace) -> int:
    """Time during which at least one processor executes a kernel."""
    total = until = 0
    for span in sorted((s for s in trace.spans if s.kind == TaskKind.KERNEL.value), key=lambda s: s.start_ns):
        total += max(0, span.end_ns - max(until, span.start_ns))
        until = max(until, span.end_ns)
    return total


def sharing_ns(trace: Trace) -> int:
    """Sum of the time that transforms, maps, unmaps, copies and synchronisations between processors take."""
    return sum(s.duration_ns for s in trace.spans if s.kind in SHARING and s.lane != HOST_LANE)


def summed_ns(trace: Trace) -> int:
    """Latency as CoDL (MobiSys '22) and its artifact report it: summed over chains, not read off a clock.

    Per chain the sharing spans, plus the largest sum of kernel times of any processor. Enqueueing, and waiting for
    anything but the synchronisations themselves, is not in it.
    """
    sharing: dict[str, int] = {}
    kernels: dict[str, dict[str, int]] = {}
    for span in trace.spans:
        if span.kind == TaskKind.KERNEL.value:
            lanes = kernels.setdefault(span.chain, {})
            lanes[span.lane] = lanes.get(span.lane, 0) + span.duration_ns
        elif span.kind in SHARING and span.lane != HOST_LANE:
            sharing[span.chain] = sharing.get(span.chain, 0) + span.duration_ns
    return sum(sharing.values()) + sum(max(lanes.values()) for lanes in kernels.values())


def power_steps(
    spans: Sequence[Span], joules: Mapping[str, float], idle_w: float
) -> tuple[tuple[int, float], ...]:  # fmt: skip
    """Power over time, in watts, as (time_ns, value) at every change.

    Args:
        joules: energy of each task above idle, by id; spread evenly over its span.
        idle_w: what all processors and the memory together take when nothing runs.
    """
    changes: dict[int, list[tuple[str, float]]] = {}
    end = 0
    for span in spans:
        end = max(end, span.end_ns)
        energy = joules.get(span.task_id, 0.0)
        if energy and span.duration_ns:
            changes.setdefault(span.end_ns, []).insert(0, (span.task_id, 0.0))
            changes.setdefault(span.start_ns, []).append((span.task_id, energy / span.duration_ns * 1e9))
    running: dict[str, float] = {}
    points = [(0, idle_w)]
    for time in sorted(changes):
        for task, watts in changes[time]:
            if watts:
                running[task] = watts
            else:
                running.pop(task, None)
        points.append((time, idle_w + sum(running.values())))
    if points[-1][0] < end:
        points.append((end, idle_w))
    return dropped_repeats(points)


def dropped_repeats(points: Iterable[tuple[int, float]]) -> tuple[tuple[int, float], ...]:
    """A step function without points that change nothing; of several at one time the last counts."""
    last_at = dict(points)
    kept: list[tuple[int, float]] = []
    for time, value in last_at.items():
        if not kept or kept[-1][1] != value:
            kept.append((time, value))
    return tuple(kept)
