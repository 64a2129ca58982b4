"""The notebooks below a folder, and what lies beside each; runs none of them."""

import hashlib
import re
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nbformat

NEIGHBOUR_BYTES = 20 * 2**20
"""A larger file beside a notebook is not copied, for neither side."""
NOTEBOOK_BYTES = 5 * 2**20
"""The runner's own default (`limits.notebook_mb`)."""
PYTHON = frozenset({"python", "ipython", "python3", ""})
"""As notebooks of all ages name the language."""
_UPWARDS = re.compile(r"(?:\.\./)+|\.\.(?=[\"'])")


class Skipped(Exception):
    """A notebook that is not compared, and why."""


@dataclass(frozen=True)
class Case:
    """A notebook below the folder that is looked at."""

    root: Path
    path: Path

    @property
    def label(self) -> str:
        """Its path below that folder."""
        return self.path.relative_to(self.root).as_posix()

    @property
    def repository(self) -> tuple[str, str]:
        """The first folder below it, `owner+name@commit`, as name and commit."""
        first, slash, _ = self.label.partition("/")
        name, _, commit = first.partition("@") if slash else (".", "", "")
        return name.replace("+", "/", 1), commit

    @property
    def place(self) -> str:
        """The path as it is found again: repository and path in it, without the commit."""
        _, slash, below = self.label.partition("/")
        return f"{self.repository[0]}/{below}" if slash else self.label

    @cached_property
    def raw(self) -> bytes:
        """Its bytes."""
        return self.path.read_bytes()

    @cached_property
    def base(self) -> Path:
        """The folder that is copied: the notebook's, or as far above as its code reaches."""
        upwards = _UPWARDS.findall(self.raw.decode(errors="replace"))
        base, top = self.path.parent, self.root / Path(self.label).parts[0]
        for _ in range(max((one.count("..") for one in upwards), default=0)):
            if base in (top, self.root):
                break
            base = base.parent
        return base

    @cached_property
    def neighbours(self) -> tuple[Path, ...]:
        """What lies beside or below it, but for what is too large."""
        return tuple(
            path
            for path in sorted(self.base.rglob("*"))
            if path != self.path
            and ".git" not in path.parts
            and path.is_file()
            and path.stat().st_size <= NEIGHBOUR_BYTES
        )

    @property
    def is_alone(self) -> bool:
        """Whether nothing lies there that it could read: then it may be dropped."""
        return all(path.suffix == ".ipynb" for path in self.neighbours)

    @cached_property
    def key(self) -> str:
        """A hash of the notebook and of what lies beside it."""
        digest = hashlib.sha256(self.raw)
        for path in () if self.is_alone else self.neighbours:
            line = f"{path.relative_to(self.base)} {path.stat().st_size}"
            digest.update(line.encode(errors="surrogateescape"))
        return digest.hexdigest()[:24]

    def copy(self, target: Path) -> Path:
        """Copy the notebook and what lies beside it; where the notebook lies then."""
        for path in (self.path, *self.neighbours):
            there = target / path.relative_to(self.base)
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, there)
        return target / self.path.relative_to(self.base)

    @cached_property
    def kernel(self) -> str | None:
        """The kernelspec that it names.

        Raises:
            Skipped: it is no notebook, not one of Python, or too large.
        """
        if len(self.raw) > NOTEBOOK_BYTES:
            raise Skipped("larger than 5 MB")
        try:
            metadata = nbformat.reads(self.raw.decode(), as_version=4).metadata
        except Exception as error:
            raise Skipped("nbformat cannot read it") from error
        spec = metadata.get("kernelspec", {})
        language = spec.get("language") or metadata.get("language_info", {}).get("name", "")
        if language.lower() not in PYTHON:
            raise Skipped("in another language than Python")
        name: str | None = spec.get("name")
        return name


def notebooks_below(root: Path, only: str | None = None) -> list[Case]:
    """The notebooks below `root` that match a regular expression; none of a hidden folder."""
    listed = [Case(root, path) for path in sorted(root.rglob("*.ipynb")) if path.is_file()]
    hidden = re.compile(r"(^|/)\.")
    return [
        case
        for case in listed
        if not hidden.search(case.label) and (only is None or re.search(only, case.label))
    ]
