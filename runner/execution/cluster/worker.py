"""Runs on a Dask worker: executes parcels in job processes of its own while their daemon is heard.

A parcel begins only after its daemon allows it, so a task that Dask repeats does not run twice.
Knows neither ledger nor folders of the daemon.
"""

import json
import logging
import os
import secrets
import socket
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakKeyDictionary

from distributed import Worker, get_worker
from distributed.core import Status

from runner import __version__
from runner.contract.outcome import ErrorType, Outcome
from runner.execution.cluster.messages import (
    Answer,
    Delivery,
    NotGranted,
    Parcel,
    RunSeen,
    Terms,
    Word,
    collect_files,
    unpack,
)
from runner.execution.environment import clean_environment
from runner.execution.local.processes import JobProcesses, ProcessSettings
from runner.execution.order import Order, Progress, lease_clock
from runner.system.files.disk import Disk

log = logging.getLogger(__name__)

KEY = "inbox-runner-"
"""Prefix of the keys of our tasks; others may use the cluster too."""
ASK_SECONDS = 2.0
"""Pause before asking for permission again, because a question or its answer may get lost."""
KEEP_SECONDS = 0.5
"""Pause between two looks at leases and warm kernels; the end of a run wakes earlier."""
SICK_SECONDS = 30.0
REMEMBERED = 100_000
"""How many tokens of earlier runs are kept."""
OVER = frozenset({Status.closing, Status.closed, Status.failed})


def topic_of(session: str) -> str:
    """Return the topic of Dask's events at which workers ask a daemon for permission."""
    return f"inbox-runner-{session}"


def dask_setup(dask_worker: Worker) -> None:
    """Prepare a worker's process: the Dask preload of `runner worker`.

    Ctrl-C in a terminal goes to all its processes, but only `runner worker` should get it.
    """
    del dask_worker
    os.setsid()


def version_here() -> str:
    """Return the version of inbox-runner of this process."""
    return __version__


def exchange(word: str, dask_worker: Worker) -> str:
    """Take a daemon's word and answer it, both as JSON. Quick: it runs in the event loop."""
    if json.loads(word)["version"] != __version__:
        return Answer(version=__version__).model_dump_json()
    return _side_of(dask_worker).hear(Word.model_validate_json(word)).model_dump_json()


def run_parcel(parcel: Parcel) -> Delivery:
    """Execute a parcel once its daemon allows it. Blocks one of the worker's threads.

    Raises:
        NotGranted: it is not to run here.
        OSError: it cannot be executed here.
    """
    return _side_of(get_worker()).run(parcel)


def drain(end: bool, dask_worker: Worker) -> int:
    """Begin nothing more on a worker; with `end`, also interrupt its runs.

    Return the number of runs and unfetched results that are still here. Quick, like `exchange`.
    """
    _side_of(dask_worker).drain(end=end)
    return sum(str(key).startswith(KEY) for key in dask_worker.state.tasks)


@dataclass(eq=False)
class _Run:
    """One parcel on this worker."""

    parcel: Parcel
    decided: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    granted_by: int | None = None
    """Number of the word that allowed it to begin."""
    stop: ErrorType | None = None
    processes: JobProcesses | None = None
    """The job processes that execute it, while they do."""
    changing: threading.Lock = field(default_factory=threading.Lock)
    progress: Progress | None = None

    def hear(self, word: Word) -> None:
        """Follow a daemon's word on this run. Words from before it was allowed no longer count."""
        token = self.parcel.token
        if token in word.allowed and self.granted_by is None:
            self.granted_by = word.number
        if token in word.stops:
            self.end(ErrorType(word.stops[token]))
        elif token in word.allowed or token in word.denied:
            self.decided.set()
        elif word.is_last or (self.granted_by is not None and word.number > self.granted_by):
            self.end(ErrorType.INTERRUPTED)

    def end(self, reason: ErrorType) -> None:
        """End it; safe to call again."""
        self.stop = self.stop or reason
        self.decided.set()
        with self.changing:
            if self.processes is not None:
                self.processes.stop(self.parcel.order.job_id, self.stop)

    def keep_alive(self, at: float) -> None:
        """Renew its lease: its daemon was heard at that time."""
        with self.changing:
            if self.processes is not None:
                self.processes.keep_alive(self.parcel.order.job_id, at)

    def execute(self, processes: JobProcesses, order: Order) -> tuple[Outcome, bytes | None]:
        """Execute it in these job processes.

        Raises:
            OSError, NotBegun: they cannot.
        """

        def progressed(_: str, progress: Progress) -> None:
            self.progress = progress

        with self.changing:
            self.processes = processes
            if self.stop is not None:
                processes.stop(order.job_id, self.stop)
        try:
            return processes.execute(order, self.parcel.notebook, progressed)
        finally:
            # A later word would be taken for the next attempt's.
            with self.changing:
                self.processes = None


