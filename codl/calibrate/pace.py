"""The machine's pace: how long calibration's reference kernel takes now, over what it took when it was described.

A prediction can only hold on the machine that was measured. A virtual machine's neighbours, a warm laptop, another
governor change it, all kernels alike; the reference kernel, which no network contains, tells so independently of any
prediction.
"""

from __future__ import annotations

from types import TracebackType

import numpy as np

from codl.calibrate.measure import occupancy
from codl.calibrate.network import graph_of
from codl.calibrate.phases import PACE_TOGETHER, add_pace, reference_probe
from codl.calibrate.sequence import Sequence, SequenceBuilder
from codl.hardware import Hardware
from codl.real.devices import Assignment
from codl.real.executor import Executor
from codl.trace import typical


class PaceMeter:
    """Runs the reference kernel on each processor alone and, where they share memory, on all at once, whenever it is
    called: in turn with what it is to vouch for. Use it in a `with` statement.

    Args:
        hardware: the description that predictions come from.

    Raises:
        DeviceError, BuildError: as `Executor`.
    """

    def __init__(self, hardware: Hardware, devices: Assignment) -> None:
        observed = hardware.observed
        self._then = dict(observed.reference) if observed else {}
        self._then_together = dict(observed.reference_together) if observed else {}
        self._executor: Executor | None = None
        self._times: dict[tuple[str, str], list[int]] = {}
        graph = graph_of(observed.reference_kernel if observed else "")
        if not self._then or not graph.nodes:
            return  # a description that did not measure it
        lanes = tuple(self._then)
        builder = SequenceBuilder(graph, lanes, devices.shared_memory)
        add_pace(builder, lanes, devices.shared_memory, reference_probe(graph))
        self._sequence = Sequence(builder.build(), tuple(builder.timed), {})
        random = np.random.default_rng(1)
        shapes = {name: graph.tensors[name].shape for name in graph.inputs}
        self._inputs = {name: random.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
        self._executor = Executor(graph, self._sequence.tasks, devices)
        self()  # caches are cold
        self._times.clear()

    def __call__(self) -> None:
        """Run it once more; nothing where the description does not know what it took."""
        if self._executor is None:
            return
        _, trace = self._executor.run(self._inputs, trace=True)
        assert trace is not None
        occupied = occupancy(trace, self._sequence.tasks)
        for timed in self._sequence.timed:
            self._times.setdefault((timed.phase, timed.lane), []).append(occupied[timed.task])

    @property
    def pace(self) -> float | None:
        """Typical time of the reference kernel over its time at calibration: of the processor, or all of them at once,
        where that is farthest from 1. None where it was not run."""
        paces: list[float] = []
        for (phase, lane), row in self._times.items():
            then = self._then_together if phase == PACE_TOGETHER else self._then
            paces.append(typical(row) * 1e-9 / then[lane])
        return max(paces, key=lambda pace: abs(pace - 1), default=None)

    def close(self) -> None:
        """Free the buffers."""
        if self._executor is not None:
            self._executor.close()

    def __enter__(self) -> PaceMeter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()
