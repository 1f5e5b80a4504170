"""Matrix products with constant weights, and batch normalisation."""

from __future__ import annotations

import numpy as np

from codl.onnx_reader.network import Network, OnnxNode, Operator


def gemm(network: Network, node: OnnxNode) -> list[Operator] | None:
    """Gemm: alpha, beta and transB go into weights and bias."""
    x, weight, bias = node.input(0), network.constant(node.input(1)), network.constant(node.input(2))
    if not network.is_variable(x) or weight is None or weight.dtype != np.float32:
        return None
    alpha, beta = np.float32(node.attribute("alpha", 1.0)), np.float32(node.attribute("beta", 1.0))
    has_bias = bool(node.input(2)) and beta != 0
    if has_bias and bias is None and (beta != 1 or not network.is_variable(node.input(2))):
        return None
    operators = []
    if node.attribute("transA", 0):
        rows, columns = network.shape(x)
        x = network.add_value(f"{node.name}.transposed", (columns, rows))
        name = network.names.fresh(f"{node.name}.transpose")
        operators.append(Operator(name, "transpose", [node.input(0)], [x], {"perm": (1, 0)}))
    inputs = [x, _matrix(network, node, weight, alpha)]
    if not has_bias:
        return [*operators, Operator(node.name, "gemm", inputs, [node.outputs[0]])]
    columns = network.shape(node.outputs[0])[1]
    if bias is not None and (bias.ndim < 2 or bias.shape[0] == 1):
        vector = np.broadcast_to(bias.reshape(-1).astype(np.float32) * beta, (columns,))
        inputs.append(network.add_constant(f"{node.name}.bias", np.ascontiguousarray(vector)))
        return [*operators, Operator(node.name, "gemm", inputs, [node.outputs[0]])]
    other = node.input(2) if bias is None else network.add_constant(f"{node.name}.addend", bias * beta)
    product = network.add_value(f"{node.name}.product", network.shape(node.outputs[0]))
    name = network.names.fresh(f"{node.name}.add")
    add = Operator(name, "binary", [product, other], [node.outputs[0]], {"kind": "add"}, onnx_op="Add")
    return [*operators, Operator(node.name, "gemm", inputs, [product]), add]


def _matrix(network: Network, node: OnnxNode, weight: np.ndarray, alpha: np.float32) -> str:
    """The (K, N) matrix that the product multiplies by."""
    if not node.attribute("transB", 0) and alpha == 1:
        return node.input(1)
    matrix = weight.T if node.attribute("transB", 0) else weight
    return network.add_constant(f"{node.name}.weight", np.ascontiguousarray(matrix if alpha == 1 else matrix * alpha))


def matmul(network: Network, node: OnnxNode) -> list[Operator] | None:
    """MatMul: by a constant matrix, or of any two tensors of at least two axes."""
    x, weight = node.input(0), network.constant(node.input(1))
    if not all(network.is_float(value) for value in node.inputs):
        return None
    rank = len(network.shape(x))
    if min(rank, len(network.shape(node.input(1)))) < 2:
        return None
    matrix = weight is not None and weight.ndim <= rank and weight.size == weight.shape[-2] * weight.shape[-1]
    if weight is None or not matrix or not network.is_variable(x):
        return [Operator(node.name, "matmul", list(node.inputs), [node.outputs[0]])]
    name = node.input(1)
    if weight.ndim > 2:
        name = network.add_constant(f"{node.name}.weight", weight.reshape(weight.shape[-2:]))
    return [Operator(node.name, "gemm", [x, name], [node.outputs[0]])]


def batch_normalization(network: Network, node: OnnxNode) -> list[Operator] | None:
    """Inference: y = x * a + b by channel. `simplify` folds both into a convolution before it, where there is one."""
    x = node.input(0)
    parameters = [network.constant(node.input(index)) for index in range(1, 5)]
    if not network.is_variable(x) or node.attribute("training_mode", 0) or any(node.outputs[1:]):
        return None
    rank = len(network.shape(x))
    if rank < 2 or any(p is None or p.dtype != np.float32 or p.ndim != 1 for p in parameters):
        return None
    scale, bias, mean, variance = (np.asarray(p, np.float64) for p in parameters)
    factor = scale / np.sqrt(variance + node.attribute("epsilon", 1e-5))
    offset = bias - mean * factor
    shape = (1, -1, *[1] * (rank - 2))
    scaled = network.add_value(f"{node.name}.scaled", network.shape(x))
    a = network.add_constant(f"{node.name}.scale", factor.astype(np.float32).reshape(shape))
    b = network.add_constant(f"{node.name}.offset", offset.astype(np.float32).reshape(shape))
    mul, add = network.names.fresh(f"{node.name}.mul"), network.names.fresh(f"{node.name}.add")
    return [
        Operator(mul, "binary", [x, a], [scaled], {"kind": "mul"}),
        Operator(add, "binary", [scaled, b], [node.outputs[0]], {"kind": "add"}),
    ]


RULES = {"Gemm": gemm, "MatMul": matmul, "BatchNormalization": batch_normalization}
