"""Functions that exporters spell out with simple operators become the one operator that they are.

`x * sigmoid(x)` is a Swish, `x * clip(x + 3, 0, 6) / 6` a HardSwish, `x * (1 + erf(x / sqrt 2)) / 2` a Gelu (with tanh
its approximation), and `(x - mean) / sqrt(mean of squares + epsilon)` a normalisation. Values inside a pattern must be
read by nobody else.
"""

from __future__ import annotations

from math import isclose, pi, sqrt

import numpy as np

from codl.graph import Attribute
from codl.onnx_reader.network import Network, Operator
from codl.onnx_reader.uses import drop_dead, makers, readers


def recognise(network: Network) -> None:
    """Replace each pattern by one operator, the outermost first."""
    patterns = _Patterns(network)
    for operator in reversed(network.operators):
        if operator.op == "binary" and not patterns.neutral(operator) and not patterns.square(operator):
            patterns.activation(operator)
    for operator in network.operators:
        if operator.op == "binary" and not patterns.normalisation(operator):
            patterns.affine(operator)
    drop_dead(network)


class _Patterns:
    """What is known of values while patterns are looked for."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.made = makers(network)
        self.reads = readers(network)

    # -- looking at values --------------------------------------------------------------------------------------------

    def maker(self, value: str, op: str, kind: str) -> Operator | None:
        """The operator of this family and kind that makes a value for its one reader."""
        operator = self.made.get(value)
        if operator is None or operator.op != op or operator.attributes.get("kind") != kind:
            return None
        return operator if self.reads[value] == 1 else None

    def number(self, value: str) -> float | None:
        """A constant of one element."""
        array = self.network.constant(value)
        return float(array.item()) if array is not None and array.size == 1 else None

    def product(self, operator: Operator) -> tuple[float, list[str]]:
        """A binary operator's result as a number times values, through the products inside it."""
        factor, values = 1.0, []
        kind = operator.attributes["kind"]
        if kind == "div":
            divisor = self.number(operator.inputs[1])
            if not divisor:
                return 1.0, [operator.output]
            factor, inputs = 1 / divisor, operator.inputs[:1]
        elif kind == "mul":
            inputs = operator.inputs
        else:
            return 1.0, [operator.output]
        for value in inputs:
            number = self.number(value)
            inner = self.maker(value, "binary", "mul") or self.maker(value, "binary", "div")
            if number is not None:
                factor *= number
            elif inner is not None:
                scale, parts = self.product(inner)
                factor *= scale
                values += parts
            else:
                values.append(value)
        return factor, values

    def scaled(self, value: str) -> tuple[float, str]:
        """A value as a number times another value."""
        operator = self.made.get(value)
        if operator is not None and operator.op == "binary" and self.reads[value] == 1:
            factor, values = self.product(operator)
            if len(values) == 1:
                return factor, values[0]
        return 1.0, value

    def shifted(self, value: str) -> tuple[float, str]:
        """A value as a number plus another value."""
        operator = self.maker(value, "binary", "add")
        for index in (0, 1):
            number = self.number(operator.inputs[index]) if operator is not None else None
            if operator is not None and number is not None:
                return number, operator.inputs[1 - index]
        return 0.0, value

    # -- patterns -----------------------------------------------------------------------------------------------------

    def neutral(self, operator: Operator) -> bool:
        """Times or divided by 1, plus or minus 0."""
        kind = str(operator.attributes["kind"])
        neutral = {"mul": 1.0, "div": 1.0, "add": 0.0, "sub": 0.0}.get(kind)
        if neutral is None:
            return False
        for index in (1, 0) if kind in ("mul", "add") else (1,):
            other = operator.inputs[1 - index]
            if self.number(operator.inputs[index]) != neutral or not self.network.is_variable(other):
                continue
            if self.network.shape(other) == self.network.shape(operator.output):
                operator.op, operator.inputs, operator.attributes = "reshape", [other], {}
                return True
        return False

    def activation(self, operator: Operator) -> bool:
        """x times a gate that depends on x alone."""
        factor, values = self.product(operator)
        if len(values) != 2:
            return False
        for x, gate in (values, values[::-1]):
            found = self._gated(x, gate, factor)
            if found is not None and self.network.shape(x) == self.network.shape(operator.output):
                kind, params = found
                operator.op, operator.inputs = "unary", [x]
                operator.attributes = {"kind": kind, "params": params}
                return True
        return False

    def _gated(self, x: str, gate: str, factor: float) -> tuple[str, tuple[float, ...]] | None:
        """(kind, parameters) of `factor * x * gate`."""
        if (sigmoid := self.maker(gate, "unary", "sigmoid")) and isclose(factor, 1):
            alpha, inner = self.scaled(sigmoid.inputs[0])
            return ("silu", (alpha,)) if inner == x else None
        if (clip := self.maker(gate, "unary", "clip")) and clip.attributes["params"] == (0.0, 6.0):
            same = self.shifted(clip.inputs[0]) == (3.0, x)
            return ("hard_swish", ()) if same and isclose(factor, 1 / 6, rel_tol=1e-6) else None
        if (hard := self.maker(gate, "unary", "hard_sigmoid")) and isclose(factor, 1):
            params = hard.attributes["params"]
            assert isinstance(params, tuple)
            same = hard.inputs[0] == x and isclose(params[0], 1 / 6, rel_tol=1e-6) and params[1] == 0.5
            return ("hard_swish", ()) if same else None
        one, inside = self.shifted(gate)
        if (erf := self.maker(inside, "unary", "erf")) and (one, factor) == (1.0, 0.5):
            scale, inner = self.scaled(erf.inputs[0])
            return ("gelu", ()) if inner == x and isclose(scale, sqrt(0.5), rel_tol=1e-6) else None
        if (tanh := self.maker(inside, "unary", "tanh")) and (one, factor) == (1.0, 0.5):
            return ("gelu_tanh", ()) if self._cubic(tanh.inputs[0], x) else None
        if (tanh := self.maker(gate, "unary", "tanh")) and isclose(factor, 1):
            softplus = self.maker(tanh.inputs[0], "unary", "softplus")
            return ("mish", ()) if softplus and softplus.inputs[0] == x else None
        return None

    def _cubic(self, value: str, x: str) -> bool:
        """Whether a value is sqrt(2 / pi) * (x + 0.044715 * x^3), the argument of Gelu's approximation."""
        scale, total = self.scaled(value)
        add = self.maker(total, "binary", "add")
        for place in (0, 1):
            cube = self.maker(add.inputs[place], "binary", "mul") if add else None
            if add is not None and cube is not None and add.inputs[1 - place] == x:
                factor, values = self.product(cube)
                power = self.maker(values[0], "binary", "pow") if len(values) == 1 else None
                cubed = values == [x] * 3 or (
                    power is not None and power.inputs[0] == x and self.number(power.inputs[1]) == 3
                )
                return cubed and isclose(factor, 0.044715, rel_tol=1e-5) and isclose(scale, sqrt(2 / pi), rel_tol=1e-5)
        return False

    def square(self, operator: Operator) -> bool:
        """A value times itself."""
        first, second = operator.inputs
        if operator.attributes["kind"] != "mul" or first != second or first in self.network.constants:
            return False
        self.reads[first] -= 1
        operator.op, operator.inputs, operator.attributes = "unary", [first], {"kind": "square", "params": ()}
        return True

    def normalisation(self, operator: Operator) -> bool:
        """(x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon), or times the reciprocal of that root."""
        for centred, deviation in self._quotients(operator):
            root = self.maker(deviation, "unary", "sqrt")
            epsilon, variance = self.shifted(root.inputs[0]) if root else (0.0, "")
            mean = self.maker(variance, "reduce", "mean")
            square = self.maker(mean.inputs[0], "unary", "square") if mean else None
            if mean is None or square is None or not mean.attributes["keepdims"]:
                continue
            axes = mean.attributes["axes"]
            x = self._centred(centred, axes)
            if x is None or self._centred(square.inputs[0], axes) != x:
                continue
            scale = self.network.add_constant(f"{operator.name}.scale", np.ones(1, np.float32))
            shift = self.network.add_constant(f"{operator.name}.shift", np.zeros(1, np.float32))
            attributes: dict[str, Attribute] = {"axes": axes, "epsilon": epsilon}
            operator.op, operator.inputs, operator.attributes = "normalize", [x, scale, shift], attributes
            return True
        return False

    def _quotients(self, operator: Operator) -> list[tuple[str, str]]:
        """(dividend, divisor), in every way in which an operator can be a division."""
        first, second = operator.inputs
        if operator.attributes["kind"] == "div":
            return [(first, second)]
        if operator.attributes["kind"] != "mul":
            return []
        pairs = ((first, self.maker(second, "unary", "reciprocal")), (second, self.maker(first, "unary", "reciprocal")))
        return [(value, inverse.inputs[0]) for value, inverse in pairs if inverse is not None]

    def affine(self, operator: Operator) -> bool:
        """A constant scale, then a constant shift, after a normalisation: its own, where it has none yet."""
        place = {"mul": 1, "add": 2}.get(str(operator.attributes["kind"]))
        for value, constant in (operator.inputs, operator.inputs[::-1]):
            before, array = self.made.get(value), self.network.constant(constant)
            if place is None or before is None or before.op != "normalize" or array is None or self.reads[value] != 1:
                continue
            shape = self.network.shape(value)
            if array.dtype != np.float32 or array.ndim > len(shape) or self.network.shape(operator.output) != shape:
                continue
            scale, shift = (self.network.constants[name] for name in before.inputs[1:])
            if np.any(shift != 0) or (place == 1 and np.any(scale != 1)):
                continue
            operator.op, operator.attributes = "normalize", before.attributes
            operator.inputs = [*before.inputs[:place], constant, *before.inputs[place + 1 :]]
            return True
        return False

    def _centred(self, value: str, axes: Attribute) -> str | None:
        """x, if the value is x minus its mean over these axes."""
        operator = self.made.get(value)
        if operator is None or operator.op != "binary" or operator.attributes["kind"] != "sub":
            return None
        x, subtracted = operator.inputs
        mean = self.made.get(subtracted)
        if mean is None or mean.op != "reduce" or mean.inputs[0] != x:
            return None
        wanted = {"kind": "mean", "axes": axes, "keepdims": 1}
        return x if dict(mean.attributes) == wanted else None
