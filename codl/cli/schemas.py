"""`codl schema`: what the files that people write may hold, as JSON schemas for editors and other programs."""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import BaseModel

from codl.cli.console import print_json
from codl.errors import InputError
from codl.hardware import Hardware
from codl.plan.model import Plan
from codl.scenario import Scenario
from codl.sweep import Sweep

KINDS: dict[str, type[BaseModel]] = {"hardware": Hardware, "scenario": Scenario, "sweep": Sweep, "plan": Plan}


def register(app: typer.Typer) -> None:
    app.command(name="schema")(schema)


def schema(kind: Annotated[str, typer.Argument(metavar="|".join(KINDS))]) -> None:
    """Print the JSON schema of a kind of file; YAML editors check and complete against it.

    Example: codl schema hardware > hardware.schema.json
    """
    if kind not in KINDS:
        raise InputError(f"no schema {kind!r}; known: {', '.join(KINDS)}")
    print_json(KINDS[kind].model_json_schema(by_alias=True))
