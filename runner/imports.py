"""Which modules a notebook will surely import, read from its code as Python.

A rule that rather misses one than names one too many: a missed module still ends as
`module_not_found` when the notebook runs. Imports nothing, and never raises.
"""

import ast
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from IPython.core.inputtransformer2 import TransformerManager

MAX_SOURCE_CHARS = 1_000_000
MAX_NESTING = 10

_PYTHON_CELL_MAGICS = frozenset({"time", "timeit", "capture", "prun"})
_FILE_CELL_MAGICS = frozenset({"writefile", "file"})
_CHANGING_MAGICS = frozenset(
    "cd run load load_ext pip conda mamba micromamba uv pushd popd pylab env set_env".split()
)
_INSTALLERS = re.compile(
    r"\b(pip3?|conda|mamba|micromamba|uv|apt|apt-get|poetry|easy_install|git\s+clone|setup\.py)\b"
)
_CATCHING = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})
_CHANGING_NAMES = frozenset(
    "sys.path sys.modules sys.meta_path sys.path_hooks os.chdir site.addsitedir "
    "importlib.invalidate_caches micropip.install pip.main pip._internal.main".split()
)
_CHANGING_CALLS = frozenset({"exec", "__import__", "chdir", "addsitedir", "fchdir"})
_ENDING_CALLS = frozenset({"exit", "quit", "sys.exit", "os._exit", "os.abort"})


@dataclass(frozen=True)
class Requirements:
    """Top-level names that running the cells in order will surely import."""

    modules: frozenset[str]


class _Unknowable(Exception):
    """From here on nothing can be said: something changes what can be imported."""


@dataclass
class _Reader:
    modules: set[str] = field(default_factory=set)
    made: set[str] = field(default_factory=set)
    """Modules that the notebook writes itself."""


def required_modules(sources: Sequence[str]) -> Requirements:
    """The modules that these code cells, run in this order, import for certain.

    Counted are imports that run whatever happens: not those in functions, under `if`, in a `try`
    that catches their failure, relative ones, or any after the notebook installs something,
    changes the search path or its folder, or ends itself. Cells that are no Python are passed
    over.
    """
    reader = _Reader()
    try:
        for source in sources:
            _read_cell(source, reader, 0)
    except _Unknowable:
        pass
    return Requirements(frozenset(reader.modules - reader.made))


def _read_cell(source: str, reader: _Reader, depth: int) -> None:
    if len(source) > MAX_SOURCE_CHARS or depth > MAX_NESTING:
        return
    tree = _parse(source)
    if tree is None:
        return
    _read_body(tree.body, reader, depth)


def _parse(source: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code: str = TransformerManager().transform_cell(source)
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError, IndexError, TypeError):
        return None
    except Exception:  # noqa: BLE001 - IPython's tokenizer raises errors of its own
        return None


def _read_body(body: Sequence[ast.stmt], reader: _Reader, depth: int) -> None:
    for statement in body:
        _read_statement(statement, reader, depth)


def _read_statement(statement: ast.stmt, reader: _Reader, depth: int) -> None:
    match statement:
        case ast.Import(names=names):
            reader.modules.update(alias.name.partition(".")[0] for alias in names)
        case ast.ImportFrom(module=module, level=0) if module and module != "__future__":
            reader.modules.add(module.partition(".")[0])
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ImportFrom():
            return
        case ast.ClassDef(body=body):
            _read_body(body, reader, depth)
        case ast.With() | ast.AsyncWith():
            _read_with(statement, reader, depth)
        case ast.Try() | ast.TryStar():
            _read_try(statement, reader, depth)
        case ast.If() | ast.For() | ast.While() | ast.AsyncFor() | ast.Match():
            if _changes_something(statement):
                raise _Unknowable
        case ast.Raise():
            raise _Unknowable
        case _:
            _read_expressions(statement, reader, depth)


def _read_with(statement: ast.With | ast.AsyncWith, reader: _Reader, depth: int) -> None:
    for item in statement.items:
        _read_expressions(item.context_expr, reader, depth)
    if any(_suppresses(item.context_expr) for item in statement.items):
        return
    _read_body(statement.body, reader, depth)


def _suppresses(expression: ast.expr) -> bool:
    """Whether this is `contextlib.suppress(ImportError)` or anything that may swallow errors."""
    if not isinstance(expression, ast.Call):
        return False
    return _dotted(expression.func).rpartition(".")[2] in ("suppress", "raises", "catch")


