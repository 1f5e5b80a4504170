"""A headless Chromium of the system, for tests that look at pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str:
    """The path of a browser; the test is skipped, and says why, where there is none."""
    pytest.importorskip("playwright", reason="no playwright: pip install 'codl[browser]'")
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no browser ({', '.join(NAMES)}): install your system's Chromium")
    return path


@contextmanager
def opened(path: Path, **context: Any) -> Iterator[tuple[Any, list[str]]]:
    """A page with a file open, and everything that it complains about: console, errors, requests."""
    executable = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_context(**context).new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda r: complaints.append(r.url) if r.url != path.as_uri() else None)
        page.goto(path.as_uri())
        yield page, complaints
        browser.close()
