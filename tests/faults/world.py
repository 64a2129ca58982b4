"""The runner in process on a simulated disk, with a fake execution; and what must always hold."""

import hashlib
import json
import os
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from runner.config import MEGABYTE, Execution, Settings
from runner.contract.notifications import Notify
from runner.contract.outcome import Failure, Outcome, failed
from runner.contract.rules import BundleLimits
from runner.contract.states.status import ErrorType, Status
from runner.daemon.receiving.admission import Admission
from runner.daemon.receiving.allowance import Allowance
from runner.daemon.receiving.cancels import Cancels
from runner.daemon.receiving.claiming import Books, Claiming, Intake
from runner.daemon.receiving.late_settings import LateSettings
from runner.daemon.receiving.reception import Reception, take_batch
from runner.daemon.running.dispatch import Dispatch
from runner.daemon.running.publishing import Finished, Publishing, Stores
from runner.daemon.running.starts import Executing
from runner.daemon.running.work_folders import WorkFolders
from runner.execution.order import Order, Progress
from runner.followers.callbacks.follower import Callbacks, Ways
from runner.followers.delivering import Delivering
from runner.followers.journal import JOURNAL_FILE, Journal
from runner.followers.notifications import follower as notifying
from runner.followers.notifications.follower import Notifications
from runner.followers.notifications.sending import Message
from runner.followers.notifications.sending import NotSent as NotNotified
from runner.inbox.bundles.pending import Bundles
from runner.inbox.bundles.store import InputStore
from runner.inbox.claim import Claims
from runner.inbox.library import library_reader
from runner.inbox.scanning.inspection import Bounds
from runner.inbox.scanning.scan import Inbox, Selection
from runner.jobs.backend import backend_of
from runner.jobs.submit import NameBusy
from runner.outbox.history import History
from runner.outbox.publish import Outbox, OutboxGone
from runner.state.books import notifications as notified
from runner.state.books.callbacks import CALLBACKS_FILE, Attempt, CallbackBook, NewCallback
from runner.state.books.notifications import NOTIFICATIONS_FILE, NewNotification, NotificationBook
from runner.state.deliveries import Settlement
from runner.state.ledger import Ledger
from runner.state.ledger_reader import LedgerReader
from runner.state.listing import LEDGER_FILE
from runner.state.pauses import Pauses
from runner.submitters.hooks.calling import Hooks
from runner.submitters.rules.files import RuleFiles
from runner.submitters.rules.listing import Listing
from runner.submitters.rules.taking import Inbox as RuleInbox
from runner.submitters.rules.taking import Taking
from runner.submitters.rules.whole import Wholeness
from runner.submitters.rules.working import Place as InboxPlace
from runner.submitters.rules.working import Working
from runner.submitters.schedules.book import BOOK_FILE, Book
from runner.submitters.schedules.files import ScheduleFiles
from runner.submitters.schedules.jobs_of_runner import JobsOfRunner
from runner.submitters.schedules.scheduling import Scheduling
from runner.system.clocks import Clocks
from runner.system.files.mounts import Anchor, read_table
from runner.system.files.output_folder import FileCaps
from runner.system.safe_post import Answer, NotSent
from tests.faults.failing import Crash, Place, place_of
from tests.faults.likeness import Seen, key_of, rows_of
from tests.faults.simulated import STUCK, Model, SimulatedDisk, Tree, durable, lay_out

MAX_BYTES = 8192
RECEIVER = Notify.model_validate({"to": "json://example.com", "names": "told-*"})
"""Who is notified of failures, by their names."""
LedgerFiles = dict[str, bytes]


class Violation(AssertionError):
    """A promise that was not kept."""


# What users do


@dataclass(frozen=True)
class Expected:
    """One request, and what may come of it."""

    name: str
    notebook: bytes | None
    """None for what is not read."""
    statuses: tuple[str, ...] = ("succeeded",)
    parameters: dict[str, Any] = field(default_factory=dict)
    runs: int = 1
    inputs: tuple[str, ...] = ()
    """The files that come along."""
    is_told: bool = False
    """Whether a callback tells of it."""
    is_notified: bool = False
    """Whether a notification tells of it."""

    @property
    def key(self) -> tuple[str, str | None]:
        """How its report is known."""
        digest = None if self.notebook is None else hashlib.sha256(self.notebook).hexdigest()
        return self.name, digest


@dataclass(frozen=True)
class Act:
    """Something that a user does: at rest, or (`at_once`) without waiting for the runner."""

    do: Callable[["Life"], None]
    expects: tuple[Expected, ...] = ()
    at_once: bool = False
    kept: tuple[bytes, ...] = ()
    """What else must be found again, wherever it is."""


