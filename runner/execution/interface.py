"""What the daemon asks of whatever executes notebooks: this machine, or a cluster.

A protocol and its values. Executes nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from runner.contract.outcome import ErrorType, Outcome
from runner.contract.request import Resources
from runner.execution.order import Order, Progress

OnProgress = Callable[[str, Progress], None]
"""Told a job's id and how far it is, from any thread."""


@dataclass(frozen=True)
class Incarnation:
    """Whose processes these are: `instance` for good, and which of its starts this is."""

    instance: str
    start: int = 0


@dataclass(frozen=True)
class Worker:
    """A place where notebooks run: this machine, or a worker of a cluster."""

    host: str
    slots: int
    running: int
    warm: int
    """Kernels that wait there and are ready."""
    address: str | None = None
    """In a cluster."""


class Execution(Protocol):
    """Executes orders. Safe for many threads; `execute` blocks and gets a thread of its own."""

    @property
    def slots(self) -> int:
        """How many orders may be in flight now; 0 while nobody could execute one."""
        ...

    @property
    def workers(self) -> Sequence[Worker]:
        """Where notebooks run now."""
        ...

    @property
    def troubles(self) -> Sequence[str]:
        """Why no order would be executed now, in words for a person."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What is not as it could be, though orders are executed."""
        ...

    @property
    def pids(self) -> set[int]:
        """Processes of this machine that belong to it."""
        ...

    @property
    def runtime_folder(self) -> str | None:
        """What a start after a crash is to remove; None if there is nothing of the kind."""
        ...

    def fits(self, wanted: Resources, taken: Sequence[Resources]) -> bool:
        """Whether an order with these needs can start now beside those in flight."""
        ...

    def why_never(self, wanted: Resources) -> str | None:
        """Why no order with these needs will ever be executed here; None if that is not so."""
        ...

    def keep(self, room: int) -> None:
        """What is due between two jobs; `room` is how many kernels may be made ready now."""
        ...

    def renew(self) -> None:
        """Import everything anew for the jobs to come."""
        ...

    def execute(
        self, order: Order, notebook: bytes, on_progress: OnProgress
    ) -> tuple[Outcome, bytes | None]:
        """Run one order to its end, at most once; whatever happens, an outcome comes of it.

        Gives the outcome and the executed notebook, None where nothing was executed. Files are in
        the order's output folder by then.
        """
        ...

    def stop(self, job_id: str, reason: ErrorType) -> None:
        """End a run: `cancelled` or `interrupted`. Nothing happens if it is over already."""
        ...

    def close(self) -> None:
        """End everything."""
        ...
