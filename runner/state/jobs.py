"""Values of the ledger: jobs as its rows have them, and the table of legal moves. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from runner.contract.states.status import ErrorType, Status
from runner.contract.states.turn import AT_ONCE, Waiting

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
    """Place of a closed job's files in the outbox."""

    NONE = "none"
    CURRENT = "current"
    HISTORY = "history"
    PRUNED = "pruned"


class Stage(StrEnum):
    """Stages of a closed job's time: from accepted to started to finished to published."""

    WAIT = "wait"
    RUN = "run"
    PUBLISH = "publish"


@dataclass(frozen=True)
class Bucket:
    """One bucket of a histogram: jobs that took at most `bound` seconds, above the bound below."""

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
    """Submitter of the request; None for jobs of earlier versions."""
    waiting: Waiting = AT_ONCE


@dataclass(frozen=True)
class Barred:
    """Queued jobs that must not start now."""

    demands: Sequence[str] = ()
    """Needs that cannot be met."""
    names: Sequence[str] = ()
    patterns: Sequence[str] = ()
    """Patterns of names, with `*`, `?` and `[…]`."""
    triggers: Sequence[str] = ()
    """Rules and web hooks, such as `rule:invoices`."""
    groups: Sequence[str] = ()
    """Groups of which as many run as may."""


NOTHING_BARRED = Barred()


@dataclass(frozen=True)
class JobFilter:
    """Which jobs to list. `part` is a part of the name, in any case.

    `pattern` is the beginning of a name, or, with `*`, `?` or `[…]`, a pattern for all of it.
    """

    status: Status | None = None
    name: str | None = None
    part: str | None = None
    is_over: bool = False
    """Whether to list only jobs with an outcome."""
    pattern: str | None = None
    notebook: str | None = None
    """Path of a library notebook that the request names."""
    submitted_by: str | None = None
    since: str | None = None
    until: str | None = None
    """Times of acceptance, as the ledger writes them: from `since`, and before `until`."""


ALL_JOBS = JobFilter()


def seconds_between(start: str, end: str) -> float:
    """Return the seconds from one time to another; never below 0, though clocks may be set back."""
    passed = datetime.fromisoformat(end) - datetime.fromisoformat(start)
    return max(passed.total_seconds(), 0.0)
