"""Starts jobs whose turn it is: reserves them in the ledger, then has them executed.

Between the two lies the commit that records that they run.
"""

import logging
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile

from runner.config import MEGABYTE, Settings
from runner.contract.outcome import Failure, Outcome, Refused, failed, our_fault, refuse
from runner.contract.request import Request, Resources
from runner.contract.states.status import ErrorType
from runner.daemon.running.in_hand import InHand, JobsInHand, Stage
from runner.daemon.running.publishing import NO_FILES, Finished, Publishing, Stores
from runner.daemon.running.put_off import PutOff
from runner.daemon.running.waits import Waits
from runner.execution.interface import Execution
from runner.execution.order import Order, Progress
from runner.inbox.library import as_spelt
from runner.inbox.sidecars import sidecar_bytes
from runner.outbox.publish import OutboxGone
from runner.outbox.staging import EVERYBODYS
from runner.state.jobs import Job
from runner.system.clocks import Clocks
from runner.system.files.checkout import commit_of

log = logging.getLogger(__name__)

PASSED_OVER_SECONDS = 0.5
"""Pause before a blocked queue, of maybe 100,000, is searched again."""
LONG_SEARCH_SECONDS = 0.01
"""A search that found nothing and took longer makes such a pause, too."""
MOST_UNMET = 50
"""How many unmet demands and put-off names one search skips."""


@dataclass(frozen=True)
class Executing:
    """The executor, a thread for each job, and the receivers of its messages.

    Those threads call `tell` and `on_progress`. `only` are the names of the jobs to run; None for
    all.
    """

    execution: Execution
    executor: Executor
    tell: Callable[[Finished], None]
    on_progress: Callable[[str, Progress], None]
    only: frozenset[str] | None = None


class _NameHeld(Exception):
    """A job's name is put off; other jobs go on."""


class _Unmet(Exception):
    """A job's demand cannot be met now: `demand`."""


