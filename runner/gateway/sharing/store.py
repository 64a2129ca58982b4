"""The share links of one gateway: a small file for each, in `shares/` of the state folder.

A link is a text that nobody can guess. It shows one report or one file, until it ends or somebody
revokes it.
"""

import hashlib
import json
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from runner.system.clocks import Clocks
from runner.system.files.disk import Disk, read_regular

SHARES = "shares"
MOST_DAYS = 366
MOST_OF_A_JOB = 50
REPORT = "report"
FILES = "files/"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{32}")


@dataclass(frozen=True)
class Share:
    """A link. `what` is `report`, or `files/` and the path of a file of the job.

    Times are UTC in ISO 8601. `report` is how the report looks, as far as somebody chose.
    """

    token: str
    job_id: str
    what: str
    created_at: str
    ends_at: str
    report: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """What names it among those who may revoke it, and opens nothing."""
        return _id_of(self.token)

    @property
    def in_words(self) -> str:
        """What it shows: `Report`, `Report (format: pdf, code: show)`, `a/file.csv`."""
        if self.what != REPORT:
            return self.what.removeprefix(FILES)
        chosen = {key: one for key, one in self.report.items() if (key, one) != ("format", "html")}
        words = ", ".join(f"{key}: {one}" for key, one in chosen.items())
        return f"Report ({words})" if words else "Report"

    @property
    def path(self) -> str:
        """Its address at the gateway."""
        return f"/shared/{self.token}"


class Shares:
    """Those of one state folder. Safe for many threads."""

    def __init__(self, state: Path, disk: Disk, clocks: Clocks | None = None) -> None:
        self._state = state
        self._folder = state / SHARES
        self._disk = disk
        self._clocks = clocks or Clocks()

    def make(self, job_id: str, what: str, days: float, report: Mapping[str, str]) -> Share:
        """Make a link, durably.

        Raises:
            OSError
        """
        now = self._clocks.now()
        share = Share(
            token=secrets.token_urlsafe(24),
            job_id=job_id,
            what=what,
            created_at=now.isoformat(timespec="seconds"),
            ends_at=(now + timedelta(days=days)).isoformat(timespec="seconds"),
            report=report,
        )
        self._disk.make_folders(self._state, self._folder, "shares: folder")
        self._folder.chmod(0o700)
        content = json.dumps(asdict(share)).encode()
        self._disk.create_whole(self._file(job_id, share.id), content, "shares: bytes")
        self._disk.sync_folder(self._folder, "shares: name")
        return share

    def of_job(self, job_id: str) -> list[Share]:
        """List the links of a job that have not ended, the oldest first; ended ones are removed.

        Raises:
            OSError
        """
        found = []
        for file in self._folder.glob(f"{job_id}-*.json"):
            share = _read(file)
            if share is None or self._is_over(share):
                self._disk.unlink(file)
            else:
                found.append(share)
        return sorted(found, key=lambda share: share.created_at)

    def open(self, token: str) -> Share | None:
        """Find the link with this text; None if there is none, or it has ended.

        Raises:
            OSError
        """
        if not _TOKEN.fullmatch(token):
            return None
        for file in self._folder.glob(f"*-{_id_of(token)}.json"):
            share = _read(file)
            if share is not None and secrets.compare_digest(share.token, token):
                return None if self._is_over(share) else share
        return None

    def revoke(self, job_id: str, share_id: str) -> bool:
        """End a link; return whether there was one.

        Raises:
            OSError
        """
        file = self._file(job_id, share_id)
        if not re.fullmatch(r"[0-9a-f]{16}", share_id) or not file.exists():
            return False
        self._disk.unlink(file)
        self._disk.sync_folder(self._folder, "shares: end")
        return True

    def _file(self, job_id: str, share_id: str) -> Path:
        return self._folder / f"{job_id}-{share_id}.json"

    def _is_over(self, share: Share) -> bool:
        return datetime.fromisoformat(share.ends_at) <= self._clocks.now()


def rows_of(shares: list[Share], gateway: str) -> Iterator[dict[str, object]]:
    """Describe links as JSON; `gateway` is its address for others, or empty."""
    for one in shares:
        yield {
            "id": one.id,
            "what": one.what,
            "report": dict(one.report) or None,
            "url": gateway.rstrip("/") + one.path,
            "created_at": one.created_at,
            "ends_at": one.ends_at,
        }


def _id_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()[:16]


def _read(file: Path) -> Share | None:
    try:
        return Share(**json.loads(read_regular(file)))
    except (OSError, ValueError, TypeError):
        return None
