"""From the inbox to the ledger: every drop that is whole becomes a job, a cancel or a note.

Decides the order of the steps in between (history, claim, sync, accept, release), so that a crash
after any of them loses nothing. Reads no notebooks and runs nothing.
"""

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from runner.config import Limits
from runner.contract.names import job_name, job_names
from runner.contract.outcome import ErrorType, Failure
from runner.contract.remedies import with_remedy
from runner.daemon.admission import (
    Rules,
    admit,
    digest_of,
    names_library,
    refuse_taken_id,
    requested_id,
    unread,
)
from runner.inbox.claim import Claim, Claims
from runner.inbox.library import LibraryReader
from runner.inbox.scan import (
    BATCH_FILES,
    LOOK_SECONDS,
    Drop,
    DropKind,
    Inbox,
    Scan,
    claim_id,
)
from runner.inbox.unclaimed import Reason
from runner.outbox.publish import Outbox, OutboxGone, Retirement
from runner.state.ledger import Acceptance, Job, Ledger, State
from runner.system.backoff import Delays

log = logging.getLogger(__name__)

LATE_SETTINGS_SECONDS = 60.0
TOGETHER_SECONDS = 2.0
"""Settings that come so soon after their notebook were dropped with it, and miss no other one."""
PATIENCE_SECONDS = 1.0


@dataclass(frozen=True)
class Received:
    """What one batch brought."""

    accepted: int
    cancelled: tuple[str, ...]
    """Ids of jobs that are to be cancelled now."""
    scan: Scan
    claims: tuple[Claim, ...]
    """Folders of what is in the ledger now, to be removed by `release`."""
    look_again: float | None = None
    """Seconds until something that stays in the inbox may be ready; 0 if there is more."""


