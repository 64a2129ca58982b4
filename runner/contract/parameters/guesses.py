"""Warns about values for parameters whose defaults are of another type.

An untyped default is a guess at a type, so a value that does not match is no error.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runner.contract.notebook import code_sources, language_of
from runner.contract.parameters.listing import MAX_CHARS, names_in_words
from runner.contract.parameters.signature import Signature, advice_on_number

_CONVERSIONS = (
    *(
        "int",
        "float",
        "complex",
        "Decimal",
        "Fraction",
        "to_numeric",
        "literal_eval",
        "loads",
    ),
    *("strtobool", "safe_load"),
)
MOST_CHARS = 40
_TEXT_METHODS = ("split", "lower", "upper", "strip", "casefold", "removeprefix", "startswith")
"""Whoever calls one of these expects a text."""


@dataclass(frozen=True)
class _Guess:
    """Words for parameters of one type, for one of them and for several, and advice."""

    one: str
    many: str
    advice: str


_NUMBER = _Guess("is a number", "are numbers", "Send the number without quotes.")
_GUESSES = {
    "boolean": _Guess(
        "is true or false",
        "are true or false",
        "Send true or false without quotes; `yes`, `no`, `on` and `off` are texts.",
    ),
    "integer": _NUMBER,
    "number": _NUMBER,
    "array": _Guess("is a list", "are lists", "Send it as a list of YAML or JSON."),
    "object": _Guess("is a mapping", "are mappings", "Send it as a mapping of YAML or JSON."),
}


def texts_for_values(
    notebook: Mapping[str, Any], signature: Signature, values: Mapping[str, Any]
) -> str | None:
    """Warn about texts for numbers, truth values, lists and mappings, numbers for texts, and null.

    None where there are none, or where the notebook converts the value, or declares a type.
    """
    if not values or language_of(notebook) not in (None, "python"):
        return None
    code = "\n".join(code_sources(notebook))[:MAX_CHARS]
    wrong: dict[_Guess, list[str]] = {}
    others: list[str] = []
    for one in signature.parameters:
        if one.is_declared or one.name not in values or _is_converted(one.name, code):
            continue
        kind, value = str(one.schema.get("type")), values[one.name]
        guess = _GUESSES.get(kind)
        if guess is not None and isinstance(value, str):
            wrong.setdefault(_for_text(guess, value), []).append(one.name)
        elif (other := _for_other(one.name, kind, value, code)) is not None:
            others.append(other)
    texts = [_for_texts(names, guess) for guess, names in wrong.items()]
    return " ".join([*texts, *others]) or None


def _for_text(guess: _Guess, text: str) -> _Guess:
    """Give the advice that fits a text: it may be no number even without quotes."""
    return replace(guess, advice=advice_on_number(text)) if guess is _NUMBER else guess


def _for_other(name: str, kind: str, value: object, code: str) -> str | None:
    """Warn about a value that is no text, by the type of the default; None if it may fit."""
    is_made_text = re.search(rf"\bstr\(\s*{re.escape(name)}\b", code) is not None
    said = "null" if value is None else f"{value!r}"[:MOST_CHARS]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "string" and is_number and not is_made_text:
        advice = "Send it in quotes; on the command line, with -r."
        return f"`{name}` is a text in the notebook, and the number {said} in the request. {advice}"
    if kind == "integer" and isinstance(value, float) and not value.is_integer():
        return f"`{name}` is a whole number in the notebook, and {said} in the request."
    if kind in _GUESSES and value is None:
        return f"`{name}` {_GUESSES[kind].one} in the notebook, and null in the request."
    return None


def _for_texts(names: Sequence[str], guess: _Guess) -> str:
    are = guess.many if len(names) > 1 else guess.one
    return (
        f"{names_in_words(names)} {are} in the notebook, and a text in the request, which stays a "
        f"text. {guess.advice}"
    )


def _is_converted(name: str, code: str) -> bool:
    plain = re.escape(name)
    call = rf"\b(?:{'|'.join(_CONVERSIONS)})\(\s*{plain}\b"
    method = rf"\b{plain}\.(?:{'|'.join(_TEXT_METHODS)})\("
    return re.search(f"{call}|{method}", code) is not None
