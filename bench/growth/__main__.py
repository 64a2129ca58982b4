"""How cost grows with what there is to do. Takes about a quarter of an hour on a quiet machine.

Shows a table for each kind of growth, and puts them between the marks of the file that `--write`
names.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import click
from speed.report import Sheet, machine

from growth import inboxes, ledgers, long_notebooks, slots

SCALE = Path(__file__).resolve().parents[2] / "docs" / "scale.md"
BEGIN, END = "<!-- growth -->", "<!-- /growth -->"
SMALL = 1000
"""What `--quick` leaves of the numbers of cells, jobs and files."""

Counts = Sequence[int]


def up_to(counts: Counts, most: int) -> Counts:
    """Those that are not above it."""
    return [count for count in counts if count <= most]


PARTS: dict[str, Callable[[int], Sheet]] = {
    "cells": lambda most: long_notebooks.cells(up_to((1, 10, 100, 1000, 10_000), most)),
    "outputs": lambda most: long_notebooks.outputs(
        up_to((1000, 100_000, 1_000_000, 10_000_000, 50_000_000), most * 1000)
    ),
    "slots": lambda most: slots.measure(up_to((1, 2, 10, 50), most // 100), SCALE),
    "jobs": lambda most: ledgers.measure(up_to((1, 1000, 10_000, 100_000, 1_000_000), most)),
    "requests": lambda most: inboxes.requests(up_to((1, 100, 1000, 10_000, 100_000), most)),
    "files": lambda most: inboxes.remaining(up_to((1, 100, 1000, 10_000, 100_000), most)),
}


@click.command(help=__doc__)
@click.option("--only", multiple=True, type=click.Choice(list(PARTS)), help="Some parts alone.")
@click.option("--quick", is_flag=True, help=f"With {SMALL:,} of everything at most.")
@click.option("--write", type=click.Path(path_type=Path), help="A Markdown file to change.")
def main(only: Sequence[str], quick: bool, write: Path | None) -> None:
    most = SMALL if quick else 10**9
    sheets = [PARTS[name](most) for name in only or PARTS]
    for sheet in sheets:
        sheet.show()
    if write is not None and not only:
        text = "\n\n".join(sheet.markdown(level=3) for sheet in sheets)
        measured = f"Measured by `make bench-growth`: {machine()}."
        put_between(write, f"{measured}\n\n{text}")


def put_between(path: Path, text: str) -> None:
    """Replace what is between the marks of a page.

    Raises:
        SystemExit: it has none.
    """
    before, begin, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{path} has no lines {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


if __name__ == "__main__":
    main()
