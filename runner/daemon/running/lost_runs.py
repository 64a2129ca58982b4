"""Settles runs whose runner went down: what is known of each, and the files that it left."""

import logging
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from runner.contract.notebook import kernel_of, parse
from runner.contract.outcome import CellCount, KernelUsed, Outcome, interrupted
from runner.contract.request import Request
from runner.contract.states.status import Status
from runner.contract.states.turn import written
from runner.daemon.running.attempts import Attempts
from runner.daemon.running.publishing import NO_FILES, Finished, Publishing, Stores
from runner.outbox.reader import OutboxReader
from runner.state.jobs import Job, State
from runner.system.clocks import Clocks
from runner.system.files.output_folder import Staged

log = logging.getLogger(__name__)

EARLIER_HOST = "earlier_host"
"""The fact that names the machine on which an earlier start ran its jobs itself."""
EARLIER_BOOT = "earlier_boot"
"""The fact that names the machine's boot in which an earlier start ran its jobs."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
TAIL_CHARACTERS = 1_000
GONE_DOWN = interrupted("The runner or its machine went down while the notebook ran.")
NOT_KNOWN = (
    "When the run ended is not known: its duration goes on until the next start of the runner."
)


def boot_id() -> str:
    """Return the name of this boot of the machine (random(4)); empty where there is none."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


class LostRuns:
    """The runs that an earlier start had begun, and did not see the end of."""

    def __init__(
        self, stores: Stores, publishing: Publishing, attempts: Attempts, clocks: Clocks
    ) -> None:
        self._stores = stores
        self._publishing = publishing
        self._attempts = attempts
        self._clocks = clocks
        self._reader = OutboxReader(stores.outbox.folder)

    def settle(self) -> None:
        """Settle them all; an unexpected exception leaves one of them, and others go on.

        Raises:
            sqlite3.OperationalError: it is not the job's fault.
        """
        for job in self._stores.ledger.unclosed():
            if job.state is not State.RUNNING:
                continue
            try:
                self._settle(job)
            except sqlite3.OperationalError:
                raise
            except Exception:
                log.exception("job %s is left to the next start", job.job_id)

    def _settle(self, job: Job) -> None:
        """Settle one: it is over, and its end is unknown."""
        assert GONE_DOWN.failure is not None
        if self._attempts.again(job, GONE_DOWN.failure):
            return
        log.info("job %s: was interrupted", job.job_id)
        finished = self.finished(job)
        outcome = self._attempts.with_advice(job, finished.outcome)
        self._publishing.seal(job, replace(finished, outcome=outcome), State.RUNNING)

    def finished(self, job: Job) -> Finished:
        """Give the end of a job's run, with the files that it had written by then."""
        status = self._reader.status(job.name) or {}
        if status.get("job_id") != job.job_id or status.get("status") != Status.RUNNING:
            status = {}
        staged = self._stage(job)
        now = self._clocks.stamp()
        ended = _ended_at(job, status, now)
        outcome = _outcome(status, has_files=bool(staged.files)).model_copy(
            update={
                "host": self._stores.ledger.fact(EARLIER_HOST) or None,
                "kernel": KernelUsed(name=None, requested=self._requested_kernel(job)),
                "warnings": [
                    *_last_words(status),
                    *staged.warnings,
                    *([NOT_KNOWN] if ended is None else []),
                ],
            }
        )
        return Finished(job.job_id, outcome, None, staged, ended or now)

    def _stage(self, job: Job) -> Staged:
        """Stage what lies in its work folder.

        Nothing of a machine that was off since: unsynced files come back from that empty or torn.
        """
        boot = self._stores.ledger.fact(EARLIER_BOOT)
        if not boot or boot != self._stores.ledger.fact("boot"):
            return NO_FILES
        work = self._stores.work.of(job.job_id)
        try:
            if not work.is_dir():
                return NO_FILES
            job_input = self._stores.ledger.input_of(job.job_id)
            inputs = () if job_input is None else job_input.files
            return self._publishing.stage(job.job_id, job.name, work, inputs)
        except OSError as error:
            log.warning("job %s: its files cannot be read: %s", job.job_id, error)
            return Staged((), (f"The files of the run cannot be read: {error}.",))

    def _requested_kernel(self, job: Job) -> str | None:
        job_input = self._stores.ledger.input_of(job.job_id)
        if job_input is None:
            return None
        kernel = Request.model_validate_json(job_input.request).kernel
        if kernel is not None or job_input.notebook is None:
            return kernel
        try:
            document = parse(job_input.notebook)
        except ValueError:
            return None
        return kernel_of(document) if isinstance(document, dict) else None


def _outcome(status: Mapping[str, Any], *, has_files: bool) -> Outcome:
    cell, cells = status.get("cell"), status.get("cells")
    is_known = isinstance(cell, int) and isinstance(cells, int) and 0 <= cell <= cells
    where = f" Code cell {cell} of {cells} was running." if is_known and cell else ""
    lost = "The outputs of its cells are lost"
    left = f"{lost}; the files that it had written are published." if has_files else f"{lost}."
    outcome = interrupted(
        f"The runner or its machine went down while the notebook ran.{where} {left}"
    )
    if not is_known:
        return outcome
    return outcome.model_copy(update={"cells": CellCount(total=cells, executed=cell)})


def _ended_at(job: Job, status: Mapping[str, Any], now: str) -> str | None:
    """Return when a run was seen last, by its status file; None if nobody knows.

    That file is a second old at the most when the runner goes down.
    """
    seconds = status.get("elapsed_seconds")
    if job.started_at is None or not isinstance(seconds, int | float) or not 0 <= seconds < 1e9:
        return None
    seen = datetime.fromisoformat(job.started_at) + timedelta(seconds=seconds)
    return min(written(seen), now)


def _last_words(status: Mapping[str, Any]) -> list[str]:
    tail = status.get("log_tail")
    if not isinstance(tail, str) or not tail.strip():
        return []
    return [f"The last that was seen of what it printed: {tail.strip()[-TAIL_CHARACTERS:]}"]
