"""codl: plan, simulate and really execute co-execution of neural networks on a CPU and a GPU.

From Python: `session = codl.load("model.onnx")`, `outputs = session.run({"input": array})`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codl.api import Session, load

    __version__: str
__all__ = ["Session", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import the executor (and OpenCL) only when somebody asks for it, and look the version up then."""
    if name == "__version__":
        from importlib.metadata import version

        return version("codl")
    if name in ("Session", "load"):
        from codl import api

        return getattr(api, name)
    raise AttributeError(f"module 'codl' has no attribute {name!r}")
