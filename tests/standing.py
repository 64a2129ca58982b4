"""One program that the tests of a process share: those that give it work and leave it as it is."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from tests.conftest import Program, end, wait_for

KEPT = ("config.yaml", "serve.log", "inbox", "outbox", "notebooks", "state")
HELD = (".runner.lock", "README.md")
"""What the program itself keeps in its folders."""

REST_SECONDS = 10.0
"""A job is closed a moment after its report is there."""


class Standing:
    """It has the usual settings; one that was left otherwise is replaced."""

    def __init__(self, make: Callable[..., Program]) -> None:
        self._make = make
        self._program: Program | None = None

    def get(self) -> Program:
        """The program, at rest and with empty folders."""
        if self._program is None:
            self._program = self._make().start()
        return self._program

    def tidy(self) -> None:
        """Take away what a test has left, or the program if it does not run or still works."""
        program = self._program
        if program is None:
            return
        runs = program.process is not None and program.process.poll() is None
        if runs and _comes_to_rest(program):
            for path in _left(program):
                path.unlink() if path.is_symlink() or not path.is_dir() else shutil.rmtree(path)
            return
        if runs:
            assert program.process is not None
            end(program.process)
        self._program = None


def _comes_to_rest(program: Program) -> bool:
    with suppress(AssertionError):
        wait_for(lambda: not _is_at_work(program), REST_SECONDS)
        return True
    return False


def _is_at_work(program: Program) -> bool:
    with sqlite3.connect(program.root / "state" / "ledger.sqlite3") as db:
        rows = db.execute("SELECT count(*) FROM jobs WHERE state != 'closed'").fetchone()
    waits = [path for path in program.inbox.iterdir() if path.name not in HELD]
    return bool(rows[0] or waits)


def _left(program: Program) -> Iterator[Path]:
    yield from (path for path in program.root.iterdir() if path.name not in KEPT)
    for folder in (program.outbox, program.library):
        if folder.exists():
            yield from (path for path in folder.iterdir() if path.name not in HELD)
