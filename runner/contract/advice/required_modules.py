"""Lists the modules that a notebook will surely import, read from its code as Python.

The rule rather misses a module than names one too many: a missed one still ends as
`module_not_found` when the notebook runs. Imports nothing, and never raises.
"""

import ast
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from IPython.core.inputtransformer2 import TransformerManager

from runner.contract.advice.packages import PROVIDED

MAX_SOURCE_CHARS = 1_000_000
MAX_NESTING = 10
MAX_PARTS = 100
"""Most modules of one package that are noted; a notebook may import any number."""
MAX_COST = 20_000
"""Most lines of a cell times its magics; beyond it reading takes seconds."""

_PYTHON_MAGICS = frozenset({"time", "timeit", "capture", "prun"})
_FILE_MAGICS = frozenset({"writefile", "file"})
_HARMLESS_CELL_MAGICS = frozenset("html HTML markdown latex svg SVG javascript js".split())
_HARMLESS_LINE_MAGICS = frozenset(
    "matplotlib autoreload config who whos time timeit prun memit mprun precision pprint xmode "
    "lsmagic magic pinfo pinfo2 psource pdoc pfile pdef quickref colors automagic unload_ext "
    "watermark tensorboard sql store gui logstart logstop logoff logon pdb reset_selective".split()
)
_CHANGING_MODULES = frozenset("sys os site subprocess importlib pip runpy pkg_resources".split())
"""Modules that may change what can be imported, also under another name."""
_HOOKING_MODULES = frozenset("import_ipynb clr jpype findspark pyximport".split())
_HARMLESS_NAMES = frozenset("path environ getcwd listdir sep makedirs version_info stdout".split())
"""Names often imported from `os` and `sys`; but `sys.path` is the search path itself."""
_CHANGING_NAMES = re.compile(
    r"(sys\.(path|modules|meta_path|path_hooks)"
    r"|os\.(f?chdir|system|popen|exec\w+|spawn\w+|posix_spawn\w*|fork|rename|replace|symlink)"
    r"|subprocess\.|sh\.|importlib\.|runpy\.|site\.|micropip\.|pip\.|shutil\.|zipfile\.|tarfile\.)"
)
_CHANGING_CALLS = frozenset(
    "chdir write_text write_bytes extractall urlretrieve download addsitedir install "
    "rename symlink_to hardlink_to mkdir makedirs init".split()
)
_CHANGING_BUILTINS = frozenset("exec eval compile __import__ getattr setattr".split())
_INSTALL = re.compile(
    r"\b(pip3?|conda|mamba|uv|apt|apt-get)\s{1,20}(-\S{1,100}\s{1,20}){0,10}(install|add)\b"
)
_HARMLESS_EXTENSIONS = frozenset({"autoreload", "tensorboard", "sql", "memory_profiler"})
_ENDING_CALLS = frozenset({"exit", "quit", "sys.exit", "os._exit", "os.abort"})
_SHELL = frozenset({"system", "getoutput"})


@dataclass(frozen=True)
class Requirements:
    """Top-level names that running the cells will surely import, in their order."""

    ordered: tuple[str, ...]
    dotted: tuple[str, ...] = ()
    """Everything that is imported, with its dots."""

    def imported_as(self, module: str) -> tuple[str, ...]:
        """Return a module as it is imported: with its dots, once for each part that is used."""
        inner = [name for name in self.dotted if f"{name}.".startswith(f"{module}.")][:MAX_PARTS]
        leaves = [n for n in inner if not any(other.startswith(f"{n}.") for other in inner)]
        return tuple(leaves) or (module,)

    @property
    def provided(self) -> tuple[str, ...]:
        """Modules of `PROVIDED` that are imported, with their dots."""
        return tuple(one for one in PROVIDED if any(_is_in(name, one) for name in self.dotted))

    @property
    def modules(self) -> frozenset[str]:
        """The same without an order."""
        return frozenset(self.ordered)


def _is_in(module: str, package: str) -> bool:
    return f"{module}.".startswith(f"{package}.")


class _Unknowable(Exception):
    """The rest cannot be judged, because something may change what can be imported."""


