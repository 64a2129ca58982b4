"""Values of the ledger that are wide: what a job was accepted with, and how it ended. Pure."""

from dataclasses import dataclass

from runner.contract.outcome import Failure, InputFile, Outcome, PublishedFile
from runner.contract.states.turn import AT_ONCE, Waiting


@dataclass(frozen=True)
class Acceptance:
    """A new job: its request as JSON, and the notebook's original bytes."""

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
    """Reason why it will not run; it still waits for its turn among the jobs of its name."""
    awaits_settings: bool = False
    """Whether a late settings file would belong to it."""
    library: str | None = None
    """Path of its notebook in the library; None if it brought its own."""
    demand: str | None = None
    """Its needs beyond a slot, as text: equal needs have equal text."""
    waiting: Waiting = AT_ONCE
    files: tuple[InputFile, ...] = ()
    """The files that came with it."""


@dataclass(frozen=True)
class Input:
    """A job's input: its request as JSON, the notebook's bytes, and its failure, if any.

    And what came along, whose bytes are kept as files of their own.
    """

    request: str
    notebook: bytes | None
    failure: Failure | None
    files: tuple[InputFile, ...] = ()


@dataclass(frozen=True)
class Seal:
    """A job's final outcome, its executed notebook, and its published files."""

    job_id: str
    outcome: Outcome
    executed: bytes | None
    files: tuple[PublishedFile, ...]
    finished_at: str
