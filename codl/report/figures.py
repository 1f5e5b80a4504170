"""The paper's figures redrawn: bars of simulated values, marks for published ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from codl import hardware as hw
from codl.errors import InputError
from codl.io import atomic_path, write_json, write_text
from codl.validation import PHONES
from codl.validation.pictures import Panel, Picture, pictures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = {
    "cpu": "#2a78d6", "gpu": "#1baf7a", "mulayer": "#eda100", "codl": "#e34948", "ideal": "#898781",
    "h": "#2a78d6", "oc": "#eda100", "hybrid": "#e34948", "no chains": "#898781", "chains": "#e34948",
    "gpu, buffer": "#a9dfc9", "gpu, image": "#1baf7a", "codl, buffer": "#f4b4b3", "codl, image": "#e34948",
    "height": "#2a78d6", "output_channel": "#eda100", "whole": "#c3c2b7",
}  # fmt: skip
INK, SOFT, LINE = "#0b0b0b", "#52514e", "#e1e0d9"


def draw_figures(folder: Path) -> list[Path]:
    """Draw every picture as a PNG, and write `figures.json` (the values) and `figures.md` (the pictures with what
    differs from the published ones).

    Returns:
        The files written.

    Raises:
        InputError: matplotlib is not installed.
        FileError: the folder cannot be written.
    """
    _require_matplotlib()
    drawn = pictures()
    written = []
    for picture in drawn:
        path = folder / f"figure{picture.number}.png"
        _draw(picture, path)
        written.append(path)
    write_json(folder / "figures.json", drawn)
    write_text(folder / "figures.md", _text(drawn))
    return [*written, folder / "figures.json", folder / "figures.md"]


def _require_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401  # only whether it is there
    except ModuleNotFoundError:
        raise InputError(
            "--figures draws with matplotlib, which is not installed: pip install 'codl[report]'"
        ) from None


def _draw(picture: Picture, path: Path) -> None:
    from matplotlib.figure import Figure

    rows = len(picture.panels)
    figure = Figure(figsize=(8.0, 0.7 + 2.5 * rows), dpi=110, layout="constrained", facecolor="white")
    figure.suptitle(f"Figure {picture.number}: {picture.title}", fontsize=11, color=INK, wrap=True)
    for index, panel in enumerate(picture.panels):
        axes = figure.add_subplot(rows, 1, index + 1)
        (_draw_marked if panel.marked else _draw_bars)(axes, panel)
        _style(axes, panel)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})


def _draw_bars(axes: Axes, panel: Panel) -> None:
    """Bars side by side in each group; a short black line at the published height."""
    count = len(panel.series)
    width = 0.8 / count
    labelled = False
    for index, (name, values) in enumerate(panel.series.items()):
        places = [group + (index - (count - 1) / 2) * width for group in range(len(values))]
        axes.bar(places, [value or 0.0 for value in values], 0.92 * width, label=name, color=COLORS[name])
        for place, value in zip(places, panel.published.get(name, ()), strict=False):
            if value is not None:
                label = None if labelled else "published"
                axes.plot([place - width / 2, place + width / 2], [value, value], color=INK, linewidth=2, label=label)
                labelled = True
    axes.set_xticks(range(len(panel.groups)), panel.groups)


def _draw_marked(axes: Axes, panel: Panel) -> None:
    """One bar a group, coloured by what it belongs to."""
    (values,) = panel.series.values()
    for mark in dict.fromkeys(panel.marked):
        chosen = [index for index, each in enumerate(panel.marked) if each == mark]
        heights = [values[index] or 0.0 for index in chosen]
        axes.bar(chosen, heights, 0.8, label=mark.replace("_", " "), color=COLORS[mark])
    axes.set_xticks(range(0, len(panel.groups), 5), [panel.groups[i] for i in range(0, len(panel.groups), 5)])
    axes.tick_params(axis="x", labelrotation=30)


def _style(axes: Axes, panel: Panel) -> None:
    axes.set_title(panel.title, fontsize=9, loc="left", color=SOFT)
    axes.set_ylabel(panel.unit, fontsize=8, color=SOFT)
    axes.tick_params(labelsize=8, colors=SOFT, length=0)
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.legend(fontsize=8, ncols=6, loc="upper left", labelcolor=SOFT, framealpha=1.0, edgecolor="none")
    axes.margins(y=0.25)


def _text(drawn: Sequence[Picture]) -> str:
    made_of = ", ".join(f"{phone} {hw.load(phone).digest}" for phone in PHONES)
    parts = [
        "# The paper's figures, simulated\n",
        "Figures 15 to 22 of CoDL (MobiSys '22, doi 10.1145/3498361.3538932), redrawn from the simulator. Bars are",
        "simulated, black lines published. The material at hand fixes the subjects and some values of figures 15, 16",
        "and 21a; the others are the experiments behind the paper's claims (own data types, hybrid dimensions, chains,",
        "plans, energy, the ideal), drawn under the number that we take to be theirs.\n",
        "Made by `codl validate --figures DIR`, which also writes the values as `figures.json`. Hardware descriptions,",
        f"by digest: {made_of}.\n",
    ]
    for picture in drawn:
        parts.append(f"## Figure {picture.number}: {picture.title}\n")
        parts.append(f"![figure {picture.number}](figure{picture.number}.png)\n")
        parts.extend(f"- {note}" for note in picture.notes)
        parts.append("")
    return "\n".join(parts)
