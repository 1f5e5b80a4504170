"""ONNX in: a model file becomes a `Graph` of canonical operators with concrete shapes and folded constants.

The way through the package, in the order of its modules:

1. `source`   the file is opened and checked; local functions are inlined
2. `inputs`   every graph input gets a concrete shape
3. `fold`     nodes are walked in order: constants are evaluated, shapes inferred, constant branches inlined
4. `regions`  nodes whose values have no static shape are grouped, since only ONNX Runtime can pass these on
5. `lowering` each node becomes canonical operators, or the fallback family `onnx`
6. `simplify` what exporters spell out is recognised (`patterns`), moves are merged (`reordering`), pads, scales, biases
              and activations go into their neighbours; what nobody reads is dropped
7. `fallback` operators for ONNX Runtime that can run one after another become one
8. `finish`   names, fallback models, and the frozen `Graph`
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx

from codl.errors import ModelError
from codl.graph import Graph
from codl.onnx_reader.fallback import merge_fallbacks
from codl.onnx_reader.finish import finish
from codl.onnx_reader.fold import fold
from codl.onnx_reader.inputs import concrete_inputs
from codl.onnx_reader.lowering import lower
from codl.onnx_reader.regions import group_dynamic
from codl.onnx_reader.simplify import simplify
from codl.onnx_reader.source import open_model

__all__ = ["read"]


def read(
    model: str | Path | onnx.ModelProto,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    name: str | None = None,
    *,
    contents: bool = True,
) -> Graph:
    """Read an ONNX model.

    Args:
        model: an .onnx file, or a model in memory (left as it is).
        shapes: concrete shapes of graph inputs by name, for inputs with symbolic or missing sizes.
        name: what reports call the network; the file's stem or the graph's name if not given.
        contents: False for a model whose initialisers have no data: gives a graph that can be planned, not executed.

    Returns:
        A graph of canonical operators (float32, static shapes) and, for everything else, operators of family `onnx`,
        each with a serialised model of its own. Inputs, outputs and their order are those of the model.

    Raises:
        FileError: the file is missing, unreadable, not ONNX, or names external data outside its folder.
        ModelError: the model is invalid, a shape is missing or contradictory, or an output has no static shape.
        UnsupportedOperator: a node that neither codl nor ONNX Runtime can run.
    """
    try:
        source = open_model(model, name, contents=contents)
        network = fold(source, concrete_inputs(source, shapes or {}))
        group_dynamic(network)
        lower(network)
        simplify(network)
        merge_fallbacks(network)
        return finish(network)
    except UnicodeDecodeError:  # protobuf decodes a name only when it is looked at, so this can come from anywhere
        where = "model" if isinstance(model, onnx.ModelProto) else model
        raise ModelError(f"{where}: is not a valid ONNX model: a name in it is not UTF-8 text") from None
