"""Answers questions on the ledger about rows alone: jobs, counts, facts. Never writes.

Needs nothing of requests and outcomes, so that a short command starts without what reads these.
"""

import json
import re
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from runner.contract.states.status import ErrorType, Status
from runner.contract.states.turn import Waiting
from runner.state.deliveries import Backlog, Delivery, backlogs
from runner.state.jobs import ALL_JOBS, Bucket, Hour, Job, JobFilter, Place, Stage, State
from runner.state.tables import environments
from runner.system.files.databases import BUSY_MILLISECONDS

LEDGER_FILE = "ledger.sqlite3"
NEWEST = 2**62
LOOKED_BACK = 5_000
"""How many of the last jobs are looked through for one of a submitter."""

COLUMNS = (
    "seq, job_id, name, state, status, error_type, message, attempt, retries, cancelled, "
    "refused, awaits_settings, request_sha256, input_sha256, accepted_at, started_at, finished_at, "
    "published_at, place"
)
FILES_SINCE = 7
"""The version of the ledger whose requests may bring files."""
WAITING_SINCE = 6
"""The version of the ledger whose jobs may wait for more than their turn."""
_LATER_COLUMNS = (
    (4, "submitted_by", "NULL"),
    (WAITING_SINCE, "priority", "0"),
    (WAITING_SINCE, "run_group", "NULL"),
    (WAITING_SINCE, "held_until", "NULL"),
    (WAITING_SINCE, "start_by", "NULL"),
)
"""Columns of later versions of the ledger: the first with it, its name, its value before."""
QUEUED = "state != 'closed' AND state = 'queued'"
"""SQLite uses a partial index only if the question repeats the index's own condition."""
READY = f"{QUEUED} AND held_until IS NULL"
HELD = f"{QUEUED} AND held_until IS NOT NULL"


