"""Small networks for tests, built without ONNX, and hypothesis strategies over them."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from codl.graph import Activation, Graph, Node, Tensor


class Builder:
    """Builds a `Graph` one operator at a time; shapes are worked out here, weights are seeded."""

    def __init__(self, shape: tuple[int, ...] = (1, 4, 12, 10), seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Node] = []
        self.tensors = {"x": Tensor("x", shape)}
        self.constants: dict[str, np.ndarray] = {}

    def _constant(self, name: str, array: np.ndarray) -> str:
        self.constants[name] = array.astype(np.float32)
        self.tensors[name] = Tensor(name, array.shape)
        return name

    def _node(
        self,
        op: str,
        inputs: tuple[str, ...],
        shape: tuple[int, ...],
        activation: Activation | None = None,
        **attributes,
    ) -> str:
        name = f"{op}{len(self.nodes)}"
        self.tensors[name] = Tensor(name, shape)
        self.nodes.append(Node(name, op, inputs, (name,), attributes, activation))
        return name

    def conv(self, x: str, channels: int, kernel: int = 3, stride: int = 1, relu: bool = True, groups: int = 1) -> str:
        n, c, h, w = self.tensors[x].shape
        pad = kernel // 2
        shape = (n, channels, (h + 2 * pad - kernel) // stride + 1, (w + 2 * pad - kernel) // stride + 1)
        scale = (2 / (c // groups * kernel * kernel)) ** 0.5
        weights = self.rng.standard_normal((channels, c // groups, kernel, kernel)) * scale
        index = len(self.nodes)
        inputs = (
            x,
            self._constant(f"w{index}", weights),
            self._constant(f"b{index}", self.rng.standard_normal(channels)),
        )
        return self._node(
            "conv", inputs, shape, Activation("relu") if relu else None, kernel=(kernel, kernel),
            stride=(stride, stride), pads=(pad,) * 4, dilation=(1, 1), group=groups,
        )  # fmt: skip

    def pool(self, x: str, kernel: int = 2, stride: int = 2) -> str:
        n, c, h, w = self.tensors[x].shape
        shape = (n, c, (h - kernel) // stride + 1, (w - kernel) // stride + 1)
        return self._node(
            "pool", (x,), shape, mode="max", kernel=(kernel, kernel), stride=(stride, stride), pads=(0,) * 4,
            dilation=(1, 1), count_include_pad=0,
        )  # fmt: skip

    def add(self, a: str, b: str) -> str:
        return self._node("binary", (a, b), self.tensors[a].shape, kind="add")

    def relu(self, x: str) -> str:
        return self._node("unary", (x,), self.tensors[x].shape, kind="relu", params=())

    def concat(self, *xs: str) -> str:
        n, _, h, w = self.tensors[xs[0]].shape
        return self._node("concat", xs, (n, sum(self.tensors[x].shape[1] for x in xs), h, w), axis=1)

    def flatten(self, x: str) -> str:
        n, *rest = self.tensors[x].shape
        return self._node("reshape", (x,), (n, int(np.prod(rest))))

    def gemm(self, x: str, features: int) -> str:
        rows, depth = self.tensors[x].shape
        index = len(self.nodes)
        weights = self.rng.standard_normal((depth, features)) / depth**0.5
        inputs = (
            x,
            self._constant(f"w{index}", weights),
            self._constant(f"b{index}", self.rng.standard_normal(features)),
        )
        return self._node("gemm", inputs, (rows, features))

    def graph(self, *outputs: str) -> Graph:
        wanted = outputs or (self.nodes[-1].output,)
        return Graph("test", tuple(self.nodes), self.tensors, self.constants, ("x",), wanted)


def residual() -> Graph:
    """conv - conv - add with a shortcut, pool, flatten, gemm."""
    b = Builder()
    first = b.conv("x", 8)
    second = b.conv(first, 8, relu=False)
    added = b.add(second, first)
    return b.graph(b.gemm(b.flatten(b.pool(added)), 5))


@st.composite
def networks(draw: st.DrawFn, size: int = 6) -> Graph:
    """Random small networks: convolutions, pools, shortcuts and concatenations in any legal order."""
    b = Builder((1, draw(st.integers(1, 6)), draw(st.integers(5, 14)), draw(st.integers(4, 9))))
    values = ["x"]
    for _ in range(draw(st.integers(1, size))):
        x = draw(st.sampled_from(values[-3:]))
        shape = b.tensors[x].shape
        same = [v for v in values if b.tensors[v].shape == shape]
        kind = draw(st.sampled_from(["conv", "conv", "pool", "add", "relu", "concat", "stride", "depthwise"]))
        if kind in ("conv", "stride"):
            kernel = draw(st.sampled_from([1, 3, 5]))
            values.append(b.conv(x, draw(st.integers(1, 9)), kernel, 2 if kind == "stride" else 1))
        elif kind == "depthwise":
            values.append(b.conv(x, shape[1], 3, groups=shape[1]))
        elif kind == "pool" and min(shape[2:]) >= 2:
            values.append(b.pool(x))
        elif kind == "add":
            values.append(b.add(x, draw(st.sampled_from(same))))
        elif kind == "concat":
            values.append(b.concat(x, draw(st.sampled_from(same))))
        else:
            values.append(b.relu(x))
    ends = [n.output for n in b.nodes if not any(n.output in m.inputs for m in b.nodes)]
    return b.graph(*ends)
