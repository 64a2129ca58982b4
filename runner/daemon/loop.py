"""The one loop that introduces inbox, ledger, execution and outbox to each other.

Owns start-up, recovery, signals and shutdown. Knows none of their rules.
"""

import logging
import os
import queue
import secrets
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import FrameType

from runner.config import MEGABYTE, Settings, available_memory, check_apart
from runner.contract.names import job_name
from runner.daemon.dispatch import Dispatch, Finished
from runner.daemon.gateway_process import Companion
from runner.daemon.reception import Pace, Reception, utc_now
from runner.execution.order import Progress
from runner.execution.start import Incarnation, StartExecution, memory_warning, start_execution
from runner.inbox import unclaimed as waiting
from runner.inbox import write_lease as lease
from runner.inbox.claim import Claims
from runner.inbox.library import library_reader
from runner.inbox.scan import Inbox, Trust, is_of_claim
from runner.outbox.publish import Outbox, OutboxGone
from runner.state import pulse
from runner.state.ledger import Job, Ledger
from runner.state.locks import Owned, Ownership, own
from runner.system.files.disk import Disk
from runner.system.files.mounts import Anchor, least_trusted, mount_fact, polls, read_table
from runner.system.files.watch import Watch
from runner.system.processes.allocator import Allocator
from runner.system.processes.patience import Looks, NoAnswer
from runner.system.processes.process_tree import adopt_orphans, children, end_marked
from runner.system.processes.threads import Threads

log = logging.getLogger(__name__)

BURST_SECONDS = 0.01
"""A burst of events is one scan, this long after the first."""
GONE_SECONDS = 2.0
LIBRARY_SECONDS = 0.5
SYNCS = 8
"""Folders that are synced at a time: a disk waits for several as long as for one."""
PRUNE_SECONDS = 3600.0
REAP_SECONDS = 2.0
SHRINK_SECONDS = 0.05
"""Of each two seconds, for the ledger to give back what is free."""
LAST_WORDS_SECONDS = 15.0


class FolderMissing(Exception):
    """A folder that was there at an earlier start is gone, or its mount: `folder, reason`."""

    def __str__(self) -> str:
        remedy = "If it is a mount, mount it; if it was removed on purpose, make it anew"
        if "mount" in self.args[1]:
            remedy = "Mount it; if it was moved on purpose, start with --accept-folders once"
        return f"{self.args[0]} {self.args[1]}. {remedy}"


class DiskFull(Exception):
    """There is too little space for more requests: `folder, needed_mb`."""

    def __str__(self) -> str:
        return (
            f"the disk of {self.args[0]} has less than {self.args[1]:g} MB left (limits.free_mb); "
            "requests stay in the inbox"
        )


@dataclass(frozen=True)
class _Woken:
    """Something may have changed in the inbox."""


@dataclass(frozen=True)
class _Progressed:
    job_id: str
    progress: Progress


@dataclass(frozen=True)
class _Signalled:
    number: int


@dataclass(frozen=True)
class _Changed:
    """There may be other workers, or other troubles."""


_Mail = _Woken | _Changed | _Progressed | _Signalled | Finished


@dataclass(frozen=True)
class Goal:
    """What an embedded runner is for: one job, by its path in the inbox; it ends with that job."""

    path: str
    job_id: str


def _seek(folder: Path, point: str | None, is_new: bool) -> tuple[Anchor, str | None]:
    """A folder's mount, and why it is not to be used now. One that is new is made."""
    if is_new:
        folder.mkdir(parents=True, exist_ok=True)
    anchor = Anchor(folder, point)
    return anchor, anchor.trouble()