class Listing:
    """The questions about rows."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        connection.row_factory = sqlite3.Row
        self._db = connection
        self._version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        later = (  # a reader may be newer than the ledger
            name if self._version >= since else f"{value} AS {name}"
            for since, name, value in _LATER_COLUMNS
        )
        self._columns = ", ".join((COLUMNS, *later))

    def job(self, job_id: str) -> Job | None:
        """Return the job of that id."""
        return self._one("job_id = ?", job_id)

    def by_prefix(self, prefix: str) -> Job | None:
        """Return the one job whose id begins like that; None if there are more."""
        jobs = self._many("job_id BETWEEN ? AND ? LIMIT 2", prefix, prefix + "g")
        return jobs[0] if len(jobs) == 1 else None

    def latest(self, name: str) -> Job | None:
        """Return the job of that name that was accepted last."""
        return self._one("name = ? ORDER BY seq DESC LIMIT 1", name)

    def jobs(
        self, which: JobFilter = ALL_JOBS, *, limit: int = 50, before: int | None = None
    ) -> list[Job]:
        """List the newest jobs first; `before` is the `seq` below which to continue."""
        clauses, values = _conditions(which)
        if before is not None:
            clauses.append("seq < ?")
            values.append(before)
        where = " AND ".join(clauses)
        return self._many(f"{where} ORDER BY seq DESC LIMIT ?", *values, limit)

    def count(self, which: JobFilter = ALL_JOBS) -> int:
        """Count the jobs."""
        clauses, values = _conditions(which)
        query = f"SELECT count(*) FROM jobs WHERE {' AND '.join(clauses)}"  # noqa: S608 - constants
        return int(self._db.execute(query, values).fetchone()[0])

    def unclosed(self, name: str | None = None) -> list[Job]:
        """List jobs queued, running or sealed, in the order accepted; of one name, or of all."""
        if name is None:
            return self._many("state != 'closed' ORDER BY seq")
        return self._many("state != 'closed' AND name = ? ORDER BY seq", name)

    def before_of_name(self, job: Job) -> Job | None:
        """Return the job of the same name whose end must come before a queued job's turn."""
        where = "state != 'closed' AND name = ? AND job_id != ? AND (state != 'queued' OR "
        first = "held_until IS NULL OR attempt > 0" if self._version >= WAITING_SINCE else "1"
        return self._one(
            f"{where} (seq < ? AND ({first}))) ORDER BY state = 'queued', seq LIMIT 1",
            job.name,
            job.job_id,
            job.seq,
        )

    def queued(self, limit: int) -> list[Job]:
        """List the first jobs that wait for their turn, then those that may not start yet."""
        if self._version < WAITING_SINCE:
            return self._many(f"{QUEUED} ORDER BY seq LIMIT ?", limit)
        ready = self._many(f"{READY} ORDER BY turn, seq LIMIT ?", limit)
        left = limit - len(ready)
        return [*ready, *self._many(f"{HELD} ORDER BY held_until LIMIT ?", left)] if left else ready

    def open_names(self, limit: int) -> list[str]:
        """List names of jobs that are queued, running or sealed."""
        query = "SELECT DISTINCT name FROM jobs WHERE state != 'closed' LIMIT ?"
        return [row["name"] for row in self._db.execute(query, (limit,))]

    def count_queued(self) -> int:
        """Count the jobs that wait."""
        query = f"SELECT count(*) FROM jobs WHERE {QUEUED}"  # noqa: S608 - a constant
        row = self._db.execute(query).fetchone()
        return int(row[0])

    def finished(self) -> dict[tuple[Status, ErrorType | None], int]:
        """Count the finished jobs by status and error; totals include removed rows."""
        counts = (
            "SELECT status, coalesce(error_type, '') AS error_type, count(*) AS jobs FROM jobs "
            "WHERE status IS NOT NULL GROUP BY 1, 2"
        )
        if self._has("totals"):
            counts += " UNION ALL SELECT status, error_type, jobs FROM totals"
        rows = self._db.execute(
            f"SELECT status, error_type, sum(jobs) FROM ({counts}) GROUP BY 1, 2"  # noqa: S608
        )
        return {
            (Status(status), ErrorType(error) if error else None): int(count)
            for status, error, count in rows
        }

    def durations(self, stage: Stage) -> list[Bucket]:
        """Return the histogram of one stage of closed jobs, in order, without empty buckets."""
        rows = self._db.execute(
            "SELECT bound, jobs, seconds FROM durations WHERE stage = ? ORDER BY bound", (stage,)
        )
        return [Bucket(*row) for row in rows]

    def hours(self, since: str, newest: int) -> list[Hour]:
        """Count the newest jobs accepted in each hour since a time, by status."""
        rows = self._db.execute(
            "SELECT substr(accepted_at, 1, 13) AS hour, coalesce(status, state), count(*), "
            "total(julianday(finished_at) - julianday(started_at)) * 86400 "
            "FROM (SELECT * FROM jobs ORDER BY seq DESC LIMIT ?) WHERE accepted_at >= ? "
            "GROUP BY 1, 2",
            (newest, since),
        )
        return [Hour(hour, Status(status), jobs, seconds) for hour, status, jobs, seconds in rows]

    def library_runs(self) -> dict[str, Job]:
        """Return the newest job of each library notebook, by its path."""
        rows = self._db.execute(
            f"SELECT path, {self._columns} FROM library JOIN jobs USING (job_id)"  # noqa: S608
        )
        return {row["path"]: _job(row) for row in rows}

    def request_of(self, job_id: str) -> str | None:
        """Return a job's request as JSON, without reading its notebook; None once it is pruned."""
        row = self._db.execute("SELECT request FROM inputs WHERE job_id = ?", (job_id,)).fetchone()
        return None if row is None else str(row["request"])

    def notebooks_of(self, job_ids: Iterable[str]) -> dict[str, str]:
        """Return the library paths that the requests of these jobs name, by id.

        A job that brought its notebook has none, and one whose input is pruned.
        """
        rows = self._db.execute(
            "SELECT job_id, json_extract(request, '$.notebook') AS path FROM inputs "
            "WHERE job_id IN (SELECT value FROM json_each(?)) "
            "AND json_type(request, '$.notebook') = 'text'",
            (json.dumps(list(job_ids)),),
        )
        return {row["job_id"]: str(row["path"]) for row in rows}

    def latest_ended(self, name: str, *, succeeded: bool, before: int | None = None) -> Job | None:
        """Return the newest job of a name that succeeded; or that neither did nor was cancelled.

        `before`: one that came before the job with this number.
        """
        which = "= 'succeeded'" if succeeded else "NOT IN ('succeeded', 'cancelled')"
        where = f"name = ? AND status {which} AND seq < ? ORDER BY seq DESC LIMIT 1"
        return self._one(where, name, NEWEST if before is None else before)

    def days_of(self, name: str, since: str) -> dict[str, dict[str, int]]:
        """Count the outcomes of a name by the day (UTC) on which its jobs were accepted."""
        days: dict[str, dict[str, int]] = {}
        for day, status, jobs in self._db.execute(
            "SELECT substr(accepted_at, 1, 10), status, count(*) FROM jobs "
            "WHERE name = ? AND accepted_at >= ? AND status IS NOT NULL GROUP BY 1, 2",
            (name, since),
        ):
            days.setdefault(day, {})[status] = jobs
        return days

    def newest_of(self, trigger: str) -> Job | None:
        """Return the newest job of a rule or web hook, such as `rule:invoices`.

        Only the last jobs are looked through.
        """
        source = f"(SELECT * FROM jobs ORDER BY seq DESC LIMIT {LOOKED_BACK})"  # noqa: S608
        of_it = "submitted_by = ? OR substr(submitted_by, 1, ?) = ?"
        where = f"({of_it}) ORDER BY seq DESC LIMIT 1"
        jobs = self._many(where, trigger, len(trigger) + 1, f"{trigger}@", source=source)
        return jobs[0] if jobs else None

    def demand_of(self, job_id: str) -> str | None:
        """Return its needs beyond a slot; see `Acceptance.demand`."""
        row = self._db.execute("SELECT demand FROM demands WHERE job_id = ?", (job_id,)).fetchone()
        return None if row is None else str(row["demand"])

    def warnings_of(self, job_id: str) -> list[str]:
        """Return the warnings about a job beside its run."""
        rows = self._db.execute("SELECT warning FROM warnings WHERE job_id = ?", (job_id,))
        return [row["warning"] for row in rows]

    def deliveries(self, follower: str, limit: int) -> list[Delivery]:
        """Return a follower's first rows, in the order in which jobs were closed."""
        rows = self._db.execute(
            f"SELECT {self._columns}, row, attempts, due_at FROM jobs JOIN "  # noqa: S608
            "(SELECT seq AS row, job_id, attempts, due_at FROM deliveries WHERE follower = ? "
            "ORDER BY seq LIMIT ?) USING (job_id) ORDER BY row",
            (follower, limit),
        )
        return [Delivery(row["row"], _job(row), row["attempts"], row["due_at"]) for row in rows]

    def backlogs(self) -> list[Backlog]:
        """List the followers that are behind."""
        return backlogs(self._db)

    def packages(self, sha256: str) -> str | None:
        """Return the packages of an environment, a line for each; None if they are not kept."""
        return environments.packages(self._db, sha256) if self._has("environments") else None

    def fact(self, key: str) -> str | None:
        """Return a fact that the owner keeps between starts."""
        row = self._db.execute("SELECT value FROM facts WHERE key = ?", (key,)).fetchone()
        return None if row is None else row["value"]

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def _has(self, table: str) -> bool:
        """Return whether there is such a table; a reader may be newer than the ledger."""
        query = "SELECT 1 FROM sqlite_master WHERE name = ?"
        return self._db.execute(query, (table,)).fetchone() is not None

    def _one(self, where: str, *values: object) -> Job | None:
        jobs = self._many(where, *values)
        return jobs[0] if jobs else None

    def _many(self, where: str, *values: object, source: str = "jobs") -> list[Job]:
        query = f"SELECT {self._columns} FROM {source} WHERE {where}"  # noqa: S608 - constants
        rows = self._db.execute(query, values)
        return [_job(row) for row in rows]


