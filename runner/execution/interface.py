"""The protocol between the daemon and an executor: this machine, or a cluster.

Executes nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from runner.contract.outcome import ErrorType, Outcome
from runner.contract.request import Resources
from runner.execution.order import Order, Progress

OnProgress = Callable[[str, Progress], None]
"""Receives a job's id and its progress, from any thread."""


@dataclass(frozen=True)
class Incarnation:
    """The owner of processes: `instance` stays for good, `start` counts its starts."""

    instance: str
    start: int = 0
    runtime_folder: str | None = None
    """A folder for sockets that is recorded, but not made yet; None to have one chosen."""


@dataclass(frozen=True)
class Worker:
    """A place where notebooks run: this machine, or a worker of a cluster."""

    host: str
    slots: int
    running: int
    warm: int
    """Kernels that wait there, ready."""
    address: str | None = None
    """Its address in a cluster."""


class Execution(Protocol):
    """Executes orders. Safe for many threads; `execute` blocks and gets a thread of its own."""

    @property
    def slots(self) -> int:
        """How many orders may be in flight now; 0 while none can be executed."""
        ...

    @property
    def workers(self) -> Sequence[Worker]:
        """The places where notebooks run now."""
        ...

    @property
    def troubles(self) -> Sequence[str]:
        """Reasons why no order can be executed now, in words for a person."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """Shortcomings that do not stop execution, in words for a person."""
        ...

    @property
    def pids(self) -> set[int]:
        """Processes of this machine that belong to it."""
        ...

    def fits(self, wanted: Resources, taken: Sequence[Resources]) -> bool:
        """Return whether an order with these needs can start now beside those in flight."""
        ...

    def why_never(self, wanted: Resources) -> str | None:
        """Say why no order with these needs can ever be executed here; None if one can."""
        ...

    def keep(self, room: int) -> None:
        """Do the chores between two jobs; `room` is how many kernels may be made ready now."""
        ...

    def renew(self) -> None:
        """Import everything anew for the jobs to come."""
        ...

    def execute(
        self, order: Order, notebook: bytes, on_progress: OnProgress
    ) -> tuple[Outcome, bytes | None]:
        """Run one order to its end, at most once, and return its outcome whatever happens.

        The second value is the executed notebook; None if nothing was executed. The order's output
        folder then holds its files.
        """
        ...

    def stop(self, job_id: str, reason: ErrorType) -> None:
        """End a run: `cancelled` or `interrupted`. Nothing happens if it is over already."""
        ...

    def close(self) -> None:
        """End everything."""
        ...
