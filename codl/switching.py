"""Which of several plans computes the next segment of an inference: a rule that sees nothing but latencies.

No clock, no device, no cost model: the simulator and the executor ask the same rule, so that what one shows of it the
other can confirm. An inference is one segment, or several between which plans may change; between two segments all
lanes are empty, so that the latency of a segment depends on its own plan alone. The rule tries every plan a few times
in every segment, stays with the best of each, and tries again when the latency of the plans in use has moved (load
came or went, a clock changed) or when nothing was tried for long.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median


class Switcher:
    """The rule for one stream of inferences.

    Args:
        plans: how many there are; the first one is used until others were tried.
        trials: latencies by which a plan is judged in a segment; their median counts.
        window: recent segments whose latencies are compared with what their plans were chosen for.
        change: relative move of the median over the window which says that the conditions have changed.
        margin: by how much another plan must be better to be switched to.
        patience: inferences after which all plans are tried again although nothing has moved.
        segments: of an inference.

    With one plan, nothing is ever tried.
    """

    def __init__(
        self, plans: int, trials: int = 3, window: int = 5, change: float = 0.15, margin: float = 0.02,
        patience: int = 500, segments: int = 1,
    ) -> None:  # fmt: skip
        if plans < 1 or trials < 1 or window < 1 or patience < 1 or segments < 1:
            raise ValueError("plans, trials, window, patience and segments must be at least 1")
        self.plans, self.trials, self.window = plans, trials, window
        self.change, self.margin, self.patience = change, margin, patience
        self.current = [0] * segments
        """The plan in use, by segment."""
        self.switches = 0
        """How often `choose` named another plan than before."""
        self._last = 0
        self._expected = [0.0] * segments
        self._recent: deque[float] = deque(maxlen=window)
        self._since = 0
        self._tried: list[list[list[float]]] = [[] for _ in self.current]
        self._open: list[list[int]] = [[] for _ in self.current]
        self._begin_trial()

    def choose(self, segment: int = 0) -> int:
        """The plan of the segment that begins now."""
        waiting = self._open[segment]
        plan = waiting[0] if waiting else self.current[segment]
        self.switches += plan != self._last
        self._last = plan
        return plan

    def observe(self, plan: int, latency: float, segment: int = 0) -> None:
        """A segment took `latency` with this plan (any unit, the same for all)."""
        waiting = self._open[segment]
        if waiting:
            self._tried[segment][plan].append(latency)
            if len(self._tried[segment][waiting[0]]) >= self.trials:
                waiting.pop(0)
                if not waiting:
                    self._decide(segment)
            return
        if self.plans == 1 or plan != self.current[segment]:
            return  # nothing to decide, or begun before the decision: it says nothing about the plan in use
        self._recent.append(latency / self._expected[segment])
        self._since += 1
        moved = len(self._recent) == self.window and abs(median(self._recent) - 1) > self.change
        if moved or self._since >= self.patience * len(self.current):
            self._begin_trial()

    def _begin_trial(self) -> None:
        if self.plans == 1:
            return
        self._recent.clear()
        self._since = 0
        for segment, current in enumerate(self.current):
            self._tried[segment] = [[] for _ in range(self.plans)]
            # The plan in use comes first: going on with it costs nothing.
            self._open[segment] = sorted(range(self.plans), key=lambda plan: plan != current)

    def _decide(self, segment: int) -> None:
        found = [median(latencies) for latencies in self._tried[segment]]
        best, current = min(range(self.plans), key=found.__getitem__), self.current[segment]
        if found[best] < found[current] * (1 - self.margin):
            self.current[segment] = best
        self._expected[segment] = max(found[self.current[segment]], 1e-30)
        self._recent.clear()
        self._since = 0


@dataclass
class History:
    """Which plans computed the segments of a stream's inferences, and what they took.

    Attributes:
        chosen: plans in the order in which segments began.
        latencies: of segments, by plan and segment.
    """

    plans: int
    segments: int = 1
    chosen: list[int] = field(default_factory=list)
    latencies: dict[tuple[int, int], list[float]] = field(default_factory=dict)

    def begin(self, plan: int) -> None:
        """A segment begins with this plan."""
        self.chosen.append(plan)

    def end(self, plan: int, segment: int, latency: float) -> None:
        """A segment took `latency` with this plan."""
        self.latencies.setdefault((plan, segment), []).append(latency)

    @property
    def switches(self) -> int:
        """How often a segment was computed by another plan than the one before it."""
        return sum(one != other for one, other in zip(self.chosen, self.chosen[1:], strict=False))

    def latency(self, plan: int) -> float | None:
        """What an inference takes with one plan alone: the sum over the segments of its median latencies; None where
        it did not compute every segment."""
        found = [self.latencies.get((plan, segment)) for segment in range(self.segments)]
        return sum(median(each) for each in found if each) if all(found) else None

    def share(self, plan: int) -> float:
        """The share of all segments that a plan computed."""
        return self.chosen.count(plan) / len(self.chosen) if self.chosen else 0.0
