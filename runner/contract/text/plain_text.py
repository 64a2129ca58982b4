"""Text that a kernel made for a terminal, as plain text; and long text, cut where it can be spared.

Pure rules over strings. Knows nothing of notebooks.
"""

import json
import re

_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-_]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain_text(text: str) -> str:
    """Without ANSI codes and control characters."""
    return _CONTROL.sub("", _ANSI.sub("", text).replace("\r\n", "\n").replace("\r", "\n"))


def excerpt(text: str, limit: int) -> str:
    """Not much more than `limit` characters of a text: its beginning, and a third of that its end.

    What is left out is told in its place.
    """
    if len(text) <= limit:
        return text
    end = limit // 4
    start = limit - end
    left_out = len(text) - limit
    return f"{text[:start]}\n[… {left_out} characters left out …]\n{text[len(text) - end :]}"


def visible(text: str) -> str:
    """Safe to write to a terminal: what would steer it, or is not seen, is replaced by U+FFFD.

    Control characters (C0, C1), escapes, marks of writing direction, zero-width and all other
    format characters, unassigned ones and lone surrogates. Line ends and tabs stay.
    """
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def one_line(text: str) -> str:
    """The same on one line; a terminal's codes are left out."""
    return visible(" ".join(plain_text(text).split()))


def visible_json(text: str) -> str:
    """JSON of the same value, in which such characters are escapes of JSON's own."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else json.dumps(c, ensure_ascii=True)[1:-1]
        for c in text
    )