class JobsReader(Listing):
    """The read-only side, for the same user on the same host."""

    def __init__(self, state: Path) -> None:
        """Open the ledger below `state`.

        Raises:
            sqlite3.OperationalError: as `opened`.
        """
        super().__init__(opened(state))


def opened(state: Path) -> sqlite3.Connection:
    """Open the ledger below `state` to read it.

    Raises:
        sqlite3.OperationalError: there is none, or it cannot be read.
    """
    uri = (state / LEDGER_FILE).absolute().as_uri() + "?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_MILLISECONDS / 1000)
    connection.execute("SELECT count(*) FROM sqlite_master")
    return connection


def _conditions(which: JobFilter) -> tuple[list[str], list[object]]:
    """Build the clauses of a filter, and the values for their marks."""
    clauses, values = ["1"], list[object]()
    if which.status in (Status.QUEUED, Status.RUNNING):
        clauses.append("state != 'closed' AND state = ?")
        values.append(str(which.status))
    elif which.status is not None:
        clauses.append("status = ?")
        values.append(str(which.status))
    if which.name is not None:
        clauses.append("name = ?")
        values.append(which.name)
    if which.part is not None:
        clauses.append("name LIKE ? ESCAPE '!'")
        values.append("%" + re.sub("([!%_])", r"!\1", which.part) + "%")
    if which.pattern is not None:
        has_marks = set(which.pattern) & set("*?[")
        clauses.append("(name = ? OR name GLOB ?)")
        values += [which.pattern, which.pattern if has_marks else f"{which.pattern}*"]
    if which.is_over:
        clauses.append("status IS NOT NULL")
    if which.notebook is not None:
        clauses.append(
            "EXISTS (SELECT 1 FROM inputs WHERE inputs.job_id = jobs.job_id "
            "AND json_extract(request, '$.notebook') = ?)"
        )
        values.append(which.notebook)
    if which.submitted_by is not None:
        clauses.append("submitted_by = ?")
        values.append(which.submitted_by)
    for time, comparison in ((which.since, ">="), (which.until, "<")):
        if time is not None:
            clauses.append(f"accepted_at {comparison} ?")
            values.append(time)
    return clauses, values


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
        submitted_by=row["submitted_by"],
        waiting=Waiting(row["priority"], row["run_group"], row["held_until"], row["start_by"]),
    )
