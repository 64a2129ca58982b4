"""What every interface shows of rules: each with its state, and its newest job."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from runner.contract.outcome import Refused
from runner.contract.triggers.causes import cause_of_rule
from runner.jobs.backend import Backend
from runner.jobs.problem import unavailable
from runner.state.jobs import Job
from runner.submitters.rules.files import Ruled, RuleFiles


@dataclass(frozen=True)
class RuleView:
    """A rule as it is shown. `error` says what is wrong; then the rest may be empty."""

    name: str
    state: str
    """`on`, `disabled` or `wrong`."""
    pattern: str | None = None
    group: str | None = None
    notebook: str | None = None
    error: str | None = None
    last: Job | None = None


class RulesOverview:
    """The rules of one runner. Safe for many threads."""

    def __init__(self, backend: Backend) -> None:
        self._settings = backend.settings
        self._functions = backend.functions
        self._record = backend.record
        self._files = RuleFiles(self.folder, self._settings.request_rules)
        self._reading = threading.Lock()

    @property
    def folder(self) -> Path:
        """The folder with their files."""
        return self._settings.rules_folder

    def all(self) -> list[RuleView]:
        """List them by name.

        Raises:
            Problem: `unavailable`, the folder or the ledger cannot be read.
        """
        try:
            with self._reading:
                ruled = self._files.all()
        except OSError as error:
            why = error.strerror or error
            raise unavailable(f"{self.folder} cannot be read ({why}).") from error
        if not ruled:
            return []
        last = self._last(one.name for one in ruled)
        return [self._view(one, last.get(one.name)) for one in ruled]

    def _last(self, names: Iterable[str]) -> dict[str, Job]:
        with self._record.ledger() as ledger:
            newest = {name: ledger.newest_of(cause_of_rule(name, "")) for name in names}
        return {name: job for name, job in newest.items() if job is not None}

    def _view(self, one: Ruled, last: Job | None) -> RuleView:
        if one.rule is None:
            return RuleView(one.name, "wrong", error=one.error, last=last)
        files, notebook = one.rule.files, str(one.rule.request["notebook"])
        error = self._error(notebook)
        state = "wrong" if error else "on" if files.enabled else "disabled"
        return RuleView(one.name, state, files.pattern, files.group, notebook, error, last)

    def _error(self, notebook: str) -> str | None:
        """Say why its jobs would be refused, as far as its notebook tells."""
        try:
            self._functions.of(notebook)
        except Refused as refused:
            return refused.failure.message
        return None
