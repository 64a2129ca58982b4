"""The prospects of a web hook's file: why no call would run, as far as that is known before."""

import os
from dataclasses import replace
from pathlib import Path

from runner.config import Settings
from runner.contract.outcome import Failure
from runner.contract.states.status import ErrorType
from runner.jobs.functions import Functions
from runner.jobs.refusals import Forecast, forecast
from runner.submitters.hooks.files import HookFiles
from runner.submitters.notebooks import objection_to
from runner.submitters.trigger_files import is_meant


def is_hook(file: Path, settings: Settings) -> bool:
    """Return whether a file is meant as a hook: by its folder, or by its key `verify`."""
    return is_meant(file, settings.hooks_folder, "verify")


def forecast_of(file: Path, settings: Settings) -> Forecast:
    """Read a file, wherever it lies, and check the notebook that it names, as health does.

    Parameters that come with a call are not known before, nor is the environment of the gateway.
    """
    folder = Path(os.path.realpath(settings.hooks_folder))
    parent = Path(os.path.realpath(file.parent))
    hooked = HookFiles(folder, settings.request_rules, environ=None).one(parent / file.name)
    if hooked.hook is None:
        failure = Failure(error_type=ErrorType.INVALID_REQUEST, message=hooked.error or "")
        return Forecast((failure,))
    keys = {key: one for key, one in hooked.hook.request.items() if key != "notebook"}
    notebook = str(hooked.hook.request["notebook"])
    prospects = forecast({**keys, "parameters": {}}, lambda: notebook, settings)
    objection = objection_to(hooked.hook.request, Functions(settings))
    if objection is not None and not prospects.refusals:
        failure = Failure(error_type=ErrorType.INVALID_PARAMETERS, message=objection)
        prospects = replace(prospects, refusals=(failure,))
    secret_env = hooked.hook.calls.verify.secret_env
    if secret_env is None:
        return prospects
    has = "has it" if os.environ.get(secret_env) else "does not have it"
    note = (
        f"the secret is {secret_env} in the environment of the gateway, which is not known here; "
        f"that of this command {has}. `runner health` and GET /hooks say whether the gateway has it"
    )
    return replace(prospects, notes=(note,))
