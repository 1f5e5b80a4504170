"""The program `codl`: its commands, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from codl.cli import INTERRUPTED
from codl.cli.console import fail
from codl.errors import CodlError

COMMANDS = {
    "models": ("describing", "The networks that codl brings along."),
    "hardware": ("describing", "The hardware descriptions that codl brings along."),
    "devices": (
        "describing",
        "Show the OpenCL devices of this machine, which would play the CPU and the GPU, and why.",
    ),
    "plan": (
        "planning",
        "Partition a network: which operators are cut, along which dimension, in which ratio, chained how.",
    ),
    "why": (
        "explaining",
        "Say why each operator is split or not: costs of the alternatives, and the term that decides.",
    ),
    "simulate": ("running", "Predict timeline, latency, energy and memory of plans on a hardware description."),
    "execute": ("executing", "Run plans on the OpenCL devices of this machine and measure them."),
    "compare": ("comparing", "Simulate and execute the same plans, check the outputs, and show the differences."),
    "sweep": ("sweeping", "Simulate every combination of models, hardware, planners, overrides and workloads."),
    "calibrate": ("calibration", "Measure this machine and write its description, which becomes `host`."),
    "predict": ("calibration", "Predict the latency of operators given as a table."),
    "fit": (
        "calibration",
        "Fit a processor's predictor to a table of latencies measured anywhere, and print its accuracy.",
    ),
    "validate": (
        "validating",
        "Simulate every published figure that the project knows and show published, simulated and error.",
    ),
    "schema": ("schemas", "Print the JSON schema of a kind of file; YAML editors check and complete against it."),
}
"""Every command's module in `codl.cli`, which is imported when the command is used (all of them take more than a
second), and what the list of commands says of it: the first paragraph of its help (tested)."""


class Program(TyperGroup):
    """Commands whose errors become messages and exit codes: 0 done, 1 a stated bound exceeded, 2 bad input, 3 no usable
    device, 130 interrupted. Outputs are written to temporary names (`codl.io`), so none is left half-written."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.commands = {name: TyperCommand(name, help=summary) for name, (_, summary) in COMMANDS.items()}
        self._listing = False

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if self._listing or cmd_name not in COMMANDS:
            return self.commands.get(cmd_name)
        part = typer.Typer()
        import_module(f"codl.cli.{COMMANDS[cmd_name][0]}").register(part)
        return typer.main.get_group(part).get_command(ctx, cmd_name)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False

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
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def program() -> None:
    """Plan, simulate and really execute one network on a CPU and a GPU at once."""