class _Side:
    """State of one worker: the daemons that it works for, and their runs."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._process = secrets.token_hex(8)
        self._lock = threading.Lock()
        self._words: dict[str, tuple[float, Word]] = {}
        """Time and content of each session's last word."""
        self._gone: deque[str] = deque(maxlen=1000)
        """Sessions that have said goodbye."""
        self._sick: tuple[float, str] | None = None
        """Time and reason of the last run that could not begin here."""
        self._is_draining = False
        self._runs: dict[str, _Run] = {}
        self._seen: deque[str] = deque(maxlen=REMEMBERED)
        self._pools: dict[str, JobProcesses] = {}
        self._look_now = threading.Event()
        threading.Thread(target=self._keep_going, name="inbox-runner", daemon=True).start()

    def hear(self, word: Word) -> Answer:
        """Take a daemon's word, and answer it."""
        with self._lock:
            if self._is_news(word):
                self._words[word.session] = (lease_clock(), word)
            if word.is_last:
                self._words.pop(word.session, None)
                self._gone.append(word.session)
            runs = [run for run in self._runs.values() if run.parcel.session == word.session]
            pool = self._pools.get(_key(word.terms))
        for run in runs:
            run.hear(word)
        return Answer(
            version=__version__,
            process=self._process,
            host=socket.gethostname(),
            trouble=self._trouble(),
            warm=0 if pool is None else pool.warm,
            runs=tuple(RunSeen(token=r.parcel.token, progress=r.progress) for r in runs),
        )

    def _trouble(self) -> str | None:
        """Say why runs should begin elsewhere; forget the reason after a while."""
        if self._is_draining:
            return "it is being stopped"
        sick = self._sick
        return sick[1] if sick is not None and lease_clock() - sick[0] < SICK_SECONDS else None

    def _is_news(self, word: Word) -> bool:
        """Return whether a word is its instance's latest, and end earlier sessions."""
        last = self._words.get(word.session)
        if word.session in self._gone or (last is not None and last[1].number > word.number):
            return False
        others = [o for _, o in self._words.values() if o.instance == word.instance]
        if any(other.start > word.start for other in others):
            return False
        for other in others:
            if other.start < word.start:
                del self._words[other.session]
        return True

    def drain(self, *, end: bool) -> None:
        """Begin nothing more; with `end`, also interrupt the runs."""
        with self._lock:
            self._is_draining = True
            runs = list(self._runs.values()) if end else []
        for run in runs:
            run.end(ErrorType.INTERRUPTED)

    def run(self, parcel: Parcel) -> Delivery:
        """Execute one parcel, from its arrival to its delivery.

        Raises:
            NotGranted, OSError: see `run_parcel`.
        """
        run = _Run(parcel)
        with self._lock:
            if self._is_draining or parcel.token in self._seen:
                raise NotGranted(parcel.token)
            self._seen.append(parcel.token)
            self._runs[parcel.token] = run
            earlier = [r for r in self._runs.values() if r is not run and _is_same_job(r, run)]
        try:
            for one in earlier:
                one.end(ErrorType.INTERRUPTED)
                one.over.wait()
            return self._execute(run)
        finally:
            with self._lock:
                del self._runs[parcel.token]
            run.over.set()
            self._look_now.set()

    def _ask(self, run: _Run) -> None:
        """Ask the daemon for permission, and wait for its word.

        Raises:
            NotGranted: it said no, or says nothing any more.
        """
        parcel, began = run.parcel, lease_clock()
        question = {"token": parcel.token, "process": self._process}
        question["worker"] = self._worker.address
        while True:
            self._worker.log_event(topic_of(parcel.session), question)
            if run.decided.wait(ASK_SECONDS):
                break
            if not self._is_heard(parcel, began) or self._worker.status in OVER:
                break
        if run.granted_by is None or run.stop is not None:
            raise NotGranted(parcel.token)

    def _execute(self, run: _Run) -> Delivery:
        """Prepare everything before asking: a parcel that cannot begin here may begin elsewhere."""
        parcel, base = run.parcel, Path(self._worker.local_directory) / run.parcel.token
        try:
            try:
                order, processes = _at(base, parcel), self._pool(parcel.terms)
            except OSError as error:
                self._sick = (lease_clock(), str(error))
                raise NotGranted(parcel.token) from error
            self._ask(run)
            outcome, executed = run.execute(processes, order)
            files, warnings = collect_files(Path(order.output_folder), parcel.caps, order.name)
            warned = [*outcome.warnings, *warnings]
            return Delivery(outcome.model_copy(update={"warnings": warned}), executed, files)
        finally:
            Disk().discard_tree(base)

    def _pool(self, terms: Terms) -> JobProcesses:
        """Return the job processes for these terms; start them if there are none yet.

        Raises:
            OSError: they cannot be started.
        """
        with self._lock:
            if _key(terms) not in self._pools:
                self._pools[_key(terms)] = _start(terms, self._worker.state.nthreads)
            return self._pools[_key(terms)]

    def _is_heard(self, parcel: Parcel, since: float) -> bool:
        """Return whether a parcel's daemon was heard within its lease, or may still be heard."""
        with self._lock:
            last = self._words.get(parcel.session)
        now = lease_clock()
        if last is None:
            return now - since < ASK_SECONDS * 5
        at, word = last
        return now - at < word.lease_seconds

    def _keep_going(self) -> None:
        """Keep kernels warm and end orphaned runs, until the worker is over."""
        while self._worker.status not in OVER:
            try:
                self._look()
            except Exception:
                log.exception("going on")
            self._look_now.wait(KEEP_SECONDS)
            self._look_now.clear()
        with self._lock:
            runs, pools = list(self._runs.values()), list(self._pools.values())
        for run in runs:
            run.end(ErrorType.INTERRUPTED)
        for pool in pools:
            pool.close()

    def _look(self) -> None:
        now = lease_clock()
        with self._lock:
            heard = list(self._words.items())
            for session, (at, word) in heard:
                if now - at >= word.lease_seconds:
                    log.warning("nothing was heard of session %s any more", session)
                    del self._words[session]
            wanted = {_key(word.terms): word.terms for _, word in self._words.values()}
            orphans = [
                run
                for run in self._runs.values()
                if run.granted_by is not None and run.parcel.session not in self._words
            ]
            heard_at = {
                run: self._words[run.parcel.session][0]
                for run in self._runs.values()
                if run.parcel.session in self._words
            }
        for run in orphans:
            run.end(ErrorType.INTERRUPTED)
        for run, at in heard_at.items():
            run.keep_alive(at)
        for terms in wanted.values():
            self._pool(terms).keep(max(self._worker.state.nthreads - len(self._runs), 0))
        self._drop(wanted)

    def _drop(self, wanted: Mapping[str, Terms]) -> None:
        """Close pools that no daemon asks for and no run uses."""
        with self._lock:
            used = {_key(run.parcel.terms) for run in self._runs.values()} | set(wanted)
            idle = [self._pools.pop(key) for key in list(self._pools) if key not in used]
        for pool in idle:
            pool.close()


