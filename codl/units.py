"""Quantities as people write them ("25.6 GB/s", "12 us") and as the program holds them (SI floats).

Files say their units; inside, everything is seconds, bytes, hertz, watts, joules, and floating-point operations per
second. Each quantity is a pydantic field type that reads text with a unit, refuses a unit of another dimension, and
writes a readable text back.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from math import inf, isfinite
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, ValidationInfo, WithJsonSchema

from codl.errors import shown

if TYPE_CHECKING:
    import pint  # takes half a second to import, more where dask is installed; `codl --help` needs no quantity

_DEFINITIONS = """
    pico- = 1e-12 = p-
    nano- = 1e-9 = n-
    micro- = 1e-6 = µ- = μ- = u-
    milli- = 1e-3 = m-
    kilo- = 1e3 = k-
    mega- = 1e6 = M-
    giga- = 1e9 = G-
    tera- = 1e12 = T-
    kibi- = 2**10 = Ki-
    mebi- = 2**20 = Mi-
    gibi- = 2**30 = Gi-
    second = [time] = s = sec
    minute = 60 * second = min
    hour = 60 * minute = h
    hertz = 1 / second = Hz
    joule = [energy] = J
    watt = joule / second = W
    byte = [information] = B
    bit = byte / 8
    flop = [operation]
    celsius = [temperature] = degC
    kelvin = [temperature_difference] = K
"""
"""Every unit that a file may use. pint's own list has bits as plain numbers: 25 GB/s would do for 25 GHz. Temperatures
are in degrees Celsius, differences of them in kelvin; neither converts to the other."""


@cache
def _registry() -> pint.UnitRegistry[float]:
    import pint

    return pint.UnitRegistry(_DEFINITIONS.splitlines())


_NUMBER = r"[-+]?(\d{1,30}\.?\d{0,30}|\.\d{1,30})([eE][-+]?\d{1,3})?"
_UNIT = r"[A-Za-zµμ]{1,20}(\s*[/*]\s*[A-Za-zµμ]{1,20}){0,3}"
_QUANTITY = re.compile(rf"\s*{_NUMBER}\s*({_UNIT})?\s*")
"""A number and a unit such as GB/s."""


@lru_cache(maxsize=4096)
def parse(text: str, unit: str) -> float:
    """The number of `unit`s in a text such as "12 us".

    Raises:
        ValueError: it is no quantity, has no unit, or has a unit of another dimension.
    """
    from pint import DimensionalityError

    registry = _registry()
    try:
        if not _QUANTITY.fullmatch(text):  # pint would work out "9 ** 9 ** 9 s"
            raise ValueError
        quantity: pint.Quantity[float] = registry.Quantity(text)
    except Exception:  # pint raises errors of its tokenizer, of its parser and of Python's arithmetic
        raise ValueError(
            f"{shown(text)} is not a quantity; write a number and a unit, such as {_example(unit)!r}"
        ) from None
    if quantity.dimensionless and not registry.Unit(unit).dimensionless:
        raise ValueError(f"{shown(text)} has no unit; write a number and a unit, such as {_example(unit)!r}")
    try:
        return float(quantity.to(unit).magnitude)
    except DimensionalityError:
        raise ValueError(f"{shown(text)} has the wrong unit; a unit such as {_example(unit)!r} is needed") from None


_UNITS = {
    "second": ("s", "12 us"),
    "byte": ("byte", "128 KiB"),
    "byte/second": ("B/s", "25.6 GB/s"),
    "hertz": ("Hz", "2.84 GHz"),
    "watt": ("W", "1.5 W"),
    "joule/byte": ("J/byte", "60 pJ/byte"),
    "second/byte": ("s/byte", "0.3 ns/byte"),
    "second/flop": ("s/flop", "9 ps/flop"),
    "celsius": ("degC", "25 degC"),
    "kelvin": ("K", "3 K"),
    "kelvin/watt": ("K/W", "8 K/W"),
    "joule/kelvin": ("J/K", "2 J/K"),
}
"""Symbol and an example of every unit that files have."""


def _example(unit: str) -> str:
    return _UNITS[unit][1]


_PREFIXES = (
    (1e12, "T"),
    (1e9, "G"),
    (1e6, "M"),
    (1e3, "k"),
    (1.0, ""),
    (1e-3, "m"),
    (1e-6, "u"),
    (1e-9, "n"),
    (1e-12, "p"),
)


def render(value: float, unit: str) -> str:
    """A readable text that `parse` reads back to the same float: "12 us", "25.6 GB/s"."""
    symbol, _ = _UNITS[unit]
    if value == 0:
        return f"0 {symbol}"
    scale, prefix = next((entry for entry in _PREFIXES if abs(value) >= entry[0]), _PREFIXES[-1])
    text = f"{value / scale:.12g} {prefix}{symbol}"
    return text if parse(text, unit) == value else f"{value!r} {symbol}"


def _quantity(unit: str, minimum: float = 0.0) -> Any:
    def read(value: object, info: ValidationInfo) -> float:
        written = bool(info.context and info.context.get("file"))
        if isinstance(value, str):
            number = parse(value, unit)
        elif isinstance(value, float) and not written:  # already SI: made by the program, not read from a file
            number = value
        else:
            raise ValueError(f"{shown(value)} has no unit; write a text such as {_example(unit)!r}")
        if not minimum <= number or not isfinite(number):
            raise ValueError(f"{shown(value)} is out of range; it must be at least {minimum:g} and finite")
        return number

    def write(value: float) -> str:
        return render(value, unit)

    return Annotated[
        float,
        BeforeValidator(read),
        PlainSerializer(write, return_type=str),
        WithJsonSchema({"type": "string", "examples": [_example(unit)], "description": f"a quantity in {unit}"}),
    ]


Seconds = _quantity("second")
SignedSeconds = _quantity("second", minimum=-inf)
Bytes = _quantity("byte")
BytesPerSecond = _quantity("byte/second")
Hertz = _quantity("hertz")
Watts = _quantity("watt")
JoulesPerByte = _quantity("joule/byte")
SecondsPerByte = _quantity("second/byte")
SecondsPerFlop = _quantity("second/flop")
Celsius = _quantity("celsius", -273.15)
Kelvins = _quantity("kelvin")
KelvinsPerWatt = _quantity("kelvin/watt")
JoulesPerKelvin = _quantity("joule/kelvin")
