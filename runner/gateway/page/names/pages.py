"""The page of a name, over its history."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from bottle import HTTPResponse

from runner.gateway.page.names.durations import durations_of
from runner.gateway.page.result_views import json_text
from runner.gateway.page.schedules.year import first_day, year_of
from runner.jobs.histories.of_names import NameHistory, history_of
from runner.jobs.record import Record

VALUE_CHARS = 60


class NamePages:
    """The pages of one gateway. `page` renders a template as the others do."""

    def __init__(self, record: Record, page: Callable[..., HTTPResponse]) -> None:
        self._record = record
        self._page = page

    def routes(self) -> Iterator[tuple[str, str, Callable[..., HTTPResponse]]]:
        """List method, path and answer of each route."""
        yield "GET", r"/ui/names/<name:re:[\s\S]+>", self._one

    def _one(self, name: str) -> HTTPResponse:
        today = datetime.now(UTC).date()
        history = history_of(self._record, name, first_day(today).isoformat())
        return self._page(
            "name.html",
            here="overview",
            history=history,
            year=year_of(history.days, today),
            durations=durations_of(history.recent),
            parameters=_rows(history),
            now=datetime.now(UTC),
        )


def _rows(history: NameHistory) -> list[tuple[Any, list[tuple[str, bool]]]]:
    """Write a row of values for each run, each with whether it differs from the run before."""
    rows: list[tuple[Any, list[tuple[str, bool]]]] = []
    given = history.parameters
    for place, (job, values) in enumerate(given):
        before = given[place + 1][1] if place + 1 < len(given) else values
        cells = [
            (_text(values, name), values.get(name) != before.get(name))
            for name in history.parameter_names
        ]
        rows.append((job, cells))
    return rows


def _text(values: Any, name: str) -> str:
    if name not in values:
        return "–"
    value = values[name]
    text = value if isinstance(value, str) else json_text(value)
    return text if len(text) <= VALUE_CHARS else f"{text[: VALUE_CHARS - 1]}…"
