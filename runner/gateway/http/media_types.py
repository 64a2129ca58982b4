"""Decides which kinds of body `POST /run` and calls of notebooks take, and what to say of others.

Pure, over header values. A page of another site can send some types without asking first (plain
text, a form of texts, no type): these are never taken.
"""

from collections.abc import Sequence
from enum import StrEnum

from runner.gateway.http.problems import HttpProblem, HttpProblemType
from runner.jobs.problem import Problem

ACCEPTED = (
    "application/json",
    "application/x-ipynb+json",
    "application/octet-stream",
    "multipart/form-data",
)
ACCEPTED_FOR_CALLS = ("application/json",)
_JSON = (
    *("application/json", "application/octet-stream", "application/x-json", "text/json"),
    "application/vnd.google.colaboratory",  # Google Drive's; n8n sends a file under its own type
)
_UTF_8 = ("", "utf-8", "utf8", "us-ascii", "ascii")
_HINTS = {
    "application/x-www-form-urlencoded": " `curl -d`, `wget --post-file` and PowerShell name this "
    "type by themselves; name another one, as by `-H 'Content-Type: application/json'`.",
    "text/plain": " Many clients call every text so (fetch, aiohttp, Home Assistant's rest_command "
    "without a content_type); name the type that it has.",
    "multipart/mixed": " A file goes as `multipart/form-data`, as by `curl -F file=@report.ipynb`.",
}


class BodyKind(StrEnum):
    """Ways to read a body."""

    JSON = "json"
    FORM = "form"


def body_kind(content_type: str | None, content_encoding: str | None) -> BodyKind:
    """Choose how to read a body, by its headers.

    Raises:
        Problem: 415, with the type that came and those that are taken.
    """
    if _kind_of(content_type) == "multipart/form-data":
        _check_coding(content_encoding, ACCEPTED)
        return BodyKind.FORM
    _check_json(content_type, content_encoding, ACCEPTED)
    return BodyKind.JSON


def check_parameters_type(content_type: str | None, content_encoding: str | None) -> None:
    """Check that a body can be the parameters of a call: a JSON object.

    Raises:
        Problem: 415, with the type that came and those that are taken.
    """
    _check_json(content_type, content_encoding, ACCEPTED_FOR_CALLS)


def _kind_of(content_type: str | None) -> str:
    return (content_type or "").partition(";")[0].strip().lower()


def _check_coding(content_encoding: str | None, accepted: Sequence[str]) -> None:
    coding = (content_encoding or "identity").strip().lower()
    if coding != "identity":
        why = f"The body came compressed ({coding[:50]}); send it as it is."
        raise _unsupported(why, accepted)


def _check_json(
    content_type: str | None, content_encoding: str | None, accepted: Sequence[str]
) -> None:
    kind = _kind_of(content_type)
    _check_coding(content_encoding, accepted)
    if kind not in _JSON and not (kind.startswith("application/") and kind.endswith("+json")):
        came = f"as `{kind[:100]}`" if kind else "without a Content-Type"
        raise _unsupported(f"The body came {came}.{_HINTS.get(kind, '')}", accepted)
    charset = _charset((content_type or "").partition(";")[2])
    if charset not in _UTF_8:
        raise _unsupported(f"The body came in {charset[:50]!r}; send it in UTF-8.", accepted)


def _charset(parameters: str) -> str:
    for part in parameters.split(";"):
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip("\"'").lower()
    return ""


def _unsupported(why: str, accepted: Sequence[str]) -> Problem:
    if accepted is ACCEPTED:
        message = f"{why} The types that work are {', '.join(accepted[:-1])}, and {accepted[-1]} "
        message += "with the notebook as a file."
    else:
        message = f"{why} Send the parameters as a JSON object (Content-Type: {accepted[0]})."
    headers = {"Accept-Post": ", ".join(accepted), "Accept-Encoding": "identity"}
    return HttpProblem(HttpProblemType.UNSUPPORTED_MEDIA_TYPE, message, headers=headers)
