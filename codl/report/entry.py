"""What a report is made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from codl.compare import Comparison, Moved
from codl.runs import Prepared
from codl.trace import Trace

if TYPE_CHECKING:
    from codl.fidelity import Ranking  # would import everything that measures

PREDICTED, MEASURED = "predicted", "measured"


@dataclass(frozen=True)
class Entry:
    """One plan, predicted, measured or both.

    Attributes:
        row: what the command prints of it as JSON; `model` and `planner` at least.
        run: plan, task graph and costs; not known of a trace file.
        pair: (predicted, measured) ms by which it ranks among the entries of its model, where both are known.
    """

    row: Mapping[str, Any]
    simulated: Trace | None = None
    measured: Trace | None = None
    comparison: Comparison | None = None
    run: Prepared | None = None
    pair: tuple[float, float] | None = None

    @property
    def model(self) -> str:
        return str(self.row["model"])

    @property
    def planner(self) -> str:
        """The planner, and the scenario's variant where there is one."""
        variant = self.row.get("variant")
        return f"{self.row['planner']}, {variant}" if variant else str(self.row["planner"])

    @property
    def worlds(self) -> Iterator[tuple[str, Trace]]:
        """(`predicted` or `measured`, its trace)"""
        if self.simulated is not None:
            yield PREDICTED, self.simulated
        if self.measured is not None:
            yield MEASURED, self.measured

    @property
    def predicted_ms(self) -> float | None:
        """The predicted latency; a row that only `codl simulate` prints has it as `latency_ms`."""
        if self.simulated is not None:
            return self.simulated.makespan_ns / 1e6
        return None if self.measured is not None else self.row.get("latency_ms")

    @property
    def measured_ms(self) -> float | None:
        return None if self.measured is None else float(self.row.get("measured_ms", self.row.get("latency_ms")) or 0)


@dataclass(frozen=True)
class Fidelity:
    """What predictions and measurements say together.

    Attributes:
        rankings: of each model with several plans, how well its predictions order them.
        moved: constants of the description that no longer hold.
        judged: whether any plan was off by more than `bound` and its noise, without which no constant is doubted.
    """

    rankings: Sequence[Ranking]
    moved: Sequence[Moved]
    judged: bool
    bound: float
