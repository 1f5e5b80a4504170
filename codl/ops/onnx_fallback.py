"""Whatever no kernel of ours computes: one ONNX operator, run whole by ONNX Runtime on the host processor."""

from __future__ import annotations

from codl.graph import Graph, Node
from codl.ops.launch import KernelProgram, KernelRequest
from codl.ops.spec import OpSpec, Work
from codl.region import Region


class OnnxFallback(OpSpec):
    """Attribute `model`: a serialised ONNX model with this one operator, whose inputs and outputs are called as the
    node's run-time inputs and its outputs. Any dtype, any rank; never split."""

    family = "onnx"
    host_only = True

    def work(self, graph: Graph, node: Node, out: Region) -> Work:
        read = sum(tensor.nbytes for _, tensor in graph.variable_inputs(node))
        made = [graph.tensor(value) for value in node.outputs if value]
        return Work(
            kind="other",
            batch=1,
            out_h=1,
            out_w=1,
            out_channels=out.size,
            in_h=1,
            in_w=1,
            in_channels=sum(tensor.size for _, tensor in graph.variable_inputs(node)),
            flops=float(sum(tensor.size for tensor in made)),
            input_bytes=read,
            output_bytes=sum(tensor.nbytes for tensor in made),
        )

    def algorithms(self, graph: Graph, node: Node) -> tuple[str, ...]:
        return ("onnxruntime",)

    def program(self, request: KernelRequest) -> KernelProgram:
        return KernelProgram(host=True)
