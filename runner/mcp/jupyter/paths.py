"""Paths of notebooks below JupyterLab's folder, and what a misspelt one was meant to be.

Pure, over strings.
"""

import re
from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches
from pathlib import PurePosixPath
from unicodedata import category

from runner.mcp.answers import BadCall

NEAR = 0.6
SUFFIX = ".ipynb"
WORD_LETTERS = 5
SLIPS = 2
"""Most letters by which a misspelt word differs; one if it has fewer letters than that."""
SWAPPED_LETTERS = 3
"""Fewest letters of a word in which two may have changed places."""
SUGGESTED = 3
SHOWN_CHARACTERS = 200
NAME_BYTES = 255


def notebook_path(notebook: str) -> str:
    """Return a notebook's path below Jupyter's root.

    Raises:
        BadCall
    """
    wanted = notebook.strip()
    if not wanted:
        raise BadCall("`notebook` is empty: give a path such as reports/daily.ipynb.")
    pure = _below(wanted, "reports/daily.ipynb")
    if pure.suffix != ".ipynb":
        raise BadCall(f"{shown_path(wanted)} is no notebook; its name must end in .ipynb.")
    return str(pure)


def other_spelling(path: str, library: str) -> str:
    """Return a library's path as JupyterLab has it above the library, or the other way round."""
    prefix = f"{library}/"
    return path.removeprefix(prefix) if path.startswith(prefix) else prefix + path


def folder_path(folder: str) -> str:
    """Return a folder's path below Jupyter's root.

    Raises:
        BadCall
    """
    wanted = folder.strip()
    return "" if wanted == "/" else "/".join(_below(wanted, "reports").parts)


def shown_path(path: str) -> str:
    """Quote a path, cut if it is long."""
    return repr(path) if len(path) <= SHOWN_CHARACTERS else f"{path[:SHOWN_CHARACTERS]!r}…"


def _below(path: str, example: str) -> PurePosixPath:
    """Return a path below Jupyter's root.

    Raises:
        BadCall: it leads elsewhere, or no file can have it.
    """
    pure = PurePosixPath(path)
    wrong = None
    if pure.is_absolute():
        wrong = "it is absolute"
    elif ".." in pure.parts:
        wrong = "`..` leads out of a folder"
    elif pure.parts[:1] and pure.parts[0].startswith("~"):
        wrong = "`~` is no folder there"
    elif "\\" in path:
        wrong = "folders are parted by `/`"
    elif any(category(char) == "Cc" for char in path):
        wrong = "it has control characters"
    elif any(len(part.encode()) > NAME_BYTES for part in pure.parts):
        wrong = f"a name has {NAME_BYTES} bytes at most"
    if wrong is not None:
        raise BadCall(
            f"{shown_path(path)} is no path below JupyterLab's folder: {wrong}. "
            f"Give one such as {example}; list_notebooks gives them."
        )
    return pure


def suggestions(path: str, present: Iterable[str], library: str) -> list[str]:
    """Return the notebooks that were probably meant: the same name elsewhere, then alike ones.

    The first is the one that `other_spelling` gives.
    """
    paths = sorted(present, key=lambda one: one != other_spelling(path, library))
    name = PurePosixPath(path).name
    same = [one for one in paths if PurePosixPath(one).name == name]
    names = {PurePosixPath(one).stem: one for one in reversed(paths)}
    alike = [names[one] for one in get_close_matches(_stem(path), names, SUGGESTED, NEAR)]
    whole = {one.removesuffix(SUFFIX): one for one in paths}
    close = [
        whole[one] for one in get_close_matches(path.removesuffix(SUFFIX), whole, SUGGESTED, NEAR)
    ]
    return list(dict.fromkeys([*same, *alike, *close]))[:SUGGESTED]


def _stem(path: str) -> str:
    return PurePosixPath(path).name.removesuffix(SUFFIX)


def misspelt(path: str, present: Iterable[str], library: str) -> str | None:
    """Return the notebook of which a new path is probably a misspelling.

    It has the same name in other letters or in another folder; or it lies in the same folder, and
    their names differ in a letter or two of one longer word, or by two that changed places.
    `library` is as for `other_spelling`.
    """
    paths = [PurePosixPath(one) for one in present]
    pure = PurePosixPath(path)
    folders = (pure.parent, PurePosixPath(other_spelling(path, library)).parent)
    near = [one for one in paths if one.parent in folders]
    same = [one for one in (*near, *paths) if one.name.casefold() == pure.name.casefold()]
    words = _words(pure.stem)
    slips = (one for one in near if _is_slip(_words(one.stem), words))
    meant = next(iter(same), None) or next(slips, None)
    return None if meant is None else str(meant)


def _words(stem: str) -> list[str]:
    return re.findall(r"[^\W\d_]+|\d+", stem.lower())


def _is_swap(one: str, other: str) -> bool:
    """Return whether two neighbouring letters of a word have changed places."""
    wrong = [place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b]
    if len(one) != len(other) or len(one) < SWAPPED_LETTERS or len(wrong) != 2:
        return False
    first, last = wrong
    is_letters = one[first].isalpha() and last == first + 1
    return is_letters and one[first : last + 1] == other[last] + other[first]


def _is_slip(words: list[str], others: list[str]) -> bool:
    pairs = [(a, b) for a, b in zip(words, others, strict=False) if a != b]
    if len(words) != len(others) or len(pairs) != 1:
        return False
    [(one, other)] = pairs
    if _is_swap(one, other):
        return True
    matching = SequenceMatcher(None, one, other).get_matching_blocks()
    same = sum(block.size for block in matching)
    shortest, longest = sorted((len(one), len(other)))
    most = SLIPS if shortest >= WORD_LETTERS else 1
    return not one.isdigit() and longest >= WORD_LETTERS and longest - same <= most
