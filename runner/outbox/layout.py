"""Says where in an outbox everything lies: published, staged and earlier files."""

import os
from dataclasses import dataclass
from pathlib import Path

from runner.contract.names import FILES

STAGING = ".staging"
HISTORY = ".history"
RESULT, ERROR, STATUS = ".result.json", ".error.json", ".status.json"
CANCELLED = ".cancelled.json"
"""The answer to a cancel that had nothing to cancel."""
NOTEBOOK = ".ipynb"
PUBLISHED = (RESULT, ERROR, NOTEBOOK, FILES)
"""Suffixes of the files that are published under a name, the reports first."""


@dataclass(frozen=True)
class Layout:
    """The places of one outbox."""

    folder: Path

    def base(self, name: str) -> Path:
        """Give the path of a name, without suffix; see `beside`."""
        return self.folder / name

    @property
    def all_staging(self) -> Path:
        """The folder of all staged files."""
        return self.folder / STAGING

    def staging(self, job_id: str) -> Path:
        """Give the folder of a job's staged files."""
        return self.all_staging / job_id

    def staged(self, job_id: str, what: str) -> Path:
        """Give the place of a job's notebook or report before it is published."""
        return self.all_staging / f"{job_id}.{what}"

    def staged_files(self, job_id: str) -> Path:
        """Give the folder that becomes a job's `NAME.files`."""
        return self.staging(job_id) / "files"

    def history(self, name: str) -> Path:
        """Give the folder of the earlier runs of a name."""
        return self.folder / HISTORY / name


def beside(base: Path, suffix: str) -> Path:
    """Give a file of a name: `base` with a suffix."""
    return base.with_name(base.name + suffix)


def present(base: Path) -> list[tuple[str, Path]]:
    """List the files that lie under a name now: each suffix and its path, the reports first."""
    stem = str(base)
    lying = [suffix for suffix in PUBLISHED if os.path.lexists(stem + suffix)]
    return [(suffix, beside(base, suffix)) for suffix in lying]


def free(path: Path) -> Path:
    """Give `path`, or the next name like it that is free."""
    candidate, count = path, 1
    while os.path.lexists(candidate):
        count += 1
        candidate = path.with_name(f"{path.name}.{count}")
    return candidate