@dataclass(frozen=True)
class Scenario:
    """Acts in their order, on folders that hold `before`."""

    acts: tuple[Act, ...]
    before: Tree = field(default_factory=dict)
    concurrency: int = 1
    journal: bool = False
    """Whether a line of JSON is written for each job."""
    submitters: bool = False
    """Whether files of the inbox start notebooks, and times."""
    notify: bool = False
    """Whether somebody is notified of failures."""


@dataclass
class World:
    """What crashes do not touch: users, and what was executed."""

    scenario: Scenario
    done: int = 0
    executed: Counter[tuple[str, bytes]] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    """The callbacks that came, by the names of their jobs."""
    notified: Counter[str] = field(default_factory=Counter)
    """And the notifications."""
    unanswered: int = 0
    """And those among them that got no answer."""
    crashes: int = 0
    power_cuts: int = 0

    def expected(self) -> list[Expected]:
        return [one for act in self.scenario.acts for one in act.expects]

    def copy(self) -> "World":
        """The same, whose counts are its own."""
        return replace(
            self,
            executed=self.executed.copy(),
            told=self.told.copy(),
            notified=self.notified.copy(),
        )

    def over(self, tree: Tree) -> "World":
        """The same of a story that ends with what was done; a crash may hide that an act was."""
        done, following = self.scenario.acts[: self.done], self.scenario.acts[self.done :]
        if following and following[0].expects and self._has(tree, following[0].expects, done):
            done = (*done, following[0])
        return replace(self, scenario=replace(self.scenario, acts=done))

    def _has(self, tree: Tree, wanted: Iterable[Expected], done: Iterable[Act]) -> bool:
        """Whether all that is wanted has a report, beside those of the acts that are done."""
        reports = Counter(
            (report["name"], report["input_sha256"])
            for path, content in tree.items()
            if path.startswith("outbox/") and path.endswith((".result.json", ".error.json"))
            if "job_id" in (report := json.loads(content or b"{}"))
        )
        reports.subtract(Counter(one.key for act in done for one in act.expects))
        return all(reports[one.key] > 0 for one in wanted)


# The runner


class SimulatedLedger(Ledger):
    """The real ledger. Each commit is a step, and it is known which of them are durable."""

    def __init__(
        self, state: Path, step: Callable[[str], AbstractContextManager[None]], *, weak: bool
    ) -> None:
        super().__init__(state)
        self._state = state
        self._step = step
        if weak:
            self._db.execute("PRAGMA synchronous = NORMAL")
        self._syncs = self._db.execute("PRAGMA synchronous").fetchone()[0] >= 2
        self._db.execute("PRAGMA synchronous = OFF")
        self.older: list[LedgerFiles] = []
        """What may be found instead after a power cut."""

    def is_durable(self) -> bool:
        """Whether the commit of just now is there after a power cut."""
        return bool(self._syncs)

    def files(self) -> LedgerFiles:
        """The database as it would be found after a kill."""
        names = (LEDGER_FILE, f"{LEDGER_FILE}-wal")
        return {name: (self._state / name).read_bytes() for name in names}

    def commit(self) -> None:
        lost = None if self.is_durable() else self.files()
        with self._step("commit"):
            super().commit()
        if lost is None:
            self.older.clear()
        else:
            self.older.append(lost)


class SimulatedBook(Book):
    """The real record of schedules. What it notes of a run is a step; a power cut may undo it."""

    def __init__(self, state: Path, step: Callable[[str], AbstractContextManager[None]]) -> None:
        super().__init__(state)
        self._state = state
        self._step = step
        self.first = self.files()

    def files(self) -> LedgerFiles:
        """The database as it would be found after a kill."""
        names = (BOOK_FILE, f"{BOOK_FILE}-wal")
        return {name: (self._state / name).read_bytes() for name in names}

    def begin(self, name: str, timing: str, now: str) -> None:
        with self._step("commit"):
            super().begin(name, timing, now)

    def submitted(self, name: str, stamped: str, job_id: str, job_name: str, until: str) -> None:
        with self._step("commit"):
            super().submitted(name, stamped, job_id, job_name, until)


class SimulatedCallbackBook(CallbackBook):
    """The real record of callbacks; each commit is a step."""

    def __init__(self, state: Path, step: Callable[[str], AbstractContextManager[None]]) -> None:
        super().__init__(state)
        self._step = step

    def add(self, new: Iterable[NewCallback]) -> None:
        with self._step("commit"):
            super().add(new)

    def attempted(self, seq: int, what: Attempt) -> None:
        with self._step("commit"):
            super().attempted(seq, what)


