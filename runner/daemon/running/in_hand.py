"""The jobs in the runner's hands, and the stage of each."""

from dataclasses import dataclass
from enum import Enum

from runner.contract.request import Request, Resources
from runner.execution.order import Order, Progress
from runner.state.jobs import Job


class Stage(Enum):
    """The stage of a job in hand."""

    RESERVED = "reserved"
    """The ledger records that it runs, maybe in a transaction that is not durable yet."""
    REFUSED = "refused"
    """The same transaction seals that it cannot be started."""
    RUNNING = "running"
    """A thread executes it."""
    ENDED = "ended"
    """The run is over, and has no slot; its end is not recorded yet."""
    RETURNING = "returning"
    """It could not begin, and goes back into the queue."""


@dataclass
class InHand:
    """One job. `order`, `request` and `notebook` are set if it is to be executed."""

    job: Job
    stage: Stage
    """`JobsInHand.move` changes it."""
    order: Order | None = None
    request: Request | None = None
    notebook: bytes = b""
    since: float = 0.0
    progress: Progress | None = None
    status_at: float | None = None
    """When its status file was written last."""

    @property
    def wanted(self) -> Resources:
        """The resources that it needs."""
        return Resources() if self.order is None else self.order.resources


class JobsInHand:
    """All jobs in hand, by stage and id, in the order in which they came to the stage."""

    def __init__(self) -> None:
        self._jobs: dict[str, InHand] = {}
        self._by_stage: dict[Stage, dict[str, InHand]] = {stage: {} for stage in Stage}

    def __getitem__(self, job_id: str) -> InHand:
        return self._jobs[job_id]

    def get(self, job_id: str) -> InHand | None:
        """Find one by its id."""
        return self._jobs.get(job_id)

    def add(self, one: InHand) -> None:
        """Take a job in hand."""
        self._jobs[one.job.job_id] = one
        self._by_stage[one.stage][one.job.job_id] = one

    def move(self, one: InHand, stage: Stage) -> None:
        """Bring a job to another stage."""
        self._by_stage[one.stage].pop(one.job.job_id, None)
        one.stage = stage
        self._by_stage[stage][one.job.job_id] = one

    def drop(self, job_id: str) -> None:
        """Let go of a job."""
        one = self._jobs.pop(job_id, None)
        if one is not None:
            del self._by_stage[one.stage][job_id]

    def at(self, *stages: Stage) -> list[InHand]:
        """List those of some stages."""
        return [one for stage in stages for one in self._by_stage[stage].values()]

    def count(self, *stages: Stage) -> int:
        """Count those of some stages."""
        return sum(len(self._by_stage[stage]) for stage in stages)

    def forget_unrecorded(self) -> None:
        """Drop jobs that were reserved in a transaction that is over: they must not run."""
        for one in self.at(Stage.RESERVED, Stage.REFUSED):
            self.drop(one.job.job_id)
