"""The prospects of a rule's file: why no file would start its notebook, as far as that is known."""

import os
from pathlib import Path

from runner.config import Settings
from runner.contract.outcome import Failure
from runner.contract.states.status import ErrorType
from runner.jobs.refusals import Forecast, forecast
from runner.submitters.rules.files import RuleFiles
from runner.submitters.trigger_files import is_meant


def is_rule(file: Path, settings: Settings) -> bool:
    """Return whether a file is meant as a rule: by its folder, or by its key `pattern`."""
    return is_meant(file, settings.rules_folder, "pattern")


def forecast_of(file: Path, settings: Settings) -> Forecast:
    """Read a file, wherever it lies, and check its request as for a file `data/a.csv`."""
    folder = Path(os.path.realpath(settings.rules_folder))
    parent = Path(os.path.realpath(file.parent))
    ruled = RuleFiles(folder, settings.request_rules).one(parent / file.name)
    if ruled.rule is None:
        failure = Failure(error_type=ErrorType.INVALID_REQUEST, message=ruled.error or "")
        return Forecast((failure,))
    request, _ = ruled.rule.request_of(["data/a.csv"])
    keys = {key: one for key, one in request.items() if key != "notebook"}
    return forecast(keys, lambda: str(request["notebook"]), settings)
