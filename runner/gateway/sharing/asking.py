"""Reads how somebody wants a report: the keys of an address, and what is wrong with them."""

from collections.abc import Collection, Mapping

from pydantic import ValidationError

from runner.contract.report_choices import ReportChoices
from runner.contract.request import hint
from runner.gateway.http.problems import bad
from runner.jobs.problem import Problem
from runner.reports.rendering.options import FORMS


def asked_in(query: Mapping[str, str | None]) -> tuple[str, ReportChoices]:
    """Read the format and the choices of a query; an empty value is none.

    Raises:
        Problem: one of them is not known, or no UTF-8, which is None.
    """
    form = query.get("format") or FORMS[0]
    if form not in FORMS:
        raise bad(f"`format` is one of {', '.join(FORMS)}.")
    made = {k: v for k, v in query.items() if k in ReportChoices.model_fields and v != ""}
    if None in made.values():
        raise bad("The query is no UTF-8.")
    try:
        choices = ReportChoices.model_validate(made)
    except ValidationError as error:
        raise wrong(error, ReportChoices.model_fields) from error
    return form, choices


def wrong(error: ValidationError, known: Collection[str]) -> Problem:
    """Name the key that a schema refuses, and why; `known` are those that it has."""
    first = error.errors(include_url=False)[0]
    key = ".".join(map(str, first["loc"])) or "the body"
    if first["type"] == "extra_forbidden":
        return bad(f"Unknown key `{key[:200]}`{hint(key, known)}.")
    return bad(f"`{key}`: {first['msg']}.")