class SimulatedNotificationBook(NotificationBook):
    """The real record of notifications; each commit is a step."""

    def __init__(self, state: Path, step: Callable[[str], AbstractContextManager[None]]) -> None:
        super().__init__(state)
        self._step = step

    def add(self, new: Iterable[NewNotification], missed: Iterable[tuple[str, str]] = ()) -> None:
        with self._step("commit"):
            super().add(new, missed)

    def attempted(
        self, batch: notified.Batch, what: notified.Attempt, stream: notified.Stream
    ) -> None:
        with self._step("commit"):
            super().attempted(batch, what, stream)


class AtOnce(Executor):
    """Runs what is submitted before `submit` returns."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class NextRound(Executor):
    """Runs what is submitted when it is told to, as a thread would, but at the same step always."""

    def __init__(self) -> None:
        self._calls: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._calls.append((future, partial(fn, *args, **kwargs)))
        return future

    def run(self) -> None:
        """Run what came until now; what fails tells its future."""
        calls, self._calls = self._calls, []
        for future, call in calls:
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call())
            except Exception as error:
                future.set_exception(error)


class FakeProcesses:
    """Executes a notebook by giving its text back; words in it say what becomes of it."""

    def __init__(self, life: "Life") -> None:
        self._life = life
        self.slots = life.world.scenario.concurrency

    def execute(
        self, order: Order, notebook: bytes, on_progress: Callable[[str, Progress], None]
    ) -> tuple[Outcome, bytes | None]:
        life = self._life
        life.world.executed[order.name, notebook] += 1
        work = Path(order.output_folder)
        life.disk.notice_all(work)
        whole = [
            one.path
            for one in order.inputs
            if hashlib.sha256((work / one.path).read_bytes()).hexdigest() == one.sha256
        ]
        if b"FILES" in notebook:
            (work / "inner").mkdir()
            (work / "table.csv").write_bytes(b"table " + notebook)
            (work / "inner" / "plot.png").write_bytes(b"plot " + notebook)
            life.disk.notice_all(work)
        if b"ODD" in notebook:
            (work / "a:b").write_bytes(b"odd")
            life.disk.notice_all(work)
        if b"STUCK" in notebook:
            (work / STUCK).touch()
            life.disk.notice_all(work)
        if b"LITTER" in notebook:
            life.put(f"outbox/{order.name}.ipynb", b"litter")
        if b"GONE" in notebook:
            life.move("outbox", "away")
        if b"FAILS" in notebook or (b"SECOND" in notebook and order.attempt == 1):
            died = Failure(error_type=ErrorType.KERNEL_DIED, message="died")
            return failed(died), executed_of(notebook)
        results = json.dumps({"parameters": dict(order.parameters), "inputs": whole})
        return Outcome(status=Status.SUCCEEDED, results=results), executed_of(notebook)

    def stop(self, job_id: str, reason: ErrorType) -> None:
        """What is executed at once cannot be stopped."""


def executed_of(notebook: bytes) -> bytes:
    return b"executed " + notebook


@cache
def default_settings() -> Settings:
    return Settings()


mount_table = cache(read_table)
"""Nobody mounts anything here, and to read it before each change is a fourteenth of all time."""


@dataclass(frozen=True)
class Swaps:
    """What to put in the place of the program's own parts, to see the harness object."""

    reception: type[Reception] = Reception
    claims: type[Claims] = Claims
    dispatch: type[Dispatch] = Dispatch
    publishing: type[Publishing] = Publishing
    outbox: type[Outbox] = Outbox
    ledger: type[SimulatedLedger] = SimulatedLedger
    journal: type[Journal] = Journal
    notifications: type[Notifications] = Notifications
    weak_ledger: bool = False
    deaf: Callable[[str], bool] = lambda _why: False


@dataclass(frozen=True)
class State:
    """Where a crash left everything, and where the next start begins."""

    label: str
    tree: Tree
    model: Model
    ledger: LedgerFiles
    world: World
    killed: bool = False
    """Whether only the process is gone, and the machine with its cache is not."""

    def as_found(self) -> object:
        """All that the next start can see of it."""
        told = (*self.world.told.items(), *(("!", one) for one in self.world.notified.items()))
        ran = frozenset((*self.world.executed.items(), *told))
        digest = hashlib.sha256(b"".join(self.ledger.values())).digest()
        return tuple(self.tree.items()), digest, ran, self.world.done

    def at_crash(self) -> World:
        world = self.world
        cuts = world.power_cuts + (not self.killed)
        return replace(world.copy(), crashes=world.crashes + 1, power_cuts=cuts)