class Daemon:
    """One owner of an inbox. `run` returns when it was told to stop, or its goal is reached."""

    def __init__(
        self,
        settings: Settings,
        *,
        disk: Disk | None = None,
        open_ledger: Callable[[Path], Ledger] = Ledger,
        goal: Goal | None = None,
        gateway: bytes | None = None,
        accept_folders: bool = False,
        on_progress: Callable[[str, Progress], None] | None = None,
        start_execution: StartExecution = start_execution,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._start_execution = start_execution
        self._disk = disk or Disk()
        self._open_ledger = open_ledger
        self._goal = goal
        self._gateway = gateway
        self._accept_folders = accept_folders
        self._anchors: dict[Path, Anchor] = {}
        self._table = ""
        self._told_progress = on_progress
        self._clock = clock
        self._in_terminal = os.isatty(2)
        self._mail: queue.SimpleQueue[_Mail] = queue.SimpleQueue()
        self._stop_at: float | None = None
        self._stop_now = False
        self._finished: list[Finished] = []
        self._finish_at = 0.0
        self._woken_at: float | None = None
        self._look_at: float | None = 0.0
        self._prune_at = 0.0
        self._reap_at = 0.0
        self._status_at = 0.0
        self._pulse_at = 0.0
        self._companion: Companion | None = None
        self._inbox_trouble: str | None = None
        self._polled_kind: str | None = None
        self._told_waiting: waiting.WaitingList | None = None
        self._has_backlog = False
        self._looks = Looks()
        self._strangers: set[int] = set()
        self._allocator = Allocator()

    def run(self) -> None:
        """Serve until a signal, or until the goal is reached.

        Raises:
            Owned: another runner has the folders.
            ConfigError: one of the folders lies in another.
            FolderMissing: see there; only for an embedded runner, a daemon waits.
            OSError, sqlite3.DatabaseError: the state folder cannot be used.
        """
        with ExitStack() as stack:
            stack.enter_context(self._signals())
            if not self._open(stack):
                return
            stack.callback(lambda: log.info("stopped"))
            while not self._is_over():
                self._go_round()

    def _open(self, stack: ExitStack) -> bool:
        """Own the folders, bring the ledger up to date. False if told to stop meanwhile."""
        settings = self._settings
        settings.state.mkdir(parents=True, exist_ok=True)
        stack.callback(self._own(settings.state).release)
        self._ledger = self._open_ledger(settings.state)
        stack.callback(self._ledger.close)
        if not self._find_folders():
            return False
        check_apart(settings)
        self._inbox_lock = self._own(settings.inbox)
        stack.callback(lambda: self._inbox_lock.release())
        adopt_orphans()
        lease.ignore_breaks()
        own = self._be_born()
        for pid in end_marked(own.instance):
            log.info("ended process %d, which an earlier run left behind", pid)
        left = self._ledger.fact("runtime_folder")
        if left:
            self._disk.discard_tree(Path(left))
        self._introduce(stack, own)
        self._ledger.remember("runtime_folder", self._execution.runtime_folder or "")
        self._dispatch.recover()
        stack.callback(pulse.remove, settings.state)
        stack.callback(waiting.remove, settings.state)
        self._tell_pulse()
        self._say_ready()
        self._start_gateway(stack)
        return True

    def _be_born(self) -> Incarnation:
        """The next start of this ledger's instance."""
        ledger = self._ledger
        with ledger.transaction():
            instance = ledger.fact("instance") or secrets.token_hex(8)
            start = int(ledger.fact("starts") or 0) + 1
            ledger.remember("instance", instance)
            ledger.remember("starts", str(start))
        return Incarnation(instance, start)

    def _start_gateway(self, stack: ExitStack) -> None:
        """`gateway` is what its process is to be told; it ends when this one does."""
        if self._gateway is None:
            return
        self._companion = Companion(["gateway"], self._gateway, os.environ, self._clock)
        stack.callback(self._companion.close)

    def _own(self, folder: Path) -> Ownership:
        what = "runner serve" if self._goal is None else "runner run"
        return own([folder], what, utc_now().isoformat(timespec="seconds"))

    def _find_folders(self) -> bool:
        """Make the folders at the first start; later, wait for one that is missing.

        A lost mount must not be filled underneath, so it is never made again.
        """
        settings = self._settings
        for folder in (settings.inbox, settings.outbox, settings.notebooks):
            if not self._find_folder(folder):
                return False
        return True

    def _find_folder(self, folder: Path) -> bool:
        point = None if self._accept_folders else self._ledger.fact(mount_fact(folder))
        seek = partial(_seek, folder, point, self._ledger.fact(f"folder:{folder}") is None)
        said = None
        while True:
            try:
                anchor, trouble = self._looks.ask(folder, seek, GONE_SECONDS)
            except NoAnswer as no_answer:
                trouble = str(no_answer).partition(",")[0]
            if trouble is None:
                break
            missing = FolderMissing(str(folder), trouble)
            if self._goal is not None:
                raise missing
            if trouble != said:
                said = trouble
                log.error("waiting: %s", missing)
            self._read_mail(GONE_SECONDS)
            if self._stop_at is not None:
                return False
        self._anchors[folder] = anchor
        self._remember(anchor)
        return True

    def _remember(self, anchor: Anchor) -> None:
        """Keep for the next start where a folder was found, should its mount be late then."""
        self._ledger.remember(f"folder:{anchor.folder}", "seen")
        self._ledger.remember(mount_fact(anchor.folder), anchor.point)

    def _introduce(self, stack: ExitStack, own: Incarnation) -> None:
        settings, ledger, disk = self._settings, self._ledger, self._disk
        max_bytes = int(settings.limits.notebook_mb * MEGABYTE)
        self._outbox = Outbox(settings.outbox, disk, self._anchors[settings.outbox].point)
        execution = self._start_execution(
            settings, own, self._goal is None, lambda: self._mail.put(_Changed())
        )
        stack.callback(execution.close)
        syncing = ThreadPoolExecutor(SYNCS, thread_name_prefix="sync")
        stack.callback(syncing.shutdown, wait=False, cancel_futures=True)
        self._inbox = self._make_inbox(max_bytes)
        self._watch = Watch(settings.inbox, self._wake)
        stack.callback(self._watch.stop)
        self._choose_watching()
        per_minute = settings.intake.per_minute
        self._reception = Reception(
            inbox=self._inbox,
            claims=Claims(settings.inbox, max_bytes, disk, syncing.map),
            ledger=ledger,
            outbox=self._outbox,
            library=library_reader(settings.notebooks, max_bytes),
            limits=settings.limits,
            is_cluster=settings.execution.is_cluster,
            now=utc_now,
            pace=None if per_minute is None else Pace(per_minute, self._clock),
            clock=self._clock,
            library_trouble=self._anchors[settings.notebooks].trouble,
        )
        stack.callback(self._reception.close)
        self._dispatch = Dispatch(
            settings=settings,
            ledger=ledger,
            outbox=self._outbox,
            disk=disk,
            execution=execution,
            executor=Threads("job"),
            retire=self._reception.retire,
            tell=self._mail.put,
            on_progress=lambda job_id, progress: self._mail.put(_Progressed(job_id, progress)),
            clock=self._clock,
            now=utc_now,
            only=None if self._goal is None else frozenset({job_name(self._goal.path)}),
        )
        self._execution = execution

    def _wake(self, path: str) -> None:
        """Something changed. What we do ourselves in claim folders is no reason to look."""
        if not is_of_claim(path):
            self._mail.put(_Woken())

    def _make_inbox(self, max_bytes: int) -> Inbox:
        settings = self._settings
        return Inbox(
            folder=settings.inbox,
            max_bytes=max_bytes,
            broken_seconds=settings.intake.broken_seconds,
            quiet_seconds=settings.intake.quiet_seconds,
            ignore=settings.intake.ignore,
            trust=Trust(),
            clock=self._clock,
            wall=time.time_ns,
            only=None if self._goal is None else frozenset({self._goal.path}),
        )

    def _choose_watching(self) -> None:
        """By the mounts as they are now: what is under the inbox may have changed."""
        self._table = read_table()
        intake = self._settings.intake
        mount = least_trusted(self._settings.inbox, self._table)
        self._polls = polls(intake.mode, mount)
        self._inbox.trust = Trust()
        self._inbox.try_all_again()
        kind = mount.kind if self._polls else None
        if self._polls:
            self._inbox.trust = Trust(mount.tells_the_truth, intake.poll_seconds)
            self._watch.stop()
        if kind is not None and kind != self._polled_kind:
            log.info("polling the inbox every %g s (%s mount)", intake.poll_seconds, kind)
        elif kind is None and self._polled_kind is not None:
            log.info("watching the inbox by events again")
        self._polled_kind = kind

    def _say_ready(self) -> None:
        settings = self._settings
        if settings.execution.is_cluster:
            where = f"on the cluster at {settings.execution.dask.address}"
        else:
            where = f"{settings.concurrency} at a time"
        too_much = memory_warning(settings, available_memory())
        if too_much is not None:
            log.warning(too_much)
        log.info("watching %s, results go to %s, %s", settings.inbox, settings.outbox, where)

    def _go_round(self) -> None:
        """One round of the loop. Nothing that goes wrong in it may end the daemon."""
        try:
            self._turn()
            self._wait()
        except Exception:
            log.exception("a round of the loop failed; going on")
            self._read_mail(1.0)

    def _turn(self) -> None:
        """Everything that is due, once."""
        now = self._clock()
        self._finish()
        if self._scan_is_due(now):
            self._scan()
        self._dispatch.turn()
        if self._stop_at is None:
            self._execution.keep(self._dispatch.spare)
        if now >= self._status_at:
            self._status_at = now + 1.0
            self._dispatch.write_status()
        if now >= self._pulse_at:
            self._pulse_at = now + pulse.PULSE_SECONDS
            self._tell_pulse()
        if now >= self._prune_at and self._goal is None:
            self._prune()
        if now >= self._reap_at:
            self._reap_at = now + REAP_SECONDS
            self._reap()
            self._allocator.look()
            self._shrink_ledger()
            if self._companion is not None and self._stop_at is None:
                self._companion.keep()
            if not self._polls and not self._watch.is_current():
                self._look_at = now
        if self._stop_at is not None and now >= self._stop_at:
            self._dispatch.interrupt()

    def _scan_is_due(self, now: float) -> bool:
        if self._stop_at is not None:
            return False
        woken = self._woken_at is not None and now >= self._woken_at + BURST_SECONDS
        return woken or (self._look_at is not None and now >= self._look_at)

    def _scan(self) -> None:
        """One batch out of the inbox; events, timer and start-up all lead here.

        Nobody listens for events while there is another batch, since each claim would be five of
        them. What came meanwhile is found by one more look, made when somebody listens again.
        """
        self._woken_at = None
        intake = self._settings.intake
        regular = intake.poll_seconds
        began = self._clock()
        try:
            self._make_sure_of_the_inbox()
            if not self._polls and not self._has_backlog and self._watch.ensure():
                regular = intake.rescan_seconds
            full = self._disk_trouble()
            received = self._reception.receive(
                self._dispatch.reserve, only_cancels=full is not None
            )
            self._dispatch.launch()
            self._reception.release(received)
        except (OSError, OutboxGone, Owned, FolderMissing, sqlite3.OperationalError) as error:
            self._cannot_take(error)
            self._look_at = self._clock() + GONE_SECONDS
            return
        self._cannot_take(full)
        self._dispatch.cancel(received.cancelled)
        again = received.look_again
        had_backlog, self._has_backlog = self._has_backlog, again == 0
        if self._has_backlog:
            self._watch.stop()
        soon = regular if again is None else min(again, regular)
        took = self._clock() - began
        at_once = self._has_backlog or had_backlog
        self._look_at = self._clock() + (0.0 if at_once else max(soon, took))

    def _cannot_take(self, trouble: Exception | None) -> None:
        """Say it once; what is said last stands in the pulse."""
        text = None if trouble is None else str(trouble)
        if text is None and self._inbox_trouble is not None:
            log.info("taking requests again")
        if text is not None and text != self._inbox_trouble:
            log.warning("cannot take requests: %s", text)
        self._inbox_trouble = text

    def _disk_trouble(self) -> DiskFull | None:
        """While there is space left, what was accepted has a place for its outcome."""
        state, needed = self._settings.state, self._settings.limits.free_mb
        free = shutil.disk_usage(state).free
        return DiskFull(str(state), needed) if free < needed * MEGABYTE else None

    def _make_sure_of_the_inbox(self) -> None:
        """That it is there, on its mount, and ours.

        Raises:
            FolderMissing, Owned, OSError: nothing is taken until it is.
        """
        inbox = self._anchors[self._settings.inbox]
        trouble = inbox.trouble()
        if trouble is not None:
            self._watch.stop()
            raise FolderMissing(str(inbox.folder), trouble)
        if not self._inbox_lock.still_holds(inbox.folder):
            self._own_anew()
        if read_table() != self._table:
            self._choose_watching()
            for anchor in self._anchors.values():
                if anchor.trouble() is None:
                    self._remember(anchor)

    def _own_anew(self) -> None:
        """The inbox was deleted and made anew, or its lock file was.

        Raises:
            Owned, OSError: nothing is taken until it is ours.
        """
        lock = self._own(self._settings.inbox)
        self._inbox_lock.release()
        self._inbox_lock = lock

    def _wait(self) -> None:
        """Sleep until something is due, or mail comes."""
        if self._is_over():
            return
        now = self._clock()
        due = [self._reap_at - now]
        if self._finished:
            due.append(self._finish_at - now)
        if self._stop_at is None:
            due.extend(
                at - now
                for at in (
                    None if self._woken_at is None else self._woken_at + BURST_SECONDS,
                    self._look_at,
                )
                if at is not None
            )
        else:
            due.append(max(self._stop_at - now, 0.1))
        busy = self._dispatch.next_due()
        if busy is not None:
            due.append(busy)
        self._read_mail(max(min(due), 0.0))

    def _read_mail(self, seconds: float) -> None:
        """Wait for mail, then take all there is."""
        try:
            self._open_mail(self._mail.get(timeout=seconds) if seconds else self._mail.get_nowait())
            while True:
                self._open_mail(self._mail.get_nowait())
        except queue.Empty:
            return

    def _open_mail(self, mail: _Mail) -> None:
        match mail:
            case _Woken():
                self._woken_at = self._woken_at or self._clock()
            case _Changed():
                self._pulse_at = 0.0
            case Finished():
                self._finished.append(mail)
            case _Progressed():
                self._dispatch.progressed(mail.job_id, mail.progress)
                if self._told_progress is not None:
                    self._told_progress(mail.job_id, mail.progress)
            case _Signalled(signal.SIGHUP):
                self._renew()
            case _Signalled():
                self._stop(mail.number)

    def _finish(self) -> None:
        """Seal what has come back; while the ledger cannot take it, it is kept and tried again."""
        while self._finished:
            try:
                self._dispatch.finish(self._finished[0])
            except sqlite3.OperationalError as error:
                log.warning("cannot seal job %s: %s", self._finished[0].job_id, error)
                self._finish_at = self._clock() + GONE_SECONDS
                return
            except Exception:
                log.exception("job %s is left to the next start", self._finished[0].job_id)
            self._finished.pop(0)

    def _renew(self) -> None:
        """SIGHUP: what kernels are forked from is imported anew.

        It is also what a terminal sends when it closes; then nobody is there to stop us later.
        """
        if self._goal is not None or (self._in_terminal and not os.isatty(2)):
            self._stop(signal.SIGHUP)
        elif self._stop_at is None and hasattr(self, "_execution"):
            log.info("SIGHUP: importing everything anew for the kernels to come")
            self._execution.renew()

    def _stop(self, number: int) -> None:
        """The first signal lets running jobs end, the second does not."""
        name = signal.Signals(number).name
        if self._stop_at is not None:
            log.warning("%s again: stopping at once", name)
            self._stop_now = True
            return
        running = getattr(self, "_dispatch", None) and self._dispatch.running
        seconds = self._settings.shutdown_seconds
        if running:
            log.warning(
                "%s: waiting up to %g s for %d running job%s; once more to stop at once",
                name,
                seconds,
                running,
                "" if running == 1 else "s",
            )
            self._dispatch.drain()
        self._stop_at = self._clock() + seconds
        self._pulse_at = 0.0

    def _is_over(self) -> bool:
        if self._stop_now:
            return True
        if self._stop_at is not None:
            late = self._clock() > self._stop_at + LAST_WORDS_SECONDS
            return late or self._dispatch.running == 0
        return self._goal is not None and self._is_closed(self._goal.job_id)

    def _is_closed(self, job_id: str) -> bool:
        job: Job | None = self._ledger.job(job_id)
        return job is not None and job.published_at is not None

    def _prune(self) -> None:
        """Keep the history within its limits."""
        self._prune_at = self._clock() + PRUNE_SECONDS
        history = self._settings.history
        oldest = utc_now() - timedelta(days=history.keep_days)
        older_than = oldest.isoformat(timespec="milliseconds")
        for job in self._ledger.unasked(older_than=older_than):
            self._prune_one(job, lambda job: self._reception.retire(job.name))
        jobs = [
            job
            for job in self._ledger.prunable(older_than=older_than, keep_runs=history.keep_runs)
            if self._prune_one(job, lambda job: self._outbox.prune(job.name, job.job_id))
        ]
        self._ledger.pruned([job.job_id for job in jobs])
        if jobs:
            log.info("removed %d old runs from the history", len(jobs))
            self._prune_at = self._clock()

    def _prune_one(self, job: Job, step: Callable[[Job], None]) -> bool:
        """Whether a step of one job's was made: what cannot be moved or removed keeps no other."""
        try:
            step(job)
        except (OSError, OutboxGone) as error:
            log.warning("job %s stays in the history: %s", job.job_id, error)
            return False
        return True

    def _shrink_ledger(self) -> None:
        """Give back some of the disk that it does not need any more."""
        try:
            self._ledger.shrink(SHRINK_SECONDS, self._clock)
        except sqlite3.OperationalError as error:
            log.debug("the ledger does not shrink now: %s", error)

    def _tell_pulse(self) -> None:
        """Say how we are, to whom it may concern."""
        troubles = [] if self._stop_at is None else ["it is stopping; requests wait for its start"]
        troubles += [f"cannot {what}: {why}" for what, why in self._dispatch.troubles.items()]
        if self._inbox_trouble is not None:
            troubles.append(f"cannot take requests: {self._inbox_trouble}")
        troubles.extend(
            f"{name} stays in the inbox: its old results cannot be moved: {why}"
            for name, why in self._reception.troubles.items()
        )
        troubles.extend(self._execution.troubles)
        library = self._anchors[self._settings.notebooks]
        lost = self._library_trouble()
        if lost is not None:
            troubles.append(f"the library {library.folder} {lost}; requests that name it wait")
        told = pulse.Pulse(
            pid=os.getpid(),
            at=time.monotonic(),
            running=self._dispatch.running,
            warm=sum(worker.warm for worker in self._execution.workers),
            troubles=troubles[:10],
            workers=[pulse.Worker(**asdict(worker)) for worker in self._execution.workers],
            notes=list(self._notes())[:10],
        )
        try:
            pulse.write(self._settings.state, told)
            self._tell_waiting()
        except OSError as error:
            log.debug("no pulse: %s", error)

    def _tell_waiting(self) -> None:
        """Say what stays in the inbox, when that is different.

        Raises:
            OSError
        """
        found = self._inbox.waiting
        if found != self._told_waiting:
            at = utc_now().isoformat(timespec="seconds")
            waiting.write(self._settings.state, replace(found, at=at))
            self._told_waiting = found

    def _library_trouble(self) -> str | None:
        """As of the last look, made aside: a mount that never answers must not hold us up."""
        anchor = self._anchors[self._settings.notebooks]
        try:
            return self._looks.ask("library", anchor.trouble, LIBRARY_SECONDS)
        except NoAnswer as no_answer:
            return str(no_answer)

    def _notes(self) -> Iterator[str]:
        """What others may want to mend, though the runner does its part."""
        if not self._polls and self._watch.trouble is not None:
            yield self._watch.trouble
        yield from self._execution.notes
        yield from self._dispatch.notes
        if self._reception.is_held_back:
            yield "as many requests as intake.per_minute allows were taken; more wait in the inbox"
        yield from waiting.notes_of(self._inbox.waiting)

    def _reap(self) -> None:
        """End orphans that came up to us because the preload server was gone.

        Only what was there at the last look too: a new child may not be known yet.
        """
        known = self._execution.pids | self._inbox.pids
        known |= self._companion.pids if self._companion else set()
        strangers = set(children(os.getpid())) - known
        for child in strangers & self._strangers:
            log.info("ending a process without a parent: %d", child)
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
        self._strangers = strangers

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM, SIGINT and SIGHUP become mail, for as long as this runs."""

        def tell(number: int, _frame: FrameType | None) -> None:
            self._mail.put(_Signalled(number))

        heard = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        old = {number: signal.signal(number, tell) for number in heard}
        try:
            yield
        finally:
            for number, previous in old.items():
                signal.signal(number, previous)
