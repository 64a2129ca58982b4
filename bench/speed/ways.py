"""The ways to run a notebook: each a call that returns when its result is there."""

import http.client
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from drops import by_drop
from program import Running

from runner.config import Kernels

COMMAND, NBCLIENT, WEB = "papermill command", "nbclient in a warm process", "papermill behind WSGI"
DROP, POST, FLOOR = "drop into the inbox", "POST /run", "floor: fork and IPython"
BESIDE = Path(__file__).parent
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Way:
    """One way on one notebook, and how often it is taken."""

    name: str
    run: Callable[[], None]
    times: int
    pause_seconds: float = 0.0
    """Before each: a runner has a kernel ready again by then."""


def by_command(raw: bytes, folder: Path) -> Callable[[], None]:
    """(a) The papermill command, a new process each."""
    (folder / "in.ipynb").write_bytes(raw)
    papermill = Path(sys.executable).with_name("papermill")

    def run() -> None:
        command = [str(papermill), "in.ipynb", "out.ipynb", "-k", "python3"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)

    return run


@contextmanager
def by_nbclient(raw: bytes) -> Iterator[Callable[[], None]]:
    """(b) nbclient in one process that has imported it, with a new kernel each time."""
    with _asked([sys.executable, str(BESIDE / "nbclient_worker.py")], raw) as run:
        yield run


@contextmanager
def by_web(raw: bytes) -> Iterator[Callable[[], None]]:
    """(b2) A POST to a web service that calls `papermill.execute_notebook`, as many are written.

    A synchronous worker on the standard library's WSGI server. Flask would add about a millisecond.
    """
    command = [sys.executable, str(BESIDE / "web_worker.py")]
    with _worker(command, b"") as process:
        assert process.stdout is not None
        yield _posts(int(process.stdout.readline()), "/execute", raw)


def by_post(raw: bytes, running: Running) -> Callable[[], None]:
    """(d) `POST /run`, until the answer is read."""
    return _posts(running.port, "/run", raw)


def _posts(port: int, path: str, raw: bytes) -> Callable[[], None]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def run() -> None:
        connection.request("POST", path, raw, JSON)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise SystemExit(f"POST {path}: {answer.status} {body!r}")

    return run


@contextmanager
def at_best(cells: Sequence[str]) -> Iterator[Callable[[], None]]:
    """(e) A fork of a process that has everything imported runs the cells through IPython.

    No kernel, no protocol, no notebook: what is left is what running the cells costs.
    """
    command = [sys.executable, str(BESIDE / "floor_worker.py"), *Kernels().preload]
    with _asked(command, "\0".join(cells).encode()) as run:
        yield run


@contextmanager
def _asked(command: Sequence[str], first: bytes) -> Iterator[Callable[[], None]]:
    """A process that takes `first` once, and then answers each line when it has run it."""
    with _worker(command, first) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        into, out = process.stdin, process.stdout

        def run() -> None:
            into.write(b"go\n")
            into.flush()
            if out.readline() != b"done\n":
                raise SystemExit(f"{command[1]} has ended before it was done")

        yield run


@contextmanager
def _worker(command: Sequence[str], first: bytes) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that has taken `first`, and says when it is ready.

    What it and its kernels write to standard error is shown if something fails.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(len(first).to_bytes(8, "big") + first)
            process.stdin.flush()
            if process.stdout.readline() != b"ready\n":
                raise SystemExit(f"{command[1]} did not start")
            yield process
        except BaseException:
            errors.seek(0)
            sys.stderr.write(errors.read().decode(errors="replace")[-4000:])
            raise
        finally:
            process.terminate()
            process.communicate()


@contextmanager
def all_ways(
    cells: Sequence[str], raw: bytes, running: Running, times: int, pause: float
) -> Iterator[list[Way]]:
    """Every way on a notebook, ready to be taken."""
    with ExitStack() as stack:
        enter = stack.enter_context
        runs: dict[str, Callable[[], None]] = {
            COMMAND: by_command(raw, running.root),
            NBCLIENT: enter(by_nbclient(raw)),
            WEB: enter(by_web(raw)),
            DROP: by_drop(raw, running),
            POST: by_post(raw, running),
            FLOOR: enter(at_best(cells)),
        }
        pauses = {DROP: pause, POST: pause}
        yield [Way(name, run, times, pauses.get(name, 0)) for name, run in runs.items()]
