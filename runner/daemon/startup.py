"""Opens everything that the loop works with, in a safe order.

Owns the folders, ends processes of an earlier start, and connects inbox, ledger, execution and
outbox.
"""

import logging
import secrets
import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from runner.config import MEGABYTE, Settings, available_memory, check_apart
from runner.contract.names import job_name
from runner.daemon.companions.companion import Companion
from runner.daemon.companions.following import Following
from runner.daemon.companions.submitting import Submitting
from runner.daemon.folders import Folders, InboxLock, lock_folder
from runner.daemon.mail import Changed, Mailbox, Progressed, Signalled, Woken
from runner.daemon.receiving.admission import Admission
from runner.daemon.receiving.allowance import Allowance, Pace
from runner.daemon.receiving.cancels import Cancels
from runner.daemon.receiving.claiming import Books, Claiming, Intake
from runner.daemon.receiving.late_settings import LateSettings
from runner.daemon.receiving.reception import Reception
from runner.daemon.running.dispatch import Dispatch
from runner.daemon.running.lost_runs import EARLIER_BOOT, EARLIER_HOST, boot_id
from runner.daemon.running.publishing import Publishing, Stores
from runner.daemon.running.starts import Executing
from runner.daemon.running.work_folders import WorkFolders
from runner.daemon.watching import Watching
from runner.execution.interface import Execution, Incarnation
from runner.execution.order import Progress
from runner.execution.runtime_folder import new_runtime_folder
from runner.execution.start import StartExecution, memory_warning, start_execution
from runner.inbox import write_lease
from runner.inbox.bundles.pending import Bundles
from runner.inbox.bundles.store import InputStore
from runner.inbox.claim import Claims
from runner.inbox.library import library_reader
from runner.inbox.scanning.inspection import Bounds
from runner.inbox.scanning.scan import Inbox, Selection
from runner.inbox.sidecars import sidecar_reader
from runner.outbox.history import History
from runner.outbox.publish import Outbox
from runner.state.ledger import Ledger
from runner.state.listing import LEDGER_FILE
from runner.state.locks import ONE_RUN, Owned
from runner.state.pauses import Pauses
from runner.system.clocks import Clocks
from runner.system.companion import greeting
from runner.system.files.disk import Disk
from runner.system.files.mounts import MountTable
from runner.system.files.output_folder import FileCaps
from runner.system.processes.forked import Forked
from runner.system.processes.process_tree import adopt_orphans, end_marked
from runner.system.processes.threads import SideBySide, Threads

log = logging.getLogger(__name__)

SYNCS = 8
"""How many files and folders are synced at a time: a disk waits for several as long as for one."""


@dataclass(frozen=True)
class Goal:
    """The goal of an embedded runner: one job, by its path in the inbox; it ends with that job."""

    path: str
    job_id: str


@dataclass(frozen=True)
class Options:
    """The purpose of this start, and the processes that wait to run beside it, by their commands.

    Without one for the `gateway` there is none.
    """

    goal: Goal | None = None
    ahead: Mapping[str, Forked] = field(default_factory=dict)
    accept_folders: bool = False
    on_progress: Callable[[str, Progress], None] | None = None


@dataclass(frozen=True)
class Backing:
    """The basis of the runner, which tests replace: disk, ledger, execution and clocks."""

    disk: Disk = field(default_factory=Disk)
    open_ledger: Callable[[Path], Ledger] = Ledger
    start_execution: StartExecution = start_execution
    clocks: Clocks = field(default_factory=Clocks)


@dataclass(frozen=True)
class Parts:
    """The parts that the loop works with."""

    ledger: Ledger
    folders: Folders
    lock: InboxLock
    inbox: Inbox
    watching: Watching
    outbox: Outbox
    history: History
    inputs: InputStore
    reception: Reception
    execution: Execution
    dispatch: Dispatch
    gateway: Companion | None
    following: Following
    submitting: Submitting


