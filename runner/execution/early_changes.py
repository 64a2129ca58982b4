"""Whether a notebook changes what an import gives before it imports: packages, or the environment.

A rule over text that rather sees one change too many: that costs the time of a kernel that is
started anew, while one too few gives the notebook an older package. Runs and imports nothing.
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
"""Names of variables that libraries read once, in whatever way they are set."""
_IN_BRACKETS = re.compile(r"([\[(,])[ \t]*\n\s*|\\\n")
_IMPORTED = re.compile(r"^[ \t]*(?:from|import)[ ]+(\w+)|^[ \t]*%run[ ]+(?:-\w[ ]+)*(\S+)", re.M)


def changes_imports(sources: Iterable[str]) -> bool:
    """Whether any of these sources installs something, or sets an environment variable.

    Shell lines and the bodies of cell magics count, comments do not.
    """
    return any(_changes(source) for source in sources)


def files_read(sources: Iterable[str]) -> list[str]:
    """Paths at which Python files may lie that these sources import or run, from their folder."""
    paths: dict[str, None] = {}
    for source in sources:
        for module, script in _IMPORTED.findall(source):
            for path in (f"{module}.py", f"{module}/__init__.py") if module else (script,):
                paths[path] = None
    return list(paths)


def _changes(source: str) -> bool:
    lines = source.split("\n")
    code = "\n".join(line.rstrip() for line in lines if not line.lstrip().startswith("#"))
    # subprocess.run([sys.executable, "-m", "pip", …]) often goes over several lines.
    joined = _IN_BRACKETS.sub(r"\1 ", code)
    if _SETS_VARIABLE.search(joined) or _READ_AT_IMPORT.search(joined):
        return True
    return any(_INSTALLER.search(line) and _ACTION.search(line) for line in joined.split("\n"))
