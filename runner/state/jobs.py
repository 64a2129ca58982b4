"""Values of the ledger: jobs, what becomes and became of them, and the table of moves. Pure."""

import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from runner.contract.outcome import ErrorType, Failure, Outcome, PublishedFile, Status

DURATION_BOUNDS = (
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
    *(60.0, 300.0, 900.0, 3600.0, 14400.0, math.inf),
)
"""Upper bounds, in seconds, of the histograms of how long jobs took."""


class State(StrEnum):
    """Where a job is on its way. `SEALED` has its final outcome, `CLOSED` has published it."""

    QUEUED = "queued"
    RUNNING = "running"
    SEALED = "sealed"
    CLOSED = "closed"


MOVES: frozenset[tuple[State, State]] = frozenset(
    {
        (State.QUEUED, State.RUNNING),  # started
        (State.QUEUED, State.SEALED),  # refused, or cancelled before it ran
        (State.RUNNING, State.QUEUED),  # to be run again
        (State.RUNNING, State.SEALED),  # finished, or found dead at start-up
        (State.SEALED, State.CLOSED),  # published
    }
)
"""All legal moves. A cancel and a seal cannot both win: each is one conditional update."""


class Place(StrEnum):
    """Where in the outbox a closed job's files are."""

    NONE = "none"
    CURRENT = "current"
    HISTORY = "history"
    PRUNED = "pruned"


class Stage(StrEnum):
    """What a closed job spent its time with: from accepted to started to finished to published."""

    WAIT = "wait"
    RUN = "run"
    PUBLISH = "publish"


@dataclass(frozen=True)
class Bucket:
    """Of a histogram: how many jobs took at most `bound` seconds and more than the bound below."""

    bound: float
    jobs: int
    seconds: float


@dataclass(frozen=True)
class Hour:
    """Jobs of one status that were accepted in one hour (`2026-11-24T04`), and their run time."""

    hour: str
    status: Status
    jobs: int
    seconds: float


class IllegalMove(Exception):
    """A job was not in the state that a move starts from: `job_id, wanted`."""


@dataclass(frozen=True)
class Job:
    """One row, narrow: neither notebook nor outcome. Times are UTC in ISO 8601."""

    seq: int
    job_id: str
    name: str
    state: State
    status: Status
    error_type: ErrorType | None
    message: str | None
    attempt: int
    retries: int
    cancelled: bool
    refused: bool
    awaits_settings: bool
    request_sha256: str
    input_sha256: str
    accepted_at: str
    started_at: str | None
    finished_at: str | None
    published_at: str | None
    place: Place
    submitted_by: str | None = None
    """Who or what made the request; None for jobs of earlier versions."""


@dataclass(frozen=True)
class Acceptance:
    """What becomes a job: its request as JSON, and the notebook's bytes as they were given."""

    job_id: str
    name: str
    request: str
    notebook: bytes | None
    request_sha256: str
    input_sha256: str
    accepted_at: str
    submitted_by: str | None = None
    retries: int = 0
    failure: Failure | None = None
    """Why it will not run, if so; it still waits for its turn among the jobs of its name."""
    awaits_settings: bool = False
    """Whether a settings file that comes late would have belonged to it."""
    library: str | None = None
    """The path of the library's notebook that was asked for, if it was one."""
    demand: str | None = None
    """What it needs of a machine beyond a slot, as text: equal needs have equal text."""


@dataclass(frozen=True)
class Input:
    """What was asked: the request as JSON, the notebook's bytes, and why it will not run."""

    request: str
    notebook: bytes | None
    failure: Failure | None


@dataclass(frozen=True)
class Seal:
    """A job's final outcome, its executed notebook, and what it left in its output folder."""

    job_id: str
    outcome: Outcome
    executed: bytes | None
    files: tuple[PublishedFile, ...]
    finished_at: str


@dataclass(frozen=True)
class JobFilter:
    """Which jobs are listed. `part` is what a name has in it somewhere, in any case.

    `pattern` is what a name begins with, or, where it has `*`, `?` or `[…]`, what the whole fits.
    """

    status: Status | None = None
    name: str | None = None
    part: str | None = None
    is_over: bool = False
    """Whether only those with an outcome are."""
    pattern: str | None = None


ALL_JOBS = JobFilter()


def seconds_between(start: str, end: str) -> float:
    """Not below 0, though clocks may be set back."""
    passed = datetime.fromisoformat(end) - datetime.fromisoformat(start)
    return max(passed.total_seconds(), 0.0)
