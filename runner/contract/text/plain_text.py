"""Turns a kernel's terminal output into plain text, and cuts long text.

Pure, over strings. Knows nothing of notebooks.
"""

import json
import re

_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-_]")
MARK = 40
"""Length of the mark where a text is cut."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain_text(text: str) -> str:
    """Remove ANSI codes and control characters."""
    return _CONTROL.sub("", _ANSI.sub("", text).replace("\r\n", "\n").replace("\r", "\n"))


def is_text(name: str) -> bool:
    """Return whether JSON can hold a name: a file's name may be bytes that are no UTF-8."""
    return not any("\ud800" <= char <= "\udfff" for char in name)


def excerpt(text: str, limit: int) -> str:
    """Cut a text to about `limit` characters: its beginning, and a third of that its end.

    A mark in the gap says how much is missing. Nothing is cut where that would save nothing.
    """
    if len(text) <= limit + MARK:
        return text
    end = limit // 4
    start = limit - end
    left_out = len(text) - limit
    return f"{text[:start]}\n[… {left_out} characters left out …]\n{text[len(text) - end :]}"


def visible(text: str) -> str:
    """Make text safe for a terminal: characters that steer it or are invisible become U+FFFD.

    Control characters (C0, C1), escapes, marks of writing direction, zero-width and all other
    format characters, unassigned ones and lone surrogates. Line ends and tabs stay.
    """
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def one_line(text: str) -> str:
    """Do the same on one line, and remove a terminal's codes."""
    return visible(" ".join(plain_text(text).split()))


def visible_json(text: str) -> str:
    """Escape such characters in a JSON text, which keeps its value."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else json.dumps(c, ensure_ascii=True)[1:-1]
        for c in text
    )