def _read_try(statement: ast.Try | ast.TryStar, reader: _Reader, depth: int) -> None:
    if not any(_catches(handler) for handler in statement.handlers):
        _read_body(statement.body, reader, depth)
        _read_body(statement.orelse, reader, depth)
    elif _changes_something(statement):
        raise _Unknowable
    _read_body(statement.finalbody, reader, depth)


def _catches(handler: ast.ExceptHandler) -> bool:
    """Whether a failed import may end here; a name that we do not know may be anything."""
    if handler.type is None:
        return True
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    names = [_dotted(kind).rpartition(".")[2] for kind in kinds]
    return any(name in _CATCHING or not _is_builtin_error(name) for name in names)


def _is_builtin_error(name: str) -> bool:
    import builtins

    found = getattr(builtins, name, None)
    return isinstance(found, type) and issubclass(found, BaseException)


def _read_expressions(node: ast.AST, reader: _Reader, depth: int) -> None:
    """A statement without statements in it: does it change what can be imported?"""
    for inner in _walk_outside_functions(node):
        if isinstance(inner, ast.Call):
            _read_call(inner, reader, depth)
        if _touches_search_path(inner):
            raise _Unknowable


def _read_call(call: ast.Call, reader: _Reader, depth: int) -> None:
    name = _dotted(call.func)
    if name in _ENDING_CALLS or name in _CHANGING_CALLS:
        raise _Unknowable
    last = name.rpartition(".")[2]
    constants = [arg.value for arg in ast.walk(call) if isinstance(arg, ast.Constant)]
    texts = [text for text in constants if isinstance(text, str)]
    if name.startswith("get_ipython."):
        _read_ipython(last, texts, reader, depth)
    elif _is_process_call(name) and _INSTALLERS.search(" ".join(texts)):
        raise _Unknowable


def _read_ipython(call: str, texts: Sequence[str], reader: _Reader, depth: int) -> None:
    """What IPython's transformer made of a magic or a shell line."""
    if call == "run_line_magic" and texts:
        magic = texts[0]
        rest = texts[1] if len(texts) > 1 else ""
        if magic in _CHANGING_MAGICS or (magic in ("sx", "system") and _INSTALLERS.search(rest)):
            raise _Unknowable
        if magic in ("time", "timeit", "prun"):
            _read_cell(rest, reader, depth + 1)
    elif call == "run_cell_magic" and len(texts) >= 3:
        _read_cell_magic(texts[0], texts[1], texts[2], reader, depth)
    elif call in ("system", "getoutput") and _INSTALLERS.search(" ".join(texts)):
        raise _Unknowable


def _read_cell_magic(magic: str, line: str, body: str, reader: _Reader, depth: int) -> None:
    if magic in _PYTHON_CELL_MAGICS:
        _read_cell(body, reader, depth + 1)
    elif magic in _FILE_CELL_MAGICS:
        path = PurePosixPath(line.split()[-1].strip("'\"") if line.split() else "")
        if path.parts:
            first = path.parts[0] if len(path.parts) > 1 else path.stem
            reader.made.add(first)
    elif _INSTALLERS.search(body):
        raise _Unknowable


def _is_process_call(name: str) -> bool:
    first, _, last = name.partition(".")
    return first in ("subprocess", "os", "sh") or last in ("run", "check_call", "check_output")


def _touches_search_path(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and _dotted(node) in _CHANGING_NAMES


def _changes_something(statement: ast.stmt) -> bool:
    """Whether a part that may or may not run would make what follows unknowable."""
    probe = _Reader()
    try:
        for inner in _walk_outside_functions(statement):
            if isinstance(inner, ast.Call) and _dotted(inner.func) not in _ENDING_CALLS:
                _read_call(inner, probe, MAX_NESTING)
            if _touches_search_path(inner):
                return True
    except _Unknowable:
        return True
    return False


def _walk_outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    pending = [node]
    while pending:
        inner = pending.pop()
        yield inner
        if not isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            pending.extend(ast.iter_child_nodes(inner))


def _dotted(node: ast.AST) -> str:
    """`a.b.c` of a chain of names; calls in between are passed through; empty if it is none."""
    parts: list[str] = []
    while True:
        if isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        elif isinstance(node, ast.Call):
            node = node.func
        elif isinstance(node, ast.Name):
            parts.append(node.id)
            return ".".join(reversed(parts))
        else:
            return ""