@dataclass
class _Reader:
    modules: dict[str, None] = field(default_factory=dict)
    dotted: dict[str, None] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)
    """Modules that the notebook writes itself."""


def required_modules(sources: Sequence[str]) -> Requirements:
    """Return the modules that these code cells, run in this order, import for certain.

    Imports at the top level of a cell count, up to the first statement that may install, fetch or
    write a module, change the search path or the folder, or end the notebook. Relative imports do
    not count, nor do those in functions, branches, loops, `try` and `with`.
    """
    reader = _Reader()
    # Parsing a cell takes IPython a tenth of a millisecond, and most notebooks import at their top.
    last = max((n for n, source in enumerate(sources) if "import" in source), default=-1)
    try:
        for source in sources[: last + 1]:
            _read_cell(source, reader, 0)
    except _Unknowable:
        pass
    return Requirements(tuple(reader.modules), tuple(reader.dotted))


def _read_cell(source: str, reader: _Reader, depth: int) -> None:
    if not source.strip():
        return
    for statement in _parse(source, depth).body:
        _read_statement(statement, reader, depth)


def _parse(source: str, depth: int) -> ast.Module:
    """Parse a cell as Python. Other text ends the notebook, or is a magic without its `%`.

    Raises:
        _Unknowable: it does not parse.
    """
    if len(source) > MAX_SOURCE_CHARS or depth > MAX_NESTING or _transform_cost(source) > MAX_COST:
        raise _Unknowable
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code: str = TransformerManager().transform_cell(source)
            return ast.parse(code)
    except Exception as error:  # IPython's tokenizer raises errors of its own, and Python many
        raise _Unknowable from error


def _transform_cost(source: str) -> int:
    """Estimate the work: IPython tokenizes the whole cell for each magic or shell line."""
    lines = source.splitlines()
    return len(lines) * sum(1 for line in lines if re.search(r"^\s*[!%?]|[?=]\s*[!%]|\?\s*$", line))


def _read_statement(statement: ast.stmt, reader: _Reader, depth: int) -> None:
    match statement:
        case ast.Import(names=names):
            for alias in names:
                _name(alias.name, reader)
            if any(alias.asname and alias.name in _CHANGING_MODULES for alias in names):
                raise _Unknowable
        case ast.ImportFrom(module=module, level=0) if module and module != "__future__":
            _name(module, reader)
            for alias in statement.names:
                _name(f"{module}.{alias.name}", reader)
            _check_names(statement)
        case ast.ClassDef(body=body):
            for part in (*statement.decorator_list, *statement.bases, *statement.keywords):
                _look_for_changes(part, reader, depth)
            for inner in body:
                _read_statement(inner, reader, depth)
        case ast.Try(finalbody=finalbody) | ast.TryStar(finalbody=finalbody):
            _look_for_changes(statement, reader, depth)
            for inner in finalbody:
                _read_statement(inner, reader, depth)
        case _:
            _look_for_changes(statement, reader, depth)


def _is_function(statement: ast.AST) -> bool:
    """Return whether it is a function, whose exception matters only if it is called."""
    return isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)


def _check_names(statement: ast.ImportFrom) -> None:
    """Check `from subprocess import run` and the like.

    Raises:
        _Unknowable: a name that may change what can be imported.
    """
    module = (statement.module or "").partition(".")[0]
    names = {alias.name for alias in statement.names}
    if module == "sys" and "path" in names:
        raise _Unknowable
    if module in _CHANGING_MODULES and not names <= _HARMLESS_NAMES:
        raise _Unknowable


def _name(module: str, reader: _Reader) -> None:
    """Note an import that runs.

    Raises:
        _Unknowable: it is of a module that the notebook wrote, or one that hooks into imports.
    """
    name = module.partition(".")[0]
    if name in reader.made or name in _HOOKING_MODULES:
        raise _Unknowable
    reader.modules[name] = None
    reader.dotted[module] = None