class Starts:
    """Starts jobs from the queue. Each of `names` is put off for the files that lie there."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        executing: Executing,
        publishing: Publishing,
        clocks: Clocks,
    ) -> None:
        self._settings = settings
        self._ledger = stores.ledger
        self._history = stores.history
        self._work = stores.work
        self._inputs = stores.inputs
        self._executing = executing
        self._execution = executing.execution
        self._publishing = publishing
        self._clocks = clocks
        self._passed_over_until = 0.0
        self._is_stopping = False
        self.waits = Waits(stores.ledger, stores.pauses, settings.groups, clocks)
        self.jobs = JobsInHand()
        self.names = PutOff("go on with", clocks.seconds)
        self.starting = PutOff("start", clocks.seconds)

    def stop(self) -> None:
        """Start nothing more."""
        self._is_stopping = True

    def look_again(self) -> None:
        """Search the queue at once: a slot is free."""
        self._passed_over_until = 0.0

    @property
    def has_room(self) -> bool:
        """Whether one more job may start."""
        taken = self.jobs.count(Stage.RUNNING, Stage.RESERVED)
        return not self._is_stopping and taken < self._execution.slots

    def next_due(self) -> float | None:
        """Return the seconds until the queue is searched again; None if no job was skipped."""
        due = (self._passed_over_until - self._clocks.seconds(), self.waits.next_due() or 0)
        return min((seconds for seconds in due if seconds > 0), default=None)

    def reserve(self) -> None:
        """Record that jobs run now, those whose turn it is, up to the number of slots.

        Part of the transaction around it, so one transaction can accept and start a drop.
        Reservations of an earlier one that failed are forgotten.

        Raises:
            OSError, OutboxGone, sqlite3.OperationalError: it is not the jobs' fault.
        """
        self.jobs.forget_unrecorded()
        if self._passed_over_until > self._clocks.seconds():
            return
        unmet: list[str] = []
        passed_over = 0
        while self.has_room and passed_over <= MOST_UNMET:
            in_hand = self.jobs.at(Stage.RESERVED, Stage.RUNNING)
            barred = self.waits.barred((one.job for one in in_hand), self.names.held(), unmet)
            if barred is None:
                return
            began = self._clocks.seconds()
            job = self._ledger.next_to_run(self._executing.only, barred)
            if job is None:
                passed_over += self._clocks.seconds() - began > LONG_SEARCH_SECONDS
                break
            try:
                self._reserve_or_refuse(job)
            except _NameHeld:
                passed_over += 1
            except _Unmet as error:
                passed_over += 1
                unmet.append(error.args[0])
        if passed_over and self.has_room:
            self._passed_over_until = self._clocks.seconds() + PASSED_OVER_SECONDS

    def keep_time(self) -> None:
        """Let jobs start whose time has come, and refuse those whose time is over.

        Raises:
            sqlite3.OperationalError: the ledger cannot take it now.
        """
        if self.waits.keep_time():
            self.look_again()

    def launch(self) -> None:
        """Execute the reserved jobs, once that is durable.

        If the system gives no thread for one, it goes back, and is tried again later.

        Raises:
            sqlite3.OperationalError: it cannot go back now; the next turn sees to it.
        """
        for one in self.jobs.at(Stage.REFUSED):
            self.jobs.drop(one.job.job_id)
            self._publishing.add_recorded(one.job)
        reserved = self.jobs.at(Stage.RESERVED)
        for number, one in enumerate(reserved):
            if not self._submit(one):
                for left in reserved[number:]:
                    self.jobs.move(left, Stage.RETURNING)
                self.put_back()
                return

    def put_back(self) -> None:
        """Queue jobs again that could not begin.

        Raises:
            sqlite3.OperationalError: see `launch`.
        """
        for one in self.jobs.at(Stage.RETURNING):
            self._ledger.put_back(one.job.job_id)
            self.jobs.drop(one.job.job_id)

    def _submit(self, one: InHand) -> bool:
        """Give a job a thread; return whether there was one."""
        self.jobs.move(one, Stage.RUNNING)
        one.since = self._clocks.seconds()
        assert one.order is not None
        try:
            future = self._executing.executor.submit(self._execute, one.order, one.notebook)
        except RuntimeError as error:
            self.starting.hold("", error)
            return False
        log.info("job %s: started %r", one.job.job_id, one.job.name)
        future.add_done_callback(lambda done: self._executing.tell(done.result()))
        return True

    def _execute(self, order: Order, notebook: bytes) -> Finished:
        """In a thread of its own, run the order and stage its files. Never raises."""
        at = None
        try:
            on_progress = self._executing.on_progress
            folder = Path(order.output_folder)
            outcome, executed = self._without_inputs(order), None
            if outcome is None:
                outcome, executed = self._execution.execute(order, notebook, on_progress)
            at = self._clocks.stamp()
            staged = self._publishing.stage(order.job_id, order.name, folder, order.inputs)
        except Exception as error:
            log.exception("job %s: the runner failed", order.job_id)
            outcome, executed, staged = failed(our_fault(error)), None, NO_FILES
        return Finished(order.job_id, outcome, executed, staged, at or self._clocks.stamp())

    def _without_inputs(self, order: Order) -> Outcome | None:
        """Put the files that came with a request into its work folder.

        Return the outcome if that cannot be done.
        """
        if not order.inputs:
            return None
        try:
            self._inputs.put_into(Path(order.output_folder), order.job_id)
        except (OSError, BadZipFile, ValueError) as error:
            message = f"The files that came with the request cannot be used: {error}."
            return failed(Failure(error_type=ErrorType.GATEWAY_ERROR, message=message))
        return None

    def _reserve_or_refuse(self, job: Job) -> None:
        """Reserve one job; an unexpected exception becomes that job's outcome.

        Raises:
            _NameHeld: what lies there under its name is in the way.
            _Unmet: what it asks of a machine cannot be met now.
            OSError, OutboxGone, sqlite3.OperationalError: it is not the job's fault.
        """
        try:
            self._reserve(job)
        except (_NameHeld, _Unmet, OSError, OutboxGone, sqlite3.OperationalError):
            raise
        except Refused as refused:
            self._refuse(job, failed(refused.failure))
        except Exception as error:
            log.exception("job %s: cannot be started", job.job_id)
            self._refuse(job, failed(our_fault(error)))

    def _refuse(self, job: Job, outcome: Outcome) -> None:
        """Seal a job instead of reserving it, in the same transaction."""
        current = self._ledger.job(job.job_id)
        assert current is not None
        self._publishing.record(current, self._publishing.unrun(job, outcome), current.state)
        self.jobs.add(InHand(job, Stage.REFUSED))

    def _reserve(self, job: Job) -> None:
        """Record that a job runs.

        Raises:
            Refused: its demand can never be met.
            _NameHeld, _Unmet, OSError, OutboxGone, sqlite3.OperationalError: see above.
        """
        demand = self._ledger.demand_of(job.job_id)
        if demand is not None and not self._can_be_met(Resources.model_validate_json(demand)):
            raise _Unmet(demand)
        job_input = self._ledger.input_of(job.job_id)
        assert job_input is not None
        request = Request.model_validate_json(job_input.request)
        self._make_way(job)
        work = self._work.make(job.job_id)
        order = order_of(job, request, self._settings, work, self._work.packages_of(job.job_id))
        order = order.model_copy(update={"inputs": job_input.files})
        self._ledger.start(job.job_id, self._clocks.stamp())
        notebook = job_input.notebook or b""
        self.jobs.add(InHand(job, Stage.RESERVED, order, request, notebook))

    def _make_way(self, job: Job) -> None:
        """Make sure that nothing of earlier runs lies where a job's files will.

        Raises:
            _NameHeld: that cannot be done for this one name.
            OSError, OutboxGone, sqlite3.OperationalError: it cannot be done for any.
        """
        try:
            self._history.retire_known(job.name)
            self._work.clear(job.job_id)
        except OSError as error:
            if error.errno in EVERYBODYS:
                raise
            self.names.hold(job.name, error)
            raise _NameHeld from error
        self.names.release(job.name)

    def _can_be_met(self, wanted: Resources) -> bool:
        """Say whether there is room for such a job now.

        Raises:
            Refused: there never will be.
        """
        if self._execution.fits(wanted, self._taken()):
            return True
        why = self._execution.why_never(wanted)
        if why is None:
            return False
        raise refuse(
            ErrorType.INVALID_REQUEST,
            f"`resources` cannot be served: {why}. Ask for less, or add a worker that has it.",
        )

    def _taken(self) -> Sequence[Resources]:
        """List the resources of jobs in flight and of reserved ones."""
        return [one.wanted for one in self.jobs.at(Stage.RUNNING, Stage.RESERVED)]


def order_of(
    job: Job, request: Request, settings: Settings, work: Path, packages: Path | None
) -> Order:
    """Describe how to execute a job.

    Raises:
        Refused: the parameters file of its library notebook cannot be read.
    """
    folder, sidecar, commit = None, None, None
    if request.notebook is not None:
        library = settings.notebooks
        place = as_spelt(library, PurePosixPath(str(request.notebook)))
        folder = str((library / place).parent)
        sidecar = sidecar_bytes(library, str(request.notebook))
        commit = commit_of(library / place)
    return Order(
        job_id=job.job_id,
        name=job.name,
        attempt=job.attempt + 1,
        submitted_by=job.submitted_by,
        parameters=request.parameters,
        kernel=request.kernel,
        timeout_seconds=request.timeout_seconds or settings.limits.run_seconds,
        kernel_start_seconds=settings.limits.kernel_start_seconds,
        folder=folder,
        output_folder=str(work),
        packages_folder=None if packages is None else str(packages),
        allowed_kernels=settings.kernels.allowed,
        languages=settings.kernels.languages,
        start=settings.kernels.start,
        unknown_parameters=settings.execution.unknown_parameters,
        sidecar=None if sidecar is None else sidecar.decode("utf-8", "replace"),
        library_commit=commit,
        resources=request.resources,
        output_bytes=int(settings.limits.output_mb * MEGABYTE),
        results_bytes=int(settings.limits.results_mb * MEGABYTE),
        tag=settings.results.tag,
        scrapbook=settings.results.scrapbook,
    )
