"""The SQLite record of jobs: every change of state is one transaction against one table of moves.

Knows nothing of files in the in- and outbox. One `Ledger` writes, from one thread; any number of
`LedgerReader`s read.
"""

import bisect
import json
import math
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from pydantic import TypeAdapter

from runner.contract.outcome import ErrorType, Failure, Outcome, PublishedFile, Status

LEDGER_FILE = "ledger.sqlite3"
BUSY_MILLISECONDS = 5_000
KEPT_BYTES = 16 << 20
"""What the ledger's file, and its log, may keep of what they needed once."""
STEP_PAGES = 256
REBUILT_BYTES = 256 << 20
"""A larger ledger of an earlier version keeps its free pages."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id         TEXT NOT NULL UNIQUE,
    name           TEXT NOT NULL,
    state          TEXT NOT NULL,
    status         TEXT,
    error_type     TEXT,
    message        TEXT,
    attempt        INTEGER NOT NULL DEFAULT 0,
    retries        INTEGER NOT NULL DEFAULT 0,
    cancelled      INTEGER NOT NULL DEFAULT 0,
    refused        INTEGER NOT NULL DEFAULT 0,
    awaits_settings INTEGER NOT NULL DEFAULT 0,
    request_sha256 TEXT NOT NULL,
    input_sha256   TEXT NOT NULL,
    accepted_at    TEXT NOT NULL,
    started_at     TEXT,
    finished_at    TEXT,
    published_at   TEXT,
    place          TEXT NOT NULL DEFAULT 'none'
);
CREATE INDEX IF NOT EXISTS jobs_by_name ON jobs (name, seq);
CREATE INDEX IF NOT EXISTS jobs_open ON jobs (seq) WHERE state != 'closed';
CREATE INDEX IF NOT EXISTS jobs_open_by_name ON jobs (name, seq) WHERE state != 'closed';
CREATE INDEX IF NOT EXISTS jobs_to_settle ON jobs (seq)
    WHERE state != 'closed' AND state = 'queued' AND (refused OR cancelled);
CREATE INDEX IF NOT EXISTS jobs_by_status ON jobs (status, seq);
CREATE INDEX IF NOT EXISTS jobs_by_end ON jobs (status, error_type);
CREATE INDEX IF NOT EXISTS jobs_by_place ON jobs (place, name, seq);
CREATE TABLE IF NOT EXISTS inputs (
    job_id   TEXT PRIMARY KEY REFERENCES jobs (job_id),
    request  TEXT NOT NULL,
    notebook BLOB,
    failure  TEXT
);
CREATE TABLE IF NOT EXISTS outcomes (
    job_id   TEXT PRIMARY KEY REFERENCES jobs (job_id),
    outcome  TEXT NOT NULL,
    files    TEXT NOT NULL,
    executed BLOB
);
CREATE TABLE IF NOT EXISTS warnings (
    job_id  TEXT NOT NULL REFERENCES jobs (job_id),
    warning TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS warnings_by_job ON warnings (job_id);
CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS durations (
    stage   TEXT NOT NULL,
    bound   REAL NOT NULL,
    jobs    INTEGER NOT NULL,
    seconds REAL NOT NULL,
    PRIMARY KEY (stage, bound)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS demands (
    job_id TEXT PRIMARY KEY REFERENCES jobs (job_id),
    demand TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS library (
    path   TEXT PRIMARY KEY,
    job_id TEXT NOT NULL REFERENCES jobs (job_id)
) WITHOUT ROWID;
"""
_SCHEMA_VERSION = 1
DURATION_BOUNDS = (
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
    *(60.0, 300.0, 900.0, 3600.0, 14400.0, math.inf),
)
"""Upper bounds, in seconds, of the histograms of how long jobs took."""
_FILES = TypeAdapter(list[PublishedFile])


class State(StrEnum):
    """Where a job is on its way. `SEALED` has its final outcome, `CLOSED` has published it."""

    QUEUED = "queued"
    RUNNING = "running"
    SEALED = "sealed"
    CLOSED = "closed"


