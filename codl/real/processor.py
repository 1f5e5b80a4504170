"""What the system says of this machine's processor."""

from __future__ import annotations

import platform
import re
from functools import cache
from pathlib import Path

_WIDTHS = {"avx512f": 16, "avx": 8}


@cache
def _text() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


def _field(*names: str) -> str:
    match = re.search(rf"^(?:{'|'.join(names)})\s*:\s*(.+)$", _text(), re.MULTILINE)
    return match.group(1).strip() if match else ""


def cpu_model() -> str:
    """Its name."""
    return _field("model name", "Hardware", "Processor") or platform.processor() or "unknown"


def cpu_clock_hz() -> float:
    """Its clock as it is now; 0 if the system does not say."""
    return float(_field("cpu MHz") or 0) * 1e6


def cpu_vector_width() -> int:
    """Floats in its vector registers."""
    flags = set(_field("flags").split())
    return next((width for flag, width in _WIDTHS.items() if flag in flags), 4)
