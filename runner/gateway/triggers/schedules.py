"""The schedules over HTTP: their list, one with its times, runs by hand, pause and resume.

Reads and changes them through `submitters.schedules.overview`.
"""

from collections.abc import Callable, Iterator

from bottle import HTTPResponse

from runner.gateway.http.answers import json_answer
from runner.jobs.submissions import Submitted
from runner.submitters.schedules.overview import Schedules
from runner.submitters.schedules.rows import details_row, row_of


class ScheduleRoutes:
    """Answers below `/schedules` for one gateway. `face`: who pauses, and whose runs they are."""

    def __init__(self, schedules: Schedules, face: str) -> None:
        self._schedules = schedules
        self._face = face

    def switches(self) -> Iterator[tuple[str, str, Callable[..., HTTPResponse]]]:
        """List method, path and answer of the routes that pause one and let it go on."""
        yield "POST", r"/schedules/<name:re:[\s\S]+>/pause", self.pause
        yield "POST", r"/schedules/<name:re:[\s\S]+>/resume", self.resume

    def show_all(self) -> HTTPResponse:
        """Answer with all schedules, and with what is wrong in a file."""
        return json_answer(200, {"schedules": [row_of(one) for one in self._schedules.all()]})

    def show(self, name: str) -> HTTPResponse:
        """Answer with one of them, its next times, and what came of its last ones."""
        return json_answer(200, details_row(self._schedules.details(name)))

    def run(self, name: str) -> Submitted:
        """Submit its request now."""
        return self._schedules.run(name, self._face)

    def pause(self, name: str) -> HTTPResponse:
        """Let no run start by itself."""
        return json_answer(200, row_of(self._schedules.pause(name, self._face)))

    def resume(self, name: str) -> HTTPResponse:
        """Let runs start again."""
        return json_answer(200, row_of(self._schedules.resume(name)))
