"""Reads a rule's file: which files of the inbox start a notebook, and the request that they make.

    pattern: "invoices/*.pdf"
    notebook: reports/invoice.ipynb
    parameters: {path: "{{ file }}"}

Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from runner.contract.rules import Rules
from runner.contract.triggers.documents import (
    TriggerError,
    check_request,
    in_line,
    lacking,
    read_keys,
    read_mapping,
    split,
)
from runner.contract.triggers.placeholders import PlaceholderError, fill

REQUEST_SUFFIXES = (".ipynb", ".json", ".yaml", ".yml", ".zip", ".cancel")
"""What the inbox takes by itself; a rule matches none of these."""
MOST_PARTS = 32


class Files(BaseModel):
    """The keys of a rule beside those of its request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pattern: str = Field(
        min_length=1,
        max_length=500,
        description="Path below the inbox, with `*`, `?`, `[…]`, and `**` for any folders.",
    )
    group: Literal["single", "batch"] = Field(
        "single", description="`single`: a job for each file; `batch`: one for those that come."
    )
    batch_seconds: float = Field(
        10, gt=0, le=86_400, description="How long a batch waits for more, from its first file."
    )
    batch_files: int = Field(100, gt=0, le=1000, description="Most files of one batch.")
    data_seconds: float = Field(
        10,
        ge=1,
        le=3600,
        description="How long a file of a network mount must be unchanged.",
    )
    done: Literal["keep", "delete"] = Field(
        "keep",
        description="Where the file goes: `inbox/.done/DATE/`, or nowhere. The job has it too.",
    )
    enabled: bool = Field(True, description="`false`: its files stay where they are.")
    name: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="Name of the jobs in the outbox; by default `rules/RULE/FILE`.",
    )

    @field_validator("pattern")
    @classmethod
    def _below_the_inbox(cls, pattern: str) -> str:
        parts = pattern.split("/")
        if pattern.startswith("/") or ".." in parts or "" in parts or len(parts) > MOST_PARTS:
            raise ValueError("it is a path below the inbox, such as invoices/*.pdf")
        if any(part.startswith(".") for part in parts):
            raise ValueError("hidden files and folders are left alone")
        if parts[-1].lower().endswith(REQUEST_SUFFIXES):
            raise ValueError(
                "files with this ending are requests, which the inbox takes by itself; give the "
                "data another one"
            )
        return pattern

    def matches(self, path: str) -> bool:
        """Tell whether a file of the inbox matches; letter case does not count."""
        lowered = path.lower()
        if lowered.endswith(REQUEST_SUFFIXES):
            return False
        return _matches(lowered.split("/"), self.pattern.lower().split("/"))


@dataclass(frozen=True)
class Rule:
    """A rule: its files, and the keys of its request, whose placeholders are not filled yet."""

    files: Files
    request: Mapping[str, Any]

    def request_of(self, paths: Sequence[str]) -> tuple[dict[str, Any], str | None]:
        """Make the request for these files, and the name of its job, if the rule gives one.

        Raises:
            PlaceholderError: a batch has no single `file`.
        """
        names = _names(paths)
        filled = fill(dict(self.request), names)
        assert isinstance(filled, dict)
        return filled, None if self.files.name is None else str(fill(self.files.name, names))


_KEYS = tuple(Files.model_fields)


def read_rule(raw: bytes, rules: Rules | None = None) -> Rule:
    """Read a file; `rules` are those of the runner that is to run it.

    Raises:
        TriggerError: what is wrong, in one sentence.
    """
    document, text = read_mapping(raw, "rule", "`pattern` and `notebook`", "{{ file }}")
    said, request = split(document, _KEYS)
    if "pattern" not in said:
        raise lacking("such as pattern: invoices/*.pdf", "pattern", request)
    files = read_keys(Files, said, text)
    rule = Rule(files, request)
    examples = ["data/a.csv"] if files.group == "single" else ["data/a.csv", "data/b.csv"]
    try:
        filled, _ = rule.request_of(examples)
    except PlaceholderError as error:
        raise TriggerError(f"{error}{in_line(text, error.place)}.") from error
    check_request(filled, text, _KEYS, rules)
    return rule


def _names(paths: Sequence[str]) -> dict[str, Any]:
    """Return what placeholders name: of one file also the file, and its name without suffix."""
    names: dict[str, Any] = {"files": list(paths)}
    if len(paths) == 1:
        names |= {"file": paths[0], "stem": paths[0].rpartition("/")[2].rpartition(".")[0]}
    return names


def _matches(path: Sequence[str], pattern: Sequence[str]) -> bool:
    """Match a path part by part, in steps of their product: `**` stands for any number of folders.

    The table has a row for each part of the pattern, as for the distance of two words.
    """
    row = [True] + [False] * len(path)
    for part in pattern:
        if part == "**":
            following = list(row)
            for index in range(1, len(path) + 1):
                following[index] = following[index] or following[index - 1]
        else:
            following = [False] * (len(path) + 1)
            for index, name in enumerate(path, 1):
                following[index] = row[index - 1] and fnmatchcase(name, part)
        row = following
    return row[-1]
