"""Lists the parameters of a notebook: names, defaults, types and comments of its cell `parameters`.

Follows papermill. Python's own parser reads Python, because papermill's pattern loses a default
with `#` or `=` in it; papermill reads every other language. Finds values that reach no parameter.
Runs nothing.
"""

import ast
import io
import re
import tokenize
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from threading import Lock
from typing import Any

from runner.contract.notebook import (
    INJECTED_TAG,
    PARAMETERS_TAG,
    kernel_of,
    language_of,
    source_of,
    tags_of,
)

_TYPE = re.compile(r"type:\s*(?=\S)")
_IGNORE = re.compile(r"ignore\b")
_FROM_MAGIC = re.compile(r"^([ \t]*\w+)[ \t]*=[ \t]*[!%].*$", re.MULTILINE)
_RUNS_FILE = re.compile(r"^[ \t]*%(run|load|macro)\b", re.MULTILINE)
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
"""Matches a line as Python's parser counts them."""
SHOWN_NAMES = 10
SHOWN_CHARS = 80
COMPARED_NAMES = 200
MAX_CHARS = 50_000
MAX_LINE_CHARS = 1_000
MAX_SOURCE_CHARS = 200_000
"""Longest cell that is read; Python's parser needs 0.3 s for it."""
_importing = Lock()


@dataclass(frozen=True)
class Parameter:
    """One parameter. `default` is code of the notebook; `type` and `help` may be empty."""

    name: str
    default: str
    type: str = ""
    help: str = ""


