"""What was measured, as tables for a terminal and for Markdown, with the goals beside it."""

import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from os import cpu_count

from rich.console import Console
from rich.markup import escape
from rich.table import Table

console = Console(width=110)
LIBRARIES = ("papermill", "nbclient", "ipykernel", "pandas")


@dataclass
class Sheet:
    """A table with its heading and what is to be said above it."""

    title: str
    columns: tuple[str, ...]
    about: str = ""
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, *row: str) -> None:
        """Keep a row, and show it at once: the whole takes minutes."""
        self.rows.append(row)
        console.print(f"{row[0]}: {' · '.join(row[1:])}", highlight=False, markup=False)

    def markdown(self, level: int = 2) -> str:
        """As a section of a page."""
        lines = [
            *([f"{'#' * level} {self.title}", ""] if self.title else []),
            *([self.about, ""] if self.about else []),
            _line(self.columns),
            "|" + "---|" * len(self.columns),
            *map(_line, self.rows),
        ]
        return "\n".join(lines)

    def show(self) -> None:
        """In the terminal."""
        table = Table(*self.columns, title=self.title or None, title_justify="left")
        for row in self.rows:
            table.add_row(*map(escape, row))
        console.print(table)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def machine() -> str:
    """When and where this was measured."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {cpu_count()} cores, Python {platform.python_version()}, "
        f"Linux {platform.release()}; {libraries}"
    )


def p95(took: Sequence[float]) -> float:
    """The 95th percentile; the longest of fewer than twenty."""
    if len(took) < 20:
        return max(took)
    return statistics.quantiles(took, n=20, method="inclusive")[-1]
