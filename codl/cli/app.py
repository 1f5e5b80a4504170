"""The program `codl`: its commands, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import os
import sys

import typer

from codl.cli import calibration, comparing, describing, explaining, planning, running, schemas, sweeping, validating
from codl.cli.console import fail
from codl.errors import CodlError

app = typer.Typer(
    name="codl",
    help="Plan, simulate and really execute one network on a CPU and a GPU at once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for module in (describing, planning, explaining, running, comparing, sweeping, calibration, validating, schemas):
    module.register(app)

INTERRUPTED = 130


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 a stated bound exceeded, 2 bad input, 3 no usable device."""
    try:
        app()
    except CodlError as error:
        fail(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        fail("interrupted; nothing was written")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # `codl ... | head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except MemoryError:
        fail("out of memory; a smaller --shape, or a smaller model, may fit")
        sys.exit(2)
