"""Claims drops one after the other; a drop that cannot be claimed stays, with its reason.

A drop's old results go to the history before it leaves the inbox, so that nobody who sees the
request gone takes them for its own.
"""

import logging
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from runner.contract.advice.remedies import with_remedy
from runner.contract.names import job_name
from runner.daemon.receiving.admission import names_library, requested_id
from runner.daemon.receiving.cancels import Cancels
from runner.daemon.receiving.late_settings import LateSettings
from runner.inbox.bundles.store import InputStore
from runner.inbox.claim import Claim, Claims, claim_id
from runner.inbox.drop import Drop, DropKind, Scan
from runner.inbox.scanning.inspection import LOOK_SECONDS
from runner.inbox.scanning.scan import Inbox
from runner.inbox.unclaimed import Reason
from runner.outbox.history import History
from runner.state.ledger import Ledger
from runner.system.backoff import Backoff
from runner.system.clocks import Clocks

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Intake:
    """The inbox, the claims out of it, and the files that come with requests."""

    inbox: Inbox
    claims: Claims
    inputs: InputStore


@dataclass(frozen=True)
class Books:
    """The records of incoming requests."""

    ledger: Ledger
    history: History
    late_settings: LateSettings
    cancels: Cancels
    clocks: Clocks


def random_id() -> str:
    """Make a job id that nobody else has."""
    return secrets.token_hex(16)