@cache
def empty_ledger() -> tuple[tuple[str, bytes], ...]:
    with TemporaryDirectory() as folder:
        Ledger(Path(folder)).close()
        return tuple((p.name, p.read_bytes()) for p in Path(folder).iterdir())


def beginning(scenario: Scenario) -> State:
    """Folders and a ledger in which nothing has happened."""
    tree: Tree = dict.fromkeys(("inbox", "notebooks", "outbox", "state"))
    tree.update(scenario.before)
    return State("beginning", tree, durable(tree), dict(empty_ledger()), World(scenario))


class Life:
    """One process of the runner, from its start on what a `State` holds."""

    def __init__(self, root: Path, state: State, swaps: Swaps = Swaps()) -> None:
        root.mkdir()
        lay_out(state.tree, root)
        for name, content in state.ledger.items():
            (root / "state" / name).write_bytes(content)
        self.root = root
        self.world = state.at_crash() if state.label != "beginning" else state.world.copy()
        self.disk = SimulatedDisk(root, state.model.copy())
        self.disk.deaf = swaps.deaf
        self.swaps = swaps
        self.clock = 0.0
        self.at_end: Callable[[], None] = lambda: None
        self.goes_on: Callable[[], bool] = lambda: True
        """Asked at rest, before the next act of the story: whether it is worth while."""
        self._ids = random.Random(f"{len(state.tree)}{self.world.crashes}{self.world.done}")
        self._came: list[Finished] = []
        self._reading = NextRound()
        self._is_away = False

    def run(self) -> None:
        """Work until there is nothing left to do; afterwards only the model knows of the files.

        Raises:
            Violation: it fails, or does not come to rest.
        """
        try:
            self.put_back()
            self._begin()
            self._live()
            self.at_end()
        except (Crash, Violation):
            raise
        except Exception as error:
            raise Violation(f"{type(error).__name__}: {error}") from error
        finally:
            if hasattr(self, "ledger"):
                self.ledger.close()
            if hasattr(self, "book"):
                self.book.close()
                self.callbacks.close()
                self.notifications.close()
            shutil.rmtree(self.root)

    def put(self, relative: str, content: bytes | None) -> None:
        """A user's file or folder.

        Raises:
            FileExistsError: one is there already; a user who overwrites it takes it back.
        """
        if (self.root / relative).exists():
            raise FileExistsError(relative)
        self.disk.put(relative, content)

    def put_back(self) -> None:
        """The outbox is mounted again, if it was not."""
        if (self.root / "away").exists():
            self.move("away", "outbox")

    def move(self, old: str, new: str) -> None:
        """An administrator takes a whole folder away, or puts it back."""
        (self.root / old).rename(self.root / new)
        top = self.disk.model.root
        for names in (top.live, top.kept):
            names[new] = names.pop(old)

    def tree(self) -> Tree:
        """Everything that lies there, but for the ledger."""
        return self.disk.model.live()

    def key(self) -> str:
        """The same for all lives that are alike from here on."""
        rows = [*rows_of(self.ledger._db), *rows_of(self.book._db)]
        return key_of(self.tree(), rows, self.world.done)

    def _begin(self) -> None:
        root, disk, swaps = self.root, self.disk, self.swaps
        folders = {name: root / name for name in ("inbox", "outbox", "notebooks", "state")}
        execution = Execution(concurrency=self.world.scenario.concurrency)
        own: dict[str, object] = {**folders, "execution": execution}
        own["journal"] = self.world.scenario.journal
        if self.world.scenario.notify:
            own["notify"] = (RECEIVER,)
        settings = default_settings().model_copy(update=own)
        self.settings = settings
        self.ledger = swaps.ledger(settings.state, disk.step, weak=swaps.weak_ledger)
        outbox = swaps.outbox(settings.outbox, disk, Anchor(settings.outbox, table=mount_table))
        clocks = Clocks(lambda: self.clock, self._now, lambda: 10**19)
        history = History(self.ledger, outbox, clocks)
        late_settings = LateSettings(self.ledger, outbox, clocks)
        inputs = InputStore(settings.state, disk, lambda: f"{self._ids.getrandbits(128):032x}")
        inputs.clean(lambda job_id: self.ledger.request_of(job_id) is not None)
        bounds = BundleLimits(notebook_bytes=MAX_BYTES)
        bundles = Bundles(settings.inbox, bounds, inputs, lambda: self._reading)
        selection = Selection(Bounds(MAX_BYTES, broken_seconds=15), bundles=bundles)
        inbox = Inbox(settings.inbox, selection, clocks, settings_wait=late_settings.wait)
        claims = swaps.claims(settings.inbox, MAX_BYTES, disk, map, inputs.has)
        intake = Intake(inbox, claims, inputs)
        cancels = Cancels(self.ledger, outbox, clocks)
        books = Books(self.ledger, history, late_settings, cancels, clocks)
        library = library_reader(settings.notebooks, MAX_BYTES)
        self.reception = swaps.reception(
            intake,
            books,
            Claiming(intake, books, new_id=lambda: f"{self._ids.getrandbits(128):032x}"),
            Admission(settings.request_rules, settings.limits.notebook_mb, library),
            Allowance(self.ledger, settings.limits.queue),
        )
        work = WorkFolders(settings.state, disk, clocks.seconds, has_packages=False)
        stores = Stores(self.ledger, outbox, history, work, Pauses(settings.state), inputs)
        limits = settings.limits
        caps = FileCaps(int(limits.files_mb * MEGABYTE), limits.files)
        executing = Executing(
            execution=FakeProcesses(self),  # type: ignore[arg-type]
            executor=AtOnce(),
            tell=self._came.append,
            on_progress=lambda *_: None,
        )
        publishing = swaps.publishing(stores, caps, clocks, settings.followers_of)
        self.dispatch = swaps.dispatch(settings, stores, executing, publishing, clocks)
        self.callbacks = Callbacks(
            settings, clocks, Ways(self._told, lambda call: call(), self._callback_book)
        )
        self.notifications = swaps.notifications(
            settings,
            clocks,
            notifying.Ways(
                self._notified, lambda _: None, lambda call: call(), self._notification_book
            ),
        )
        journals = [swaps.journal(settings.state, disk)] if settings.journal else []
        self.delivering = Delivering(
            [*journals, self.callbacks, self.notifications],
            lambda: LedgerReader(settings.state),
            self._record,
            clocks,
        )
        self._begin_submitters(clocks)
        self.dispatch.recover()

    def telling_files(self) -> LedgerFiles:
        """The records of followers as they would be found after a kill or a power cut."""
        books = (CALLBACKS_FILE, NOTIFICATIONS_FILE)
        names = (f"{book}{end}" for book in books for end in ("", "-wal"))
        files = ((name, self.settings.state / name) for name in names)
        return {name: file.read_bytes() for name, file in files if file.exists()}

    def _begin_submitters(self, clocks: Clocks) -> None:
        """As the process that submits does."""
        settings, inbox = self.settings, self.settings.inbox
        backend = backend_of(settings, self.disk)
        self.hooks = Hooks(settings, backend.runs, backend.functions)
        self.book = SimulatedBook(settings.state, self.disk.step)
        jobs = JobsOfRunner(backend)
        self._scheduling = Scheduling(self.book, jobs, clocks.now, clocks.seconds)
        # Minutes of this world pass in a moment in which a folder may show the same times.
        listing = Listing(inbox, (), clocks, lambda: False)
        place = InboxPlace(listing.files, lambda: True)
        self._taking = Taking(
            RuleInbox(inbox, settings.bundle_limits),
            backend.runs,
            self.disk,
            lambda: self._now().date(),
            lambda: f"{self._ids.getrandbits(128):032x}",
        )
        whole = Wholeness(inbox, clocks.seconds, clocks.wall_ns)
        self._working = Working(place, whole, self._taking, clocks)

    def _work_off(self) -> bool:
        """Work rules and schedules off; whether there is more to do."""
        try:
            self._working.turn(RuleFiles(self.settings.rules_folder).all())
            schedules = ScheduleFiles(self.settings.schedules_folder).all()
            self._scheduling.turn(schedules)
            plans = [one.plan for one in schedules if one.plan is not None]
            return bool(
                self._taking.unfinished()
                or list(self._working.problems())
                or list(self._scheduling.problems())
                or any(next(plan.calendar.after(self._now()), None) for plan in plans)
            )
        except (OSError, sqlite3.Error):
            return True

    def _live(self) -> None:
        at_rest = self.world.done == 0 or self._round()
        for _ in range(120):
            self.clock += 0 if self.dispatch.next_due() == 0 else 25
            self._mend()
            left = self.world.scenario.acts[self.world.done :]
            if at_rest and not (left and self.goes_on()):
                return
            if left and (left[0].at_once or at_rest):
                self._act(left[0])
            at_rest = self._round()
        raise Violation("does not come to rest")

    def _mend(self) -> None:
        """What is away is back in the second round after."""
        if self._is_away:
            self.put_back()
        self._is_away = (self.root / "away").exists()

    def _act(self, act: Act) -> None:
        """What a client could not do it does again."""
        try:
            act.do(self)
        except NameBusy:
            pass
        except OSError:
            return
        self.world.done += 1

    def _round(self) -> bool:
        """As the daemon's. Whether there is nothing left to do."""
        self._reading.run()
        self._finish()
        is_working = self.world.scenario.submitters and self._work_off()
        looks_again, came = self._scan()
        self.dispatch.turn()
        self.dispatch.write_status()
        self._follow()
        came = came or is_working
        busy = looks_again or came or self._came or self.dispatch.troubles or self.dispatch.notes
        return not (busy or self.ledger.unclosed() or self.ledger.backlogs() or self._is_telling())

    def _follow(self) -> None:
        """As the process that tells followers does."""
        try:
            self.delivering.turn()
            self.callbacks.work()
            self.notifications.work()
        except sqlite3.Error:
            return

    def _is_telling(self) -> bool:
        """Whether callbacks or notifications are still to be sent."""
        books: dict[str, type[CallbackBook | NotificationBook]] = {
            CALLBACKS_FILE: CallbackBook,
            NOTIFICATIONS_FILE: NotificationBook,
        }
        for name, opened in books.items():
            if (self.settings.state / name).exists():
                with closing(opened(self.settings.state)) as book:
                    if book.count_waiting() > 0:
                        return True
        return False

    def _told(self, url: str, headers: dict[str, str], body: bytes, **_: object) -> Answer:
        """A receiver of callbacks: it knows what came."""
        name = json.loads(body)["name"]
        before = self.world.told[name]
        try:
            with self.disk.step("told"):
                self.world.told[name] += 1
        except OSError as error:
            self.world.unanswered += self.world.told[name] > before
            raise NotSent(str(error)) from error
        return Answer(200, None)

    def _notified(self, _url: str, message: Message) -> str:
        """A receiver of notifications: it knows what came."""
        name = message.title.split()[0]
        before = self.world.notified[name]
        try:
            with self.disk.step("notified"):
                self.world.notified[name] += 1
        except OSError as error:
            self.world.unanswered += self.world.notified[name] > before
            raise NotNotified(str(error)) from error
        return ""

    def _notification_book(self, state: Path) -> NotificationBook:
        return SimulatedNotificationBook(state, self.disk.step)

    def _callback_book(self, state: Path) -> CallbackBook:
        return SimulatedCallbackBook(state, self.disk.step)

    def _record(self, what: Settlement) -> None:
        """As the daemon does: what the ledger cannot take now is said again."""
        with suppress(sqlite3.OperationalError):
            self.ledger.settle(what)

    def _finish(self) -> None:
        while self._came:
            self.dispatch.finish(self._came.pop(0))

    def _scan(self) -> tuple[bool, bool]:
        try:
            self.dispatch.close_published()
            received = take_batch(self.reception, self.ledger, self.dispatch.reserve)
            self.dispatch.launch()
            self.reception.release(received.batch)
        except (OSError, OutboxGone, sqlite3.OperationalError):
            return True, False
        self.dispatch.cancel(received.entries.cancelled)
        scan = received.batch.scan
        return scan.look_again is not None, bool(scan.drops)

    def _now(self) -> datetime:
        return datetime(2026, 1, 2, tzinfo=UTC) + timedelta(seconds=self.clock)


