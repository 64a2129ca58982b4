"""Which parameters a notebook has: names, defaults, types and comments of its cell `parameters`.

Papermill's rules. Python's own parser reads Python, since papermill's pattern loses a default with
`#` or `=` in it; every other language is papermill's. Runs nothing.
"""

import ast
import io
import re
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

from runner.notebook import PARAMETERS_TAG, kernel_of, language_of, source_of, tags_of

_TYPE = re.compile(r"type:\s*(\S+)\s*(.*)", re.DOTALL)
MAX_CHARS = 50_000
MAX_LINE_CHARS = 1_000
_importing = Lock()


@dataclass(frozen=True)
class Parameter:
    """`default` is code of the notebook's language; `type` and `help` are empty where not given."""

    name: str
    default: str
    type: str = ""
    help: str = ""


def parameters_of(notebook: Mapping[str, Any]) -> tuple[Parameter, ...]:
    """The parameters of a notebook that was checked (nbformat 4); none where no cell is tagged."""
    cells = notebook.get("cells")
    dicts = [one for one in cells if isinstance(one, dict)] if isinstance(cells, list) else []
    cell = next((one for one in dicts if PARAMETERS_TAG in tags_of(one)), None)
    if cell is None:
        return ()
    source = source_of(cell)
    if language_of(notebook) in (None, "python"):
        try:
            return _of_python(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            pass  # a magic, say: papermill's pattern goes line by line
    return _by_papermill(notebook, source)


def _of_python(source: str) -> tuple[Parameter, ...]:
    comments = _comments(source)
    found: dict[str, Parameter] = {}
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target, annotation = statement.targets[0], ""
        elif isinstance(statement, ast.AnnAssign):
            target, annotation = statement.target, ast.unparse(statement.annotation).strip("'\"")
        else:
            continue
        if not isinstance(target, ast.Name) or statement.value is None:
            continue
        default = ast.get_source_segment(source, statement.value) or ""
        comment = comments.get(statement.end_lineno or 0, "")
        typed = _TYPE.fullmatch(comment)
        kind, text = (typed[1], typed[2]) if typed else ("", comment)
        found[target.id] = Parameter(target.id, default, annotation or kind, text.strip())
    return tuple(found.values())


def _comments(source: str) -> dict[int, str]:
    """What is remarked at the end of a line, by its number from 1."""
    found = {}
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                found[token.start[0]] = token.string.lstrip("#").strip()
    except tokenize.TokenError:
        return found
    return found


def _by_papermill(notebook: Mapping[str, Any], source: str) -> tuple[Parameter, ...]:
    if len(source) > MAX_CHARS or any(len(line) > MAX_LINE_CHARS for line in source.splitlines()):
        return ()  # its patterns need time in proportion to the square of a line
    with _importing:  # 0.6 s, once, and only for who needs it
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
