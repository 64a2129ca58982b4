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
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from threading import Lock
from typing import Any

from runner.contract.notebook import (
    INJECTED_TAG,
    PARAMETERS_TAG,
    code_sources,
    kernel_of,
    language_of,
    source_of,
    tags_of,
)

_TYPE = re.compile(r"type:\s*(\S+)\s*(.*)", re.DOTALL)
_FROM_MAGIC = re.compile(r"^([ \t]*\w+)[ \t]*=[ \t]*[!%].*$", re.MULTILINE)
_RUNS_FILE = re.compile(r"^[ \t]*%(run|load|macro)\b", re.MULTILINE)
_CONVERSIONS = (
    *("int", "float", "complex", "Decimal", "Fraction", "to_numeric", "literal_eval", "loads"),
    *("strtobool", "safe_load"),
)
_TEXT_METHODS = ("split", "lower", "upper", "strip", "casefold", "removeprefix", "startswith")
"""Whoever calls one of these expects a text."""
SHOWN_NAMES = 10
SHOWN_CHARS = 80
COMPARED_NAMES = 200
MAX_CHARS = 50_000
MAX_LINE_CHARS = 1_000
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
            f"The notebook has no cell tagged `{PARAMETERS_TAG}`: {_list(names)} replaced nothing, "
            "and was set before its first cell. Tag the cell with the defaults."
        )
    known = [one.name for one in parameters_of(notebook)]
    is_python = language_of(notebook) in (None, "python")
    bound = _bound_names(source) if is_python else set()
    if bound is None or (not known and not bound and source.strip()):
        return None
    taken = bound.union(known)
    unknown = [name for name in names if (_identifier(name) if is_python else name) not in taken]
    if not unknown:
        return None
    are = "are no parameters" if len(unknown) > 1 else "is no parameter"
    have = f"It has {_list(known)}." if known else "Its tagged cell has none."
    return f"{_list(unknown)} {are} of the notebook{_suggestion(unknown, known)}. {have}"


def texts_for_values(notebook: Mapping[str, Any], values: Mapping[str, Any]) -> str | None:
    """Warn about texts for parameters whose defaults are something else; None if there are none.

    Defaults that count are numbers, truth values, lists and mappings. None as well where the
    notebook converts the text, or names another type.
    """
    texts = {name for name, value in values.items() if isinstance(value, str)}
    if not texts or language_of(notebook) not in (None, "python"):
        return None
    code = "\n".join(code_sources(notebook))[:MAX_CHARS]
    wrong: dict[_Expected, list[str]] = {}
    for one in parameters_of(notebook):
        expected = _expected(one) if one.name in texts else None
        if expected is not None and not _is_converted(one.name, code):
            wrong.setdefault(expected, []).append(one.name)
    return " ".join(_for_texts(names, expected) for expected, names in wrong.items()) or None


@dataclass(frozen=True)
class _Expected:
    """What a default says that a parameter is: types, words for one and for several, advice."""

    types: tuple[type, ...]
    one: str
    many: str
    advice: str


_EXPECTED = (
    _Expected(
        (bool,),
        "is true or false",
        "are true or false",
        "Send true or false without quotes; `yes`, `no`, `on` and `off` are texts.",
    ),
    _Expected((int, float), "is a number", "are numbers", "Send the number without quotes."),
    _Expected((list, tuple, set), "is a list", "are lists", "Send it as a list of YAML or JSON."),
    _Expected((dict,), "is a mapping", "are mappings", "Send it as a mapping of YAML or JSON."),
)


def _for_texts(names: Sequence[str], expected: _Expected) -> str:
    are = expected.many if len(names) > 1 else expected.one
    return (
        f"{_list(names)} {are} in the notebook, and a text in the request, which stays a text. "
        f"{expected.advice}"
    )


def _expected(parameter: Parameter) -> _Expected | None:
    """Return what a parameter is, by its default; None where that, or its type, says less."""
    try:
        default = ast.literal_eval(parameter.default)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    found = next((one for one in _EXPECTED if isinstance(default, one.types)), None)
    if found is None:
        return None
    annotated = parameter.type.partition("[")[0].lower()
    fits = {"", *(one.__name__ for one in found.types)}
    return found if annotated in fits else None


def _is_converted(name: str, code: str) -> bool:
    plain = re.escape(name)
    call = rf"\b(?:{'|'.join(_CONVERSIONS)})\(\s*{plain}\b"
    method = rf"\b{plain}\.(?:{'|'.join(_TEXT_METHODS)})\("
    return re.search(f"{call}|{method}", code) is not None


def _tagged_source(notebook: Mapping[str, Any], tag: str = PARAMETERS_TAG) -> str | None:
    cells = notebook.get("cells")
    dicts = [one for one in cells if isinstance(one, dict)] if isinstance(cells, list) else []
    cell = next((one for one in dicts if tag in tags_of(one)), None)
    return None if cell is None else source_of(cell)


def _identifier(name: str) -> str:
    """Return the name as Python reads it: the micro sign, say, is the Greek letter."""
    return unicodedata.normalize("NFKC", name)


def _bound_names(source: str) -> set[str] | None:
    """Return every name that the cell sets in any way; None if that cannot be known.

    Lines with magics are skipped, but one that runs another file sets its names too.
    """
    lines = ["" if line.lstrip()[:1] in ("%", "!") else line for line in source.splitlines()]
    if _RUNS_FILE.search(source):
        return None
    try:
        nodes = list(ast.walk(ast.parse(_FROM_MAGIC.sub(r"\1 = 0", "\n".join(lines)))))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if any(isinstance(node, ast.alias) and node.name == "*" for node in nodes):
        return None
    names = [node for node in nodes if isinstance(node, ast.Name)]
    return {name.id for name in names if isinstance(name.ctx, ast.Store)}


def _list(names: Collection[str]) -> str:
    texts = [f"`{name[:SHOWN_CHARS]}`" for name in islice(names, SHOWN_NAMES)]
    more = len(names) - len(texts)
    return ", ".join(texts) + (f" and {more} more" if more > 0 else "")


def _suggestion(unknown: Collection[str], known: Collection[str]) -> str:
    """Guess the intended name, among those not too long to be compared."""
    candidates = [name for name in islice(known, COMPARED_NAMES) if len(name) <= SHOWN_CHARS]
    near = [
        match
        for name in islice(unknown, SHOWN_NAMES)
        if len(name) <= SHOWN_CHARS
        for match in get_close_matches(name, candidates, 1)
    ]
    return f" (did you mean {_list(near)}?)" if near else ""


def _of_python(source: str) -> tuple[Parameter, ...]:
    comments = _comments(source)
    parameters: dict[str, Parameter] = {}
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
        parameters[target.id] = Parameter(target.id, default, annotation or kind, text.strip())
    return tuple(parameters.values())


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
