"""Several plans of one model, compiled side by side; measured latencies decide which one computes the next segment.

Plans change at the points between segments, where all lanes are empty and what crosses lies in memory that every plan
reads. With one segment they change between inferences only. All plans work on the same queues; a plan has its own
intermediate values, and weights of its own only where it packs or cuts them as no other does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from codl.errors import PlanError
from codl.graph import Graph
from codl.real.devices import Assignment, DeviceInfo
from codl.real.executor import Executor
from codl.real.part import Done, makespan_ns
from codl.switching import History, Switcher
from codl.tasks import TaskGraph


class AdaptiveExecutor(Executor):
    """Used like an `Executor`.

    Args:
        graph: the model.
        plans: the segments of each plan (`codl.plan.segments.lowered`), the plan to begin with first.
        devices, timeout_s: as for an `Executor`.
        switcher: the rule that chooses; a new one if it is not given.

    Raises:
        PlanError: the plans have not all the same number of segments; and as an `Executor`.
        DeviceError, BuildError, ModelError: as an `Executor`.

    Attributes:
        history: of all runs; latencies in ms.
    """

    def __init__(
        self, graph: Graph, plans: Sequence[Sequence[TaskGraph]], devices: Assignment | Mapping[str, DeviceInfo],
        timeout_s: float = 60.0, switcher: Switcher | None = None,
    ) -> None:  # fmt: skip
        counts = {len(plan) for plan in plans}
        if len(counts) != 1 or 0 in counts:
            raise PlanError(f"plans to choose among must have the same segments; these have {sorted(counts)}")
        self._open(graph, [tasks for plan in plans for tasks in plan], devices, timeout_s)
        (self.segments,) = counts
        self.plans = len(plans)
        self.switcher = switcher or Switcher(self.plans, segments=self.segments)
        self.history = History(self.plans, self.segments)

    def _segments(self) -> list[Done]:
        done: list[Done] = []
        for segment in range(self.segments):
            plan = self.switcher.choose(segment)
            self.history.begin(plan)
            done.append(self._execute(self.parts[plan * self.segments + segment], strict=True))
            taken = makespan_ns(done[-1:], self._lanes.clocks)
            self.switcher.observe(plan, taken, segment)
            self.history.end(plan, segment, taken / 1e6)
        return done

    def forget(self) -> None:
        """Begin the history anew; what the rule has learnt stays."""
        self.history = History(self.plans, self.segments)