class Startup:
    """One start of a runner. The stack given to `open` closes everything."""

    def __init__(
        self, settings: Settings, options: Options, backing: Backing, mailbox: Mailbox
    ) -> None:
        self._settings = settings
        self._options = options
        self._backing = backing
        self._mailbox = mailbox
        self._what = "runner serve" if options.goal is None else ONE_RUN

    def open(self, stack: ExitStack) -> Parts | None:
        """Open everything; None if told to stop meanwhile.

        Raises:
            Owned: another runner has the folders.
            ConfigError: one of the folders lies in another.
            FolderMissing: see there; only for an embedded runner, a daemon waits.
            OSError, sqlite3.DatabaseError: the state folder cannot be used.
        """
        try:
            return self._open(stack)
        except Owned:
            if self._options.goal is None and not self._pause(0.0):
                return None  # told so while it looked who has them
            raise

    def _open(self, stack: ExitStack) -> Parts | None:
        settings, backing = self._settings, self._backing
        settings.state.mkdir(parents=True, exist_ok=True)
        stack.callback(lock_folder(settings.state, self._what, backing.clocks).release)
        ledger = backing.open_ledger(settings.state)
        stack.callback(ledger.close)
        table = MountTable()
        stack.callback(table.close)
        folders = Folders(settings, ledger, table, accept=self._options.accept_folders)
        if not folders.find(self._pause if self._options.goal is None else None):
            return None
        check_apart(settings)
        lock = InboxLock(settings.inbox, self._what, backing.clocks)
        stack.callback(lock.release)
        adopt_orphans()
        write_lease.ignore_breaks()
        forget_if_copied(ledger, settings.state)
        own = new_incarnation(ledger, "" if settings.execution.is_cluster else socket.gethostname())
        self._end_earlier(own, ledger)
        if not settings.execution.is_cluster:
            own = replace(own, runtime_folder=new_runtime_folder())
        # Before it is made: a start after a kill removes it.
        ledger.remember("runtime_folder", own.runtime_folder or "")
        parts = self._introduce(stack, ledger, folders, lock, own)
        parts.dispatch.recover()
        return parts

    def say_ready(self) -> None:
        """Log the folders, and a warning if this machine may be too small."""
        settings = self._settings
        if settings.execution.is_cluster:
            where = f"on the cluster at {settings.execution.dask.address}"
        else:
            where = f"{settings.concurrency} at a time"
        too_much = memory_warning(settings, available_memory())
        if too_much is not None:
            log.warning(too_much)
        log.info("watching %s, results go to %s, %s", settings.inbox, settings.outbox, where)

    def _pause(self, seconds: float) -> bool:
        """Wait; return whether to go on. A terminal that closes sends SIGHUP."""
        numbers = [one.number for one in self._mailbox.read(seconds) if isinstance(one, Signalled)]
        is_left_alone = self._mailbox.is_left_alone
        return not any(number != signal.SIGHUP or is_left_alone for number in numbers)

    def _end_earlier(self, own: Incarnation, ledger: Ledger) -> None:
        for pid in end_marked(own.instance):
            log.info("ended process %d, which an earlier run left behind", pid)
        left = ledger.fact("runtime_folder")
        if left:
            self._backing.disk.discard_tree(Path(left))

    def _introduce(
        self,
        stack: ExitStack,
        ledger: Ledger,
        folders: Folders,
        lock: InboxLock,
        own: Incarnation,
    ) -> Parts:
        settings, backing, options = self._settings, self._backing, self._options
        clocks, disk = backing.clocks, backing.disk
        side_by_side = SideBySide("sync", SYNCS - 1)
        stack.callback(side_by_side.shutdown)
        outbox = Outbox(settings.outbox, disk, folders.anchor_of(settings.outbox), side_by_side)
        history = History(ledger, outbox, clocks)
        execution = backing.start_execution(
            settings, own, options.goal is None, lambda: self._mailbox.put(Changed())
        )
        stack.callback(execution.close)
        cancels = Cancels(ledger, outbox, clocks)
        books = Books(ledger, history, LateSettings(ledger, outbox, clocks), cancels, clocks)
        inputs = InputStore(settings.state, disk)
        inputs.clean(lambda job_id: ledger.request_of(job_id) is not None)
        inbox = self._make_inbox(books.late_settings, inputs)
        watching = Watching(
            settings, inbox, folders.table, lambda by_client: self._mailbox.put(Woken(by_client))
        )
        stack.callback(watching.stop)
        claims = Claims(settings.inbox, self._max_bytes, disk, side_by_side, inputs.has)
        reception = self._make_reception(Intake(inbox, claims, inputs), books, folders)
        stack.callback(reception.close)
        has_packages = settings.kernels.install == "run"
        work = WorkFolders(settings.state, disk, clocks.seconds, has_packages=has_packages)
        stores = Stores(ledger, outbox, history, work, Pauses(settings.state), inputs)
        job_threads = Threads("job")
        stack.callback(job_threads.shutdown)
        dispatch = self._make_dispatch(stores, execution, job_threads)
        gateway = self._make_gateway(stack)
        following = Following(
            settings, ledger, clocks, self._mailbox.put, options.ahead.get("follow")
        )
        stack.callback(following.close)
        submitting = Submitting(settings, clocks.seconds, options.ahead.get("submit"))
        stack.callback(submitting.close)
        return Parts(
            ledger=ledger,
            folders=folders,
            lock=lock,
            inbox=inbox,
            watching=watching,
            outbox=outbox,
            history=history,
            inputs=inputs,
            reception=reception,
            execution=execution,
            dispatch=dispatch,
            gateway=gateway,
            following=following,
            submitting=submitting,
        )

    @property
    def _max_bytes(self) -> int:
        return int(self._settings.limits.notebook_mb * MEGABYTE)

    def _make_inbox(self, late_settings: LateSettings, inputs: InputStore) -> Inbox:
        intake, goal = self._settings.intake, self._options.goal
        selection = Selection(
            bounds=Bounds(self._max_bytes, intake.broken_seconds, intake.quiet_seconds),
            ignore=intake.ignore,
            only=None if goal is None else frozenset({goal.path}),
            bundles=Bundles(self._settings.inbox, self._settings.bundle_limits, inputs),
        )
        clocks, wait = self._backing.clocks, late_settings.wait
        return Inbox(self._settings.inbox, selection, clocks, settings_wait=wait)

    def _make_reception(self, intake: Intake, books: Books, folders: Folders) -> Reception:
        settings = self._settings
        per_minute = settings.intake.per_minute
        pace = None if per_minute is None else Pace(per_minute, books.clocks.seconds)
        claiming = Claiming(intake, books, lambda: folders.trouble(settings.notebooks))
        library = library_reader(settings.notebooks, self._max_bytes)
        admission = Admission(
            settings.request_rules,
            settings.limits.notebook_mb,
            library,
            sidecar_reader(settings.notebooks),
        )
        allowance = Allowance(books.ledger, settings.limits.queue, pace)
        return Reception(intake, books, claiming, admission, allowance)

    def _make_dispatch(
        self, stores: Stores, execution: Execution, job_threads: Threads
    ) -> Dispatch:
        settings, goal, clocks = self._settings, self._options.goal, self._backing.clocks
        caps = FileCaps(int(settings.limits.files_mb * MEGABYTE), settings.limits.files)
        publishing = Publishing(stores, caps, clocks, settings.followers_of)
        executing = Executing(
            execution=execution,
            executor=job_threads,
            tell=self._mailbox.put,
            on_progress=lambda job_id, progress: self._mailbox.put(Progressed(job_id, progress)),
            only=None if goal is None else frozenset({job_name(goal.path)}),
        )
        return Dispatch(settings, stores, executing, publishing, clocks)

    def _make_gateway(self, stack: ExitStack) -> Companion | None:
        ahead = self._options.ahead.get("gateway")
        if ahead is None:
            return None
        clock = self._backing.clocks.seconds
        gateway = Companion("gateway", greeting(self._settings), clock, ahead=ahead)
        stack.callback(gateway.close)
        return gateway


