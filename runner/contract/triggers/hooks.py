"""Reads a web hook's file: who may call it, and the request that a call becomes.

    verify: {type: github, secret_env: GITHUB_SECRET}
    when: {headers.x-github-event: push}
    notebook: reports/push.ipynb
    parameters: {repository: "{{ body.repository.full_name }}"}

Pure: the secret is for the reader to find.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runner.contract.rules import Rules
from runner.contract.text.strict_json import JsonValue
from runner.contract.triggers.documents import (
    TriggerError,
    check_request,
    in_line,
    lacking,
    read_mapping,
    split,
)
from runner.contract.triggers.placeholders import (
    PlaceholderError,
    fill,
    names_in,
    parameters_from,
    part_of,
)
from runner.contract.triggers.signatures import Verify

SOURCES = ("body", "headers", "query")
"""The parts of a call that placeholders name."""

Scalar = str | int | float | bool | None


class Calls(BaseModel):
    """The keys of a hook beside those of its request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    verify: Verify
    when: dict[str, Scalar | list[Scalar]] = Field(
        default_factory=dict,
        description="Values that parts of a call must have, such as `headers.x-github-event`; of a "
        "list, one.",
    )
    enabled: bool = Field(True, description="`false`: calls are refused.")
    name: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="Name of the jobs in the outbox; by default each has one of its own.",
    )


@dataclass(frozen=True)
class Hook:
    """A hook: its calls, and the keys of its request, whose placeholders are not filled yet."""

    calls: Calls
    request: Mapping[str, Any]

    def why_ignored(self, call: Mapping[str, JsonValue]) -> str | None:
        """Say which part of a call is not as `when` wants it; None if all are."""
        for place, wanted in self.calls.when.items():
            is_there, value = part_of(dict(call), place.split("."))
            wants = wanted if isinstance(wanted, list) else [wanted]
            if not is_there:
                return f"{place} is missing"
            if not any(type(value) is type(one) and value == one for one in wants):
                return f"{place} is {str(value)[:80]!r}"
        return None

    def request_of(self, call: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """Make the request of one call. A parameter that comes as null keeps its default.

        Raises:
            PlaceholderError: the call lacks what a placeholder names.
        """
        filled = fill(dict(self.request), call)
        assert isinstance(filled, dict)
        parameters = filled.get("parameters")
        if isinstance(parameters, dict):
            filled["parameters"] = {k: v for k, v in parameters.items() if v is not None}
        if self.calls.name is not None:
            filled["name"] = str(fill(self.calls.name, call))
        return filled

    def parameters_from(self, sources: Collection[str]) -> frozenset[str]:
        """Name the parameters that are one part of such sources, and nothing beside it."""
        return parameters_from(self.request, sources)


_KEYS = tuple(Calls.model_fields)


def read_hook(raw: bytes, rules: Rules | None = None) -> Hook:
    """Read a file; `rules` are those of the runner that is to run it.

    Raises:
        TriggerError: what is wrong, in one sentence.
    """
    document, text = read_mapping(raw, "hook", "`verify` and `notebook`", "{{ body.id }}")
    said, request = split(document, _KEYS)
    if "verify" not in said:
        example = "verify: {type: key, secret_env: HOOK_KEY}"
        what = f"which says how calls prove themselves, such as {example}"
        raise lacking(what, "verify", request)
    calls = _calls(said, text)
    _check_request(request, calls, text, rules)
    return Hook(calls, request)


def _calls(said: Mapping[str, Any], text: str) -> Calls:
    try:
        return Calls.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = tuple(one for one in first["loc"] if isinstance(one, str | int))
        key, why = ".".join(map(str, place)), first["msg"].removeprefix("Value error, ")
        if first["type"] == "missing":
            raise TriggerError(f"`{key}` is missing{in_line(text, place[:-1])}.") from error
        raise TriggerError(f"`{key}`: {why}{in_line(text, place)}.") from error


def _check_request(request: dict[str, Any], calls: Calls, text: str, rules: Rules | None) -> None:
    """Check what is known before a call comes: all but the values of its placeholders."""
    for place in calls.when:
        if place.split(".")[0] not in SOURCES:
            raise TriggerError(
                f"`when.{place}`: begin with one of {', '.join(SOURCES)}"
                f"{in_line(text, ('when', place))}."
            )
    try:
        names_in([request, calls.name], SOURCES)
    except PlaceholderError as error:
        raise TriggerError(f"{error}{in_line(text, error.place[1:])}.") from error
    plain = {**request, "parameters": dict.fromkeys(request.get("parameters") or {}, 0)}
    check_request(plain, text, _KEYS, rules)
