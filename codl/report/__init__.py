"""The report: one self-contained HTML file that shows a run, or a prediction beside its measurement.

`Entry` holds what is known of one plan's run, `Serving` a workload's; `write_report` turns any number of them into a
page.
"""

from codl.report.entry import Entry, Fidelity
from codl.report.page import render_report, write_report
from codl.report.serving import Serving

__all__ = ["Entry", "Fidelity", "Serving", "render_report", "write_report"]