def forget_if_copied(ledger: Ledger, state: Path) -> None:
    """Let a copy of a ledger be an instance of its own: what the original runs is not its own.

    A copy, and what a backup brings back, is another file: its inode tells. A folder that is moved
    keeps it.
    """
    inode = str((state / LEDGER_FILE).stat().st_ino)
    with ledger.transaction():
        if ledger.fact("inode") not in (None, inode):
            log.info("the records in %s are a copy; they are this runner's own from now on", state)
            ledger.remember("instance", secrets.token_hex(8))
            ledger.remember("runtime_folder", "")
        ledger.remember("inode", inode)


def new_incarnation(ledger: Ledger, host: str) -> Incarnation:
    """Count the next start of this ledger's instance; `host` is the machine that runs its jobs.

    It is empty if others do.
    """
    with ledger.transaction():
        instance = ledger.fact("instance") or secrets.token_hex(8)
        ledger.remember(EARLIER_HOST, ledger.fact("host") or "")
        ledger.remember("host", host)
        ledger.remember(EARLIER_BOOT, ledger.fact("boot") or "")
        ledger.remember("boot", boot_id())
        start = int(ledger.fact("starts") or 0) + 1
        ledger.remember("instance", instance)
        ledger.remember("starts", str(start))
    return Incarnation(instance, start)
