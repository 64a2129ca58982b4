"""Names the code of each frame in a kernel's traceback as all answers do.

Pure. A kernel names code by its execution count, which is not its alone: code without a cell has
the count of the next cell, and counts begin anew with each kernel. So the shown lines are compared.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

THIS_CALL = "The code of this call"
_FRAME = re.compile(
    r"^( *)(?P<word>Caused by: |While handling: )?(?:Cell In|Input In) ?\[(?P<count>\d+)\]"
    r"(?=,|:|$)(?:, line (?P<line>\d+))?(?P<rest>.*)$",
    re.M,
)
_LINE = re.compile(r"(?:-*>)? *(\d+)(?: (.*))?$")
_GAP = re.compile(r" *\(\.\.\.\)$")
NO_SOURCES: Mapping[tuple[Any, Any], str] = {}
_MAGIC = "get_ipython()"
"""Stands in lines that IPython has rewritten."""


@dataclass(frozen=True)
class Ran:
    """Code that ran with a count. `source` is None where no other code can have that count."""

    name: str
    count: int | None
    source: str | None = None
    is_own: bool = False
    """Whether it is the code that the kernel runs: a frame outside of functions is its own."""

    def has(self, lines: Mapping[int, str]) -> bool:
        """Return whether these are its lines, by number."""
        if self.source is None:
            return True
        own = self.source.lstrip("\n").split("\n")
        return all(
            _MAGIC in line or (number <= len(own) and own[number - 1].strip() == line.strip())
            for number, line in lines.items()
        )


def ran_cells(
    cells: Iterable[Mapping[str, Any]], sources: Mapping[tuple[Any, Any], str] = NO_SOURCES
) -> Iterator[Ran]:
    """Return the cells of a notebook that have run, named by index and id.

    `sources` are known ones by id and count, as they ran: of a cell that was changed since it is
    said to run it again.
    """
    for index, cell in enumerate(cells):
        if count := int(cell.get("execution_count") or 0):
            name = f"Cell [{index}] {cell.get('id') or ''}".rstrip()
            source = sources.get((cell.get("id"), count), cell["source"])
            is_old = source != cell["source"]
            again = f" as it was before its change (run [{index}] again)" if is_old else ""
            yield Ran(f"{name}{again}", count, source)


def renumbered(text: str, ran: Iterable[Ran]) -> str:
    """Name the code of each frame; `ran` is in order of preference.

    A frame whose lines are of none of them is of code that was changed since, or had no cell.
    """
    known = list(ran)

    def named(match: re.Match[str]) -> str:
        count, line = int(match["count"]), match["line"]
        rest = (f", line {line}" if line else "") + match["rest"]
        lines = dict(_shown_lines(text[match.end() :], match[1], line))
        candidates = [one for one in known if one.count == count]
        name = next((one.name for one in candidates if one.has(lines)), None)
        if not lines and not any(one.source is None for one in candidates):
            return match[0]
        if name is None and not match["rest"].startswith(", in "):
            name = next((one.name for one in candidates if one.is_own), None)
        if name is None and any(one.source is not None for one in known):
            name = f"Code that no cell has now (In[{count}])"
        return match[0] if name is None else f"{match[1]}{match['word'] or ''}{name}{rest}"

    return _FRAME.sub(named, text)


def _shown_lines(after: str, indent: str, line: str | None) -> Iterator[tuple[int, str]]:
    """Return the lines of source below a frame's headline; a syntax error has one, unnumbered."""
    _, *lines = after.split("\n", 60)
    if indent and line and lines:
        yield int(line), lines[0]
        return
    for one in lines:
        if (match := _LINE.match(one)) is not None:
            yield int(match[1]), match[2] or ""
        elif not _GAP.match(one):
            return
