"""Paths of notebooks below JupyterLab's folder, and what a misspelt one was meant to be.

Pure, over strings.
"""

import re
from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches
from pathlib import PurePosixPath

from runner.mcp.answers import BadCall

NEAR = 0.6
WORD_LETTERS = 5
SLIPS = 2
"""Most letters by which a misspelt word differs."""
SUGGESTED = 3


def notebook_path(notebook: str) -> str:
    """Return a notebook's path below Jupyter's root.

    Raises:
        BadCall
    """
    wanted = notebook.strip().strip("/")
    pure = PurePosixPath(wanted)
    if not wanted or ".." in pure.parts or "\0" in wanted:
        raise BadCall(f"{notebook!r} is no path of a notebook below JupyterLab's folder.")
    if pure.suffix != ".ipynb":
        raise BadCall(f"{wanted!r} is no notebook; its name must end in .ipynb.")
    return str(pure)


def folder_path(folder: str) -> str:
    """Return a folder's path below Jupyter's root.

    Raises:
        BadCall
    """
    parts = PurePosixPath(folder.strip().strip("/")).parts
    if ".." in parts:
        raise BadCall(f"{folder!r} leads out of JupyterLab's folder.")
    return "/".join(parts)


def suggestions(path: str, present: Iterable[str]) -> list[str]:
    """Return the notebooks that were probably meant: the same name elsewhere, then alike ones."""
    paths = list(present)
    name = PurePosixPath(path).name
    same = [one for one in paths if PurePosixPath(one).name == name]
    names = {PurePosixPath(one).name: one for one in reversed(paths)}
    alike = [names[one] for one in get_close_matches(name, names, SUGGESTED, NEAR)]
    close = get_close_matches(path, paths, SUGGESTED, NEAR)
    return list(dict.fromkeys([*same, *alike, *close]))[:SUGGESTED]


def misspelt(path: str, present: Iterable[str]) -> str | None:
    """Return the notebook of the same folder of which a new path is probably a misspelling.

    Their names differ in a letter or two of one longer word.
    """
    pure = PurePosixPath(path)
    alike = (
        one
        for one in present
        if PurePosixPath(one).parent == pure.parent
        and _is_slip(_words(PurePosixPath(one).stem), _words(pure.stem))
    )
    return next(alike, None)


def _words(stem: str) -> list[str]:
    return re.findall(r"[^\W\d_]+|\d+", stem.lower())


def _is_slip(words: list[str], others: list[str]) -> bool:
    pairs = [(a, b) for a, b in zip(words, others, strict=False) if a != b]
    if len(words) != len(others) or len(pairs) != 1:
        return False
    [(one, other)] = pairs
    matching = SequenceMatcher(None, one, other).get_matching_blocks()
    same = sum(block.size for block in matching)
    longest = max(len(one), len(other))
    return min(len(one), len(other)) >= WORD_LETTERS and longest - same <= SLIPS
