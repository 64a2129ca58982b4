"""The process that prints: one browser for each question, and none left after it.

A question is what `Task` says as JSON, and pages, with zero bytes between: the report and its
figures.
"""

import base64
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

from runner.reports.printing.browser import (
    MEMORY_BYTES,
    PREFIX,
    CannotStart,
    NeedsMore,
    started,
)
from runner.reports.printing.devtools import Devtools, Ended, Json, Refusal
from runner.system.files.passing_folders import remove_left
from runner.system.processes.process_tree import adopt_orphans
from runner.system.processes.side_process import serve

MODULE = "runner.reports.printing.process"
"""This module, for `SideProcess`."""
PRINT_SECONDS = 60.0
PDF = b"%PDF"
FIGURES = "/figures/"
"""Where a page that is printed has its figures, by their numbers."""
TOO_MUCH = b"too much\0"
"""What an answer begins with that is no PDF but the reason why there will not be one."""
CANNOT = b"cannot\0"
"""The same where another time there may be."""
Page = tuple[bytes, str]
"""A page and its Content-Security-Policy."""
_DRAWING_MS = 3000
_ORIGIN = "http://report.invalid"
_ADDRESS = f"{_ORIGIN}/"
"""Where the browser thinks that the report is. `invalid` is no domain (RFC 2606)."""


@dataclass(frozen=True)
class Task:
    """What is asked: by which program, under which Content-Security-Policy, and in what time.

    `figure_policy` is that of the pages in its frames.
    """

    program: str
    policy: str
    seconds: float = PRINT_SECONDS
    figure_policy: str = ""


def question(task: Task, page: bytes, figures: Sequence[bytes] = ()) -> bytes:
    """Ask for the PDF of a page with these figures in its frames; HTML has no zero bytes."""
    pages = [one.replace(b"\0", b"") for one in (page, *figures)]
    return b"\0".join([json.dumps(asdict(task)).encode(), *pages])


def answer(asked: bytes) -> bytes:
    """Print a page; say why not, if it cannot be."""
    head, page, *figures = asked.split(b"\0")
    task = Task(**json.loads(head))
    try:
        with started(task.program, time.monotonic() + task.seconds) as talk:
            return print_page(talk, _pages(task, page, figures))
    except TimeoutError:
        return TOO_MUCH + f"Chromium prints it for longer than {task.seconds:g} s".encode()
    except (NeedsMore, Ended):
        limit = f"{MEMORY_BYTES / 1024**3:g} GB"
        return TOO_MUCH + f"Chromium needs more than {limit} of memory for it, or fails".encode()
    except (CannotStart, Refusal, OSError) as error:
        return CANNOT + f"Chromium does not print: {error}".encode()


def _pages(task: Task, page: bytes, figures: Sequence[bytes]) -> dict[str, Page]:
    """Give each page its address."""
    pages = {_ADDRESS: (page, task.policy)}
    for number, figure in enumerate(figures):
        pages[f"{_ORIGIN}{FIGURES}{number}"] = (figure, task.figure_policy)
    return pages


def print_page(talk: Devtools, pages: Mapping[str, Page]) -> bytes:
    """Print a page, which gets nothing from anywhere but its figures.

    A report has no script. Those of figures have time to draw, by a clock that does not wait.

    Raises:
        Ended, Refusal, NeedsMore, TimeoutError
    """
    target = talk.call("Target.createTarget", url="about:blank")["targetId"]
    session = talk.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    has_figures = len(pages) > 1
    talk.on("Fetch.requestPaused", partial(_reply, talk, pages))
    talk.call("Page.enable", session)
    talk.call("Fetch.enable", session, patterns=[{"urlPattern": "*"}])
    talk.call("Emulation.setScriptExecutionDisabled", session, value=not has_figures)
    talk.call("Page.navigate", session, url=_ADDRESS)
    talk.await_event("Page.loadEventFired")
    if has_figures:
        talk.call("Emulation.setVirtualTimePolicy", session, policy="advance", budget=_DRAWING_MS)
        talk.await_event("Emulation.virtualTimeBudgetExpired")
    printed = talk.call(
        "Page.printToPDF",
        session,
        printBackground=True,
        preferCSSPageSize=True,
        generateTaggedPDF=True,
        generateDocumentOutline=True,
    )
    return base64.b64decode(printed["data"])


def _reply(talk: Devtools, pages: Mapping[str, Page], event: Json, session: str | None) -> None:
    """Answer the requests that may be, and let all others fail."""
    request, url = event["requestId"], event["request"]["url"]
    if url not in pages:
        talk.send("Fetch.failRequest", session, requestId=request, errorReason="BlockedByClient")
        return
    page, policy = pages[url]
    headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": policy}
    talk.send(
        "Fetch.fulfillRequest",
        session,
        requestId=request,
        responseCode=200,
        responseHeaders=[{"name": name, "value": value} for name, value in headers.items()],
        body=base64.b64encode(page).decode(),
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    adopt_orphans()
    remove_left(PREFIX)
    serve(answer, memory_bytes=None)
