"""Counts of jobs whose rows have left the ledger, so that counts of all jobs never fall."""

import sqlite3

_OLD = (
    "SELECT job_id FROM jobs WHERE place = 'pruned' AND pruned_at < ? "
    "AND NOT EXISTS (SELECT 1 FROM library WHERE library.job_id = jobs.job_id) "
    "ORDER BY pruned_at LIMIT ?"
)
"""The newest run of a library notebook is shown beside it, and stays."""


def forget(connection: sqlite3.Connection, older_than: str, limit: int) -> int:
    """Move the oldest pruned jobs into the totals, in the transaction around it; give how many."""
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