_sides: "WeakKeyDictionary[Worker, _Side]" = WeakKeyDictionary()
_making = threading.Lock()


def _side_of(worker: Worker) -> _Side:
    with _making:
        if worker not in _sides:
            logging.getLogger("distributed.worker").addFilter(_is_news)
            _sides[worker] = _Side(worker)
        return _sides[worker]


def _is_news(record: logging.LogRecord) -> bool:
    """Filter out Dask's log line for each exchange, which would be one a second."""
    ours = ((exchange.__name__,), (drain.__name__,))
    return not (record.msg == "Run out-of-band function %r" and record.args in ours)


def _key(terms: Terms) -> str:
    return terms.model_dump_json()


def _is_same_job(one: _Run, other: _Run) -> bool:
    return one.parcel.order.job_id == other.parcel.order.job_id


def _start(terms: Terms, slots: int) -> JobProcesses:
    """Start job processes without control groups: those of one machine have one owner."""
    return JobProcesses(
        ProcessSettings(
            environment=clean_environment(os.environ, terms.pass_environment),
            instance=f"worker-{secrets.token_hex(8)}",
            slots=slots,
            preload=terms.modules,
            kernel_start_seconds=terms.kernel_start_seconds,
            warm=slots if terms.warm is None else terms.warm,
            limits=terms.limits,
        )
    )


def _at(base: Path, parcel: Parcel) -> Order:
    """Return the order with folders of this machine, and make them."""
    order, output, folder = parcel.order, base / "output", None
    base.mkdir(mode=0o700)
    output.mkdir()
    unpack(parcel.luggage.inputs, output)
    if parcel.luggage.folder is not None:
        folder = base / "folder"
        folder.mkdir()
        unpack(parcel.luggage.folder, folder)
    packages = None if order.packages_folder is None else str(base / "packages")
    return order.model_copy(
        update={
            "output_folder": str(output),
            "folder": None if folder is None else str(folder),
            "packages_folder": packages,
            "lease_seconds": parcel.lease_seconds,
        }
    )
