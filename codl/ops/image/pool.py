"""Pooling from image to image (`cl/image_pool.cl`)."""

from __future__ import annotations

from codl.graph import Graph, Node
from codl.ops.image.layout import Layout, launch, per_texel, start_of, takes
from codl.ops.launch import Input, KernelProgram, KernelRequest, Output
from codl.ops.window import Window


def takes_pool(graph: Graph, node: Node) -> bool:
    return takes(graph, node)


def pool(request: KernelRequest) -> KernelProgram:
    """Max and average pooling, global pooling included."""
    graph, node, out = request.graph, request.node, request.out
    window = Window.of(node)
    average = node.attributes["mode"] == "average"
    counted = int(average and bool(node.attributes["count_include_pad"]))
    arguments = (
        Input(0), Output(), *Layout.of(request.inputs[0].region).place, *graph.tensor(node.inputs[0]).shape[2:],
        *Layout.of(request.output.region).place, *start_of(out), out.shape[2], out.ranges[1][1],
        *window.kernel, *window.stride, *window.pads, *window.dilation,
    )  # fmt: skip
    defines = (("AVERAGE", int(average)), ("COUNT_PADDING", counted))
    return KernelProgram((launch("image_pool", defines, arguments, per_texel(out)),))
