"""What is added to a convolution's output element by element: the other branch of a residual connection.

A `conv` node with the attribute `residual` has a fourth input of its output's shape (the third, the bias, may be '').
`before`: y = activation(sums + residual); `after`: y = activation(sums) + residual. Kernels that can do it include
`cl/residual.cl`, are compiled with -DRESIDUAL, and take `arguments()` last.
"""

from __future__ import annotations

from dataclasses import dataclass

from codl.graph import Activation, Graph, Node
from codl.ops import activation as activations
from codl.ops.launch import Argument, Input, KernelRequest, View

BEFORE, AFTER = "before", "after"
POSITION = 3
"""Among the node's inputs."""


@dataclass(frozen=True, slots=True)
class Residual:
    """Where it lies: element (n, y, x, c) of the box computed is at `offset + n * n_stride + ... + c` of `source`.
    Groups of channels follow each other as in the output."""

    source: Argument
    offset: int
    n: int
    y: int
    x: int
    after: bool

    @property
    def define(self) -> tuple[str, int]:
        return ("RESIDUAL", 2 if self.after else 1)

    def arguments(self) -> tuple[Argument, ...]:
        return (self.source, self.offset, self.n, self.y, self.x)

    @property
    def in_vectors(self) -> bool:
        """Whether four channels can be read as one aligned vector, from every fourth channel on."""
        return not any(value % 4 for value in (self.offset, self.n, self.y, self.x))


def has_residual(node: Node) -> bool:
    return "residual" in node.attributes


def residual_of(request: KernelRequest, first_channel: int) -> Residual | None:
    """The residual of a request's box from `first_channel` on; None if the node has none."""
    node, out = request.node, request.out
    if not has_residual(node):
        return None
    view = request.inputs[_index(request.graph, node)]
    n, _, y, x = view.strides
    start = (out.ranges[0][0], first_channel, out.ranges[2][0], out.ranges[3][0])
    return Residual(Input(_index(request.graph, node)), _at(view, start), n, y, x, node.attributes["residual"] == AFTER)


def tail(
    activation: Activation | None, residual: Residual | None
) -> tuple[tuple[activations.Define, ...], tuple[Argument, ...]]:
    """What a kernel does with its sums at the end: defines, and the arguments that come last."""
    defines: tuple[activations.Define, ...] = (activations.define(activation),)
    arguments: tuple[Argument, ...] = activations.parameters(activation)
    if residual is None:
        return defines, arguments
    return (*defines, residual.define), (*arguments, *residual.arguments())


def _at(view: View, index: tuple[int, ...]) -> int:
    return view.offset + sum(i * stride for i, stride in zip(index, view.strides, strict=True))


def _index(graph: Graph, node: Node) -> int:
    """Its number among the variable inputs."""
    return next(index for index, (place, _) in enumerate(graph.variable_inputs(node)) if place == POSITION)
