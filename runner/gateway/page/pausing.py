"""The buttons of the page that pause jobs and let them start again."""

from collections.abc import Callable, Iterator, Mapping

from bottle import HTTPResponse

from runner.config import Settings
from runner.gateway.http.answers import see_other
from runner.gateway.http.forms import posted, texts
from runner.gateway.page.run_form import FACE
from runner.jobs.pausing import Pausing

PLACES = {"rules": "/ui/rules", "hooks": "/ui/hooks"}
"""Pages besides the overview that have such buttons."""


class PauseButtons:
    """Those of one gateway; both lead back to the page that the form names, or the overview."""

    def __init__(self, settings: Settings, pausing: Pausing) -> None:
        self._settings = settings
        self._pausing = pausing

    def routes(self) -> Iterator[tuple[str, str, Callable[..., HTTPResponse]]]:
        """List method, path and answer of each route."""
        yield "POST", "/ui/pause", self._pause
        yield "POST", "/ui/resume", self._resume

    def _pause(self) -> HTTPResponse:
        fields = texts(posted(self._settings))
        self._pausing.pause(fields.get("name", ""), FACE)
        return _back(fields)

    def _resume(self) -> HTTPResponse:
        fields = texts(posted(self._settings))
        self._pausing.resume(fields.get("name", ""))
        return _back(fields)


def _back(fields: Mapping[str, str]) -> HTTPResponse:
    return see_other(PLACES.get(fields.get("from", ""), "/"))
