"""Pauses over HTTP: their list, a new one, and the end of one."""

from collections.abc import Callable, Iterator

from bottle import HTTPResponse, request

from runner.gateway.http.answers import json_answer
from runner.jobs.pausing import Pausing, row_of


class PauseRoutes:
    """Answers for one gateway. `face`: who pauses. The query's `name` says what; all without."""

    def __init__(self, pausing: Pausing, face: str) -> None:
        self._pausing = pausing
        self._face = face

    def routes(self) -> Iterator[tuple[str, str, Callable[..., HTTPResponse]]]:
        """List method, path and answer of each route."""
        yield "GET", "/pauses", self.show_all
        yield "POST", "/pause", self.pause
        yield "POST", "/resume", self.resume

    def show_all(self) -> HTTPResponse:
        """Answer with the pauses."""
        return json_answer(200, {"pauses": [row_of(one) for one in self._pausing.all()]})

    def pause(self) -> HTTPResponse:
        """Let jobs of a name not start."""
        pause = self._pausing.pause(request.query.getunicode("name", ""), self._face)
        return json_answer(200, row_of(pause))

    def resume(self) -> HTTPResponse:
        """Let them start again; answer with the pauses that are left."""
        self._pausing.resume(request.query.getunicode("name", ""))
        return self.show_all()
