"""Charts as paths of a scalable picture: the page prints them as they are, and a small script reads the values back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, floor, log10
from typing import Any, Literal

WIDTH, HEIGHT = 1000, 100
"""Units of a picture, stretched to the room there is."""
MOST = 600
"""Points a series may have; of more, the lowest and the highest in each of as many columns are kept."""

Point = tuple[float, float]
Kind = Literal["steps", "line", "dots", "losses"]


@dataclass(frozen=True)
class Series:
    """Values by ascending place. `steps` holds each value until the next one; `losses` are marks at the top."""

    name: str
    points: Sequence[Point]
    kind: Kind


@dataclass(frozen=True)
class Chart:
    """Series over one axis from 0 to `end`.

    Attributes:
        levels: horizontal lines by what they mean.
        places: vertical lines by what they mean.
        top: the least value up to which the vertical axis reaches.
        from_zero: whether it begins at 0, or below the lowest value.
    """

    title: str
    unit: str
    along: str
    end: float
    series: Sequence[Series]
    levels: Mapping[str, float] = field(default_factory=dict)
    places: Mapping[str, float] = field(default_factory=dict)
    top: float = 0.0
    from_zero: bool = True

    def drawn(self) -> dict[str, Any]:
        """Paths, ticks and values for the template: `ticks` are (percent from the bottom, text), `marks` percent."""
        end = self.end or 1.0
        values = [y for each in self.series if each.kind != "losses" for _, y in each.points] or [0.0]
        values += self.levels.values()
        low = 0.0 if self.from_zero else min(values)
        low, high, step = _scale(low, max(*values, self.top))
        count = round((high - low) / step)
        return {
            "title": self.title,
            "unit": self.unit,
            "along": self.along,
            "end": _text(end),
            "middle": _text(end / 2),
            "ticks": [(100 * k / count, _text(low + k * step)) for k in range(count + 1)],
            "series": [
                {"name": each.name, "kind": each.kind, "path": _path(each, end, low, high)} for each in self.series
            ],
            "levels": [(name, 100 * (y - low) / (high - low)) for name, y in self.levels.items()],
            "places": [(name, 100 * x / end) for name, x in self.places.items() if x <= end],
            "data": {
                "end": end,
                "series": [
                    {
                        "name": each.name,
                        "kind": each.kind,
                        "points": [[_short(x), _short(y)] for x, y in thinned(each, end)],
                    }
                    for each in self.series
                ],
            },
        }  # fmt: skip


def _scale(low: float, high: float) -> tuple[float, float, float]:
    """A round axis that holds both values: (its ends, the distance of its ticks)."""
    span = high - low
    if span < 1e-9 * max(1.0, abs(high)):  # all the same
        span = max(1.0, abs(high))
    power = 10.0 ** floor(log10(span / 3))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= span / 4 * (1 - 1e-9))
    first, last = floor(low / step + 1e-9) * step, ceil(high / step - 1e-9) * step
    return first, last if last > first else first + step, step


def thinned(series: Series, end: float) -> list[Point]:
    """At most about twice `MOST` points: of each column, the first, the lowest and the highest."""
    points = list(series.points)
    if len(points) <= MOST:
        return points
    columns: dict[int, list[Point]] = {}
    for point in points:
        columns.setdefault(int(MOST * point[0] / end), []).append(point)
    kept = {p for group in columns.values() for p in (min(group, key=lambda p: p[1]), max(group, key=lambda p: p[1]))}
    return [point for point in points if point in kept or point is points[-1]]


def _path(series: Series, end: float, low: float, high: float) -> str:
    """An SVG path; only numbers and letters go into it."""
    points = [(WIDTH * min(x, end) / end, HEIGHT - HEIGHT * (y - low) / (high - low)) for x, y in thinned(series, end)]
    if not points:
        return ""
    if series.kind == "dots":
        return " ".join(f"M{x:.1f} {y:.2f}h0" for x, y in points)
    if series.kind == "losses":
        return " ".join(f"M{x:.1f} 0V10" for x, _ in points)
    if series.kind == "line":
        return "M" + " L".join(f"{x:.1f} {y:.2f}" for x, y in points)
    rest = "".join(f"H{x:.1f}V{y:.2f}" for x, y in points[1:])
    return f"M{points[0][0]:.1f} {points[0][1]:.2f}{rest}H{WIDTH}"


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def _text(value: float) -> str:
    return f"{value:.10g}" if value == round(value) else f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
