"""The one table for the meaning of plain text: null, true or false, a number, or the text itself.

It is the core schema of YAML 1.2, for YAML files, `-p` of the command line and the page's form
alike. One rule is our own: a number with a needless zero stays text, because JSON has none. So do
dates and times, `yes`, `no`, `on`, `off`, `1_000` and `1:30`. Knows no syntax around them.
"""

import math
import re
from typing import TypeAlias

Scalar: TypeAlias = bool | int | float | str | None

MAX_DIGITS = 4_300
"""Most digits of a number that every Python reads."""
_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("null", "Null", "NULL", "~"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NOT_FINITE = frozenset(
    f"{sign}{word}" for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")
) | {".nan", ".NaN", ".NAN"}
_LONGEST_WORD = 5
_BEGINNINGS = frozenset("+-.0123456789")
_EXPONENT = re.compile(r"[eE][-+]?[0-9]+")
_OTHER_BASES = (("0x", 16, frozenset("0123456789abcdefABCDEF")), ("0o", 8, frozenset("01234567")))


class ScalarError(ValueError):
    """A number that JSON cannot express; the message says why, and what to write."""


def scalar_of(text: str) -> Scalar:
    """Return the value of a plain text; empty text stays text. Takes linear time.

    | text | value | |---|---| | `null`, `Null`, `NULL`, `~` | null | | `true`, `True`, `TRUE`,
    `false`, `False`, `FALSE` | true, false | | `12`, `-3`, `+5`, `0x1F`, `0o17` | whole number | |
    `1.5`, `.5`, `1.`, `1e-3` | number | | `007`, `01.5`, `2026-01-02`, `10:30`, `1_000`, `NO`,
    `yes`, anything else | text |

    Raises:
        ScalarError: `.inf`, `.nan`, and numbers that are too large or have too many digits.
    """
    if len(text) <= _LONGEST_WORD:
        if text in _WORDS:
            return _WORDS[text]
        if text in _NOT_FINITE:
            raise ScalarError(f"{text} is a number that JSON does not have; write null or '{text}'")
    if text[:1] not in _BEGINNINGS or not text:
        return text
    return _number(text)


def _number(text: str) -> int | float | str:
    for prefix, base, digits in _OTHER_BASES:
        if text.startswith(prefix):
            return _whole(text, base) if text[2:] and digits.issuperset(text[2:]) else text
    unsigned = text[1:] if text[0] in "+-" else text
    whole = _leading_digits(unsigned)
    if len(whole) > 1 and whole[0] == "0":
        return text
    rest = unsigned[len(whole) :]
    if not rest:
        return _whole(text, 10) if whole else text
    if rest[0] == ".":
        decimals = _leading_digits(rest[1:])
        if not whole and not decimals:
            return text
        rest = rest[1 + len(decimals) :]
    elif not whole:
        return text
    return text if rest and not _EXPONENT.fullmatch(rest) else _finite(text)


def _leading_digits(text: str) -> str:
    return text[: len(text) - len(text.lstrip("0123456789"))]


def _whole(text: str, base: int) -> int:
    if len(text) > MAX_DIGITS:
        raise ScalarError(f"a number of {len(text)} digits is too long; put it in quotes")
    return int(text, base)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ScalarError(f"the number {text[:40]} is too large; put it in quotes")
    return number
