"""What the files of schedules and of web hooks have in common: YAML with a request in it.

Pure, over the bytes of a file. Every error says the line where there is one.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from runner.contract.outcome import Refused
from runner.contract.request import Form, hint_of_key, read_request
from runner.contract.rules import Rules
from runner.contract.text.strict_yaml import StrictYamlError, loads
from runner.contract.text.yaml_places import line_of

MAX_BYTES = 64 * 1024
"""Longest file: far more than it needs, and read in a tenth of a second."""
MOST_MISTAKES = 3
"""How many wrong keys are named at once."""

Keys = TypeVar("Keys", bound=BaseModel)

_KEY_IN_MESSAGE = re.compile(r"`([^`.]+)((?:\.\w+)*)`")
_PARAMETER_IN_MESSAGE = re.compile(r"[Pp]arameter (?:name )?[`']([^`']+)[`']")
_HAS_LINE = re.compile(r"\(line \d+(?:, column \d+)?\)")
_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f@]{1,120}")


class TriggerError(Exception):
    """A file is wrong; the message says what to do, and the line where there is one."""


def is_trigger_name(name: str) -> bool:
    """Return whether a file's path without its suffix can name a trigger, and its causes."""
    return _NAME.fullmatch(name) is not None


def read_mapping(raw: bytes, what: str, needed: str, example: str) -> tuple[dict[str, Any], str]:
    """Read a file; return its mapping, and its text.

    For messages: `what` it is (`schedule`), the keys that are `needed`, a placeholder as `example`.

    Raises:
        TriggerError: what is wrong, in one sentence.
    """
    if len(raw) > MAX_BYTES:
        raise TriggerError(f"It has {len(raw)} bytes; a {what} has at most {MAX_BYTES}.")
    try:
        document = loads(raw)
    except StrictYamlError as error:
        is_said = b"{{" not in raw or "{{" in str(error)
        hint = "" if is_said else f' Placeholders need quotes: "{example}".'
        raise TriggerError(f"This is no valid YAML: {error}.{hint}") from error
    if not isinstance(document, dict):
        raise TriggerError(f"A {what} is a mapping with {needed}.")
    return document, raw.decode("utf-8-sig")


def split(document: Mapping[str, Any], own: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split the keys of a file into its `own`, without nulls, and those of its request."""
    said = {key: one for key, one in document.items() if key in own and one is not None}
    return said, {key: one for key, one in document.items() if key not in own}


def read_keys(model: type[Keys], said: Mapping[str, Any], text: str) -> Keys:
    """Read the keys of a file that are its own.

    Raises:
        TriggerError: what is wrong with some of them, each with its line.
    """
    try:
        return model.model_validate(said)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=False)[:MOST_MISTAKES]
        raise TriggerError(" ".join(_sentence(one, text) for one in wrong)) from error


def _sentence(error: ErrorDetails, text: str) -> str:
    key, why = str(error["loc"][0]), error["msg"].removeprefix("Value error, ")
    shown = str(error["input"])[:80]
    return f"`{key}` is {shown!r}: {why}{in_line(text, (key,))}."


def lacking(what: str, key: str, request: Mapping[str, Any]) -> TriggerError:
    """Say that a file has no `key`, and which of its other keys may be meant; `what` begins it."""
    return TriggerError(f"It has no `{key}`, {what}.{hint_of_key(request, key)}")


def checked(*checks: Callable[[], object]) -> None:
    """Make all checks of a file.

    Raises:
        TriggerError: all that they say.
    """
    mistakes = []
    for check in checks:
        try:
            check()
        except TriggerError as error:
            mistakes.append(str(error))
    if mistakes:
        raise TriggerError(" ".join(mistakes))


def check_request(
    request: Mapping[str, Any], text: str, own: Sequence[str], rules: Rules | None
) -> None:
    """Check a request without placeholders, as it stands in a file; `own` are the file's keys.

    Raises:
        TriggerError
    """
    try:
        checked = read_request(request, Form.YAML, beside=own)
        if rules is not None:
            rules.check(checked)
    except Refused as refused:
        raise TriggerError(with_line(refused.failure.message, text)) from refused
    if checked.notebook is None:
        raise TriggerError("It has no `notebook`, the path of one in the library.")


def with_line(message: str, text: str) -> str:
    """Add the line of the key that a message names, if the text of the file has it."""
    if _HAS_LINE.search(message):
        return message
    places: list[tuple[str, ...]] = []
    if (parameter := _PARAMETER_IN_MESSAGE.search(message)) is not None:
        places.append(("parameters", parameter[1]))
    if (named := _KEY_IN_MESSAGE.search(message)) is not None:
        places += [(named[1], *named[2].split(".")[1:]), ("parameters", named[1])]
    places.append(("notebook",))
    line = next((line for place in places if (line := in_line(text, place))), "")
    return f"{message.removesuffix('.')}{line}."


def in_line(text: str, place: Sequence[str | int]) -> str:
    """Say in which line a place stands: ` (line 3)`; empty where the text has no such place."""
    line = line_of(text, place)
    return "" if line is None else f" (line {line})"
