"""A gateway in front of a cluster that is only told of: what its daemon would hold and say."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from runner.state import pulse
from runner.state.ledger import Ledger
from runner.state.locks import own
from runner.state.pulse import Pulse, Worker
from tests.conftest import Program

TELL_SECONDS = 0.5
WORKERS = (
    Worker("node-1", 8, 5, 2, "tcp://10.0.0.7:40001"),
    Worker("node-1", 8, 0, 8, "tcp://10.0.0.7:40002"),
    Worker("node-2", 4, 4, 0, "tcp://10.0.0.8:40001"),
)


class Teller:
    """Says the same again and again, as a daemon does, until it is told something else."""

    def __init__(self, program: Program) -> None:
        self._state = program.root / "state"
        self._workers: Sequence[Worker] = ()
        self._age = 0.0
        self._lock = threading.Lock()
        self._is_over = threading.Event()

    def tell(self, *workers: Worker, age: float = 0.0) -> None:
        """From now on; `age`: so many seconds ago, as a daemon that hangs."""
        with self._lock:
            self._workers, self._age = workers, age
            self._write()

    def run(self) -> None:
        while not self._is_over.wait(TELL_SECONDS):
            with self._lock:
                self._write()

    def stop(self) -> None:
        self._is_over.set()

    def _write(self) -> None:
        busy = sum(worker.running for worker in self._workers)
        warm = sum(worker.warm for worker in self._workers)
        at = time.monotonic() - self._age
        pulse.write(self._state, Pulse(1, at, busy, warm, workers=list(self._workers)))


@contextmanager
def telling(program: Program) -> Iterator[Teller]:
    """Folders, locks and a pulse; then `runner gateway` alone."""
    for folder in (program.inbox, program.outbox, program.library, program.root / "state"):
        folder.mkdir()
    Ledger(program.root / "state").close()
    held = own([program.root / "state", program.inbox], "a test", "now")
    teller = Teller(program)
    teller.tell(*WORKERS)
    thread = threading.Thread(target=teller.run)
    thread.start()
    try:
        program.launch(("-m", "runner", "gateway"))
        yield teller
    finally:
        teller.stop()
        thread.join()
        held.release()
