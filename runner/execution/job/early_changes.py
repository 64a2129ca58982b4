"""Detects that a notebook changes packages or environment variables before it imports.

The rule works on text and rather sees one change too many. A false alarm costs the time of a cold
kernel; a missed change gives the notebook an older package. Runs and imports nothing.
"""

import re
from collections.abc import Iterable

_INSTALLER = re.compile(
    r"\b(pip3?|pipx|conda|mamba|micromamba|uv|poetry|pdm|easy_install|ensurepip|setup\.py)\b"
)
_ACTION = re.compile(
    r"\b(install|uninstall|add|remove|update|upgrade|sync|bootstrap|develop|import)\b"
)
_SETS_VARIABLE = re.compile(
    r"""\benvironb?[ ]?(\[[^\]]{0,300}\][ ]?(:[ ]?\w+[ ]?)?[|+]?=(?!=)|[ ]?\|?=(?!=))
    |\benvironb?\.(update|setdefault|pop|clear|__setitem__)\b
    |^[ \t]*\w+[ ]?=[ ]?(\w+\.)?environb?[ ]?(;|\#|$)|\benvironb?[ ]+as\b
    |\bdel[ ]+(os\.)?environ\b
    |\b(un)?putenv\b
    |^[ \t]*%(set_)?env[ ]+\w+[ =]
    |\bset_env\b|\bmagic\(["'](set_)?env\b|\brun_line_magic\(["'](set_)?env\b|\bsetenv\b
    |\bload_dotenv\b|\bread_env\b|^[ \t]*%dotenv\b
    |\bpatch\.dict\b""",
    re.VERBOSE | re.MULTILINE,
)
_READ_AT_IMPORT = re.compile(
    r"(?<![$\w])(MPL|MATPLOTLIB|OPENBLAS|GOTO|OMP|MKL|BLIS|VECLIB|KMP|NUMEXPR|NUMBA|NUMPY|NPY|PANDAS"
    r"|POLARS|RAYON|ARROW|PARQUET|TBB)_?[A-Z][A-Z0-9_]*\b"
)
"""Names of variables that libraries read once, however they are set."""
_IN_BRACKETS = re.compile(r"([\[(,])[ \t]*\n\s*|\\\n")
_IMPORTED = re.compile(
    r"""^[ \t]*from[ ]+(?P<module>[.\w]{1,200})[ ]+import[ ]+\(?(?P<names>[\w, ]{0,500})
    |^[ \t]*import[ ]+(?P<modules>[\w., ]{1,500})
    |^[ \t]*%run[ ]+(?:-\w[ ]+){0,5}["']?(?P<script>[^\s"']{1,300})""",
    re.VERBOSE | re.MULTILINE,
)
_ON_PATH = re.compile(
    r"\bsys\.path\.(?:append|insert)\((?:[ ]?\d,[ ]?)?[\"']([^\"'\n]{1,300})[\"']"
)


def changes_imports(sources: Iterable[str]) -> bool:
    """Return whether a source installs something, or sets an environment variable.

    Shell lines and the bodies of cell magics count, comments do not.
    """
    return any(_changes(source) for source in sources)


def files_read(sources: Iterable[str], reader: str = "") -> list[str]:
    """List the paths of Python files that these sources may import or run, from their folder.

    For a package, the list has every file that the import runs: `a/__init__.py` and `a/b.py` for
    `a.b`. `reader` is the file that holds the source, for `from . import b`.
    """
    texts = list(sources)
    places = [place.rstrip("/") for text in texts for place in _ON_PATH.findall(text)]
    paths: dict[str, None] = {}
    for match in (match for text in texts for match in _IMPORTED.finditer(text)):
        is_beside_reader = match["script"] or (match["module"] or "").startswith(".")
        for path in _paths_of(match, reader):
            paths[path] = None
            for place in () if is_beside_reader else places:
                paths[f"{place}/{path}"] = None
    return list(paths)


def _paths_of(match: re.Match[str], reader: str) -> list[str]:
    if match["script"]:
        script = match["script"]
        return [script] if script.endswith((".py", ".ipy", ".ipynb")) else [script, f"{script}.py"]
    if match["modules"]:
        named = [words[0] for part in match["modules"].split(",") if (words := part.split())]
        return [path for module in named for path in _paths_of_module(module)]
    module = match["module"].lstrip(".")
    names = [words[0] for part in match["names"].split(",") if (words := part.split())]
    dots = len(match["module"]) - len(module)
    above = reader.split("/")[:-dots] if dots else []
    inner = [f"{module}.{name}".lstrip(".") for name in names] or [module]
    paths = [path for one in inner for path in _paths_of_module(one)]
    return list(dict.fromkeys("/".join([*above, path]) for path in paths))


def _paths_of_module(module: str) -> list[str]:
    parts = module.split(".")
    heads = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return [path for head in heads for path in (f"{head}.py", f"{head}/__init__.py")]


def _changes(source: str) -> bool:
    lines = source.split("\n")
    code = "\n".join(line.rstrip() for line in lines if not line.lstrip().startswith("#"))
    # subprocess.run([sys.executable, "-m", "pip", …]) often goes over several lines.
    joined = _IN_BRACKETS.sub(r"\1 ", code)
    if _SETS_VARIABLE.search(joined) or _READ_AT_IMPORT.search(joined):
        return True
    return any(_INSTALLER.search(line) and _ACTION.search(line) for line in joined.split("\n"))
