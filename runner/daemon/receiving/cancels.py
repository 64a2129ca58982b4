"""Marks the jobs that a `.cancel` means, and answers one that means none, in the outbox."""

import logging
from difflib import get_close_matches

from runner.contract.names import job_name, job_names
from runner.contract.text.strict_json import JsonValue
from runner.inbox.drop import Drop
from runner.outbox.publish import Outbox, OutboxGone
from runner.state.jobs import Job, State
from runner.state.ledger import Ledger
from runner.system.clocks import Clocks

log = logging.getLogger(__name__)

OPEN = (State.QUEUED, State.RUNNING)
COMPARED = 500
"""Most names that are compared, of jobs that wait or run."""
SIMILAR = 5
LIKENESS = 0.6


class Cancels:
    """The effect of `.cancel` files on the jobs of one ledger."""

    def __init__(self, ledger: Ledger, outbox: Outbox, clocks: Clocks) -> None:
        self._ledger = ledger
        self._outbox = outbox
        self._clocks = clocks
        self._without_effect: dict[str, str] = {}
        """Names of the files, and the job id in each or nothing."""

    def record(self, drop: Drop) -> list[str]:
        """Mark the jobs as cancelled, in the transaction around it, and return their ids."""
        wanted, name = drop.main.contents.text or "", job_name(drop.path)
        ids = [job.job_id for job in self._meant(drop.path, wanted) if job.state in OPEN]
        self._ledger.cancel(ids)
        if not ids:
            self._without_effect[name] = wanted
        log.info("cancel %r: %s", name, ", ".join(ids) or "nothing of it is queued or running")
        return ids

    def answer(self) -> None:
        """Write `NAME.cancelled.json` for each that had no effect; a failed one is not repeated."""
        while self._without_effect:
            name, wanted = self._without_effect.popitem()
            try:
                self._outbox.answer_cancel(name, self._answer(name, wanted))
            except (OSError, OutboxGone) as error:
                log.warning("the cancel %r had no effect, and no answer: %s", name, error)

    def _meant(self, path: str, wanted: str) -> list[Job]:
        if not wanted:
            return [job for name in job_names(path) for job in self._ledger.unclosed(name)]
        job = self._ledger.job(wanted)
        return [] if job is None else [job]

    def _answer(self, name: str, wanted: str) -> dict[str, JsonValue]:
        job = self._ledger.job(wanted) if wanted else self._ledger.latest(name)
        similar = [] if wanted else self._similar(name)
        if wanted:
            words = f"No job with the id {wanted[:64]!r} waits or runs."
        else:
            words = f"No job named {name!r} waits or runs."
        if job is not None:
            words += f" Job {job.job_id} ({job.name!r}) is over: {job.status}."
        if similar:
            words += f" Did you mean {similar[0].name!r}?"
        words += " To take back a request that still lies in the inbox, delete its file."
        return {
            "name": name,
            "status": "nothing_to_cancel",
            "message": words,
            "over": None if job is None else _row(job),
            "similar": [_row(one) for one in similar],
            "answered_at": self._clocks.stamp(),
        }

    def _similar(self, name: str) -> list[Job]:
        """Find jobs of similar names that wait or run, the most alike first; one of each name."""
        ledger = self._ledger
        names = [one for one in ledger.open_names(COMPARED) if one != name]
        near = get_close_matches(name, names, SIMILAR, LIKENESS)
        found = ([job for job in ledger.unclosed(one) if job.state in OPEN][:1] for one in near)
        return [job for jobs in found for job in jobs]


def _row(job: Job) -> JsonValue:
    return {"name": job.name, "job_id": job.job_id, "status": job.status}