# Crashes


def crashes(life: Life, samples: int, seed: str, seen: Seen | None = None) -> list[State]:
    """Run a life to its end; give every state in which it might have ended at each step before.

    Stopping after a step is stopping before the next one; the last state is that of the end. What
    would be found alike is given once, and what a power cut leaves at the first step of each place
    in the program, in each act of the story. `seen` learns where the life comes to rest.
    """
    rng = random.Random(seed)
    found: dict[object, State] = {}
    steps: list[tuple[int, Place]] = []

    def look(when: str, *, is_new: bool) -> None:
        for state in states_of(life, when, rng, samples):
            if is_new or state.killed:
                found.setdefault(state.as_found(), state)

    def around(what: str) -> Iterator[None]:
        place = life.world.done, place_of(what)
        look(f"before step {len(steps)} ({what})", is_new=place not in steps)
        steps.append(place)
        yield

    life.disk.around = around
    life.at_end = lambda: look("at the end", is_new=True)
    if seen is not None:
        life.goes_on = lambda: seen.is_new(life.key()) or True
    life.run()
    return list(found.values())


def states_of(life: Life, when: str, rng: random.Random, samples: int) -> Iterator[State]:
    if not hasattr(life, "book"):
        return
    world = life.world.copy()
    now = {**life.ledger.files(), **life.book.files(), **life.telling_files()}
    model = life.disk.model.copy()
    yield State(f"killed {when}", model.live(), model, now, world, killed=True)
    for label, tree in life.disk.model.survivors(rng, samples):
        for ledger in (now, *({**now, **one} for one in (*life.ledger.older, life.book.first))):
            lost = "" if ledger is now else ", the last commit lost"
            yield State(f"power cut {when}: {label}{lost}", tree, durable(tree), ledger, world)


