"""Operators without a kernel of ours: each runs whole through ONNX Runtime, in the place of the CPU's kernels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from codl.errors import ModelError
from codl.graph import Graph, Node
from codl.real.memory import Allocation
from codl.real.reference import infer, session


class FallbackOperator:
    """One operator, ready to run: a session made once, its buffers bound.

    Args:
        inputs, outputs: storage of the run-time inputs and of the outputs, by value.
        threads: cores of the processor in whose place it runs.

    Raises:
        ModelError: ONNX Runtime refuses the operator.
    """

    def __init__(
        self,
        graph: Graph,
        node: Node,
        inputs: Mapping[str, Allocation],
        outputs: Mapping[str, Allocation],
        threads: int,
    ) -> None:
        model = node.get("model", b"")
        self.node = node
        self.label = f"{node.name} ({node.onnx_op or 'operator'}, through the fallback)"
        self._inputs = dict(inputs)
        self._outputs = dict(outputs)
        self._shapes = {name: graph.tensors[name].shape for name in outputs}
        self._session = session(model, threads, self.label)

    def run(self) -> None:
        """Read the inputs, compute, write the outputs; the caller has made sure that the inputs are ready.

        Raises:
            ModelError: it fails, or its outputs have other shapes than the graph says.
        """
        values = {name: storage.read() for name, storage in self._inputs.items()}
        results = infer(self._session, values, list(self._outputs), self.label)
        for (name, storage), result in zip(self._outputs.items(), results, strict=True):
            array = np.asarray(result)
            if array.shape != self._shapes[name]:
                raise ModelError(f"{self.label}: {name!r} came out as {array.shape}, not {self._shapes[name]}")
            storage.write(array)
