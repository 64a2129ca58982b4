"""Looks ahead: the rules whose jobs the runner would refuse, so that their files stay."""

import time
from collections.abc import Iterable

from runner.jobs.functions import LOOK_SECONDS, Functions
from runner.submitters.notebooks import objection_to
from runner.submitters.rules.files import Ruled

ADVICE = "Correct the file or the library; until then its files stay in the inbox."


def errors_of(
    rules: Iterable[Ruled], functions: Functions, seconds: float = LOOK_SECONDS
) -> dict[str, str]:
    """Say for rules whose jobs the runner would refuse, why, and what to do.

    `seconds`: how long this look may read. Those not known by then are left out.
    """
    deadline = time.monotonic() + seconds
    errors = {}
    for one in rules:
        if time.monotonic() > deadline:
            break
        if one.rule is not None and one.rule.files.enabled:
            error = objection_to(one.rule.request, functions)
            if error is not None:
                errors[one.name] = f"{error} {ADVICE}"
    return errors
