"""The command line (docs/cli.md): options in, one call into the library, tables or JSON out."""

from __future__ import annotations

import sys

INTERRUPTED = 130
"""Exit code after Ctrl-C."""

__all__ = ["INTERRUPTED", "main"]


def main() -> None:
    """Entry point of `codl`. The program is imported here: that takes a second, in which Ctrl-C may come."""
    try:
        from codl.cli.app import app
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    app()