def recovered(
    state: State,
    root: Path,
    swaps: Swaps = Swaps(),
    also: Sequence[str] = ("interrupted",),
    seen: Seen | None = None,
) -> Life:
    """A start on what is left, and on to the end of the scenario.

    Or until it is as another one was that has `seen` the same: what comes then is the same.
    """
    is_live = state.killed and not state.world.power_cuts  # else a start may still have to clean up
    check_visible(state.tree, state.world, state.label, live=is_live)
    life = Life(root, state, swaps)
    if seen is not None:
        life.goes_on = lambda: seen.is_new(life.key())
    try:
        life.run()
        check(life.tree(), life.world.over(life.tree()), state.label, also)
        check_visible(life.tree(), life.world, state.label, live=True)
        check_clean(life.tree(), state.label)
    except Violation as violation:
        raise Violation(f"{state.label}: {violation}") from violation
    return life


# What must hold


def check_visible(tree: Tree, world: World, told: str, *, live: bool) -> None:
    """Whatever is visible in the outbox, hidden folders apart, is whole."""
    for path, content in tree.items():
        folder, _, relative = path.partition("/")
        if folder == "outbox" and content is not None and not relative.startswith("."):
            _check_file(tree, world, path, content, told, live=live)


def _check_file(
    tree: Tree, world: World, path: str, content: bytes, told: str, *, live: bool
) -> None:
    given = [one.notebook for one in world.expected() if one.notebook is not None]
    if path.endswith(".cancelled.json"):
        try:
            json.loads(content)
        except ValueError:
            raise Violation(f"{told}: {path} is no JSON: {content!r}") from None
    elif path.endswith(".status.json"):
        if live:  # after a power cut it may be empty until the next start: it is not synced
            json.loads(content)
    elif ".json" in path:
        _check_report(tree, path, content, told)
    elif ".files/" in path and not path.endswith(f"/{STUCK}"):
        _ensure(any(content in (b"table " + g, b"plot " + g) for g in given), told, path)
    elif path.endswith(".ipynb"):
        right = any(content in (g, executed_of(g), b"litter") for g in given)
        _ensure(right, told, path)


