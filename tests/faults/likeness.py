"""Tells which ends of a run are alike: those that differ in ids and times alone."""

import re
import sqlite3
from collections.abc import Iterable

from tests.faults.simulated import Tree

ID = re.compile(r"\b[0-9a-f]{32}\b")
TIME = re.compile(r"\d{4}-\d\d-\d\d[T_ ]?[\d:.]*(?:Z|\+00:00)?")
DURATIONS = "durations"
"""The table that holds nothing but numbers of seconds."""


class Seen:
    """The ends that were met before."""

    def __init__(self) -> None:
        self._keys: set[str] = set()

    def is_new(self, key: str) -> bool:
        """Whether this is the first time; from now on it is not."""
        before = len(self._keys)
        self._keys.add(key)
        return len(self._keys) > before


def key_of(tree: Tree, rows: Iterable[object], *also: object) -> str:
    """Write down what lies there and what the ledger holds, each id as a number, and no time."""
    numbers: dict[str, str] = {}
    text = TIME.sub("", repr(([*rows], sorted(tree.items()), also)))
    return ID.sub(lambda m: numbers.setdefault(m.group(), f"#{len(numbers)}"), text)


def rows_of(db: sqlite3.Connection) -> list[tuple[object, ...]]:
    """List all that a ledger holds."""
    tables = db.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name != ?", (DURATIONS,)
    )
    return [
        tuple(row) for (name,) in tables.fetchall() for row in db.execute(f"SELECT * FROM {name}")
    ]
