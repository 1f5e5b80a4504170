"""The Python API for embedding: `codl.load(model)`, `session.run({name: array})`, by ONNX Runtime's conventions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from codl.adaptation import adaptive_executor, plans_under_load
from codl.calibrate import load_or_calibrate
from codl.errors import InputError
from codl.graph import Tensor
from codl.plan.model import Plan
from codl.runs import Prepared, Workspace, executor_for, require_executable


class Session:
    """A model, planned and compiled for the devices of this machine.

    `run` may be called from several threads; inferences follow each other. Use it as a context manager, or call
    `close`, to free the devices' memory before the session is collected.
    """

    def __init__(self, runs: Sequence[Prepared], devices: Any) -> None:
        self._run = runs[0]
        self._executor = adaptive_executor(runs, devices) if len(runs) > 1 else executor_for(runs[0], devices)

    @property
    def plan(self) -> Plan:
        """The plan; with `adapt`, the one that it begins with."""
        return self._run.plan

    @property
    def inputs(self) -> list[Tensor]:
        """Name, shape and number format (a numpy dtype name) of each input."""
        return [self._run.graph.tensors[name] for name in self.input_names]

    @property
    def outputs(self) -> list[Tensor]:
        """The same of each output, in the order in which `run` returns them."""
        return [self._run.graph.tensors[name] for name in self.output_names]

    @property
    def input_names(self) -> list[str]:
        return list(self._run.graph.inputs)

    @property
    def output_names(self) -> list[str]:
        return list(self._run.graph.outputs)

    @property
    def fallbacks(self) -> list[str]:
        """Operators that have no kernel of codl's and run whole through ONNX Runtime."""
        return list(self._executor.fallbacks)

    def input_shape(self, name: str) -> tuple[int, ...]:
        """The shape of an input.

        Raises:
            InputError: no such input.
        """
        if name not in self._run.graph.inputs:
            raise InputError(f"no input {name!r}; inputs: {', '.join(self._run.graph.inputs)}")
        return self._run.graph.tensors[name].shape

    def run(self, inputs: Mapping[str, Any]) -> list[np.ndarray]:
        """Outputs in the order of `output_names`; the arrays are the caller's own.

        Args:
            inputs: what numpy takes as an array, by name; of exactly the shape and dtype that the model declares, as
                ONNX Runtime wants it.

        Raises:
            InputError: an input is missing, unknown, or of another shape or dtype.
            DeviceError: a device failed or did not answer in time, or the session is closed.
            ModelError: an operator fails in ONNX Runtime.
        """
        outputs, _ = self._executor.run(inputs)
        return [outputs[name] for name in self.output_names]

    def close(self) -> None:
        """Free all memory of the devices; `run` raises `DeviceError` from then on."""
        self._executor.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def load(
    model: str | Path,
    planner: str = "codl",
    plan: Plan | str | Path | None = None,
    devices: Sequence[str | None] | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    adapt: bool = False,
    storage: str = "float32",
) -> Session:
    """Plan and compile a model for this machine.

    Args:
        model: a path to an .onnx file or the name of a zoo network.
        planner: how to partition it; ignored where `plan` is given.
        plan: a plan, or the path of one, made for this model and this machine.
        devices: ids of the devices that play the CPU and the GPU (see `codl devices`); None for the default.
        shapes: input sizes by name, where the model leaves them open.
        adapt: keep plans for a busy CPU and a busy GPU ready too, and change between them as measured latencies tell,
            inside an inference where that costs little. Not with `plan`.
        storage: of the weights of matrix products, `float32` or `float16`: on a CPU device the latter is stored where
            that is faster; outputs may differ by 1e-2 of their range then.

    Raises:
        CodlError: see `codl.errors`; this machine is described first if it has no description yet.
    """
    from codl.real.devices import choose

    cpu, gpu = devices or (None, None)
    require_executable(str(model))
    workspace = Workspace(load_or_calibrate(cpu=cpu, gpu=gpu, storage=storage), shapes=shapes or {})
    if plan is None:
        runs = [workspace.prepare(str(model), planner)]
        if adapt:
            runs, _ = plans_under_load(workspace, str(model), planner)
    elif adapt:
        raise InputError("adapt: a given plan leaves nothing to choose")
    else:
        chosen = plan if isinstance(plan, Plan) else Plan.read(plan)
        reference = chosen.model.model_copy(update={"name": str(model)})
        runs = [workspace.reuse(chosen.model_copy(update={"model": reference}))]
    return Session(runs, choose(cpu, gpu))
