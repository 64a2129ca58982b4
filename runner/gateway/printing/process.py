"""The process that prints: one browser for each question, and none left after it.

A question is what `Task` says as JSON, a zero byte, and the page.
"""

import base64
import json
import logging
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from runner.gateway.printing.browser import (
    MEMORY_BYTES,
    CannotStart,
    NeedsMore,
    remove_left,
    started,
)
from runner.gateway.printing.devtools import Devtools, Ended, Json, Refusal
from runner.system.processes.process_tree import adopt_orphans
from runner.system.processes.side_process import serve

MODULE = "runner.gateway.printing.process"
"""This module, for `SideProcess`."""
PRINT_SECONDS = 60.0
PDF = b"%PDF"
TOO_MUCH = b"too much\0"
"""What an answer begins with that is no PDF but the reason why there will not be one."""
CANNOT = b"cannot\0"
"""The same where another time there may be."""
_ADDRESS = "http://report.invalid/"
"""Where the browser thinks that the report is. `invalid` is no domain (RFC 2606)."""


@dataclass(frozen=True)
class Task:
    """What is asked: by which program, under which Content-Security-Policy, and in what time."""

    program: str
    policy: str
    seconds: float = PRINT_SECONDS


def question(task: Task, page: bytes) -> bytes:
    """Ask for the PDF of a page."""
    return json.dumps(asdict(task)).encode() + b"\0" + page


def answer(asked: bytes) -> bytes:
    """Print a page; say why not, if it cannot be."""
    head, _, page = asked.partition(b"\0")
    task = Task(**json.loads(head))
    try:
        with started(task.program, time.monotonic() + task.seconds) as talk:
            return print_page(talk, page, task.policy)
    except TimeoutError:
        return TOO_MUCH + f"Chromium prints it for longer than {task.seconds:g} s".encode()
    except (NeedsMore, Ended):
        limit = f"{MEMORY_BYTES / 1024**3:g} GB"
        return TOO_MUCH + f"Chromium needs more than {limit} of memory for it, or fails".encode()
    except (CannotStart, Refusal, OSError) as error:
        return CANNOT + f"Chromium does not print: {error}".encode()


def print_page(talk: Devtools, page: bytes, policy: str) -> bytes:
    """Print a page, which gets nothing from anywhere.

    Raises:
        Ended, Refusal, NeedsMore, TimeoutError
    """
    target = talk.call("Target.createTarget", url="about:blank")["targetId"]
    session = talk.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    talk.on("Fetch.requestPaused", partial(_reply, talk, page, policy))
    talk.call("Page.enable", session)
    talk.call("Fetch.enable", session, patterns=[{"urlPattern": "*"}])
    talk.call("Emulation.setScriptExecutionDisabled", session, value=True)
    talk.call("Page.navigate", session, url=_ADDRESS)
    talk.await_event("Page.loadEventFired")
    printed = talk.call(
        "Page.printToPDF",
        session,
        printBackground=True,
        preferCSSPageSize=True,
        generateTaggedPDF=True,
        generateDocumentOutline=True,
    )
    return base64.b64decode(printed["data"])


def _reply(talk: Devtools, page: bytes, policy: str, event: Json, session: str | None) -> None:
    """Answer the one request that may be, and let all others fail."""
    request = event["requestId"]
    if event["request"]["url"] != _ADDRESS:
        talk.send("Fetch.failRequest", session, requestId=request, errorReason="BlockedByClient")
        return
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
    remove_left(Path(tempfile.gettempdir()))
    serve(answer, memory_bytes=None)
