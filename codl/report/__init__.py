"""The report: one self-contained HTML file that shows a run, or a prediction beside its measurement.

`Entry` holds what is known of one plan's run; `write_report` turns any number of them into a page.
"""

from codl.report.entry import Entry
from codl.report.page import render_report, write_report

__all__ = ["Entry", "render_report", "write_report"]
