"""Takes drops from the inbox to the ledger: each becomes a job, a cancel or a note.

The steps come in one order (history, claim, sync, accept, release), so that a crash after any of
them loses nothing.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from runner.contract.outcome import Failure
from runner.contract.states.status import ErrorType
from runner.daemon.receiving.admission import (
    Admission,
    admit,
    is_same_job,
    refuse_taken_id,
    requested_id,
    unread,
    warning_of_age,
)
from runner.daemon.receiving.allowance import Allowance
from runner.daemon.receiving.claiming import Books, Claiming, Intake
from runner.inbox.claim import Claim
from runner.inbox.drop import DropKind, Scan
from runner.state.contents import Acceptance
from runner.state.ledger import Ledger

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """The drops of one look at the inbox, claimed and held open."""

    scan: Scan
    claims: tuple[Claim, ...]
    look_again: float | None
    """Seconds until a waiting file may be ready; 0 if there is more."""


@dataclass(frozen=True)
class Entries:
    """The entries of a batch in the ledger."""

    accepted: tuple[Acceptance, ...] = ()
    cancelled: tuple[str, ...] = ()
    """Ids of jobs to cancel now."""


class Reception:
    """Works off one inbox, batch by batch."""

    def __init__(
        self,
        intake: Intake,
        books: Books,
        claiming: Claiming,
        admission: Admission,
        allowance: Allowance,
    ) -> None:
        self._inbox = intake.inbox
        self._ledger = books.ledger
        self._late_settings = books.late_settings
        self._cancels = books.cancels
        self._clocks = books.clocks
        self._inputs = intake.inputs
        self._claiming = claiming
        self._admission = admission
        self._allowance = allowance

    @contextmanager
    def batch(self, *, only_cancels: bool = False) -> Iterator[Batch]:
        """Claim one batch of whole drops, and hold it open.

        With `only_cancels`, every drop that needs room stays in the inbox.

        Raises:
            OSError: the inbox is not there.
            OutboxGone: nothing may leave the inbox while its results have nowhere to go.
        """
        room = 0 if only_cancels else self._allowance.left()
        scan = self._inbox.scan(room) if room > 0 else self._inbox.scan_cancels()
        try:
            self._late_settings.warn(scan.lone_settings)
            claims = self._claiming.claim(scan)
            yield Batch(scan, claims, self._claiming.look_again)
        finally:
            for drop in scan.drops:
                drop.release()

    def accept(self, claims: Sequence[Claim]) -> Entries:
        """Write claims into the ledger: part of the transaction around it."""
        accepted, cancelled = list[Acceptance](), list[str]()
        for claim in claims:
            drop = claim.drop
            if drop.kind is DropKind.CANCEL:
                cancelled.extend(self._cancels.record(drop))
            elif drop.kind is DropKind.LATE_SETTINGS:
                self._late_settings.record(drop)
            elif self._ledger.job(claim.job_id) is None:
                accepted.extend(self._accept_one(claim))
        return Entries(tuple(accepted), tuple(cancelled))

    def count(self, entries: Entries) -> None:
        """Count and log the accepted requests, and answer the cancels that had no effect."""
        for new in entries.accepted:
            if new.failure is None:
                log.info("job %s: accepted %r", new.job_id, new.name)
            else:
                log.info("job %s: refused %r: %s", new.job_id, new.name, new.failure.in_short)
        self._allowance.spend(len(entries.accepted))
        self._cancels.answer()

    def release(self, batch: Batch) -> None:
        """Remove the claim folders of recorded drops."""
        self._claiming.remove(batch.claims)
        for folder in batch.scan.abandoned:
            self._claiming.clear(folder)
        if batch.scan.look_again != 0:
            self._claiming.tidy()

    def keep_house(self) -> None:
        """Remove empty folders that the program made."""
        self._claiming.remove_emptied()

    def close(self) -> None:
        """Receive nothing more."""
        self._inbox.close()
        self._claiming.tidy()
        self._claiming.remove_emptied()

    @property
    def troubles(self) -> dict[str, str]:
        """Reasons why requests stay in the inbox, by name."""
        return self._claiming.troubles

    @property
    def is_held_back(self) -> bool:
        """Whether requests wait in the inbox because too many came in a minute."""
        return self._allowance.is_used_up

    def _accept_one(self, claim: Claim) -> Iterator[Acceptance]:
        """Accept one job, unless the request's id says that it is one already.

        Raises:
            OSError: the files that came with it cannot be given to the job.
        """
        wanted = requested_id(claim.drop)
        known = self._ledger.job(wanted) if wanted and wanted != claim.job_id else None
        if known is not None and is_same_job(claim.drop, known):
            log.info("job %s: dropped again as %r", wanted, claim.drop.path)
            return
        bundle = claim.drop.main.contents.bundle
        if bundle is not None:
            self._inputs.adopt(bundle.token, claim.job_id)
        new = self._admit(claim)
        if known is not None:
            new = refuse_taken_id(new, known.job_id)
        self._ledger.accept(new)
        if (warning := warning_of_age(claim.drop)) is not None:
            self._ledger.warn(new.job_id, warning)
        yield new

    def _admit(self, claim: Claim) -> Acceptance:
        """Read one drop; an unexpected exception refuses it, and others go on."""
        accepted_at = self._clocks.stamp()
        try:
            return admit(claim.drop, claim.job_id, self._admission, accepted_at)
        except Exception as error:
            log.exception("job %s: cannot be read", claim.job_id)
            message = f"The runner could not read it: {type(error).__name__}: {error}."
            failure = Failure(error_type=ErrorType.GATEWAY_ERROR, message=message[:500])
            return unread(claim.drop, claim.job_id, accepted_at, failure)


@dataclass(frozen=True)
class Received:
    """A batch that is in the ledger; its claim folders wait for `Reception.release`."""

    batch: Batch
    entries: Entries


def take_batch(
    reception: Reception,
    ledger: Ledger,
    reserve: Callable[[], None] = lambda: None,
    *,
    only_cancels: bool = False,
) -> Received:
    """Take one batch out of the inbox; `reserve` records its starts in the same transaction.

    Raises:
        OSError, OutboxGone, sqlite3.OperationalError: what was not taken stays in the inbox.
    """
    entries = Entries()
    with reception.batch(only_cancels=only_cancels) as batch:
        if batch.claims:
            with ledger.transaction():
                entries = reception.accept(batch.claims)
                reserve()
            reception.count(entries)
    return Received(batch, entries)
