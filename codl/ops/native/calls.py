"""What is always in line and what is a call, where LLVM's own choice costs time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_OPTIONS: dict[str, Any] = {
    "error_model": "numpy",
    "fastmath": {"contract"},
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}


def always_inlined(function: Callable[..., Any]) -> Any:
    """A function of vectors for use within kernels: as a call it would write them to memory and read them again."""
    return numba.njit(forceinline=True, **_OPTIONS)(function)


def once(function: Callable[..., Any]) -> Any:
    """A function that one place calls. Numba puts it there before it compiles: twice as fast as code of its own."""
    return numba.njit(inline="always", **_OPTIONS)(function)


def called(function: Callable[..., Any]) -> Any:
    """A function for use within kernels that begins with `out_of_line()`."""
    # Kept on disk, since many kernels call it. Without `forceinline` numba would take the caller's choice.
    return numba.njit(forceinline=False, cache=True, **_OPTIONS)(function)


@intrinsic
def out_of_line(typingctx: Any) -> Any:
    """out_of_line(): this function remains a call. What is seldom needed then does not burden inner loops."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), generate