MOVES: frozenset[tuple[State, State]] = frozenset(
    {
        (State.QUEUED, State.RUNNING),  # started
        (State.QUEUED, State.SEALED),  # refused, or cancelled before it ran
        (State.RUNNING, State.QUEUED),  # to be run again
        (State.RUNNING, State.SEALED),  # finished, or found dead at start-up
        (State.SEALED, State.CLOSED),  # published
    }
)
"""All legal moves. A cancel and a seal cannot both win: each is one conditional update."""


class Place(StrEnum):
    """Where in the outbox a closed job's files are."""

    NONE = "none"
    CURRENT = "current"
    HISTORY = "history"
    PRUNED = "pruned"


class Stage(StrEnum):
    """What a closed job spent its time with: from accepted to started to finished to published."""

    WAIT = "wait"
    RUN = "run"
    PUBLISH = "publish"


@dataclass(frozen=True)
class Bucket:
    """Of a histogram: how many jobs took at most `bound` seconds and more than the bound below."""

    bound: float
    jobs: int
    seconds: float


@dataclass(frozen=True)
class Hour:
    """Jobs of one status that were accepted in one hour (`2026-11-24T04`), and their run time."""

    hour: str
    status: Status
    jobs: int
    seconds: float


class IllegalMove(Exception):
    """A job was not in the state that a move starts from: `job_id, wanted`."""


@dataclass(frozen=True)
class Job:
    """One row, narrow: neither notebook nor outcome. Times are UTC in ISO 8601."""

    seq: int
    job_id: str
    name: str
    state: State
    status: Status
    error_type: ErrorType | None
    message: str | None
    attempt: int
    retries: int
    cancelled: bool
    refused: bool
    awaits_settings: bool
    request_sha256: str
    input_sha256: str
    accepted_at: str
    started_at: str | None
    finished_at: str | None
    published_at: str | None
    place: Place


@dataclass(frozen=True)
class Acceptance:
    """What becomes a job: its request as JSON, and the notebook's bytes as they were given."""

    job_id: str
    name: str
    request: str
    notebook: bytes | None
    request_sha256: str
    input_sha256: str
    accepted_at: str
    retries: int = 0
    failure: Failure | None = None
    """Why it will not run, if so; it still waits for its turn among the jobs of its name."""
    awaits_settings: bool = False
    """Whether a settings file that comes late would have belonged to it."""
    library: str | None = None
    """The path of the library's notebook that was asked for, if it was one."""
    demand: str | None = None
    """What it needs of a machine beyond a slot, as text: equal needs have equal text."""


@dataclass(frozen=True)
class Input:
    """What was asked: the request as JSON, the notebook's bytes, and why it will not run."""

    request: str
    notebook: bytes | None
    failure: Failure | None


@dataclass(frozen=True)
class Seal:
    """A job's final outcome, its executed notebook, and what it left in its output folder."""

    job_id: str
    outcome: Outcome
    executed: bytes | None
    files: tuple[PublishedFile, ...]
    finished_at: str


_COLUMNS = (
    "seq, job_id, name, state, status, error_type, message, attempt, retries, cancelled, "
    "refused, awaits_settings, request_sha256, input_sha256, accepted_at, started_at, finished_at, "
    "published_at, place"
)

_QUEUED = "state != 'closed' AND state = 'queued'"
"""SQLite uses a partial index only where its own condition stands in the question as well."""
_ITS_TURN = (
    "NOT EXISTS (SELECT 1 FROM jobs AS earlier WHERE earlier.name = jobs.name "
    "AND earlier.seq < jobs.seq AND earlier.state != 'closed') ORDER BY seq LIMIT 1"
)


