"""Which of several plans the next inference uses: a rule that sees nothing but the latencies of those that ended.

No clock, no device, no cost model: the simulator and the executor ask the same rule, so that what one shows of it the
other can confirm. The rule tries every plan a few times, stays with the best, and tries again when the latency of the
plan in use has moved (load came or went, a clock changed) or when nothing was tried for long.
"""

from __future__ import annotations

from collections import deque
from statistics import median


class Switcher:
    """The rule for one stream of inferences.

    Args:
        plans: how many there are; the first one is used until others were tried.
        trials: inferences by which a plan is judged; their median counts.
        window: recent inferences of the plan in use whose median is compared with what it was chosen for.
        change: relative move of that median which says that the conditions have changed.
        margin: by how much another plan must be better to be switched to.
        patience: inferences after which all plans are tried again although nothing has moved.

    With one plan, nothing is ever tried.
    """

    def __init__(
        self, plans: int, trials: int = 3, window: int = 5, change: float = 0.15, margin: float = 0.02,
        patience: int = 500,
    ) -> None:  # fmt: skip
        if plans < 1 or trials < 1 or window < 1 or patience < 1:
            raise ValueError("plans, trials, window and patience must be at least 1")
        self.plans, self.trials, self.window = plans, trials, window
        self.change, self.margin, self.patience = change, margin, patience
        self.current = 0
        self.switches = 0
        """How often `choose` named another plan than before."""
        self._last = 0
        self._expected = 0.0
        self._recent: deque[float] = deque(maxlen=window)
        self._since = 0
        self._tried: list[list[float]] = []
        self._open: list[int] = []
        self._begin_trial()

    def choose(self) -> int:
        """The plan of the next inference."""
        plan = self._open[0] if self._open else self.current
        self.switches += plan != self._last
        self._last = plan
        return plan

    def observe(self, plan: int, latency: float) -> None:
        """An inference with this plan took `latency` (any unit, the same for all)."""
        if self._open:
            self._tried[plan].append(latency)
            if len(self._tried[self._open[0]]) >= self.trials:
                self._open.pop(0)
                if not self._open:
                    self._decide()
            return
        if self.plans == 1 or plan != self.current:
            return  # nothing to decide, or begun before the decision: it says nothing about the plan in use
        self._recent.append(latency)
        self._since += 1
        moved = len(self._recent) == self.window and abs(median(self._recent) / self._expected - 1) > self.change
        if moved or self._since >= self.patience:
            self._begin_trial()

    def _begin_trial(self) -> None:
        if self.plans == 1:
            return
        self._tried = [[] for _ in range(self.plans)]
        # The plan in use comes first: going on with it costs nothing.
        self._open = sorted(range(self.plans), key=lambda plan: plan != self.current)

    def _decide(self) -> None:
        found = [median(latencies) for latencies in self._tried]
        best = min(range(self.plans), key=found.__getitem__)
        if found[best] < found[self.current] * (1 - self.margin):
            self.current = best
        self._expected = max(found[self.current], 1e-30)
        self._recent.clear()
        self._since = 0
