"""What the views of rules and web hooks tell alike: state, pause, and newest job."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from runner.jobs.backend import Backend
from runner.jobs.pausing import Pausing
from runner.state.jobs import Job


@dataclass(frozen=True)
class Behind:
    """What the runner knows of a rule or hook: its newest job, and who paused it."""

    last: Job | None = None
    paused_by: str | None = None

    def state(self, *, is_wrong: bool, is_enabled: bool) -> str:
        """Name its state: `wrong`, `disabled`, `paused` or `on`."""
        if is_wrong:
            return "wrong"
        if not is_enabled:
            return "disabled"
        return "on" if self.paused_by is None else "paused"


def behind(backend: Backend, triggers: Iterable[str]) -> dict[str, Behind]:
    """Look up rules and hooks, such as `rule:invoices`; nothing is opened where there are none.

    Raises:
        Problem: `unavailable`, ledger or pauses cannot be read.
    """
    names = list(triggers)
    if not names:
        return {}
    paused = {one.name: one.by for one in Pausing(backend.settings.state).all()}
    with backend.record.ledger() as ledger:
        return {name: Behind(ledger.newest_of(name), paused.get(name)) for name in names}


def last_row(last: Job | None) -> dict[str, Any] | None:
    """Describe the newest job as JSON."""
    return None if last is None else {"job_id": last.job_id, "status": last.status}
