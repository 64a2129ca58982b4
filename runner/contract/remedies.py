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

_IN_CELLS = (
    (
        re.compile(r"StdinNotImplementedError"),
        "Nobody can answer a run. Make the question a parameter: set it in a cell "
        "tagged `parameters`, and give its value with the request.",
    ),
    (
        re.compile(r"ImportError: IProgress not found"),
        "Install ipywidgets for the kernel: `pip install ipywidgets`. Or use `from tqdm import "
        "tqdm`, which needs none.",
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
