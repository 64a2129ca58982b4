"""Folders that a process makes for a while; what one that was killed has left, another removes."""

import os
import tempfile
from pathlib import Path

import psutil

from runner.system.files.disk import Disk


def passing_folder(prefix: str) -> "tempfile.TemporaryDirectory[str]":
    """Make a folder among the temporary ones, which goes with this process or before."""
    return tempfile.TemporaryDirectory(prefix=f"{prefix}{os.getpid()}-")


def remove_left(prefix: str, folder: Path | None = None) -> None:
    """Remove the folders of processes that are gone, as far as they are ours.

    They lie in `folder`; by default where temporary ones do.
    """
    for one in (folder or Path(tempfile.gettempdir())).glob(f"{prefix}*"):
        pid = one.name.removeprefix(prefix).partition("-")[0]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            Disk().discard_tree(one)