def _check_report(tree: Tree, path: str, content: bytes, told: str) -> None:
    """A report parses, and all that it names lies beside it, whole."""
    try:
        report = json.loads(content)
    except ValueError:
        raise Violation(f"{told}: {path} is no JSON: {content!r}") from None
    if "job_id" not in report:
        return
    base = path.partition(".result.json")[0].partition(".error.json")[0]
    if report["output_nb"] is not None:
        found = tree.get(f"{base}.ipynb") or b""
        given = found.removeprefix(b"executed ")
        right = hashlib.sha256(given).hexdigest() == report["input_sha256"]
        _ensure(right, told, f"{path} names a notebook that is not there")
        kept = len(report["files"]) >= 2 or b"FILES" not in given or report["status"] != "succeeded"
        _ensure(kept, told, f"{path} has lost its files")
        ran = found != given or report["status"] != "succeeded"
        _ensure(ran, told, f"{path} lies beside a notebook that was not executed")
    for file in report["files"]:
        inner = file["path"].removeprefix(f"{report['name']}.files/")
        found = tree.get(f"{base}.files/{inner}") or b""
        right = hashlib.sha256(found).hexdigest() == file["sha256"]
        _ensure(right, told, f"{path} names {file['path']}, which is not there")


def check(tree: Tree, world: World, told: str, also: Sequence[str]) -> None:
    """Every request that was made has one report, nothing ran too often, nothing is left."""
    reports = []
    for path, content in tree.items():
        if not path.startswith("outbox/") or content is None:
            continue
        if ".result.json" in path or ".error.json" in path:
            _check_report(tree, path, content, told)
            report = json.loads(content)
            if "job_id" in report:
                reports.append((path, report))
    _check_counts([report for _, report in reports], world, told, also)
    _check_current(reports, world, told)
    for (name, notebook), runs in world.executed.items():
        allowed = sum(
            one.runs for one in world.expected() if (one.name, one.notebook) == (name, notebook)
        )
        _ensure(runs <= allowed, told, f"{name} ran {runs} times")
    if world.scenario.journal:
        _check_journal(tree.get(f"state/{JOURNAL_FILE}") or b"", [one for _, one in reports], told)
    for one in world.expected():
        times = world.told[one.name]
        most = (1 + world.crashes + world.unanswered) * one.is_told
        _ensure(one.is_told <= times <= most, told, f"{one.name} is told {times} times")
        times = world.notified[one.name]
        most = (1 + world.crashes + world.unanswered) * one.is_notified
        _ensure(one.is_notified <= times <= most, told, f"{one.name} is notified {times} times")
    for act in world.scenario.acts:
        for content in act.kept:
            _ensure(content in tree.values(), told, f"{content[:40]!r} is gone")
    for content in world.scenario.before.values():
        _ensure(content in tree.values(), told, f"{(content or b'')[:40]!r} is gone")


