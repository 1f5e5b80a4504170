"""The program `codl`: its commands, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from codl.cli import (
    INTERRUPTED,
    calibration,
    comparing,
    describing,
    executing,
    explaining,
    planning,
    running,
    schemas,
    sweeping,
    validating,
)
from codl.cli.console import fail
from codl.errors import CodlError


class Program(TyperGroup):
    """Commands whose errors become messages and exit codes: 0 done, 1 a stated bound exceeded, 2 bad input, 3 no usable
    device, 130 interrupted. Outputs are written to temporary names (`codl.io`), so none is left half-written."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CodlError as error:
            fail(str(error))
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            fail("interrupted; no output is left half-written")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:  # `codl ... | head`: the reader has what it wanted
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except MemoryError:
            fail("out of memory; a smaller --shape, or a smaller model, may fit")
            raise typer.Exit(2) from None


app = typer.Typer(
    name="codl",
    cls=Program,
    help="Plan, simulate and really execute one network on a CPU and a GPU at once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for module in (
    describing,
    planning,
    explaining,
    running,
    executing,
    comparing,
    sweeping,
    calibration,
    validating,
    schemas,
):
    module.register(app)
