"""Finds the Chromium of this machine, and says what to install where there is none."""

import os
import shutil
from pathlib import Path

NAMES = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"),
    *("chrome-headless-shell", "microsoft-edge", "brave-browser"),
)
"""Programs that print, those that most systems have first."""
ADVICE = (
    "Install it (Debian: `apt-get install chromium`), or name the program in "
    "`gateway.chromium` of the settings."
)
_SNAPS = (b"/snap/bin/", b"snap run ")


class NoBrowser(Exception):
    """There is none; the message says what to do."""


def find_browser(named: str | None = None) -> str:
    """Return the path of the program: the named one, or the first of `NAMES`.

    Raises:
        NoBrowser
    """
    if named is not None:
        path = shutil.which(os.path.expanduser(named))  # noqa: PTH111
        if path is None:
            raise NoBrowser(f"`gateway.chromium` is {named!r}, and no such program is there.")
        return path
    there = [path for name in NAMES if (path := shutil.which(name)) is not None]
    fit = [path for path in there if not _is_snap(path)]
    if fit:
        return fit[0]
    if there:
        what = f"{there[0]} is a snap, which cannot be given a profile of its own."
        raise NoBrowser(f"{what} Another Chromium is needed. {ADVICE}")
    raise NoBrowser(f"PDFs are printed by Chromium, which is not installed here. {ADVICE}")


def _is_snap(path: str) -> bool:
    """Return whether this is a snap, or Ubuntu's script that starts one."""
    real = Path(os.path.realpath(path))
    if real.name == "snap" or "/snap/" in f"{path}{real}":
        return True
    try:
        with real.open("rb") as file:
            head = file.read(8192)
    except OSError:  # starting it will say why
        return False
    return head.startswith(b"#!") and any(sign in head for sign in _SNAPS)
