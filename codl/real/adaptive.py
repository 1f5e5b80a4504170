"""Several plans of one model, compiled side by side; which one runs next follows from the latencies measured so far.

Plans change between inferences, never inside one: by then the commands of later chains are in the queues, and the next
plan would need its tensors where this one has them. An inference takes milliseconds, load comes and goes in seconds.
Every plan keeps its own buffers and weights, so that changing costs nothing at run time and memory for each plan.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import numpy as np

from codl.errors import PlanError
from codl.real.executor import Executor, Run
from codl.switching import Switcher
from codl.trace import Trace


class AdaptiveExecutor:
    """Used like an `Executor`; may be used from several threads.

    Args:
        executors: of the same model, the plan to begin with first.
        switcher: the rule that chooses; a new one if it is not given.

    Raises:
        PlanError: the executors are of different models.
    """

    def __init__(self, executors: Sequence[Executor], switcher: Switcher | None = None) -> None:
        models = {executor.graph.digest for executor in executors}
        if len(models) != 1:
            raise PlanError(f"plans to choose among must be of one model; these are of {len(models)}")
        self.executors = tuple(executors)
        self.switcher = switcher or Switcher(len(self.executors))
        self._lock = threading.Lock()

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """Names of the operators that run whole through ONNX Runtime, the same in every plan."""
        return self.executors[0].fallbacks

    def run(self, inputs: Mapping[str, np.ndarray], trace: bool = False) -> tuple[dict[str, np.ndarray], Trace | None]:
        """One inference, as `Executor.run`."""
        result = self.infer(inputs, trace)
        return result.outputs, result.trace

    def infer(self, inputs: Mapping[str, np.ndarray], trace: bool = False) -> Run:
        """As `run`, with the makespan."""
        with self._lock:
            plan = self.switcher.choose()
        result = self.executors[plan].infer(inputs, trace)
        with self._lock:
            self.switcher.observe(plan, result.makespan_ns)
        return result

    def close(self) -> None:
        """Free all buffers and end the executors' threads."""
        for executor in self.executors:
            executor.close()

    def __enter__(self) -> AdaptiveExecutor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
