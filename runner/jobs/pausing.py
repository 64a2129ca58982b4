"""Pauses as clients see them: list, add, end.

Writes into the state folder, where the daemon reads them. Needs no daemon.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from runner.contract.names import MAX_NAME_BYTES
from runner.contract.states.status import ErrorType
from runner.contract.text.plain_text import is_text
from runner.jobs.problem import Problem, not_found, unavailable
from runner.state.pauses import Pause, Pauses, meant_by
from runner.system.clocks import Clocks
from runner.system.files.disk import Disk


class Pausing:
    """The pauses of one state folder."""

    def __init__(self, state: Path, disk: Disk | None = None, clocks: Clocks | None = None) -> None:
        self._state = state
        self._disk = disk
        self._clocks = clocks or Clocks()

    def all(self) -> tuple[Pause, ...]:
        """List them, the one for all jobs first.

        Raises:
            Problem: `unavailable`.
        """
        try:
            return self._pauses().all()
        except OSError as error:
            raise _unusable(error) from error

    def pause(self, name: str, by: str) -> Pause:
        """Let no job of a name start, or of a pattern, or none at all if it is empty.

        Or none of a rule or web hook: `rule:NAME`, `hook:NAME`.

        One that is paused already stays as it is.

        Raises:
            Problem: `invalid_request` for what cannot be a name, `unavailable`.
        """
        if not is_text(name) or len(name.encode()) > MAX_NAME_BYTES or "\0" in name:
            message = f"`name` is no name of a job, nor a pattern: {name[:100]!r}."
            raise Problem(ErrorType.INVALID_REQUEST, message)
        new = Pause(name, by, self._clocks.stamp())
        try:
            is_new = self._pauses().add(new)
        except OSError as error:
            raise _unusable(error) from error
        return new if is_new else next((one for one in self.all() if one.name == name), new)

    def resume(self, name: str) -> None:
        """End the pause of a name, or the one of all jobs if it is empty.

        Raises:
            Problem: `not_found`, naming those that there are; `unavailable`.
        """
        try:
            if is_text(name) and self._pauses().remove(name):
                return
        except OSError as error:
            raise _unusable(error) from error
        names = ", ".join(repr(one.name) if one.name else "all jobs" for one in self.all())
        what = meant_by(name)
        raise not_found(
            f"No pause is for {what}. Paused are: {names}." if names else "Nothing is paused."
        )

    def _pauses(self) -> Pauses:
        return Pauses(self._state, self._disk)


def row_of(pause: Pause) -> dict[str, Any]:
    """Describe a pause as JSON."""
    return asdict(pause)


def _unusable(error: OSError) -> Problem:
    return unavailable(f"The pauses in the state folder cannot be used: {error}.")