class Pace:
    """How many requests may be accepted now, where there is a limit a minute: a token bucket.

    It is full at first, so that a minute's worth may come at once.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._left = float(per_minute)
        self._at = clock()

    def allowance(self) -> int:
        """How many may be accepted now."""
        now = self._clock()
        grown = (now - self._at) * self._per_minute / 60
        self._left, self._at = min(self._left + grown, self._per_minute), now
        return max(int(self._left), 0)

    def spend(self, accepted: int) -> None:
        """So many were accepted."""
        self._left -= accepted


class Reception:
    """Works off one inbox, batch by batch."""

    def __init__(
        self,
        *,
        inbox: Inbox,
        claims: Claims,
        ledger: Ledger,
        outbox: Outbox,
        library: LibraryReader,
        limits: Limits,
        is_cluster: bool = False,
        now: Callable[[], datetime],
        pace: Pace | None = None,
        library_trouble: Callable[[], str | None] = lambda: None,
        new_id: Callable[[], str] = lambda: secrets.token_hex(16),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._delays = Delays(clock)
        self._inbox = inbox
        self._claims = claims
        self._ledger = ledger
        self._outbox = outbox
        self._limits = limits
        self._rules = Rules(limits, is_cluster, library)
        self._now = now
        self._pace = pace
        self._library_trouble = library_trouble
        self._new_id = new_id
        self._at_most_queued = limits.queue
        self._more = False
        self._again: float | None = None
        self._told: dict[str, str] = {}
        self.troubles: dict[str, str] = {}
        """Why requests stay in the inbox, by name; of the last listing."""
        inbox.settings_wait = self.settings_wait

    def receive(
        self, with_it: Callable[[], None] = lambda: None, *, only_cancels: bool = False
    ) -> Received:
        """Take one batch of what is whole; what `with_it` records is part of the transaction.

        With `only_cancels` all that would need room stays in the inbox.

        Raises:
            OSError: the inbox is not there.
            OutboxGone: nothing may leave the inbox while its results have nowhere to go.
        """
        scan = self._inbox.scan(0 if only_cancels else self._room())
        if not self._more:
            self._told, self.troubles = self.troubles, {}
            self._delays.keep(self._told)
        self._more = scan.look_again == 0
        self._again = scan.look_again
        try:
            self._warn_of_settings(scan.lone_settings)
            claims = [claim for drop in scan.drops if (claim := self._claim(drop)) is not None]
            if len(claims) < len(scan.drops) and scan.look_again != 0:
                self._inbox.conclude()  # what was told of the others belongs to this listing
            self._claims.sync(claims)
            accepted, cancelled = self._accept(claims, with_it)
        finally:
            for drop in scan.drops:
                drop.release()
        return Received(accepted, cancelled, scan, tuple(claims), self._again)

    @property
    def is_held_back(self) -> bool:
        """Whether requests wait in the inbox since too many came in a minute."""
        return self._pace is not None and self._pace.allowance() == 0

    def _room(self) -> int:
        """How many more may wait. To count 100,000 for every batch would take most of its time."""
        if self._at_most_queued > self._limits.queue - 2 * BATCH_FILES:
            self._at_most_queued = self._ledger.count_queued()
        room = max(self._limits.queue - self._at_most_queued, 0)
        return room if self._pace is None else min(room, self._pace.allowance())

    def release(self, received: Received) -> None:
        """Remove the claim folders of what was received."""
        for claim in received.claims:
            self._remove(claim.folder, claim.job_id, claim.drop)
        for folder in received.scan.abandoned:
            self._clear(folder)
        if received.scan.look_again != 0:
            self._tidy()

    def close(self) -> None:
        """Nothing more is received: the empty claim folders that are kept for the next go."""
        self._inbox.close()
        self._tidy()

    def settings_wait(self, path: str, age_seconds: float) -> float | None:
        """How long settings without a notebook wait for one; see `settings_wait` below."""
        now = self._now()
        return settings_wait(
            self._awaiting(path), arrived=now - timedelta(seconds=age_seconds), now=now
        )

    def _awaiting(self, path: str) -> Job | None:
        """The newest job of a request's name, if it was accepted without its settings."""
        job = self._latest(path)
        return job if job is not None and job.awaits_settings else None

    def _latest(self, path: str) -> Job | None:
        """The newest job of a request's name, in whatever way its letters are written."""
        jobs = (self._ledger.latest(name) for name in job_names(path))
        return max((job for job in jobs if job is not None), key=lambda job: job.seq, default=None)

    def _warn_of_settings(self, lone: Iterable[tuple[str, str]]) -> None:
        """While a job is not over its result can say that there were settings for it, perhaps."""
        for path, filename in lone:
            job = self._awaiting(path)
            if job is not None:
                self._warn_once(job, filename)

    def _warn_once(self, job: Job, filename: str) -> None:
        warning = (
            f"The settings {filename!r} came after the notebook was accepted and were not "
            "used. Drop the settings first, the notebook last."
        )
        is_open = job.state in (State.QUEUED, State.RUNNING)
        if is_open and warning not in self._ledger.warnings_of(job.job_id):
            self._ledger.warn(job.job_id, warning)

    def _claim(self, drop: Drop) -> Claim | None:
        """Make a drop ours; its name's old files go to the history before it leaves the inbox.

        One that names a notebook of a library that is gone waits for it where it lies.
        """
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
        """Old results go first, so that whoever sees the request gone sees none of them.

        They come back if it cannot be claimed.
        """
        why = self._delays.why_held(name)
        if why is not None:
            self._hold_back(drop, name, why)
            return None
        try:
            retirement = self._outbox.retire(name, self._current_id(name), self._now())
        except OSError as error:
            why = with_remedy(error)
            self._delays.hold(name, why)
            self._hold_back(drop, name, why)
            return None
        self._delays.release(name)
        claim = self._take(drop)
        if claim is None and self._inbox.still_has(drop):
            self._bring_back(name, retirement)
        else:
            self._note_retired(name)
        return claim

    def _bring_back(self, name: str, retirement: Retirement) -> None:
        try:
            self._outbox.bring_back(retirement)
        except (OSError, OutboxGone) as error:
            log.warning("earlier results of %s stay in the history: %s", name, error)
            self._note_retired(name)

    def _hold_back(self, drop: Drop, name: str, why: str) -> None:
        self._stays(name, why)
        self._inbox.tell(drop.main.sighting, Reason.BLOCKED, why)
        self._look_in(self._delays.next_due() or LOOK_SECONDS)

    def _take(self, drop: Drop) -> Claim | None:
        """What cannot be taken is put off, and delays nothing else."""
        try:
            claim = self._claims.take(drop, self._id_for(drop))
        except OSError as error:
            self._look_in(self._inbox.put_off(drop, error))
            return None
        if claim is None:
            self._look_in(LOOK_SECONDS)
        return claim

    def _look_in(self, seconds: float) -> None:
        self._again = seconds if self._again is None else min(self._again, seconds)

    def _stays(self, name: str, why: str) -> None:
        if self._told.get(name) != why:
            log.warning("%s stays in the inbox: its old results: %s", name, why)
        self.troubles[name] = why

    def retire(self, name: str) -> None:
        """Move what lies in the outbox under a name to the history.

        Raises:
            OSError, OutboxGone: not all of it is moved.
        """
        self._outbox.retire(name, self._current_id(name), self._now())
        self._note_retired(name)

    def _current_id(self, name: str) -> str | None:
        current = self._ledger.current(name)
        return current[-1].job_id if current else None

    def _note_retired(self, name: str) -> None:
        current = self._ledger.current(name)
        if current:
            self._ledger.retired([job.job_id for job in current])

    def _id_for(self, drop: Drop) -> str:
        held = claim_id(drop.claim) if drop.claim else None
        if held is not None:
            return held
        late_for = self._latest(drop.path) if drop.kind is DropKind.LATE_SETTINGS else None
        if late_for is not None:  # where it breaks off, `_clear` knows them by it
            return late_for.job_id
        wanted = requested_id(drop)
        if wanted is None or self._ledger.job(wanted) is not None:
            return self._new_id()
        return wanted

    def _is_known(self, drop: Drop) -> bool:
        wanted = requested_id(drop)
        return wanted is not None and self._ledger.job(wanted) is not None

    def _accept(
        self, claims: list[Claim], with_it: Callable[[], None]
    ) -> tuple[int, tuple[str, ...]]:
        if not claims:
            return 0, ()
        accepted, cancelled = list[Acceptance](), list[str]()
        with self._ledger.transaction():
            for claim in claims:
                drop = claim.drop
                if drop.kind is DropKind.CANCEL:
                    cancelled.extend(self._cancel(drop))
                elif drop.kind is DropKind.LATE_SETTINGS:
                    self._note_late_settings(drop)
                elif self._ledger.job(claim.job_id) is None:
                    accepted.extend(self._accept_one(claim))
            with_it()
        for new in accepted:
            self._say(new)
        self._at_most_queued += len(accepted)
        if self._pace is not None:
            self._pace.spend(len(accepted))
        return len(accepted), tuple(cancelled)

    def _accept_one(self, claim: Claim) -> Iterator[Acceptance]:
        """One job, unless the request's id says that it is one already."""
        wanted = requested_id(claim.drop)
        known = self._ledger.job(wanted) if wanted and wanted != claim.job_id else None
        if known is not None and known.request_sha256 == digest_of(claim.drop):
            log.info("job %s: dropped again as %r", wanted, claim.drop.path)
            return
        new = self._admit(claim)
        if known is not None:
            new = refuse_taken_id(new, known.job_id)
        self._ledger.accept(new)
        yield new

    def _admit(self, claim: Claim) -> Acceptance:
        """The border around one drop: what nobody thought of refuses it, and others go on."""
        accepted_at = self._now().isoformat(timespec="milliseconds")
        try:
            return admit(claim.drop, claim.job_id, self._rules, accepted_at)
        except Exception as error:
            log.exception("job %s: cannot be read", claim.job_id)
            message = f"The runner could not read it: {type(error).__name__}: {error}."
            failure = Failure(error_type=ErrorType.GATEWAY_ERROR, message=message[:500])
            return unread(claim.drop, claim.job_id, accepted_at, failure)

    def _say(self, new: Acceptance) -> None:
        if new.failure is None:
            log.info("job %s: accepted %r", new.job_id, new.name)
        else:
            log.info("job %s: refused %r: %s", new.job_id, new.name, new.failure.in_short)

    def _cancel(self, drop: Drop) -> list[str]:
        wanted = drop.main.contents.text
        name = job_name(drop.path)
        if wanted:
            found = self._ledger.job(wanted)
            jobs = [found] if found is not None else []
        else:
            names = job_names(drop.path)
            jobs = [job for one in names for job in self._ledger.unclosed(one)]
        ids = [job.job_id for job in jobs if job.state in (State.QUEUED, State.RUNNING)]
        self._ledger.cancel(ids)
        log.info("cancel %r: %s", name, ", ".join(ids) or "nothing of it is queued or running")
        return ids

    def _keep_settings(self, drop: Drop) -> bool:
        """Settings that came too late go to their job's history, and not to the next drop.

        Whether they did, or need not; while they cannot, they stay in the inbox.
        """
        job = self._latest(drop.path)
        if job is None:
            return True
        why = self._delays.why_held(job.name)
        if why is None:
            try:
                self._outbox.keep_beside(job.name, job.job_id, _filename(drop), drop.main.raw)
            except OSError as error:
                why = with_remedy(error)
                self._delays.hold(job.name, why)
        if why is not None:
            self._hold_back(drop, job.name, why)
        return why is None

    def _note_late_settings(self, drop: Drop) -> None:
        job = self._latest(drop.path)
        if job is None:
            return
        filename = _filename(drop)
        self._warn_once(job, filename)
        log.info("job %s: settings %r came too late", job.job_id, filename)

    def _remove(self, folder: str, job_id: str, drop: Drop | None = None) -> None:
        """What stays in a claim folder is looked at again; it is its job already."""
        try:
            self._claims.remove(folder, job_id)
        except OSError as error:
            log.log(
                logging.WARNING if drop is None else logging.DEBUG,
                "claim folder %r stays for now: %s",
                folder,
                error,
            )
            if drop is not None:
                self._inbox.put_off(drop, error, folder)

    def _tidy(self) -> None:
        """No batch of the same listing follows."""
        try:
            self._claims.tidy()
        except OSError as error:
            log.warning("empty claim folders stay for now: %s", error)

    def _clear(self, folder: str) -> None:
        """A claim folder in which no request lies.

        Its job is known, as that of late settings is, which are in its history; or there never
        was one.
        """
        job_id = claim_id(folder)
        if job_id is not None and self._ledger.job(job_id) is not None:
            self._remove(folder, job_id)
        else:
            self._claims.undo_if_empty(folder)


def settings_wait(job: Job | None, *, arrived: datetime, now: datetime) -> float | None:
    """For how many seconds settings without a notebook wait for one, or 0 if they are too late.

    `job` is the newest of their name that was accepted without settings. Those that came within a
    minute after it are its own, too late, or those of the next notebook, in time; only whether one
    follows can tell. They wait for it for a minute; and for a moment only where they came together
    with a job that was not over, so that nobody had seen a result yet. None: they are nobody's.
    """
    if job is None:
        return None
    behind = (arrived - datetime.fromisoformat(job.accepted_at)).total_seconds()
    if abs(behind) > LATE_SETTINGS_SECONDS:
        return None
    over = job.finished_at is not None and datetime.fromisoformat(job.finished_at) <= arrived
    together = behind <= TOGETHER_SECONDS and not over
    patience = PATIENCE_SECONDS if together else LATE_SETTINGS_SECONDS
    return max(patience - (now - arrived).total_seconds(), 0.0)


def _filename(drop: Drop) -> str:
    return Path(drop.main.sighting.path).name


def utc_now() -> datetime:
    """The time of day, for what people read."""
    return datetime.now(UTC)
