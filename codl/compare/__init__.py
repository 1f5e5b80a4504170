"""Prediction beside measurement, span by span: how large the error is, where it comes from, whether it still orders
plans rightly, and which constants of the hardware description no longer hold."""

from codl.compare.comparison import Comparison, compare_traces
from codl.compare.drift import Moved, moved_constants
from codl.compare.errors import GroupError, TaskError, relative
from codl.compare.ranking import rank_correlation, regret
from codl.compare.recording import record, replayed_ns

__all__ = [
    "Comparison", "GroupError", "Moved", "TaskError",
    "compare_traces", "moved_constants", "rank_correlation", "record", "regret", "relative", "replayed_ns",
]  # fmt: skip
