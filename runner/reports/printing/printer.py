"""Prints reports for the gateway: one at a time, and a few may wait."""

import threading
from collections.abc import Sequence

from runner.reports.printing.process import (
    CANNOT,
    MODULE,
    PDF,
    PRINT_SECONDS,
    TOO_MUCH,
    Task,
    question,
)
from runner.reports.printing.programs import find_browser
from runner.system.processes.side_process import Busy, CannotAnswer, SideProcess, TookTooMuch

MOST_WAITING = 4
MAX_BYTES = 70 * 1024**2
"""Largest page; the browser takes no message above 100 MB, and pages travel as base64."""
_GRACE_SECONDS = 15.0


class CannotPrint(CannotAnswer):
    """The browser fails; another time it may not."""


class Printer:
    """The printer of one gateway. Safe for many threads."""

    def __init__(self, program: str | None = None, seconds: float = PRINT_SECONDS) -> None:
        """Set it up. `program` is the browser's path or name; None: that of this machine.

        `seconds` is the time of one page.
        """
        self._program = program
        self._seconds = seconds
        self._process = SideProcess(MODULE, seconds + _GRACE_SECONDS)
        self._seats = threading.BoundedSemaphore(MOST_WAITING)

    def check(self) -> str:
        """Return the browser's path.

        Raises:
            NoBrowser: there is none here.
        """
        return find_browser(self._program)

    def print(
        self, page: bytes, policy: str, figures: Sequence[bytes] = (), figure_policy: str = ""
    ) -> bytes:
        """Return a page with that Content-Security-Policy as PDF.

        `figures` are pages for the frames in it, at `FIGURES` and their number, with a policy of
        their own.

        Raises:
            NoBrowser: there is none here.
            TookTooMuch: it takes more time or memory than it may.
            Busy: others are printed.
            CannotPrint
        """
        program = self.check()
        if len(page) + sum(map(len, figures)) > MAX_BYTES:
            raise TookTooMuch(f"it has {len(page) >> 20} MB, more than can be printed")
        if not self._seats.acquire(blocking=False):
            raise Busy("others are being printed; try again later")
        try:
            task = Task(program, policy, self._seconds, figure_policy)
            answer = self._process.ask(question(task, page, figures))
        finally:
            self._seats.release()
        if answer.startswith(PDF):
            return answer
        if answer.startswith(TOO_MUCH):
            raise TookTooMuch(answer.removeprefix(TOO_MUCH).decode("utf-8", "replace"))
        raise CannotPrint(answer.removeprefix(CANNOT).decode("utf-8", "replace"))

    def close(self) -> None:
        """End the process and its browser, also in the middle of a page."""
        self._process.close()
