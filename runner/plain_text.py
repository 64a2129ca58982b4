"""Text that a kernel made for a terminal, as plain text; and long text, cut where it can be spared.

Pure rules over strings. Knows nothing of notebooks.
"""

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
