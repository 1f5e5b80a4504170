"""The operators: geometry, work and kernels of each family, declared together."""

from codl.ops.binary import Binary
from codl.ops.concat import Concat
from codl.ops.conv import Conv
from codl.ops.conv_transpose import ConvTranspose
from codl.ops.gemm import Gemm
from codl.ops.matmul import MatMul
from codl.ops.normalize import Normalize
from codl.ops.onnx_fallback import OnnxFallback
from codl.ops.pad import Pad
from codl.ops.pool import Pool
from codl.ops.reduce import Reduce
from codl.ops.registry import Registry
from codl.ops.reshape import Reshape
from codl.ops.resize import Resize
from codl.ops.slice import Slice
from codl.ops.softmax import Softmax
from codl.ops.spec import Dimension, OpSpec, Work
from codl.ops.take import Take
from codl.ops.transpose import Transpose
from codl.ops.unary import Unary

REGISTRY = Registry(
    (
        Conv(), ConvTranspose(), Pool(), Gemm(), Binary(), Unary(), Concat(), Pad(), Resize(), Reshape(), Transpose(),
        Softmax(), Reduce(), Slice(), Normalize(), MatMul(), Take(), OnnxFallback(),
    )
)  # fmt: skip
"""Every operator that codl knows."""

__all__ = ["REGISTRY", "Dimension", "OpSpec", "Work"]
