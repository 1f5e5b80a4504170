"""Hostile inputs for every reader: valid documents, mutated byte by byte and value by value, from a seed.

A case is (reader, seed); the same one gives the same input. A reader does with it what a command would do, up to the
simulation. The only exception that it may raise is `CodlError`, with a message for one reader.
"""

from tests.fuzzing.readers import READERS, attempt

__all__ = ["READERS", "attempt"]
