"""What every interface shows of web hooks: each with its state, and its newest job."""

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runner.contract.triggers.causes import hook
from runner.jobs.backend import Backend
from runner.jobs.problem import unavailable
from runner.state.jobs import Job
from runner.submitters.hooks.files import Hooked, HookFiles
from runner.submitters.hooks.outlook import errors_of
from runner.submitters.newest import Behind, behind, last_row


@dataclass(frozen=True)
class HookView:
    """A web hook as it is shown, without its secret. `error` says what is wrong.

    `state` is `on`, `paused`, `disabled` or `wrong`; `verify` is how its callers prove themselves.
    `secret_env` is the variable of the gateway with the secret, where that cannot be looked into.
    """

    name: str
    state: str
    verify: str | None
    notebook: str | None
    error: str | None
    last: Job | None
    paused_by: str | None
    secret_env: str | None = None


class HooksOverview:
    """The web hooks of one runner. Safe for many threads.

    `environ` is the gateway's environment, where secrets may be; None where it is not known.
    """

    def __init__(self, backend: Backend, environ: Mapping[str, str] | None = os.environ) -> None:
        self._backend = backend
        self._files = HookFiles(self.folder, backend.settings.request_rules, environ)
        self._is_gateway = environ is not None
        self._reading = threading.Lock()

    @property
    def folder(self) -> Path:
        """The folder with their files."""
        return self._backend.settings.hooks_folder

    def hooked(self) -> list[Hooked]:
        """Read their files, by name.

        Raises:
            Problem: `unavailable`, the folder cannot be read.
        """
        try:
            with self._reading:
                return self._files.all()
        except OSError as error:
            why = error.strerror or error
            raise unavailable(f"{self.folder} cannot be read ({why}).") from error

    def all(self) -> list[HookView]:
        """List them by name.

        Raises:
            Problem: `unavailable`, the folder or the ledger cannot be read.
        """
        hooks = self.hooked()
        errors = errors_of(hooks, self._backend.functions)
        known = behind(self._backend, (hook(one.name) for one in hooks))
        views = [
            _view(one, one.error or errors.get(one.name), known[hook(one.name)]) for one in hooks
        ]
        return [replace(one, secret_env=None) for one in views] if self._is_gateway else views


def _view(one: Hooked, error: str | None, known: Behind) -> HookView:
    calls = None if one.hook is None else one.hook.calls
    is_enabled = calls is not None and calls.enabled
    notebook = None if one.hook is None else one.hook.request.get("notebook")
    return HookView(
        name=one.name,
        state=known.state(is_wrong=error is not None, is_enabled=is_enabled),
        verify=None if calls is None else calls.verify.type,
        notebook=None if notebook is None else str(notebook),
        error=error,
        last=known.last,
        paused_by=known.paused_by,
        secret_env=None if calls is None else calls.verify.secret_env,
    )


def row_of(one: HookView) -> dict[str, Any]:
    """Describe a web hook as JSON."""
    return {
        "name": one.name,
        "state": one.state,
        "verify": one.verify,
        "notebook": one.notebook,
        "paused_by": one.paused_by,
        "error": one.error,
        "last": last_row(one.last),
    }
