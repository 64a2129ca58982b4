"""Folds text as a terminal shows it: a carriage return or an erase code takes text back.

Grows piece by piece, at a cost that does not depend on earlier text. Pure, over strings.
"""

import re

_MOVES = re.compile(r"[\r\n\b]|\x1b\[(\d*)([AK])")
_BACK = re.compile(r"\x1b\[\d*[AK]")
KEPT_LINES = 50
"""How many lines up something can still be changed."""
FOLDED_CHARS = 10_000
"""A longer line stays as it was written."""


class TerminalText:
    """The text written so far, folded."""

    def __init__(self) -> None:
        self._done: list[str] = []
        """Lines that nothing can change any more, each with its newline."""
        self._lines: list[_Line] = [_Line()]
        self._row = 0
        self._size = 0

    def write(self, text: str) -> int:
        """Take more text; return by how many characters the whole has grown, or shrunk."""
        before = self._size
        if self._row == len(self._lines) - 1 and not _goes_back(text):
            self._add(text)
            return self._size - before
        place = 0
        for move in _MOVES.finditer(text):
            self._put(text[place : move.start()])
            place = move.end()
            self._move(move)
        self._put(text[place:])
        return self._size - before

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self._done) + "\n".join(line.text for line in self._lines)

    def cut(self, excess: int) -> None:
        """Remove so many characters at the end, and freeze the text before."""
        kept = self.text[: max(self._size - excess, 0)]
        self.__init__()  # type: ignore[misc]
        self._done, self._size = [kept], len(kept)

    def forget(self, kept: int) -> None:
        """Keep only about the last `kept` characters of the frozen lines."""
        dropped = 0
        while len(self._done) > 1 and self._size - dropped - len(self._done[0]) > kept:
            dropped += len(self._done.pop(0))
        self._size -= dropped

    def _add(self, text: str) -> None:
        """Append text that goes forward only, at the end: all its lines in one step."""
        first, *rest = text.split("\n")
        self._put(first)
        if not rest:
            return
        self._size += len(text) - len(first)
        over = max(len(self._lines) + len(rest) - KEPT_LINES, 0)
        frozen = [line.text for line in self._lines[:over]]
        del self._lines[:over]
        done = over - len(frozen)
        if over:
            self._done.append("\n".join(frozen + rest[:done]) + "\n")
        self._lines += map(_Line, rest[done:])
        self._row = len(self._lines) - 1

    def _put(self, text: str) -> None:
        if text:
            self._size += self._lines[self._row].put(text)

    def _move(self, move: "re.Match[str]") -> None:
        line = self._lines[self._row]
        match move[0]:
            case "\r":
                line.cursor = 0
            case "\b":
                line.cursor = max(line.cursor - 1, 0)
            case "\n":
                self._down(line)
            case _ if move[2] == "A":
                self._row = max(self._row - max(int(move[1][:3] or 1), 1), 0)
                self._lines[self._row].cursor = min(line.cursor, self._lines[self._row].length)
            case _:
                self._size += line.erase(move[1])

    def _down(self, line: "_Line") -> None:
        self._row += 1
        if self._row < len(self._lines):
            self._lines[self._row].cursor = 0
            return
        line.cursor = line.length
        self._lines.append(_Line())
        self._size += 1
        if len(self._lines) > KEPT_LINES:
            self._done.append(self._lines.pop(0).text + "\n")
            self._row -= 1


def _goes_back(text: str) -> bool:
    """Return whether something in it may change earlier text. Most of it is looked for at once."""
    return "\r" in text or "\b" in text or ("\x1b[" in text and bool(_BACK.search(text)))


class _Line:
    """One line, and the position of the next character."""

    def __init__(self, text: str = "") -> None:
        self._parts = [text] if text else []
        self.length = len(text)
        self.cursor = self.length

    @property
    def text(self) -> str:
        if len(self._parts) > 1:
            self._parts = ["".join(self._parts)]
        return self._parts[0] if self._parts else ""

    def put(self, text: str) -> int:
        """Write over the present text; return the growth."""
        if self.cursor == self.length or self.length > FOLDED_CHARS:
            self._parts.append(text)
            self.length += len(text)
            self.cursor = self.length
            return len(text)
        old = self.text
        # Codes for colours take no place on the screen; such a line is drawn anew as a whole.
        rest = "" if "\x1b" in old or "\x1b" in text else old[self.cursor + len(text) :]
        return self._become(old[: self.cursor] + text + rest, self.cursor + len(text))

    def erase(self, what: str) -> int:
        """Erase up to the end (0), up to the cursor (1) or all of it (2); return the growth."""
        old = self.text
        kept = {"1": " " * self.cursor + old[self.cursor :], "2": " " * self.cursor}
        new = kept.get(what, old[: self.cursor])
        return self._become(new if new.strip() else "", min(self.cursor, len(new.rstrip())))

    def _become(self, new: str, cursor: int) -> int:
        growth = len(new) - self.length
        self._parts, self.length, self.cursor = [new], len(new), cursor
        return growth
