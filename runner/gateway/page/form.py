"""Reads the form of a notebook's parameters, and turns what was typed into a request.

Pure. The request holds only values that differ from the notebook's default, so a computed default
stays computed. Submits nothing.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from runner.contract.parameters.signature import NOTHING
from runner.gateway.page.fields import (
    Field,
    Wrong,
    integer_of,
    json_of,
    number_of,
    text_of,
    value_of,
)


@dataclass(frozen=True)
class Typed:
    """The form as it was typed."""

    fields: tuple[Field, ...] = ()
    more: str = ""
    name: str = ""
    timeout: str = ""
    memory: str = ""
    retries: str = ""
    errors: Mapping[str, str] = field(default_factory=dict)
    """By the names of the fields above; `""` for general ones."""

    @property
    def is_wrong(self) -> bool:
        """Whether something must be corrected."""
        return bool(self.errors) or any(one.error for one in self.fields)


def filled(fields: tuple[Field, ...], values: Mapping[str, Any]) -> Typed:
    """Fill the form from an earlier request; values without a field go to the rest."""
    names = {one.name for one in fields}
    more = {name: value for name, value in values.items() if name not in names}
    fields_shown = tuple(
        replace(one, text=text_of(one.kind, values[one.name])) if one.name in values else one
        for one in fields
    )
    return Typed(fields_shown, json.dumps(more, ensure_ascii=False, indent=2) if more else "")


def named(form: Typed, request: Mapping[str, Any], name: str) -> Typed:
    """Fill in the rest of an earlier request; `asked` has its keys."""
    timeout, memory = request.get("timeout_seconds"), request.get("resources", {}).get("memory_mb")
    retries = request.get("retries")
    return replace(
        form,
        timeout="" if timeout is None else f"{timeout:g}",
        memory="" if memory is None else str(memory),
        retries="" if retries is None else str(retries),
        name=name,
    )


def typed(fields: tuple[Field, ...], field_text: Callable[[str], str | None]) -> Typed:
    """Read the posted form. `field_text` returns the text of a named field; None if missing."""
    texts = [(one, field_text(f"p.{one.name}")) for one in fields]
    return Typed(
        tuple(one if text is None else replace(one, text=_plain(text)) for one, text in texts),
        more=_plain(field_text("more") or "").strip(),
        name=(field_text("name") or "").strip(),
        timeout=(field_text("timeout") or "").strip(),
        memory=(field_text("memory") or "").strip(),
        retries=(field_text("retries") or "").strip(),
    )


def request_of(form: Typed, notebook: object) -> tuple[dict[str, Any], Typed]:
    """Return the request, and the form with its errors; the former counts if there are none."""
    parameters: dict[str, Any] = {}
    checked = []
    for one in form.fields:
        try:
            value = value_of(one)
        except Wrong as wrong:
            checked.append(replace(one, error=str(wrong)))
            continue
        checked.append(one)
        if value is not NOTHING:
            parameters[one.name] = value
    errors = dict(form.errors)
    request: dict[str, Any] = {"notebook": notebook}
    try:
        parameters = {**_more(form.more), **parameters}
    except Wrong as wrong:
        errors["more"] = str(wrong)
    if form.timeout:
        try:
            request["timeout_seconds"] = number_of(form.timeout)
        except Wrong as wrong:
            errors["timeout"] = str(wrong)
    if form.memory:
        try:
            request["resources"] = {"memory_mb": integer_of(form.memory)}
        except Wrong as wrong:
            errors["memory"] = str(wrong)
    if form.retries:
        try:
            request["retries"] = integer_of(form.retries)
        except Wrong as wrong:
            errors["retries"] = str(wrong)
    if form.name:
        request["name"] = form.name
    if parameters:
        request["parameters"] = parameters
    return request, replace(form, fields=tuple(checked), errors=errors)


def blamed(form: Typed, message: str) -> Typed:
    """Put a refusal beside the field that it concerns."""
    places = (
        ("`timeout_seconds`", "timeout"),
        ("`resources.memory_mb`", "memory"),
        ("`retries`", "retries"),
        ("`name`", "name"),
        ("parameter", "more"),
    )
    place = next((place for word, place in places if word in message), "")
    return replace(form, errors={**form.errors, place: message})


def _plain(text: str) -> str:
    """Normalise the line ends of a form."""
    return text.replace("\r\n", "\n")


def _more(text: str) -> dict[str, Any]:
    if not text:
        return {}
    value = json_of(text, '{"region": "EU"}')
    if not isinstance(value, dict):
        raise Wrong('Enter a JSON object, such as {"region": "EU"}.')
    return value
