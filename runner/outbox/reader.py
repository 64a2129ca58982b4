"""Reads published reports, by name and job id. Needs the folder alone."""

import json
from dataclasses import dataclass
from pathlib import Path

from runner.contract.text import strict_json
from runner.outbox.layout import ERROR, RESULT, STATUS, Layout, beside
from runner.system.files.disk import read_regular


@dataclass(frozen=True)
class Report:
    """A published result or error JSON.

    It holds the bytes of the file, and the parsed content without the results, which may have
    megabytes that hardly any reader needs.
    """

    path: Path
    raw: bytes
    head: dict[str, strict_json.JsonValue]

    @property
    def content(self) -> dict[str, strict_json.JsonValue]:
        """Read all of it, now."""
        content: dict[str, strict_json.JsonValue] = json.loads(self.raw)
        return content


class OutboxReader:
    """Every client's side of an outbox: reads reports, and needs the folder alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._layout = Layout(folder)

    def current(self, name: str) -> Report | None:
        """Read the report of the newest finished run of a name."""
        return _read_report(self._layout.base(name))

    def of_job(self, name: str, job_id: str) -> Report | None:
        """Read one job's report, whether it is the current one of its name or in the history."""
        current = self.current(name)
        if current is not None and current.head.get("job_id") == job_id:
            return current
        last = name.rpartition("/")[2]
        return _read_report(self._layout.history(name) / job_id / last)

    def status(self, name: str) -> dict[str, strict_json.JsonValue] | None:
        """Read `NAME.status.json`, while there is one."""
        raw = _read(beside(self._layout.base(name), STATUS))
        return None if raw is None else _mapping(raw)


def _read_report(base: Path) -> Report | None:
    for suffix in (RESULT, ERROR):
        path = beside(base, suffix)
        raw = _read(path)
        head = _head_of(raw) if raw is not None else None
        if raw is not None and head is not None:
            return Report(path, raw, head)
    return None


def _head_of(raw: bytes) -> dict[str, strict_json.JsonValue] | None:
    """Read a report without its results; None if it is no JSON object.

    The results end with the first line of their own indentation: no JSON text holds a line end.
    """
    before, _, rest = raw.partition(b'\n  "results": {\n')
    _, end, after = rest.partition(b"\n  }")
    if end:
        head = _mapping(before + b'\n  "results": {}' + after)
        if head is not None:
            return head
    return _mapping(raw)


def _read(path: Path) -> bytes | None:
    try:
        return read_regular(path)
    except OSError:
        return None


def _mapping(raw: bytes) -> dict[str, strict_json.JsonValue] | None:
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