class Claiming:
    """Claims the drops of a scan; `library_trouble` says why its notebooks cannot be read now."""

    def __init__(
        self,
        intake: Intake,
        books: Books,
        library_trouble: Callable[[], str | None] = lambda: None,
        new_id: Callable[[], str] = random_id,
    ) -> None:
        self._inbox = intake.inbox
        self._claims = intake.claims
        self._ledger = books.ledger
        self._history = books.history
        self._late_settings = books.late_settings
        self._library_trouble = library_trouble
        self._new_id = new_id
        self._delays = Backoff(books.clocks.seconds)
        self._is_amid_listing = False
        self._said: dict[str, str] = {}
        self.troubles: dict[str, str] = {}
        """Reasons why requests stay in the inbox, by name; of the last listing."""
        self.look_again: float | None = None
        """Seconds until a waiting file may be ready; 0 if there is another batch."""

    def claim(self, scan: Scan) -> tuple[Claim, ...]:
        """Claim the drops of one scan, and make the claims durable.

        Raises:
            OSError, OutboxGone: nothing may leave the inbox while its results have nowhere to go.
        """
        self._begin(scan)
        attempts = [self._claim_one(drop) for drop in scan.drops]
        claims = tuple(claim for claim in attempts if claim is not None)
        if len(claims) < len(scan.drops) and scan.look_again != 0:
            self._inbox.conclude()  # the notes on the others belong to this listing
        self._claims.sync(claims)
        return claims

    def _begin(self, scan: Scan) -> None:
        if not self._is_amid_listing:
            self._said, self.troubles = self.troubles, {}
            self._delays.keep(self._said)
        self._is_amid_listing = scan.look_again == 0
        self.look_again = scan.look_again

    def _claim_one(self, drop: Drop) -> Claim | None:
        """Claim a drop; one that names a notebook of a lost library waits for the library."""
        if names_library(drop) and (lost := self._library_trouble()) is not None:
            self._inbox.tell(drop.main.sighting, Reason.HELD_BACK, f"the library {lost}")
            return None
        if drop.kind is DropKind.LATE_SETTINGS and not self._keep_settings(drop):
            return None
        if drop.kind is DropKind.SUBMIT and drop.claim is None and not self._is_known(drop):
            name = job_name(drop.path)
            if not self._ledger.unclosed(name):
                return self._claim_anew(drop, name)
        return self._take(drop)

    def _claim_anew(self, drop: Drop, name: str) -> Claim | None:
        """Move old results away, then claim; undo the move if that fails."""
        why = self._delays.why_held(name)
        if why is not None:
            self._hold_back(drop, name, why)
            return None
        try:
            moved = self._history.move(name)
        except OSError as error:
            why = with_remedy(error)
            self._delays.hold(name, why)
            self._hold_back(drop, name, why)
            return None
        self._delays.release(name)
        claim = self._take(drop)
        if claim is None and self._inbox.still_has(drop):
            self._history.bring_back(moved)
        else:
            self._history.record(moved)
        return claim

    def _hold_back(self, drop: Drop, name: str, why: str) -> None:
        if self._said.get(name) != why:
            log.warning("%s stays in the inbox: its old results: %s", name, why)
        self.troubles[name] = why
        self._inbox.tell(drop.main.sighting, Reason.BLOCKED, why)
        self._look_in(self._delays.next_due() or LOOK_SECONDS)

    def _take(self, drop: Drop) -> Claim | None:
        """Claim a drop; put off one that cannot be taken, without delay for the others."""
        try:
            claim = self._claims.take(drop, self._id_for(drop))
        except OSError as error:
            self._look_in(self._inbox.put_off(drop, error))
            return None
        if claim is None:
            self._look_in(LOOK_SECONDS)
        return claim

    def _look_in(self, seconds: float) -> None:
        self.look_again = seconds if self.look_again is None else min(self.look_again, seconds)

    def _id_for(self, drop: Drop) -> str:
        held = claim_id(drop.claim) if drop.claim else None
        if held is not None:
            return held
        if drop.kind is DropKind.LATE_SETTINGS:  # where it breaks off, they are known by it
            missed = self._late_settings.missed(drop.path)
            if missed is not None:
                return missed.job_id
        wanted = requested_id(drop)
        if wanted is None or self._ledger.job(wanted) is not None:
            return self._new_id()
        return wanted

    def _is_known(self, drop: Drop) -> bool:
        wanted = requested_id(drop)
        return wanted is not None and self._ledger.job(wanted) is not None

    def _keep_settings(self, drop: Drop) -> bool:
        """Keep late settings with the job that they missed.

        Return whether they are kept, or need not be; otherwise they stay in the inbox.
        """
        job = self._late_settings.missed(drop.path)
        if job is None:
            return True
        why = self._delays.why_held(job.name)
        if why is None:
            try:
                self._late_settings.keep(job, drop)
            except OSError as error:
                why = with_remedy(error)
                self._delays.hold(job.name, why)
        if why is not None:
            self._hold_back(drop, job.name, why)
        return why is None

    def remove(self, claims: Iterable[Claim]) -> None:
        """Remove the folders of recorded claims; one that stays is looked at again."""
        for claim in claims:
            try:
                owner = self._owner_of(claim)
                keeps = bool(claim.drop.settings) and self._keeps_settings(owner)
                self._claims.remove(claim.folder, owner, keeps_settings=keeps)
            except OSError as error:
                log.debug("claim folder %r stays for now: %s", claim.folder, error)
                self._inbox.put_off(claim.drop, error, claim.folder)

    def _owner_of(self, claim: Claim) -> str:
        """Return the job that has the claim's files: of a request that came again, the first."""
        wanted = requested_id(claim.drop)
        is_again = wanted is not None and self._ledger.job(claim.job_id) is None
        return wanted if is_again and wanted is not None else claim.job_id

    def _keeps_settings(self, job_id: str) -> bool:
        """Tell whether a job was refused before its settings could be used: nothing has them."""
        job = self._ledger.job(job_id)
        return job is not None and job.refused and self._ledger.request_of(job_id) == "{}"

    def clear(self, folder: str) -> None:
        """Clear a claim folder without a request.

        Its job is known, as that of late settings in its history; or there never was one.
        """
        job_id = claim_id(folder)
        if job_id is None or self._ledger.job(job_id) is None:
            self._claims.undo_if_empty(folder)
            return
        try:
            self._claims.remove(folder, job_id, keeps_settings=self._keeps_settings(job_id))
        except OSError as error:
            log.warning("claim folder %r stays for now: %s", folder, error)

    def tidy(self) -> None:
        """Remove the empty folders that were kept for the next claims."""
        try:
            self._claims.tidy()
        except OSError as error:
            log.warning("empty claim folders stay for now: %s", error)

    def remove_emptied(self) -> None:
        """Remove the folders that the program made for names, if they are empty."""
        self._claims.remove_emptied()