def _look_for_changes(statement: ast.AST, reader: _Reader, depth: int) -> None:
    """Look at everything in a statement that may run, now or when a function is called.

    Raises:
        _Unknowable: it may change what can be imported, or end the notebook.
    """
    in_magic: set[ast.AST] = set()
    bases: set[ast.AST] = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Raise) and not _is_function(statement):
            raise _Unknowable
        if isinstance(node, ast.ImportFrom):
            _check_names(node)
        if isinstance(node, ast.Name) and node.id in _CHANGING_MODULES and node not in bases:
            raise _Unknowable
        if isinstance(node, ast.Attribute):
            bases.add(node.value)
        if isinstance(node, ast.Attribute) and _CHANGING_NAMES.match(_dotted(node)):
            raise _Unknowable
        if isinstance(node, ast.Call):
            _read_call(node, reader, depth, in_magic)


def _installs(call: ast.Call) -> bool:
    """Return whether a call's texts hold a command that installs something."""
    texts = (n.value for n in ast.walk(call) if isinstance(n, ast.Constant))
    return any(isinstance(text, str) and _INSTALL.search(text) for text in texts)


def _read_call(call: ast.Call, reader: _Reader, depth: int, in_magic: set[ast.AST]) -> None:
    name = _dotted(call.func)
    if name.startswith("get_ipython."):
        if not isinstance(call.func, ast.Attribute) or not isinstance(call.func.value, ast.Call):
            raise _Unknowable
        in_magic.add(call.func.value)
        _read_ipython(call.func.attr, call, reader, depth)
        return
    last = name.rpartition(".")[2]
    if last not in ("print", "display") and _installs(call):
        raise _Unknowable
    if last == "get_ipython" and call not in in_magic:
        raise _Unknowable
    if name in _ENDING_CALLS | _CHANGING_BUILTINS or last in _CHANGING_CALLS:
        raise _Unknowable
    if last == "open" and _writes(call):
        raise _Unknowable


def _writes(call: ast.Call) -> bool:
    """Return whether a call of `open`, or of a path's, may make a file, by its mode."""
    first = 0 if isinstance(call.func, ast.Attribute) else 1
    modes = [*call.args[first : first + 1], *(k.value for k in call.keywords if k.arg == "mode")]
    if not modes:
        return False
    mode = modes[0].value if isinstance(modes[0], ast.Constant) else None
    return not isinstance(mode, str) or bool(set(mode) & set("wax+"))


def _read_ipython(method: str, call: ast.Call, reader: _Reader, depth: int) -> None:
    """Read the call that IPython's transformer made of a magic or a shell line."""
    texts = [
        argument.value
        for argument in call.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    ]
    if method == "run_line_magic" and len(texts) == 2 and not _changes(*texts):
        if texts[0] in _PYTHON_MAGICS:
            _read_cell(texts[1], reader, depth + 1)
    elif method == "run_cell_magic" and len(texts) == 3:
        _read_cell_magic(texts[0], texts[1], texts[2], reader, depth)
    elif method not in _SHELL or not _is_plain_echo(texts):
        raise _Unknowable


def _changes(magic: str, line: str) -> bool:
    if magic == "load_ext":
        return line.strip() not in _HARMLESS_EXTENSIONS
    return magic not in _HARMLESS_LINE_MAGICS


def _is_plain_echo(texts: Sequence[str]) -> bool:
    """Return whether a shell line only looks, as most in notebooks do."""
    words = texts[0].split() if texts else [""]
    plain = not re.search(r"[|;&<>`$({]", texts[0]) if texts else False
    return plain and words[:1] in (["echo"], ["ls"], ["pwd"], ["date"], ["nvidia-smi"])


def _read_cell_magic(magic: str, line: str, body: str, reader: _Reader, depth: int) -> None:
    if magic in _PYTHON_MAGICS:
        _read_cell(body, reader, depth + 1)
    elif magic in _FILE_MAGICS and not set(line) & set("{$"):
        path = PurePosixPath(line.split()[-1].strip("'\"") if line.split() else "")
        if path.parts:
            reader.made.add(path.parts[0] if len(path.parts) > 1 else path.stem)
    elif magic not in _HARMLESS_CELL_MAGICS:
        raise _Unknowable


def _dotted(node: ast.AST) -> str:
    """Return `a.b.c` of a chain of names; calls in between are skipped; empty if it is none."""
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
