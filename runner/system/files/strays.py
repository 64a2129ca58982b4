"""Notices files that are written beside a library notebook while it runs: nobody publishes them.

Looks at names, sizes and times of one folder, and only where it has few files. Of its folders it
knows only which are new.
"""

import os
import stat

MOST_LISTED = 500
"""A folder with more entries is not looked at: it may be a share that takes long."""
NAMED = 3
_SOURCES = (".ipynb", ".py", ".yaml", ".yml")
"""What people and programs write into a library themselves."""
_CACHE = "__pycache__"
"""The folder that an import makes."""

_Listed = dict[str, tuple[int, int]]


class Strays:
    """Remembers a folder as it was. None: the run has a folder of its own."""

    def __init__(self, folder: str | None) -> None:
        self._folder = folder
        self._before = None if folder is None else _listed(folder)

    def warnings(self) -> list[str]:
        """Name the files that are new or have changed since, and new folders, if there are any."""
        if self._folder is None or self._before is None:
            return []
        now = _listed(self._folder) or {}
        written = sorted(name for name, state in now.items() if self._before.get(name) != state)
        if not written:
            return []
        names = ", ".join(map(repr, written[:NAMED]))
        more = f" and {len(written) - NAMED} more" if len(written) > NAMED else ""
        return [
            f"While it ran, files were written beside the notebook, in the library, and are not "
            f"published: {names}{more}. Write into the folder in `RUNNER_OUTPUT_DIR`."
        ]


def _listed(folder: str) -> _Listed | None:
    """List the files and folders in a folder; None if they are too many, or cannot be read."""
    files: _Listed = {}
    try:
        with os.scandir(folder) as entries:
            for count, entry in enumerate(entries):
                if count >= MOST_LISTED:
                    return None
                if entry.name.startswith(".") or entry.name.lower().endswith(_SOURCES):
                    continue
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    files[entry.name] = status.st_mtime_ns, status.st_size
                elif stat.S_ISDIR(status.st_mode) and entry.name != _CACHE:
                    files[f"{entry.name}/"] = 0, 0
    except OSError:
        return None
    return files
