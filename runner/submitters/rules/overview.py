"""What every interface shows of rules: each with its state, and its newest job."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.contract.triggers.causes import rule
from runner.inbox.unclaimed import read_of_rules
from runner.jobs.backend import Backend
from runner.jobs.problem import unavailable
from runner.state.jobs import Job
from runner.state.locks import holder_of
from runner.submitters.newest import Behind, behind, last_row
from runner.submitters.rules.files import Ruled, RuleFiles
from runner.submitters.rules.outlook import errors_of


@dataclass(frozen=True)
class RuleView:
    """A rule as it is shown. `error` says what is wrong; then the rest may be empty."""

    name: str
    state: str
    """`on`, `paused`, `disabled` or `wrong`."""
    pattern: str | None = None
    group: str | None = None
    notebook: str | None = None
    error: str | None = None
    last: Job | None = None
    paused_by: str | None = None


class RulesOverview:
    """The rules of one runner. Safe for many threads."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._settings = backend.settings
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
        known = behind(self._backend, (rule(one.name) for one in ruled))
        errors = {**self._conflicts(), **errors_of(ruled, self._backend.functions)}
        return [_view(one, errors.get(one.name), known[rule(one.name)]) for one in ruled]

    def _conflicts(self) -> Mapping[str, str]:
        """Say which rules hinder each other; only a runner that is up knows."""
        if holder_of(self._settings.inbox) is None:
            return {}
        return read_of_rules(self._settings.state).rules


def _view(one: Ruled, error: str | None, known: Behind) -> RuleView:
    if one.rule is None:
        return RuleView(one.name, "wrong", error=one.error, last=known.last)
    files, notebook = one.rule.files, str(one.rule.request["notebook"])
    return RuleView(
        name=one.name,
        state=known.state(is_wrong=error is not None, is_enabled=files.enabled),
        pattern=files.pattern,
        group=files.group,
        notebook=notebook,
        error=error,
        last=known.last,
        paused_by=known.paused_by,
    )


def row_of(one: RuleView) -> dict[str, Any]:
    """Describe a rule as JSON."""
    return {
        "name": one.name,
        "state": one.state,
        "pattern": one.pattern,
        "group": one.group,
        "notebook": one.notebook,
        "paused_by": one.paused_by,
        "error": one.error,
        "last": last_row(one.last),
    }
