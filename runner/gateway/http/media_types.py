"""Decides which kinds of body `POST /run` takes, and what to say about all others.

Pure, over header values. A page of another site can send some types without asking first (plain
text, a form of texts, no type): these are never taken.
"""

from enum import StrEnum

from runner.gateway.http.problems import HttpProblem, HttpProblemType
from runner.jobs.problem import Problem

ACCEPTED = (
    "application/json",
    "application/x-ipynb+json",
    "application/octet-stream",
    "multipart/form-data",
)
_JSON = ("application/json", "application/octet-stream", "application/x-json", "text/json")
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
    kind, _, parameters = (content_type or "").partition(";")
    kind = kind.strip().lower()
    coding = (content_encoding or "identity").strip().lower()
    if coding != "identity":
        raise _unsupported(f"The body came compressed ({coding[:50]}); send it as it is.")
    if kind == "multipart/form-data":
        return BodyKind.FORM
    if kind not in _JSON and not (kind.startswith("application/") and kind.endswith("+json")):
        came = f"as `{kind[:100]}`" if kind else "without a Content-Type"
        raise _unsupported(f"The body came {came}.{_HINTS.get(kind, '')}")
    charset = _charset(parameters)
    if charset not in _UTF_8:
        raise _unsupported(f"The body came in {charset[:50]!r}; send it in UTF-8.")
    return BodyKind.JSON


def _charset(parameters: str) -> str:
    for part in parameters.split(";"):
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip("\"'").lower()
    return ""


def _unsupported(why: str) -> Problem:
    message = f"{why} The types that work are {', '.join(ACCEPTED[:-1])}, and {ACCEPTED[-1]} "
    headers = {"Accept-Post": ", ".join(ACCEPTED), "Accept-Encoding": "identity"}
    message += "with the notebook as a file."
    return HttpProblem(HttpProblemType.UNSUPPORTED_MEDIA_TYPE, message, headers=headers)
