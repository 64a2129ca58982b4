"""Finds the times at which schedules did not run, in the record of schedules."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from runner.config import Settings
from runner.contract.notifications import Event
from runner.contract.triggers.causes import stamp
from runner.state.books.notifications import NotificationBook
from runner.submitters.schedules.book import BOOK_FILE, BY_CHOICE, Book, Occurrence

_SINCE = ""
"""In the record of what is told: since when missed times are looked for."""


class MissedTimes:
    """Those of one runner that nobody was told of yet. For one thread."""

    def __init__(self, settings: Settings) -> None:
        self._state: Path = settings.state
        self._is_wanted = any(Event.MISSED in one.when for one in settings.notify)
        self._book: Book | None = None
        self._changes: int | None = None

    def news(self, told: NotificationBook, now: datetime) -> list[Occurrence]:
        """List them, the oldest first; none from before the first look.

        Raises:
            sqlite3.Error, OSError: a record cannot be read.
        """
        known = told.missed()
        if not self._is_wanted:
            if known:
                told.forget_missed()
            return []
        if _SINCE not in known:
            told.add((), [(_SINCE, stamp(now))])
            return []
        if self._book is None:
            if not (self._state / BOOK_FILE).exists():
                return []
            self._book = Book(self._state)
        changes = self._book.changes()
        if changes == self._changes:
            return []
        self._changes = changes
        return list(self._since(known))

    def look_again(self) -> None:
        """Look at the next turn, whether or not there is something new."""
        self._changes = None

    def close(self) -> None:
        """Close the record of schedules."""
        if self._book is not None:
            self._book.close()
            self._book = None

    def _since(self, known: dict[str, str]) -> Iterator[Occurrence]:
        assert self._book is not None
        for one in self._book.skipped_after(known[_SINCE]):
            if one.reason not in BY_CHOICE and one.through > known.get(one.name, ""):
                yield one