def _job(row: sqlite3.Row) -> Job:
    state = State(row["state"])
    return Job(
        seq=row["seq"],
        job_id=row["job_id"],
        name=row["name"],
        state=state,
        status=Status(row["status"]) if row["status"] else Status(state.value),
        error_type=ErrorType(row["error_type"]) if row["error_type"] else None,
        message=row["message"],
        attempt=row["attempt"],
        retries=row["retries"],
        cancelled=bool(row["cancelled"]),
        refused=bool(row["refused"]),
        awaits_settings=bool(row["awaits_settings"]),
        request_sha256=row["request_sha256"],
        input_sha256=row["input_sha256"],
        accepted_at=row["accepted_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        published_at=row["published_at"],
        place=Place(row["place"]),
    )


class _Reading:
    """The questions that both faces answer."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        connection.row_factory = sqlite3.Row
        self._db = connection

    def job(self, job_id: str) -> Job | None:
        """The job of that id."""
        return self._one("job_id = ?", job_id)

    def by_prefix(self, prefix: str) -> Job | None:
        """The one job whose id begins like that; None if there are more."""
        found = self._many("job_id BETWEEN ? AND ? LIMIT 2", prefix, prefix + "g")
        return found[0] if len(found) == 1 else None

    def latest(self, name: str) -> Job | None:
        """The job of that name which was accepted last."""
        return self._one("name = ? ORDER BY seq DESC LIMIT 1", name)

    def jobs(
        self,
        *,
        limit: int = 50,
        status: Status | None = None,
        name: str | None = None,
        part: str | None = None,
        is_over: bool = False,
        before: int | None = None,
    ) -> list[Job]:
        """The newest jobs first; `before` is the `seq` below which to go on.

        `part` is what a name has in it somewhere, in any case; `is_over`: those with an outcome.
        """
        clauses, values = ["1"], list[object]()
        if status in (Status.QUEUED, Status.RUNNING):
            clauses.append("state != 'closed' AND state = ?")
            values.append(str(status))
        elif status is not None:
            clauses.append("status = ?")
            values.append(str(status))
        if name is not None:
            clauses.append("name = ?")
            values.append(name)
        if part is not None:
            clauses.append("name LIKE ? ESCAPE '!'")
            values.append("%" + re.sub("([!%_])", r"!\1", part) + "%")
        if is_over:
            clauses.append("status IS NOT NULL")
        if before is not None:
            clauses.append("seq < ?")
            values.append(before)
        where = " AND ".join(clauses)
        return self._many(f"{where} ORDER BY seq DESC LIMIT ?", *values, limit)

    def unclosed(self, name: str | None = None) -> list[Job]:
        """Jobs queued, running or sealed, in the order accepted; of one name, or of all."""
        if name is None:
            return self._many("state != 'closed' ORDER BY seq")
        return self._many("state != 'closed' AND name = ? ORDER BY seq", name)

    def queued(self, limit: int) -> list[Job]:
        """The first jobs that wait."""
        return self._many(f"{_QUEUED} ORDER BY seq LIMIT ?", limit)

    def count_queued(self) -> int:
        """How many wait."""
        query = f"SELECT count(*) FROM jobs WHERE {_QUEUED}"  # noqa: S608 - a constant
        row = self._db.execute(query).fetchone()
        return int(row[0])

    def finished(self) -> dict[tuple[Status, ErrorType | None], int]:
        """How many jobs ended how, ever. Rows are never removed, so the counts never fall."""
        rows = self._db.execute(
            "SELECT status, error_type, count(*) FROM jobs WHERE status IS NOT NULL "
            "GROUP BY status, error_type"
        )
        return {
            (Status(status), ErrorType(error) if error else None): int(count)
            for status, error, count in rows
        }

    def durations(self, stage: Stage) -> list[Bucket]:
        """How long closed jobs took for a stage, ever; buckets in order, those with jobs only."""
        rows = self._db.execute(
            "SELECT bound, jobs, seconds FROM durations WHERE stage = ? ORDER BY bound", (stage,)
        )
        return [Bucket(*row) for row in rows]

    def hours(self, since: str, newest: int) -> list[Hour]:
        """How many jobs were accepted in each hour since a time, by status, of the newest few."""
        rows = self._db.execute(
            "SELECT substr(accepted_at, 1, 13) AS hour, coalesce(status, state), count(*), "
            "total(julianday(finished_at) - julianday(started_at)) * 86400 "
            "FROM (SELECT * FROM jobs ORDER BY seq DESC LIMIT ?) WHERE accepted_at >= ? "
            "GROUP BY 1, 2",
            (newest, since),
        )
        return [Hour(hour, Status(status), jobs, seconds) for hour, status, jobs, seconds in rows]

    def library_runs(self) -> dict[str, Job]:
        """The newest job of each library notebook that was ever asked for, by its path."""
        rows = self._db.execute("SELECT path, jobs.* FROM library JOIN jobs USING (job_id)")
        return {row["path"]: _job(row) for row in rows}

    def seal_of(self, job_id: str) -> Seal | None:
        """The final outcome; its notebook is None once the job is closed."""
        row = self._db.execute(
            "SELECT o.*, j.finished_at FROM outcomes o JOIN jobs j USING (job_id) WHERE job_id = ?",
            (job_id,),
        ).fetchone()
        if row is None:
            return None
        return Seal(
            job_id=job_id,
            outcome=Outcome.model_validate_json(row["outcome"]),
            executed=row["executed"],
            files=tuple(_files_from(row["files"])),
            finished_at=row["finished_at"],
        )

    def input_of(self, job_id: str) -> Input | None:
        """What was asked; None once it is pruned."""
        row = self._db.execute(
            "SELECT request, notebook, failure FROM inputs WHERE job_id = ?", (job_id,)
        ).fetchone()
        if row is None:
            return None
        failure = Failure.model_validate_json(row["failure"]) if row["failure"] else None
        return Input(row["request"], row["notebook"], failure)

    def demand_of(self, job_id: str) -> str | None:
        """What it needs of a machine beyond a slot; see `Acceptance.demand`."""
        row = self._db.execute("SELECT demand FROM demands WHERE job_id = ?", (job_id,)).fetchone()
        return None if row is None else str(row["demand"])

    def warnings_of(self, job_id: str) -> list[str]:
        """What was noted about a job beside its run."""
        rows = self._db.execute("SELECT warning FROM warnings WHERE job_id = ?", (job_id,))
        return [row["warning"] for row in rows]

    def fact(self, key: str) -> str | None:
        """Something that the owner remembers between starts."""
        row = self._db.execute("SELECT value FROM facts WHERE key = ?", (key,)).fetchone()
        return None if row is None else row["value"]

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def _one(self, where: str, *values: object) -> Job | None:
        found = self._many(where, *values)
        return found[0] if found else None

    def _many(self, where: str, *values: object, source: str = "jobs") -> list[Job]:
        query = f"SELECT {_COLUMNS} FROM {source} WHERE {where}"  # noqa: S608 - constants
        rows = self._db.execute(query, values)
        return [_job(row) for row in rows]


class LedgerReader(_Reading):
    """The read-only face, for the same user on the same host; every read is short."""

    def __init__(self, state: Path) -> None:
        """Open the ledger below `state`.

        Raises:
            sqlite3.OperationalError: there is none, or it cannot be read.
        """
        uri = (state / LEDGER_FILE).absolute().as_uri() + "?mode=ro"
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_MILLISECONDS / 1000)
        connection.execute("SELECT count(*) FROM sqlite_master")
        super().__init__(connection)


class Ledger(_Reading):
    """The one writer. Every method is a transaction, or part of the one around it."""

    def __init__(self, state: Path) -> None:
        """Open the ledger below `state`, which exists; make it where there is none.

        Raises:
            sqlite3.DatabaseError: the file is damaged or of a newer version.
        """
        connection = sqlite3.connect(
            state / LEDGER_FILE, isolation_level=None, timeout=BUSY_MILLISECONDS / 1000
        )
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # for a file that is made now
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA journal_size_limit = {KEPT_BYTES}")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found > _SCHEMA_VERSION:
            raise sqlite3.DatabaseError(
                f"the ledger's version is {found}, made by a newer runner; "
                f"this one knows {_SCHEMA_VERSION}"
            )
        connection.executescript(_SCHEMA)
        if found != _SCHEMA_VERSION:
            connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        _learn_to_shrink(connection)
        super().__init__(connection)

    def shrink(self, seconds: float, clock: Callable[[], float]) -> bool:
        """Give back some of what the files hold and do not need, for about that long.

        Whether there was something to do; it is no matter where a reader is in the way.

        Raises:
            sqlite3.OperationalError: the disk does not let us.
        """
        end_at = clock() + seconds
        is_due = _free_bytes(self._db) > KEPT_BYTES
        while _free_bytes(self._db) > KEPT_BYTES and clock() < end_at:
            # Not `execute`: it takes one step of what has no columns, and that is one page.
            self._db.executescript(f"PRAGMA incremental_vacuum({STEP_PAGES})")
        if is_due or self._log_bytes() > KEPT_BYTES:
            self._db.execute("PRAGMA busy_timeout = 0")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._db.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
            return True
        return False

    def _log_bytes(self) -> int:
        file = self._db.execute("PRAGMA database_list").fetchone()["file"]
        try:
            return Path(f"{file}-wal").stat().st_size
        except FileNotFoundError:
            return 0

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One commit for everything inside; nothing of it happens if the body raises."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.commit()
        except BaseException:
            self._roll_back()
            raise

    def commit(self) -> None:
        """Make the open transaction durable: the one call to the disk that a test may fail."""
        self._db.execute("COMMIT")

    def _roll_back(self) -> None:
        """After some errors SQLite has done so by itself, after others it has not."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def accept(self, new: Acceptance) -> None:
        """Record a request as a queued job."""
        with self.transaction():
            self._db.execute(
                "INSERT INTO jobs (job_id, name, state, retries, refused, awaits_settings, "
                "request_sha256, input_sha256, accepted_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    new.job_id,
                    new.name,
                    State.QUEUED,
                    new.retries,
                    new.failure is not None,
                    new.awaits_settings,
                    new.request_sha256,
                    new.input_sha256,
                    new.accepted_at,
                ),
            )
            self._db.execute(
                "INSERT INTO inputs VALUES (?, ?, ?, ?)",
                (
                    new.job_id,
                    new.request,
                    new.notebook,
                    new.failure.model_dump_json() if new.failure else None,
                ),
            )
            if new.demand is not None:
                self._db.execute("INSERT INTO demands VALUES (?, ?)", (new.job_id, new.demand))
            if new.library is not None:
                self._db.execute(
                    "INSERT INTO library VALUES (?, ?) ON CONFLICT DO UPDATE "
                    "SET job_id = excluded.job_id",
                    (new.library, new.job_id),
                )

    def start(self, job_id: str, started_at: str) -> None:
        """Record, before it runs, that a queued job runs."""
        with self.transaction():
            self._move(
                job_id,
                State.QUEUED,
                State.RUNNING,
                "attempt = attempt + 1, started_at = ?",
                started_at,
            )

    def requeue(self, job_id: str) -> None:
        """A running job whose run is dead waits for another one."""
        with self.transaction():
            self._move(job_id, State.RUNNING, State.QUEUED, "started_at = NULL")

    def put_back(self, job_id: str) -> None:
        """A job of which `start` was recorded has not begun: it waits as if nothing had been."""
        with self.transaction():
            also = "started_at = NULL, attempt = attempt - 1"
            self._move(job_id, State.RUNNING, State.QUEUED, also)

    def cancel(self, job_ids: Iterable[str]) -> None:
        """Note that these are to be cancelled; a job that is sealed already stays as it is."""
        with self.transaction():
            self._db.executemany(
                "UPDATE jobs SET cancelled = 1 WHERE job_id = ? AND state IN ('queued', 'running')",
                [(job_id,) for job_id in job_ids],
            )

    def seal(self, seal: Seal, *, from_state: State) -> None:
        """Record the one final outcome of a job that is queued or running.

        Raises:
            IllegalMove: it has one already.
        """
        failure = seal.outcome.failure
        with self.transaction():
            self._move(
                seal.job_id,
                from_state,
                State.SEALED,
                "status = ?, error_type = ?, message = ?, finished_at = ?",
                seal.outcome.status,
                failure.error_type if failure else None,
                failure.message if failure else None,
                seal.finished_at,
            )
            self._db.execute(
                "INSERT INTO outcomes VALUES (?, ?, ?, ?)",
                (
                    seal.job_id,
                    seal.outcome.model_dump_json(),
                    _files_to(seal.files),
                    seal.executed,
                ),
            )

    def amend_files(
        self, job_id: str, files: Sequence[PublishedFile], warnings: Iterable[str]
    ) -> None:
        """Correct which files a sealed job has, before they are published, and say why."""
        with self.transaction():
            self._db.execute(
                "UPDATE outcomes SET files = ? WHERE job_id = ?", (_files_to(files), job_id)
            )
            for warning in warnings:
                self.warn(job_id, warning)

    def published(self, job_id: str, published_at: str) -> None:
        """Close a sealed job. Notebook and results are in the outbox now, so their copies go.

        As durable as the rest: the next job of the name moves what was published to the history,
        and a job that is sealed again by then would be published a second time.
        """
        with self.transaction():
            self._move(
                job_id,
                State.SEALED,
                State.CLOSED,
                "published_at = ?, place = ?",
                published_at,
                Place.CURRENT,
            )
            self._db.execute(
                "UPDATE outcomes SET executed = NULL, "
                "outcome = json_set(outcome, '$.results', '{}') WHERE job_id = ?",
                (job_id,),
            )
            self._count_durations(job_id)

    def warn(self, job_id: str, warning: str) -> None:
        """Note something for the result of a job that is not sealed yet."""
        with self.transaction():
            self._db.execute("INSERT INTO warnings VALUES (?, ?)", (job_id, warning))

    def next_to_run(
        self,
        only: Iterable[str] | None = None,
        without: Sequence[str] = (),
        held: Sequence[str] = (),
    ) -> Job | None:
        """The queued job whose turn it is: jobs of one name go one at a time, in order.

        `only` names those that may run; None for all. `without` are demands that cannot be met
        now: jobs that have one of them are passed over, and so are those of the names in `held`.
        """
        condition = "NOT refused AND NOT cancelled"
        if without:
            marks = ",".join("?" * len(without))
            condition += (
                " AND NOT EXISTS (SELECT 1 FROM demands "  # noqa: S608 - marks alone are added
                f"WHERE demands.job_id = jobs.job_id AND demand IN ({marks}))"
            )
        return self._next("jobs", condition, only, without, held)

    def next_to_settle(
        self, only: Iterable[str] | None = None, held: Sequence[str] = ()
    ) -> Job | None:
        """A queued job that will not run, refused or cancelled, and whose turn it is.

        Jobs of the names in `held` are passed over.
        """
        # Told which index: most often there is none, and a queue of 100,000 to find that out.
        return self._next(
            "jobs INDEXED BY jobs_to_settle", "(refused OR cancelled)", only, held=held
        )

    def current(self, name: str) -> list[Job]:
        """Closed jobs of a name whose files lie in the outbox itself; one at most, in peace."""
        return self._many("place = 'current' AND name = ? ORDER BY seq", name)

    def retired(self, job_ids: Sequence[str]) -> None:
        """These jobs' files are in the history now."""
        self._place(job_ids, Place.HISTORY)

    def prunable(self, *, older_than: str, keep_runs: int, limit: int = 500) -> list[Job]:
        """Jobs in the history that were finished before a time, or have enough newer ones."""
        return self._many(
            "job_id IN (SELECT job_id FROM (SELECT job_id, finished_at, row_number() OVER "
            "(PARTITION BY name ORDER BY seq DESC) AS nth FROM jobs WHERE place = 'history') "
            "WHERE finished_at < ? OR nth > ?) LIMIT ?",
            older_than,
            keep_runs,
            limit,
        )

    def unasked(self, *, older_than: str, limit: int = 500) -> list[Job]:
        """Finished jobs that nobody gave a name (`http/DATE/ID`), still in the outbox itself."""
        return self._many(
            "place = 'current' AND name BETWEEN 'http/' AND 'http0' "
            "AND name LIKE 'http/____-__-__/' || job_id AND finished_at < ? LIMIT ?",
            older_than,
            limit,
        )

    def pruned(self, job_ids: Sequence[str]) -> None:
        """These jobs' files are gone, and so go their inputs; the narrow rows stay."""
        with self.transaction():
            self._place(job_ids, Place.PRUNED)
            for table in ("inputs", "outcomes", "warnings", "demands"):
                self._db.executemany(
                    f"DELETE FROM {table} WHERE job_id = ?",  # noqa: S608
                    [(job_id,) for job_id in job_ids],
                )

    def remember(self, key: str, value: str) -> None:
        """Keep a fact."""
        with self.transaction():
            self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (key, value))

    def _count_durations(self, job_id: str) -> None:
        job = self.job(job_id)
        assert job is not None
        ends = (
            (Stage.WAIT, job.accepted_at, job.started_at),
            (Stage.RUN, job.started_at, job.finished_at),
            (Stage.PUBLISH, job.finished_at, job.published_at),
        )
        taken = [
            (stage, seconds_between(start, end))
            for stage, start, end in ends
            if start is not None and end is not None
        ]
        self._db.executemany(
            "INSERT INTO durations VALUES (?, ?, 1, ?) ON CONFLICT DO UPDATE "
            "SET jobs = jobs + 1, seconds = seconds + excluded.seconds",
            [
                (stage, DURATION_BOUNDS[bisect.bisect_left(DURATION_BOUNDS, seconds)], seconds)
                for stage, seconds in taken
            ],
        )

    def _next(
        self,
        source: str,
        condition: str,
        only: Iterable[str] | None,
        values: Sequence[object] = (),
        held: Sequence[str] = (),
    ) -> Job | None:
        names = [] if only is None else list(only)
        chosen = "1" if only is None else f"name IN ({','.join('?' * len(names))})"
        if held:
            chosen += " AND name NOT IN (SELECT value FROM json_each(?))"
            names.append(json.dumps(held))
        where = f"{_QUEUED} AND {condition} AND {chosen} AND {_ITS_TURN}"
        found = self._many(where, *values, *names, source=source)
        return found[0] if found else None

    def _place(self, job_ids: Sequence[str], place: Place) -> None:
        with self.transaction():
            self._db.executemany(
                "UPDATE jobs SET place = ? WHERE job_id = ?",
                [(place, job_id) for job_id in job_ids],
            )

    def _move(self, job_id: str, old: State, new: State, also: str, *values: object) -> None:
        if (old, new) not in MOVES:
            raise IllegalMove(job_id, f"{old} -> {new}")
        changed = self._db.execute(
            f"UPDATE jobs SET state = ?, {also} WHERE job_id = ? AND state = ?",  # noqa: S608
            (new, *values, job_id, old),
        ).rowcount
        if changed != 1:
            raise IllegalMove(job_id, f"{old} -> {new}")


def _learn_to_shrink(connection: sqlite3.Connection) -> None:
    """A ledger of an earlier version is written anew once, where that does not take long."""
    if _pragma(connection, "auto_vacuum"):
        return
    size = _pragma(connection, "page_count") * _pragma(connection, "page_size")
    if size - _free_bytes(connection) > REBUILT_BYTES:
        return
    with suppress(sqlite3.OperationalError):  # no room for it, or a reader is there: another time
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("VACUUM")


def _free_bytes(connection: sqlite3.Connection) -> int:
    return _pragma(connection, "freelist_count") * _pragma(connection, "page_size")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def seconds_between(start: str, end: str) -> float:
    """Not below 0, though clocks may be set back."""
    passed = datetime.fromisoformat(end) - datetime.fromisoformat(start)
    return max(passed.total_seconds(), 0.0)


def _files_to(files: Iterable[PublishedFile]) -> str:
    return _FILES.dump_json(list(files)).decode()


def _files_from(text: str) -> list[PublishedFile]:
    return _FILES.validate_json(text)
