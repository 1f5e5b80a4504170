"""The command line (docs/cli.md): options in, one call into the library, tables or JSON out."""

from codl.cli.app import main

__all__ = ["main"]