def _check_journal(journal: bytes, reports: Sequence[dict[str, Any]], told: str) -> None:
    """Each job has its one line, whole, and nothing else is there."""
    _ensure(journal.endswith(b"\n"), told, "the journal's last line is not whole")
    lines = [json.loads(line) for line in journal.splitlines()]
    ids = Counter(line["job_id"] for line in lines)
    _ensure(ids == Counter(one["job_id"] for one in reports), told, f"the journal has {ids}")
    said = {one["job_id"]: one["status"] for one in reports}
    right = all(line["status"] == said[line["job_id"]] for line in lines)
    _ensure(right, told, "the journal tells another outcome")


def _check_counts(
    reports: Sequence[dict[str, Any]], world: World, told: str, also: Sequence[str]
) -> None:
    left = list(reports)
    for one in world.expected():
        mine = [r for r in left if (r["name"], r["input_sha256"]) == one.key]
        _ensure(len(mine) == 1, told, f"{one.name} has {len(mine)} reports")
        left.remove(mine[0])
        status = mine[0]["status"]
        _ensure(
            status in (*one.statuses, *also),
            told,
            f"{one.name}: {status} ({mine[0].get('message')})",
        )
        right = mine[0]["parameters"] == one.parameters
        _ensure(right, told, f"{one.name} has the parameters {mine[0]['parameters']}")
        came = tuple(file["path"] for file in mine[0]["inputs"])
        _ensure(came == one.inputs, told, f"{one.name} came with {came}")
        if status == "succeeded":
            seen = mine[0]["results"]["inputs"]
            _ensure(seen == list(came), told, f"{one.name} ran with {seen} of {came}")
    _ensure(not left, told, f"reports of nothing that was asked for: {left}")


def _check_current(reports: Sequence[tuple[str, dict[str, Any]]], world: World, told: str) -> None:
    """The newest run of each name is in the outbox itself, and it alone."""
    newest = {one.name: one.notebook for one in world.expected()}
    for name, notebook in newest.items():
        current = [
            r for path, r in reports if not path.startswith("outbox/.") and r["name"] == name
        ]
        _ensure(len(current) == 1, told, f"{len(current)} current reports of {name}")
        if notebook is not None:
            digest = hashlib.sha256(notebook).hexdigest()
            _ensure(current[0]["input_sha256"] == digest, told, f"{name} shows an older run")


def check_clean(tree: Tree, told: str) -> None:
    """No claim, nothing staged, no work folder, no status file, no temp file."""
    for path in tree:
        folder, _, relative = path.partition("/")
        last = os.path.basename(path)
        claimed = folder == "inbox" and last.startswith(".") and last not in (".refused", ".done")
        staged = path.startswith(("outbox/.staging/", "state/work/"))
        status = path.startswith("outbox/") and last.endswith(".status.json")
        _ensure(not (claimed or staged or status), told, f"{path} is left")
        waits = folder == "inbox" and ".refused" not in path and last.endswith(REQUESTS)
        _ensure(not waits, told, f"{relative} is still in the inbox")


REQUESTS = (".ipynb", ".json", ".yaml", ".zip", ".job", ".cancel")


def _ensure(right: bool, told: str, what: str) -> None:
    if not right:
        raise Violation(f"{told}: {what}")
