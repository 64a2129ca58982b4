"""Answers the daemon's own questions on the ledger: whose turn it is, and what to prune."""

import json
from collections.abc import Iterable, Sequence

from runner.state.jobs import Job
from runner.state.ledger_reader import QUEUED, Reading

_ITS_TURN = (
    "NOT EXISTS (SELECT 1 FROM jobs AS earlier WHERE earlier.name = jobs.name "
    "AND earlier.seq < jobs.seq AND earlier.state != 'closed') ORDER BY seq LIMIT 1"
)


class Turns(Reading):
    """The questions of the writer."""

    def next_to_run(
        self,
        only: Iterable[str] | None = None,
        without: Sequence[str] = (),
        held: Sequence[str] = (),
    ) -> Job | None:
        """Return the queued job whose turn it is: jobs of one name go one at a time, in order.

        `only` names those that may run; None for all. `without` are demands that cannot be met now:
        jobs with one of them are skipped, and so are those of the names in `held`.
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
        """Return a refused or cancelled queued job whose turn it is.

        Jobs of the names in `held` are skipped.
        """
        # Names the index: most often no row fits, and a scan would read a queue of 100,000.
        return self._next(
            "jobs INDEXED BY jobs_to_settle", "(refused OR cancelled)", only, held=held
        )

    def current(self, name: str) -> list[Job]:
        """Return the closed jobs of a name with files in the outbox itself; usually one at most."""
        return self._many("place = 'current' AND name = ? ORDER BY seq", name)

    def prunable(self, *, older_than: str, keep_runs: int, limit: int = 500) -> list[Job]:
        """Return jobs of the history that finished before a time, or have enough newer ones."""
        return self._many(
            "job_id IN (SELECT job_id FROM (SELECT job_id, finished_at, row_number() OVER "
            "(PARTITION BY name ORDER BY seq DESC) AS nth FROM jobs WHERE place = 'history') "
            "WHERE finished_at < ? OR nth > ?) LIMIT ?",
            older_than,
            keep_runs,
            limit,
        )

    def unasked(self, *, older_than: str, limit: int = 500) -> list[Job]:
        """Return finished jobs without a chosen name (`http/DATE/ID`) in the outbox itself."""
        return self._many(
            "place = 'current' AND name BETWEEN 'http/' AND 'http0' "
            "AND name LIKE 'http/____-__-__/' || job_id AND finished_at < ? LIMIT ?",
            older_than,
            limit,
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
        where = f"{QUEUED} AND {condition} AND {chosen} AND {_ITS_TURN}"
        jobs = self._many(where, *values, *names, source=source)
        return jobs[0] if jobs else None
