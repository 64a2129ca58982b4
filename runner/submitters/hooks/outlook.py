"""Looks ahead: the hooks whose calls the runner would refuse."""

import os
import time
from collections.abc import Iterable

from runner.config import Settings
from runner.jobs.functions import LOOK_SECONDS, Functions
from runner.submitters.hooks.files import Hooked, HookFiles
from runner.submitters.notebooks import objection_to


class HookNotes:
    """Notes for health on the hooks of one runner that take no calls, or whose jobs would fail."""

    def __init__(self, settings: Settings, functions: Functions) -> None:
        # A gateway beside the daemon has its environment; one elsewhere has one of its own.
        environ = os.environ if settings.gateway.enabled else None
        self._files = HookFiles(settings.hooks_folder, settings.request_rules, environ)
        self._functions = functions
        self.all: tuple[str, ...] = ()

    def look(self) -> None:
        """Read what has changed."""
        try:
            hooks = self._files.all()
        except OSError as error:
            self.all = (f"the folder of the hooks cannot be read: {error}",)
            return
        wrong = [f"the hook {one.name} takes no calls: {one.error}" for one in hooks if one.error]
        errors = errors_of(hooks, self._functions)
        refused = [f"calls of the hook {name} would not run: {why}" for name, why in errors.items()]
        self.all = (*wrong, *refused)


def errors_of(hooks: Iterable[Hooked], functions: Functions) -> dict[str, str]:
    """Say for hooks whose calls the runner would refuse, why, and what to do.

    Only what holds for every call is known: a notebook that is missing or is none, and values
    without placeholders that do not fit. Those not known after a moment are left out.
    """
    deadline = time.monotonic() + LOOK_SECONDS
    errors = {}
    for one in hooks:
        if time.monotonic() > deadline:
            break
        error = _error(one, functions)
        if error is not None:
            errors[one.name] = (
                f"{error} Correct the file or the library; until then the job of each call ends "
                "as rejected."
            )
    return errors


def _error(one: Hooked, functions: Functions) -> str | None:
    hook = one.hook
    if hook is None or not hook.calls.enabled:
        return None
    return objection_to(hook.request, functions)
