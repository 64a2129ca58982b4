"""The buttons of the page that pause jobs and let them start again."""

from collections.abc import Callable, Iterator

from bottle import HTTPResponse

from runner.config import Settings
from runner.gateway.http.answers import see_other
from runner.gateway.http.forms import posted, texts
from runner.gateway.page.run_form import FACE
from runner.jobs.pausing import Pausing


class PauseButtons:
    """Those of one gateway; both lead back to the overview."""

    def __init__(self, settings: Settings, pausing: Pausing) -> None:
        self._settings = settings
        self._pausing = pausing

    def routes(self) -> Iterator[tuple[str, str, Callable[..., HTTPResponse]]]:
        """List method, path and answer of each route."""
        yield "POST", "/ui/pause", self._pause
        yield "POST", "/ui/resume", self._resume

    def _pause(self) -> HTTPResponse:
        self._pausing.pause(self._name(), FACE)
        return see_other("/")

    def _resume(self) -> HTTPResponse:
        self._pausing.resume(self._name())
        return see_other("/")

    def _name(self) -> str:
        return texts(posted(self._settings)).get("name", "")
