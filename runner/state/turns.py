"""Answers the daemon's own questions on the ledger: whose turn it is, and what to prune."""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime

from runner.contract.names import MADE_NAMES
from runner.contract.outcome import Failure
from runner.contract.waiting import PRIORITY_SECONDS
from runner.state.jobs import NOTHING_BARRED, Barred, Job
from runner.state.ledger_reader import Reading
from runner.state.listing import HELD, QUEUED, READY

_ITS_TURN = (
    # Names of 100,000 jobs: each question reads an index, and stops at the first row.
    "NOT EXISTS (SELECT 1 FROM jobs AS other WHERE other.name = jobs.name "
    "AND other.state != 'closed' AND other.state != 'queued') "
    "AND NOT EXISTS (SELECT 1 FROM jobs AS earlier WHERE earlier.name = jobs.name "
    "AND earlier.seq < jobs.seq AND earlier.state != 'closed' "
    "AND (earlier.held_until IS NULL OR earlier.attempt > 0))"
)
_TO_RUN = f"{READY} AND NOT refused AND NOT cancelled"
MAY_EXPIRE = f"{QUEUED} AND start_by IS NOT NULL AND attempt = 0 AND NOT cancelled AND NOT refused"


_NEWEST = f"SELECT max(turn + {PRIORITY_SECONDS} * priority) FROM jobs WHERE state != 'closed'"  # noqa: S608


class Turns(Reading):
    """The questions of the writer."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self._newest = float(connection.execute(_NEWEST).fetchone()[0] or 0.0)

    def _turn_of(self, accepted_at: str, priority: int) -> float:
        """Return a new job's place among the queued ones: when it came, less its priority's worth.

        A clock that was set back changes no order: the job counts as come after all earlier ones.
        """
        came = datetime.fromisoformat(accepted_at).timestamp()
        self._newest = max(self._newest, came)
        return self._newest - PRIORITY_SECONDS * priority

    def has_ready(self) -> bool:
        """Return whether a queued job may start if its turn has come."""
        query = f"SELECT 1 FROM jobs INDEXED BY jobs_to_run WHERE {_TO_RUN} LIMIT 1"  # noqa: S608
        return self._db.execute(query).fetchone() is not None

    def next_to_run(
        self, only: Iterable[str] | None = None, barred: Barred = NOTHING_BARRED
    ) -> Job | None:
        """Return the queued job whose turn it is.

        Jobs of one name go one at a time, in order; those that may not start yet hold up no other,
        unless they have begun before. Among names the earliest goes first, by its priority.
        `only` names those that may run; None for all.
        """
        clauses, values = _but_for(barred)
        clauses.append(_TO_RUN)
        jobs = self._next("jobs INDEXED BY jobs_to_run", "turn, seq", only, (clauses, values))
        return jobs[0] if jobs else None

    def next_to_settle(
        self, only: Iterable[str] | None = None, held: Sequence[str] = ()
    ) -> Job | None:
        """Return a refused or cancelled queued job whose turn it is.

        Jobs of the names in `held` are skipped.
        """
        clauses, values = _but_for(Barred(names=held))
        clauses += [QUEUED, "(refused OR cancelled)"]
        # Names the index: most often no row fits, and a scan would read a queue of 100,000.
        jobs = self._next("jobs INDEXED BY jobs_to_settle", "seq", only, (clauses, values))
        return jobs[0] if jobs else None

    def next_moment(self) -> str | None:
        """Return the next time at which a queued job may start, or expires."""
        row = self._db.execute(
            "SELECT min(moment) FROM ("  # noqa: S608 - constants
            f"SELECT min(held_until) AS moment FROM jobs WHERE {HELD} "
            f"UNION ALL SELECT min(start_by) FROM jobs WHERE {MAY_EXPIRE})"
        ).fetchone()
        return None if row[0] is None else str(row[0])

    def current(self, name: str) -> list[Job]:
        """Return the closed jobs of a name with files in the outbox itself; usually one at most."""
        return self._many("place = 'current' AND name = ? ORDER BY seq", name)

    def prunable(self, *, older_than: str, keep_runs: int, limit: int = 500) -> list[Job]:
        """Return jobs of the history that finished before a time, or have enough newer ones.

        Not those of which a follower is still to be told: it may want the request and the result.
        """
        return self._many(
            "job_id IN (SELECT job_id FROM (SELECT job_id, finished_at, row_number() OVER "
            "(PARTITION BY name ORDER BY seq DESC) AS nth FROM jobs WHERE place = 'history') "
            "WHERE finished_at < ? OR nth > ?) AND job_id NOT IN (SELECT job_id FROM deliveries) "
            "LIMIT ?",
            older_than,
            keep_runs,
            limit,
        )

    def without_name(self, *, older_than: str, limit: int = 500) -> list[Job]:
        """Return finished jobs in the outbox itself to which nobody gave a name."""
        return self._many(
            "place = 'current' AND name BETWEEN ? AND ? "  # for the index
            "AND name LIKE ? || '/____-__-__/' || job_id AND finished_at < ? LIMIT ?",
            f"{MADE_NAMES}/",
            f"{MADE_NAMES}0",
            MADE_NAMES,
            older_than,
            limit,
        )

    def _next(
        self,
        source: str,
        order: str,
        only: Iterable[str] | None,
        conditions: tuple[list[str], list[object]],
    ) -> list[Job]:
        clauses, values = conditions
        if only is not None:
            clauses.append("name IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(list(only)))
        where = f"{' AND '.join([*clauses, _ITS_TURN])} ORDER BY {order} LIMIT 1"
        return self._many(where, *values, source=source)


def keep_time(connection: sqlite3.Connection, now: str, expired: Failure) -> None:
    """Apply the times of queued jobs, in the transaction around it; see `Ledger.keep_time`."""
    may_expire = f"{MAY_EXPIRE} AND start_by <= ?"
    connection.execute(
        "UPDATE inputs SET failure = ? WHERE job_id IN "  # noqa: S608 - constants
        f"(SELECT job_id FROM jobs WHERE {may_expire})",
        (expired.model_dump_json(), now),
    )
    for change, which in (
        ("refused = 1, held_until = NULL", may_expire),
        ("held_until = NULL", f"{HELD} AND held_until <= ?"),
    ):
        connection.execute(f"UPDATE jobs SET {change} WHERE {which}", (now,))  # noqa: S608


def _but_for(barred: Barred) -> tuple[list[str], list[object]]:
    """Build the clauses that leave out what is barred, and the values for their marks."""
    clauses: list[str] = []
    values: list[object] = []
    for clause, some in (
        ("name NOT IN (SELECT value FROM json_each(?))", barred.names),
        ("(run_group IS NULL OR run_group NOT IN (SELECT value FROM json_each(?)))", barred.groups),
        ("NOT EXISTS (SELECT 1 FROM json_each(?) WHERE jobs.name GLOB value)", barred.patterns),
        (
            "NOT EXISTS (SELECT 1 FROM json_each(?) WHERE jobs.submitted_by = value OR "
            "substr(jobs.submitted_by, 1, length(value) + 1) = value || '@')",
            barred.triggers,
        ),
        (
            "NOT EXISTS (SELECT 1 FROM demands WHERE demands.job_id = jobs.job_id "
            "AND demand IN (SELECT value FROM json_each(?)))",
            barred.demands,
        ),
    ):
        if some:
            clauses.append(clause)
            values.append(json.dumps(list(some)))
    return clauses, values
