"""Prints the output of commands: results on standard output, all else on standard error."""

import json
import logging
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli.console import Listing, table, title_of_notebook
from runner.contract.text.plain_text import one_line, visible, visible_json
from runner.outbox.reader import Report

if TYPE_CHECKING:
    from rich.console import Console


@cache
def errors() -> "Console":
    """Return standard error; most commands have nothing to say there, and need no rich."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def print_table(*listings: Listing) -> None:
    """Print one line a row: in a terminal the first listing that fits, in a pipe the first."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in table(width, *listings):
        click.echo(line)


def print_json(content: object) -> None:
    """Print JSON for people and programs; nothing in it can steer a terminal."""
    click.echo(visible_json(json.dumps(content, ensure_ascii=False, indent=2)))


def remark(text: str) -> None:
    """Print a remark for a person, beside the result."""
    errors().print(visible(text), markup=False, soft_wrap=True)


def complain(text: str) -> None:
    errors().print(visible(text), style="red", markup=False, soft_wrap=True)


class _VisibleLog(logging.Formatter):
    """Formats one line an event, which cannot steer a terminal; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        record.message = one_line(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


def log_to_stderr(level: int) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_VisibleLog("%(asctime)s %(levelname)-7s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])


def paths_of(report: Report) -> dict[str, Path]:
    """List the files of a run that one can look at; none if its folders go."""
    executed = report.content.get("output_nb")
    if executed is None:
        return {}
    notebook = report.path.parent / Path(str(executed)).name
    paths = {"result": report.path, title_of_notebook(report.content): notebook}
    if report.content.get("files"):
        paths["files"] = notebook.with_suffix(".files")
    return {what: _from_here(path) for what, path in paths.items()}


def _from_here(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
