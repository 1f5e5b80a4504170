"""The front of latency and energy as a picture. matplotlib is optional: `pip install 'codl[report]'`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codl.errors import InputError
from codl.io import atomic_path

PICTURES = (".svg", ".png", ".pdf")


def draw_pareto(path: Path, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Latency against energy, one mark a plan; the format follows the file's name.

    Args:
        rows: with `latency_ms`, `energy_j` and `supported`, by ascending latency.

    Raises:
        InputError: matplotlib is not installed.
        FileError: the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError(f"{path}: a picture needs matplotlib: pip install 'codl[report]'") from None
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    latencies = [row["latency_ms"] for row in rows]
    energies = [row["energy_j"] for row in rows]
    axes.step(latencies, energies, where="post", color="0.75", linewidth=1, zorder=1)
    for supported, marker, label in ((True, "o", "vertex of the hull"), (False, ".", "between them")):
        chosen = [row for row in rows if row["supported"] is supported]
        x, y = [row["latency_ms"] for row in chosen], [row["energy_j"] for row in chosen]
        axes.plot(x, y, marker, label=label, linestyle="none")
    axes.set(title=title, xlabel="latency (ms)", ylabel="energy of one inference (J)")
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, metadata={"Date": None} if path.suffix == ".svg" else None)
