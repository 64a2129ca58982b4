"""Writes the SQLite record of jobs: every change of state is one transaction and a legal move.

Knows nothing of files in the in- and outbox. One `Ledger` writes, from one thread.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from runner.contract.outcome import Failure, PublishedFile
from runner.state import deliveries
from runner.state.contents import Acceptance, Seal
from runner.state.deliveries import Settlement
from runner.state.jobs import MOVES, IllegalMove, Place, State
from runner.state.ledger_reader import files_to, inputs_to
from runner.state.listing import LEDGER_FILE
from runner.state.migrations import migrate, utc_now
from runner.state.tables import environments
from runner.state.tables.size import KEPT_BYTES, learn_to_shrink, shrink
from runner.state.tables.totals import count_durations, forget
from runner.state.turns import Turns, keep_time
from runner.system.files.databases import BUSY_MILLISECONDS


class Ledger(Turns):
    """The one writer. Every method is a transaction, or part of the one around it."""

    def __init__(self, state: Path, now: Callable[[], datetime] = utc_now) -> None:
        """Open the ledger below `state`, which exists; make it if there is none.

        One of an earlier version is copied, then brought up to date; see `migrate`.

        Raises:
            sqlite3.DatabaseError: the file is damaged or of a newer version, or cannot be copied.
        """
        connection = sqlite3.connect(
            state / LEDGER_FILE, isolation_level=None, timeout=BUSY_MILLISECONDS / 1000
        )
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # for a file that is made now
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA journal_size_limit = {KEPT_BYTES}")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        migrate(connection, state / LEDGER_FILE, now)
        learn_to_shrink(connection)
        super().__init__(connection)

    def shrink(self, seconds: float, clock: Callable[[], float]) -> bool:
        """Free unused disk space, for about that long.

        Return whether there was something to do; a reader in the way is no error.

        Raises:
            sqlite3.OperationalError: the disk does not let us.
        """
        return shrink(self._db, seconds, clock)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything inside at once, or nothing if the body raises."""
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
        """Roll back, unless SQLite has done so itself after the error."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def accept(self, new: Acceptance) -> None:
        """Record a request as a queued job."""
        with self.transaction():
            _insert(self._db, new, self._turn_of(new.accepted_at, new.waiting.priority))
            if new.demand is not None:
                self._db.execute("INSERT INTO demands VALUES (?, ?)", (new.job_id, new.demand))
            if new.library is not None:
                self._db.execute(
                    "INSERT INTO library VALUES (?, ?) ON CONFLICT DO UPDATE "
                    "SET job_id = excluded.job_id",
                    (new.library, new.job_id),
                )

    def start(self, job_id: str, started_at: str) -> None:
        """Record that a queued job runs, before it does."""
        with self.transaction():
            self._move(
                job_id,
                State.QUEUED,
                State.RUNNING,
                "attempt = attempt + 1, started_at = ?",
                started_at,
            )

    def requeue(self, job_id: str, held_until: str | None = None) -> None:
        """Queue a running job again whose run is dead, to start no earlier than `held_until`."""
        also = "started_at = NULL, held_until = ?"
        with self.transaction():
            self._move(job_id, State.RUNNING, State.QUEUED, also, held_until)

    def keep_time(self, now: str, expired: Failure) -> None:
        """Let jobs start whose earliest start has come, and refuse those that came too late.

        The latter get the failure `expired`.
        """
        with self.transaction():
            keep_time(self._db, now, expired)

    def put_back(self, job_id: str) -> None:
        """Queue a job that did not begin after `start`, as if nothing had happened."""
        with self.transaction():
            also = "started_at = NULL, attempt = attempt - 1"
            self._move(job_id, State.RUNNING, State.QUEUED, also)

    def cancel(self, job_ids: Iterable[str]) -> None:
        """Mark jobs as cancelled; a sealed job stays as it is."""
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
                    seal.outcome.model_dump_json(exclude={"packages"}),
                    files_to(seal.files),
                    seal.executed,
                ),
            )
            origin, packages = seal.outcome.environment, seal.outcome.packages
            if origin is not None and packages is not None:
                day = seal.finished_at[:10]
                environments.keep(self._db, origin.packages_sha256, packages, day)

    def amend_files(
        self, job_id: str, files: Sequence[PublishedFile], warnings: Iterable[str]
    ) -> None:
        """Correct the files of a sealed job before their publication, and say why."""
        with self.transaction():
            self._db.execute(
                "UPDATE outcomes SET files = ? WHERE job_id = ?", (files_to(files), job_id)
            )
            for warning in warnings:
                self.warn(job_id, warning)

    def published(self, job_id: str, published_at: str, followers: Iterable[str] = ()) -> None:
        """Close a sealed job. Notebook and results are in the outbox now, so their copies go.

        The transaction adds a row for each follower.

        It is as durable as the rest: the next job of the name moves the published files to the
        history, and a job that is sealed again by then would be published a second time.
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
            count_durations(self._db, job_id)
            deliveries.add(self._db, job_id, published_at, followers)

    def settle(self, what: Settlement) -> None:
        """Record a settlement of deliveries; repeating it does no harm."""
        with self.transaction():
            deliveries.settle(self._db, what)

    def bound_deliveries(self, followers: Iterable[str]) -> int:
        """Drop rows of former followers and surplus ones; return the number of the latter."""
        with self.transaction():
            return deliveries.bound(self._db, followers, deliveries.MOST_WAITING)

    def warn(self, job_id: str, warning: str) -> None:
        """Add a warning to the result of a job that is not sealed yet."""
        with self.transaction():
            self._db.execute("INSERT INTO warnings VALUES (?, ?)", (job_id, warning))

    def retired(self, job_ids: Sequence[str]) -> None:
        """Record that these jobs' files are in the history now."""
        self._place(job_ids, Place.HISTORY)

    def pruned(self, job_ids: Sequence[str], pruned_at: str) -> None:
        """Record that these jobs' files are gone, and drop their inputs; the narrow rows stay."""
        with self.transaction():
            self._place(job_ids, Place.PRUNED)
            self._db.executemany(
                "UPDATE jobs SET pruned_at = ? WHERE job_id = ?",
                [(pruned_at, job_id) for job_id in job_ids],
            )
            for table in ("inputs", "outcomes", "warnings", "demands"):
                self._db.executemany(
                    f"DELETE FROM {table} WHERE job_id = ?",  # noqa: S608
                    [(job_id,) for job_id in job_ids],
                )

    def forget(self, *, older_than: str, limit: int = 500) -> int:
        """Remove rows of jobs pruned before a time, keep their counts, return how many.

        And lists of packages that no job names since then.
        """
        with self.transaction():
            environments.forget(self._db, older_than[:10])
            return forget(self._db, older_than, limit)

    def remember(self, key: str, value: str) -> None:
        """Keep a fact."""
        with self.transaction():
            self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (key, value))

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


def _insert(connection: sqlite3.Connection, new: Acceptance, turn: float) -> None:
    """Add the rows of a queued job and its input."""
    row = {
        "job_id": new.job_id,
        "name": new.name,
        "state": State.QUEUED,
        "retries": new.retries,
        "refused": new.failure is not None,
        "awaits_settings": new.awaits_settings,
        "request_sha256": new.request_sha256,
        "input_sha256": new.input_sha256,
        "accepted_at": new.accepted_at,
        "submitted_by": new.submitted_by,
        "turn": turn,
        "priority": new.waiting.priority,
        "run_group": new.waiting.group,
        "held_until": new.waiting.held_until,
        "start_by": new.waiting.start_by,
    }
    connection.execute(
        f"INSERT INTO jobs ({', '.join(row)}) VALUES ({', '.join(f':{key}' for key in row)})",  # noqa: S608
        row,
    )
    failure = new.failure.model_dump_json() if new.failure else None
    connection.execute(
        "INSERT INTO inputs (job_id, request, notebook, failure, files) VALUES (?, ?, ?, ?, ?)",
        (new.job_id, new.request, new.notebook, failure, inputs_to(new.files)),
    )
