"""The gateway's rendering process, because a notebook may be made to be slow; and its questions."""

import json
import warnings
from dataclasses import asdict

from runner.reports.rendering.notebook import to_html
from runner.reports.rendering.options import ReportOptions
from runner.system.processes.side_process import serve

MODULE = "runner.reports.rendering.process"
"""This module, for `SideProcess`."""
RENDER_SECONDS = 60.0
MEMORY_BYTES = 2 * 1024**3
_REPORT = b"\1"
_FIGURE = b"\2"


def page_question(notebook: bytes, note: str = "") -> bytes:
    """Ask for a page; `note` says why the outputs that the notebook has are not to be shown."""
    return b"\0".join((note.encode(), notebook)) if note else notebook


def report_question(notebook: bytes, options: ReportOptions) -> bytes:
    """Ask for a report."""
    return _REPORT + json.dumps(asdict(options)).encode() + b"\0" + notebook


def figure_question(notebook: bytes, number: int) -> bytes:
    """Ask for the page of one of a report's figures."""
    return _FIGURE + str(number).encode() + b"\0" + notebook


def answer(question: bytes) -> bytes:
    """Render the notebook of a question.

    Raises:
        ValueError: it cannot be read as a notebook.
    """
    head, has_head, notebook = question.partition(b"\0")  # JSON has none
    if not has_head:
        return to_html(question).encode("utf-8", "replace")
    if not head.startswith((_REPORT, _FIGURE)):
        return to_html(notebook, head.decode()).encode("utf-8", "replace")
    # Pages of notebooks do without them.
    from runner.reports.rendering.report import figure_page, report_of

    if head.startswith(_FIGURE):
        number = int(head.removeprefix(_FIGURE))
        return figure_page(notebook, number).encode("utf-8", "replace")
    options = ReportOptions(**json.loads(head.removeprefix(_REPORT)))
    return report_of(notebook, options).encode("utf-8", "replace")


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # an output that no browser can show is left out, and known
    serve(answer, memory_bytes=MEMORY_BYTES)
