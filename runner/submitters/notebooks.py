"""What the library says of the jobs of rules and web hooks, before there is one."""

from collections.abc import Mapping
from typing import Any

from runner.contract.outcome import Refused
from runner.jobs.functions import Functions


def objection_to(request: Mapping[str, Any], functions: Functions) -> str | None:
    """Say why every job of a request with placeholders would be refused; None if not all would.

    Known are a notebook that is missing or is none, values without placeholders that do not fit,
    and parameters that are missing or are none of the notebook's.
    """
    try:
        signature = functions.of(str(request["notebook"])).signature
    except Refused as refused:
        return refused.failure.message
    values = request.get("parameters") or {}
    known = {one.name for one in signature.parameters}
    later = {name for name in known & values.keys() if "{{" in repr(values[name])}
    objections = signature.objections(values)
    return next((why for name, why in objections.items() if name not in later), None)