def parameters_of(notebook: Mapping[str, Any]) -> tuple[Parameter, ...]:
    """List the parameters of a checked notebook (nbformat 4); none if no cell is tagged."""
    source = _tagged_source(notebook)
    if source is None:
        return ()
    if language_of(notebook) in (None, "python"):
        try:
            return _of_python(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            pass  # a magic, say: papermill's pattern goes line by line
    return _by_papermill(notebook, source)


def unknown_parameters(notebook: Mapping[str, Any], names: Collection[str]) -> str | None:
    """Warn about values that no parameter of the notebook takes; None if all are known.

    None as well for a cell that cannot be read: a warning must not be wrong.
    """
    if not names:
        return None
    source = _tagged_source(notebook)
    if source is None:
        source = _tagged_source(
            notebook, INJECTED_TAG
        )  # papermill replaces the one of an executed notebook
    if source is None:
        return (
            f"The notebook has no cell tagged `{PARAMETERS_TAG}`: {names_in_words(names)} replaced "
            "nothing, and was set before its first cell. Tag the cell with the defaults."
        )
    unknown, known = _unknown(notebook, source, names)
    return _objection(unknown, known) if unknown else _set_again(notebook, names)


def misspelt_parameters(notebook: Mapping[str, Any], names: Collection[str]) -> str | None:
    """Say which values are meant for other parameters, by the likeness of their names.

    None if there are none; a value for a parameter that has one already is not meant for it.
    """
    source = _tagged_source(notebook)
    if source is None or not names:
        return None
    unknown, known = _unknown(notebook, source, names)
    free = [name for name in known if name not in names]
    misspelt = [name for name in unknown if _near([name], free)]
    return _objection(misspelt, free) if misspelt else None


def _unknown(
    notebook: Mapping[str, Any], source: str, names: Collection[str]
) -> tuple[list[str], list[str]]:
    """List the names that no parameter takes, and the parameters; no names if that is unclear."""
    known = [one.name for one in parameters_of(notebook)]
    is_python = language_of(notebook) in (None, "python")
    bound = _bound_names(source) if is_python else set()
    if bound is None or (not known and not bound and source.strip()):
        return [], known
    taken = bound.union(known)
    unknown = [name for name in names if (_identifier(name) if is_python else name) not in taken]
    return unknown, known


def _set_again(notebook: Mapping[str, Any], names: Collection[str]) -> str | None:
    """Warn about values that are gone again: papermill sets them after the first tagged cell."""
    tagged = [one for one in _dicts(notebook) if PARAMETERS_TAG in tags_of(one)]
    if not tagged:
        return None
    first, *others = tagged
    if first.get("cell_type") == "markdown":
        return (
            f"The cell tagged `{PARAMETERS_TAG}` is text: {names_in_words(names)} replaced "
            "nothing, and was set below it. Tag the code cell with the defaults."
        )
    if language_of(notebook) not in (None, "python"):
        return None
    code = (without_halves(source_of(one)) for one in others if one.get("cell_type") == "code")
    again = set[str]().union(*map(_replaced_names, code))
    lost = [name for name in names if _identifier(name) in again]
    if not lost:
        return None
    return (
        f"{names_in_words(lost)} replaced nothing: another cell tagged `{PARAMETERS_TAG}` comes "
        "after the values, and sets its own. Keep the defaults in one tagged cell."
    )


def _objection(unknown: Collection[str], known: Collection[str]) -> str:
    are = "are no parameters" if len(unknown) > 1 else "is no parameter"
    have = f"It has {names_in_words(known)}." if known else "Its tagged cell has none."
    return f"{names_in_words(unknown)} {are} of the notebook{_suggestion(unknown, known)}. {have}"


def _tagged_source(notebook: Mapping[str, Any], tag: str = PARAMETERS_TAG) -> str | None:
    cell = next((one for one in _dicts(notebook) if tag in tags_of(one)), None)
    return None if cell is None else without_halves(source_of(cell))


def _dicts(notebook: Mapping[str, Any]) -> list[dict[str, Any]]:
    cells = notebook.get("cells")
    return [one for one in cells if isinstance(one, dict)] if isinstance(cells, list) else []


def without_halves(text: str) -> str:
    """Replace halves of surrogate pairs, which JSON can escape and UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode()


def _identifier(name: str) -> str:
    """Return the name as Python reads it: the micro sign, say, is the Greek letter."""
    return unicodedata.normalize("NFKC", name)


def _bound_names(source: str) -> set[str] | None:
    """Return every name that the cell sets in any way; None if that cannot be known.

    Lines with magics are skipped, but one that runs another file sets its names too.
    """
    if _RUNS_FILE.search(source):
        return None
    try:
        nodes = list(ast.walk(ast.parse(without_magics(source))))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if any(isinstance(node, ast.alias) and node.name == "*" for node in nodes):
        return None
    names = [node for node in nodes if isinstance(node, ast.Name)]
    return {name.id for name in names if isinstance(name.ctx, ast.Store)}


def _replaced_names(source: str) -> set[str]:
    """Return the names that the cell surely sets without a look at what they were."""
    try:
        names = {one.name for one in _of_python(source) if one.default}
        nodes = ast.walk(ast.parse(without_magics(source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    return names - {
        node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }


def without_magics(source: str) -> str:
    """Return the code with the same lines, but without IPython's magics, for Python's parser."""
    lines = ["" if line.lstrip()[:1] in ("%", "!") else line for line in source.split("\n")]
    return _FROM_MAGIC.sub(r"\1 = 0", "\n".join(lines))


def names_in_words(names: Collection[str]) -> str:
    texts = [f"`{name[:SHOWN_CHARS]}`" for name in islice(names, SHOWN_NAMES)]
    more = len(names) - len(texts)
    return ", ".join(texts) + (f" and {more} more" if more > 0 else "")


def _suggestion(unknown: Collection[str], known: Collection[str]) -> str:
    near = _near(unknown, known)
    return f" (did you mean {names_in_words(near)}?)" if near else ""


def _near(unknown: Collection[str], known: Collection[str]) -> list[str]:
    """Guess the intended names, among those not too long to be compared."""
    candidates = [name for name in islice(known, COMPARED_NAMES) if len(name) <= SHOWN_CHARS]
    return [
        match
        for name in islice(unknown, SHOWN_NAMES)
        if len(name) <= SHOWN_CHARS
        for match in get_close_matches(name, candidates, 1)
    ]


def _of_python(source: str) -> tuple[Parameter, ...]:
    if len(source) > MAX_SOURCE_CHARS:
        return ()
    code = _Code(source)
    try:
        statements = ast.parse(source).body
    except SyntaxError:
        source = without_magics(source)
        statements = ast.parse(source).body
    comments = _comments(source)
    parameters: dict[str, Parameter] = {}
    for statement in statements:
        name, annotation = _target_of(statement)
        if not isinstance(statement, ast.Assign | ast.AnnAssign) or not name:
            continue
        kind, text = _type_comment(comments.get(statement.end_lineno or 0, ""))
        known = parameters.get(name, Parameter(name, ""))
        default = known.default if statement.value is None else code.of(statement.value)
        is_typed_before = statement.value is None or not known.default
        kind = annotation or kind or (known.type if is_typed_before else "")
        parameters[name] = Parameter(name, default, kind, text)
    return tuple(parameters.values())


class _Code:
    """The code of a cell, with its magics. Finds each piece in a time that it takes to copy it."""

    def __init__(self, source: str) -> None:
        self._lines: list[bytes] = [line.encode() for line in _LINE.findall(source)]

    def of(self, node: ast.expr) -> str:
        """Return the code of a default."""
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        if _FROM_MAGIC.fullmatch(self._lines[first].decode().rstrip("\r\n")):
            return self._lines[first].decode().partition("=")[2].strip()
        lines = self._lines[first : last + 1]
        lines[-1] = lines[-1][: node.end_col_offset]
        lines[0] = lines[0][node.col_offset :]
        return b"".join(lines).decode()


def _target_of(statement: ast.stmt) -> tuple[str, str]:
    """Return the one name that a statement sets, and its annotation; empty without one."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target, annotation = statement.targets[0], ""
    elif isinstance(statement, ast.AnnAssign):
        target, annotation = statement.target, _annotation(statement.annotation)
    else:
        return "", ""
    return (target.id, annotation) if isinstance(target, ast.Name) else ("", "")


def _annotation(node: ast.expr) -> str:
    """Return an annotation's code; of one in quotes, what stands in them."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.strip()
    return ast.unparse(node)


def _type_comment(comment: str) -> tuple[str, str]:
    """Split a comment into the type that it declares and the rest. A type may have spaces inside.

    `# type: ignore` is a word to type checkers.
    """
    start = _TYPE.match(comment)
    if start is None:
        return "", comment
    rest = comment[start.end() :]
    end = _end_of_type(rest)
    if _IGNORE.match(rest):
        return "", rest[end:].lstrip("# ").strip()
    return rest[:end], rest[end:].strip()


def _end_of_type(text: str) -> int:
    """Return where a type ends: at the first space outside of brackets."""
    depth = 0
    for place, char in enumerate(text):
        depth += (char in "[(") - (char in "])")
        if char.isspace() and depth <= 0:
            return place
    return len(text)


def _comments(source: str) -> dict[int, str]:
    """Return the comment at the end of each line, by its number from 1."""
    comments = {}
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                comments[token.start[0]] = token.string.lstrip("#").strip()
    except tokenize.TokenError:
        return comments
    return comments


def _by_papermill(notebook: Mapping[str, Any], source: str) -> tuple[Parameter, ...]:
    if len(source) > MAX_CHARS or any(len(line) > MAX_LINE_CHARS for line in source.splitlines()):
        return ()  # its patterns need time in proportion to the square of a line
    with _importing:  # takes 0.6 s, once, and only if needed
        from papermill.exceptions import PapermillException
        from papermill.translators import papermill_translators
    spec = kernel_of(notebook) or ""
    try:
        translator = papermill_translators.find_translator(spec, language_of(notebook) or "python")
        inspected = translator.inspect({"source": source})
    except (PapermillException, NotImplementedError):
        return ()
    return tuple(
        Parameter(
            one.name,
            one.default,
            "" if one.inferred_type_name == "None" else one.inferred_type_name,
            one.help,
        )
        for one in inspected
    )
