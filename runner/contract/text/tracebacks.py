"""Folds IPython's tracebacks: the notebook's own frames, the libraries' in one line, the exception.

Pure, over lines without terminal codes. Leaves alone what it does not recognise.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

MOST_LINES = 60
_CELL = re.compile(r"Cell In ?\[\d+\]|Input In ?\[\d+\]|<ipython-input-\d+-")
"""Matches the beginning of a cell's frame, by IPython's version."""
_FILE = re.compile(r"(?:File )?(\S.*?)(:\d+(?:, in .+)?| in [\w.<>]+\(.*\))$")
"""Matches the beginning of another frame: its file, and the rest of the line."""
_TITLE = re.compile(r"-{20,}$|[\w.]+ +Traceback \(most recent call last\):?$")
_LINKS = {
    "The above exception was the direct cause": "Caused by: ",
    "During handling of the above exception": "While handling: ",
}
_FOLDED = re.compile(r"(?:Caused by: |While handling: )?\[(?:a|\d+) library frames?[:,] ")
_INSTALLED = re.compile(r".*/(?:site-packages|dist-packages|lib/python3[^/]*)/")
_CODE_FILE = re.compile(r"\.(?:py|pyx|pxi|pxd)$|^<.*>$")
_COMPILED = re.compile(r"\.(?:pyx|pxi|pxd)$|^<.*>$")


@dataclass
class _Part:
    """One exception of a chain: lines of own frames, library frames, and what was raised."""

    own: list[str] = field(default_factory=list)
    library: list[str] = field(default_factory=list)
    raised: list[str] = field(default_factory=list)

    def lines(self, word: str = "") -> list[str]:
        """Write it; `word` says what it was to the one before."""
        lines = [*self.own, *_in_a_line(self.library), *self.raised]
        return [f"{word}{lines[0]}", *lines[1:]] if lines else []


def folded(lines: Sequence[str], most: int = MOST_LINES) -> list[str]:
    """Return the notebook's frames, a line on all library frames, and what was raised.

    The exceptions that led to it follow. Of more than `most` lines the middle is cut, with a note.
    """
    is_folded = any(_FOLDED.match(line) for line in lines)
    if is_folded or not any(_CELL.match(line) for line in lines):
        return _cut(lines, most)
    words, parts = _parts(lines)
    chain = [parts[-1].lines()]
    chain += [part.lines(word) for part, word in zip(parts[-2::-1], words[::-1], strict=True)]
    return _cut([line for part in chain for line in part], most)


def _parts(lines: Sequence[str]) -> tuple[list[str], list[_Part]]:
    """Split a chain, the first exception first; the words say what each was to the next."""
    words: list[str] = []
    parts = [_Part()]
    present: list[str] | None = None
    """The frame that a line belongs to; None between two, an empty list for a library's."""
    for line in lines:
        word = next((word for start, word in _LINKS.items() if line.startswith(start)), None)
        library = _library_frame(line)
        if word is not None:
            words.append(word)
            parts.append(_Part())
            present = None
        elif library is not None:
            parts[-1].library.append(library)
            present = []
        elif _CELL.match(line) or _is_file_frame(line):
            present = parts[-1].own
            present.append(line)
        elif not line:
            present = None
        elif not _TITLE.match(line):
            (parts[-1].raised if present is None else present).append(line)
    return words, parts


def _is_file_frame(line: str) -> bool:
    match = _FILE.match(line)
    return match is not None and _CODE_FILE.search(match[1]) is not None


def _library_frame(line: str) -> str | None:
    """Return a frame of an installed package or of Python, by its path below those."""
    match = _FILE.match(line)
    if match is None or not _is_file_frame(line):
        return None
    path, rest = match[1], match[2]
    if _INSTALLED.match(path):
        return f"{_INSTALLED.sub('', path)}{rest}"
    return f"{path}{rest}" if _COMPILED.search(path) else None


def _in_a_line(frames: Sequence[str]) -> list[str]:
    if not frames:
        return []
    if len(frames) == 1:
        return [f"[a library frame: {frames[0]}]"]
    return [f"[{len(frames)} library frames, the last: {frames[-1]}]"]


def _cut(lines: Sequence[str], most: int) -> list[str]:
    """Keep the beginning, with the notebook's frames, and more of the end."""
    if len(lines) <= most:
        return list(lines)
    first = most // 4
    last = most - first
    note = f"[… {len(lines) - most} more lines …]"
    return [*lines[:first], note, *lines[-last:]]
