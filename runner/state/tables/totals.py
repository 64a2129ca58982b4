"""Counts that outlive the rows of jobs, so that reported totals never fall."""

import bisect
import sqlite3

from runner.state.jobs import DURATION_BOUNDS, Stage, seconds_between

_OLD = (
    "SELECT job_id FROM jobs WHERE place = 'pruned' AND pruned_at < ? "
    "AND NOT EXISTS (SELECT 1 FROM library WHERE library.job_id = jobs.job_id) "
    "AND NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.job_id = jobs.job_id) "
    "ORDER BY pruned_at LIMIT ?"
)
"""Spares the newest run of a library notebook, and jobs with rows for followers."""


def forget(connection: sqlite3.Connection, older_than: str, limit: int) -> int:
    """Move the oldest pruned jobs into the totals, in the transaction around it; count them."""
    ids = [row[0] for row in connection.execute(_OLD, (older_than, limit))]
    for job_id in ids:
        connection.execute(
            "INSERT INTO totals SELECT status, coalesce(error_type, ''), 1 FROM jobs "
            "WHERE job_id = ? ON CONFLICT DO UPDATE SET jobs = jobs + 1",
            (job_id,),
        )
        for table in ("inputs", "outcomes", "warnings", "demands", "jobs"):
            connection.execute(
                f"DELETE FROM {table} WHERE job_id = ?",  # noqa: S608 - constants
                (job_id,),
            )
    return len(ids)


def count_durations(connection: sqlite3.Connection, job_id: str) -> None:
    """Count how long a newly closed job took, in the transaction around it."""
    accepted_at, started_at, finished_at, published_at = connection.execute(
        "SELECT accepted_at, started_at, finished_at, published_at FROM jobs WHERE job_id = ?",
        (job_id,),
    ).fetchone()
    ends = (
        (Stage.WAIT, accepted_at, started_at),
        (Stage.RUN, started_at, finished_at),
        (Stage.PUBLISH, finished_at, published_at),
    )
    taken = [
        (stage, seconds_between(start, end))
        for stage, start, end in ends
        if start is not None and end is not None
    ]
    connection.executemany(
        "INSERT INTO durations VALUES (?, ?, 1, ?) ON CONFLICT DO UPDATE "
        "SET jobs = jobs + 1, seconds = seconds + excluded.seconds",
        [
            (stage, DURATION_BOUNDS[bisect.bisect_left(DURATION_BOUNDS, seconds)], seconds)
            for stage, seconds in taken
        ],
    )
