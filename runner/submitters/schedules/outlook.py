"""What the library says of the next runs: a notebook that is missing, or values that do not fit.

For every look at the schedules, so a notebook is read once while it does not change.
"""

import time
from collections.abc import Iterable
from datetime import datetime

from runner.contract.outcome import Refused
from runner.contract.triggers.documents import with_line
from runner.contract.triggers.placeholders import PlaceholderError
from runner.jobs.functions import LOOK_SECONDS, Functions
from runner.submitters.schedules.files import Planned
from runner.submitters.schedules.scheduling import request_of
from runner.submitters.trigger_files import read_file

ADVICE = "Correct the file or the library; until then each run ends as rejected."


class Outlook:
    """Looks ahead over the notebooks of one library. Safe for many threads."""

    def __init__(self, functions: Functions, seconds: float = LOOK_SECONDS) -> None:
        """Set it up. `seconds`: how long one look may read; the others come with the next look."""
        self._functions = functions
        self._seconds = seconds

    def errors(self, schedules: Iterable[tuple[Planned, datetime]]) -> dict[str, str]:
        """Say for schedules, each with its next time, why that run would be refused and what to do.

        Those that would run, or are not known after a moment, are left out.
        """
        deadline = time.monotonic() + self._seconds
        errors = {}
        for one, following in schedules:
            if time.monotonic() > deadline:
                break
            error = self._error(one, following)
            if error is not None:
                errors[one.name] = error
        return errors

    def _error(self, one: Planned, following: datetime) -> str | None:
        assert one.plan is not None
        try:
            request = request_of(one.plan, following, self._functions.typed).request
            self._functions.of(str(request["notebook"])).check(request.get("parameters") or {})
        except (PlaceholderError, Refused) as error:
            message = f"{error}." if isinstance(error, PlaceholderError) else error.failure.message
            return f"{_located(message, one)} {ADVICE}"
        return None


def _located(message: str, one: Planned) -> str:
    """Add the line of the file that a message is about, while the file is there."""
    try:
        return with_line(message, read_file(one.path).decode("utf-8-sig", "replace"))
    except OSError:
        return message
