"""Says what a person can do about an error of the file system, or of a notebook.

Pure, over error numbers and what exceptions say. Touches no disk.
"""

import errno
import re

_REMEDIES = {
    errno.EPERM: "look for an immutable file (`lsattr`; `chattr -i` undoes it), or for its owner",
    errno.EACCES: "let the runner's user write there, or remove it by hand",
    errno.EROFS: "mount it for writing",
    errno.EXDEV: "unmount what is mounted there (`umount -l`)",
    errno.EBUSY: "unmount what is mounted there (`umount -l`)",
    errno.EEXIST: "move away what lies there",
    errno.ENOTDIR: "move away the file that lies where a folder belongs",
    errno.EISDIR: "move away the folder that lies where a file belongs",
    errno.ENOTEMPTY: "find the program that still writes there",
    errno.ENAMETOOLONG: "use a shorter name, or a folder with a shorter path",
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there",
    errno.EIO: "look for errors of the disk in the system's log",
    errno.ENOTCONN: "mount it anew: its server is gone",
    errno.EHOSTDOWN: "mount it anew, or start its server",
    errno.EHOSTUNREACH: "mount it anew, or start its server",
    errno.ESTALE: "mount it anew",
    errno.ETIMEDOUT: "look after its server",
}

START_AGAIN = "and start the runner again"
"""What has to follow a change of the settings: they are read at the start."""

_GLUES = "scrapbook glues numbers, texts, True and False, lists, mappings and DataFrames."

_IN_CELLS = (
    (
        re.compile(r"StdinNotImplementedError"),
        "Nobody can answer a run. Make the question a parameter: set it in a cell "
        "tagged `parameters`, and give its value with the request.",
    ),
    (
        re.compile(r"ImportError: IProgress not found"),
        "Install ipywidgets in the first cell: `%pip install ipywidgets`. Or use `from tqdm import "
        "tqdm`, which needs none.",
    ),
    (
        re.compile(
            r"RuntimeError: (asyncio\.run\(\) cannot be called from a running event loop"
            r"|This event loop is already running)"
        ),
        "A notebook runs in an event loop already: write `await …` in the cell, in place of "
        "`asyncio.run(…)` or `run_until_complete(…)`.",
    ),
    (
        re.compile(r"NameError: name '__file__' is not defined"),
        "A notebook has no `__file__`. It runs in its folder: use paths relative to that, or "
        "`Path.cwd()`.",
    ),
    (
        re.compile(r"RuntimeError: '(widget|ipympl|notebook|nbagg)' is not a recognised GUI loop"),
        "Use `%matplotlib inline`: nobody can touch the figure of a run. Or install ipympl in the "
        "first cell (`%pip install ipympl`).",
    ),
    (
        re.compile(r"NotImplementedError: Scrap of type <class 'pandas[.](\w+[.])*(Series|Index)'"),
        f"{_GLUES} Glue a table, `x.to_frame()`, or a list, `x.tolist()`.",
    ),
    (
        re.compile(
            r"NotImplementedError: Scrap of type <class '(numpy|pandas|decimal|datetime)[.]"
        ),
        f"{_GLUES} Glue a plain value: `int(x)`, "
        "`float(x)`, `str(x)` or `x.tolist()`. Or put the value at the end of a cell tagged "
        "`results`.",
    ),
    (
        re.compile(
            r"NotImplementedError: Scrap of type <class 'NoneType'"
            r"|ScrapbookDataException: Scrap \(name=[^\n]*structures: None is not of type"
        ),
        f"{_GLUES} It takes None inside a mapping or a list alone: `{{'value': x}}`. Or glue the "
        "value only if it is not None.",
    ),
    (
        re.compile(r"NotImplementedError: Scrap of type"),
        f"{_GLUES} Glue it as a list, a mapping or a text.",
    ),
    (
        re.compile(r"SystemExit: (?!2$)"),
        "A cell ended the notebook with a code of failure; plain `exit()` ends it as a success.",
    ),
    (
        re.compile(r"SystemExit: 2$"),
        "A parser of command lines, such as argparse, finds that of the kernel: call "
        "`parse_args([])`, and take the values as parameters.",
    ),
)
"""Advice by the text of a cell's exception; `packages` has the advice on missing modules."""


def remedy_of_exception(text: str) -> str | None:
    """Return what to do about a cell's exception, `NAME: TEXT`; None where that is not known."""
    return next((remedy for pattern, remedy in _IN_CELLS if pattern.match(text)), None)


def with_remedy(error: BaseException) -> str:
    """Say what went wrong, and what to do about it."""
    number = getattr(error, "errno", None)
    remedy = _REMEDIES.get(number) if isinstance(number, int) else None
    return str(error) if remedy is None else f"{error} ({remedy})"


def remedy_of_timeout(seconds: float, most: float) -> str:
    """Say what to do about a run that took longer than it may; `most` is what it may ask for."""
    if seconds < most:
        return (
            f"Let it do less, or raise `timeout_seconds` in the request, up to {most:g} "
            "(limits.max_run_seconds)."
        )
    return (
        f"Let it do less, or raise limits.max_run_seconds ({most:g}) in the settings {START_AGAIN}."
    )


def remedy_by_retries(*, is_likely: bool) -> str:
    """Say that another attempt may help; `is_likely` if the notebook is not at fault."""
    if is_likely:
        return "Run it again; with `retries` in the request the runner does so by itself."
    return "If that happens by chance, `retries` in the request lets the runner try again."
