"""A run is held to its limits, whatever it does; with real kernels, in both ways of holding it."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product
from multiprocessing import shared_memory
from pathlib import Path
from typing import Literal

import psutil
import pytest

from runner.contract.outcome import Failure, Outcome
from runner.contract.request import Resources
from runner.contract.states.status import ErrorType, Status
from runner.execution.environment import clean_environment
from runner.execution.limits.cgroup import NoCgroup, take_over
from runner.execution.limits.hold import KERNEL_MB, RunLimits
from runner.execution.local import processes
from runner.execution.local.processes import JobProcesses, ProcessSettings
from runner.execution.order import Order
from runner.system.processes.process_tree import INSTANCE
from tests.conftest import Json, code, notebook, wait_for

pytestmark = pytest.mark.kernels

MEGABYTE = 1024 * 1024
OUTPUT_MB = 5
START_SECONDS = 600
LIMITS = RunLimits(
    memory_mb=400,
    processes=200,
    open_files=512,
    message_bytes=(2 * OUTPUT_MB + 1) * MEGABYTE,
)
USE_ALL_FILES = "kept = []\nwhile True: kept.append(open('/dev/null'))"


@dataclass
class Runs:
    """Job processes with limits, and what they were seen to hold."""

    folder: Path
    processes: JobProcesses
    mark: str
    most: dict[int, int] = field(default_factory=dict)
    """The most memory of each preload server and job process, in bytes."""

    def run(
        self,
        *cells: str | Json,
        seconds: float = 60,
        stop: ErrorType | None = None,
        memory_mb: int | None = None,
        start: Literal["fork", "cold"] = "fork",
    ) -> tuple[Outcome, Json]:
        """Execute these cells. With `stop`, the run is stopped once its first cell has begun.

        `memory_mb` is what the run asks for itself.
        """
        key = os.urandom(16).hex()
        output = self.folder / key
        output.mkdir()
        order = Order(
            job_id=key,
            name="limited",
            timeout_seconds=seconds,
            kernel_start_seconds=START_SECONDS,
            output_folder=str(output),
            output_bytes=OUTPUT_MB * MEGABYTE,
            resources=Resources(memory_mb=memory_mb),
            start=start,
        )

        def heard(*_: object) -> None:
            if stop is not None and (output / "alive").exists():
                self.processes.stop(key, stop)

        over = threading.Event()
        watch = threading.Thread(target=self._watch, args=(over,))
        watch.start()
        try:
            raw = json.dumps(notebook(*cells)).encode()
            outcome, executed = self.processes.execute(order, raw, heard)
        finally:
            over.set()
            watch.join()
        return outcome, json.loads(executed or b"{}")

    def fails(self, *cells: str | Json, seconds: float = 60) -> Failure:
        """The failure of these cells; nothing of them is alive then."""
        outcome, _ = self.run(*cells, seconds=seconds)
        assert outcome.failure is not None, outcome
        wait_for(lambda: not self.left())
        return outcome.failure

    def left(self) -> list[psutil.Process]:
        """What runs and is no preload server, job process or zygote."""
        known = self.processes.pids
        return [p for p in psutil.process_iter() if p.pid not in known and _is_marked(p, self.mark)]

    def _watch(self, over: threading.Event) -> None:
        while not over.wait(0.05):
            for pid in self.processes.pids:
                with suppress(OSError):
                    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                    found = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
                    self.most[pid] = max([self.most.get(pid, 0), *(int(n) * 1024 for n in found)])


def _is_marked(process: psutil.Process, mark: str) -> bool:
    try:
        alive = process.status() != psutil.STATUS_ZOMBIE
        return alive and process.environ().get(INSTANCE) == mark
    except (psutil.Error, OSError):
        return False


Start = Callable[..., Runs]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts job processes with limits; afterwards nothing of them is left."""
    started: list[Runs] = []

    def make(
        limits: RunLimits, cgroup: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> Runs:
        mark = os.urandom(8).hex()
        processes = JobProcesses(
            ProcessSettings(
                environment=environment or clean_environment(os.environ),
                instance=mark,
                preload=["numpy"],
                kernel_start_seconds=START_SECONDS,
                limits=limits,
                cgroup=cgroup,
            )
        )
        started.append(Runs(tmp_path_factory.mktemp("runs"), processes, mark))
        return started[-1]

    yield make
    for one in started:
        one.processes.close()
        wait_for(lambda one=one: not one.left())  # type: ignore[misc]


@pytest.fixture(scope="module", params=["looking", "cgroup"])
def runs(request: pytest.FixtureRequest, start: Start) -> Runs:
    """Held by the system's control groups, and by looking at them."""
    if request.param == "looking":
        return start(LIMITS)
    try:
        return start(LIMITS, take_over())
    except NoCgroup as why:
        pytest.skip(f"no control group of our own: {why}")


@pytest.mark.parametrize(
    "source",
    [
        "kept = []\nwhile True: kept.append(b'x' * 10**7)",
        "import numpy as np; kept = np.ones(2 * 2**30 // 8)",
        "from multiprocessing import shared_memory\n"
        "kept = shared_memory.SharedMemory(create=True, size=2**31)\n"
        "for place in range(0, 2**31, 4096): kept.buf[place] = 1",
    ],
)
def test_memory_beyond_the_limit_ends_the_run(runs: Runs, source: str) -> None:
    """Bit by bit, at once, or as shared memory; the message says what was allowed and taken."""
    failure = runs.fails(source, "'never'")
    assert failure.error_type is ErrorType.OUT_OF_MEMORY
    assert failure.cell_index == 0
    assert "400 MB (limits.memory_mb)" in failure.message
    assert "Read less at a time" in failure.message
    assert 400 < _peak(failure) < 1500


def test_what_is_only_reserved_does_not_count(runs: Runs) -> None:
    """Nor pages of a file, which the system takes back: much more than the limit of each."""
    outcome, _ = runs.run(
        "import ctypes, mmap, threading, time\nimport numpy as np\n"
        "private = mmap.MAP_PRIVATE | 0x4000  # MAP_NORESERVE\n"
        "reserved = mmap.mmap(-1, 64 * 2**30, flags=private)\nreserved[0] = 1\n"
        "zeros = np.zeros(2**30 // 8)\nzeros[:10] = 1\n"
        "threading.stack_size(64 * 2**20)\n"
        "kept = [threading.Thread(target=time.sleep, args=(2,)) for _ in range(50)]\n"
        "for one in kept: one.start()",
        "file = open('large', 'w+b'); file.truncate(5 * 2**30)\n"
        "mapped = mmap.mmap(file.fileno(), 0)\n"
        "sum(mapped[place] for place in range(0, 800 * 2**20, 4096))\ntime.sleep(0.5)\n"
        "file.truncate(0)",
        code("sum(one.is_alive() for one in kept) >= 0", "results"),
    )
    assert outcome.status is Status.SUCCEEDED, outcome


def test_a_large_plot_arrives_where_no_more_threads_can_be_had(runs: Runs) -> None:
    """pyzmq starts one for a message above 64 kB, when half of that message is out."""
    outcome, executed = runs.run(
        "import resource\nfrom IPython.display import HTML, display\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 5 * 2**20,) * 2)\n"
        "display(HTML('x' * 100_000))",
        code("'on'", "results"),
    )
    assert outcome.status is Status.SUCCEEDED, outcome
    assert len(executed["cells"][0]["outputs"]) == 1


STARTED: tuple[Literal["fork", "cold"], ...] = ("fork", "cold")
STARTS = pytest.mark.parametrize("start_", STARTED)
"""A kernel that waited with the limits of all, or one that is started for its order."""


def allocating(size_mb: int) -> str:
    """Take so much, and hold what is too much until it is seen."""
    held = 30 if size_mb in (300, 1000) else 0
    return f"import time; kept = b'x' * ({size_mb} * 2**20); time.sleep({held})"


@STARTS
def test_a_run_that_asks_for_less_memory_is_held_to_that(
    runs: Runs, start_: Literal["fork", "cold"]
) -> None:
    """What would be allowed to others is too much for it, and the message says whose limit it was.

    What is over between two looks may have held more.
    """
    outcome, _ = runs.run(allocating(300), memory_mb=100, start=start_)
    assert outcome.failure is not None, outcome
    assert outcome.failure.error_type is ErrorType.OUT_OF_MEMORY
    assert "100 MB (resources.memory_mb)" in outcome.failure.message
    assert "MB (limits.memory_mb)" not in outcome.failure.message
    outcome, _ = runs.run(allocating(50), memory_mb=100, start=start_)
    assert outcome.status is Status.SUCCEEDED, outcome


@STARTS
def test_a_run_that_asks_for_more_memory_gets_it(
    runs: Runs, start_: Literal["fork", "cold"]
) -> None:
    """Whether it may is decided before."""
    outcome, _ = runs.run(allocating(500), memory_mb=800, start=start_)
    assert outcome.status is Status.SUCCEEDED, outcome
    outcome, _ = runs.run(allocating(1000), memory_mb=800, start=start_)
    assert outcome.failure is not None, outcome
    assert outcome.failure.error_type is ErrorType.OUT_OF_MEMORY
    assert "800 MB (resources.memory_mb)" in outcome.failure.message


@STARTS
def test_children_count_together_against_what_was_asked_for(
    runs: Runs, start_: Literal["fork", "cold"]
) -> None:
    """Each of them is below it."""
    child = f"import time; {allocating(70)}; time.sleep(60)"
    outcome, _ = runs.run(
        "import subprocess, sys, time\n"
        f"for _ in range(4): subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        "time.sleep(50)",
        memory_mb=150,
        start=start_,
    )
    assert outcome.failure is not None, outcome
    assert outcome.failure.error_type is ErrorType.OUT_OF_MEMORY
    assert "150 MB (resources.memory_mb)" in outcome.failure.message


def test_the_control_group_is_held_to_what_was_asked_for(start: Start, tmp_path: Path) -> None:
    """It was made with the limit of all. A plain folder stands for it, and keeps what it hears."""
    runs, known = start(LIMITS, tmp_path), set[Path]()
    for memory_mb, start_ in product((100, 800), STARTED):
        outcome, _ = runs.run("1", memory_mb=memory_mb, start=start_)
        assert outcome.status is Status.SUCCEEDED, outcome
        made = set(tmp_path.glob("run-*/memory.max")) - known
        assert {int(one.read_text()) // MEGABYTE for one in made} == {memory_mb + KERNEL_MB}
        known |= made


def test_the_outcome_says_on_which_machine_it_was_tried(runs: Runs) -> None:
    """Whether it ran, failed, or was refused there for what is missing on it."""
    for source in ("1", "1/0", "import no_such_module_x"):
        outcome, _ = runs.run(source)
        assert outcome.host == socket.gethostname()


def test_one_huge_request_for_memory_is_refused_at_once(runs: Runs) -> None:
    """Nothing of it was taken: the message says so, and whatever is alive holds something."""
    failure = runs.fails("import numpy as np; np.ones(10**15)")
    assert failure.error_type is ErrorType.OUT_OF_MEMORY
    assert failure.ename == "MemoryError"
    assert "7.11 PiB" in failure.message
    assert "more than the system gives at once" in failure.message
    assert 1 <= _peak(failure) < 150


def test_children_count_together_with_their_kernel(runs: Runs) -> None:
    """None of them passes the limit alone; all are ended, and the run with them."""
    child = "import time; kept = b'x' * (150 * 2**20); time.sleep(60)"
    failure = runs.fails(
        "import subprocess, sys, time\n"
        f"for _ in range(4): subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        "time.sleep(50)"
    )
    assert failure.error_type is ErrorType.OUT_OF_MEMORY
    assert failure.cell_index == 0
    assert _peak(failure) >= 350


def test_children_that_went_away_from_their_kernel_count_too(runs: Runs) -> None:
    """Each holds what its own parent does not, in a session of its own."""
    failure = runs.fails(
        "import os, time\n"
        "for _ in range(6):\n"
        "    kept = bytearray(b'x') * (120 * 2**20)\n"
        "    if os.fork():\n"
        "        time.sleep(50)\n"
        "        os._exit(0)\n"
        "    os.setsid()\n"
        "time.sleep(50)"
    )
    assert failure.error_type is ErrorType.OUT_OF_MEMORY


def test_what_processes_share_counts_once(runs: Runs) -> None:
    """A pool of workers over one large table does not multiply it, nor what is preloaded."""
    outcome, _ = runs.run(
        "import os, time\n"
        "table = bytearray(b'x') * (250 * 2**20)\n"
        "for _ in range(10):\n"
        "    if os.fork() == 0:\n"
        "        time.sleep(50)\n"
        "time.sleep(2)"
    )
    assert outcome.status is Status.SUCCEEDED, outcome


def test_the_preloaded_modules_do_not_count(start: Start) -> None:
    """A limit below their size leaves a small notebook all that it needs."""
    runs = start(RunLimits(memory_mb=60))
    outcome, _ = runs.run(
        "import os, time\n"
        "for _ in range(5):\n"
        "    if os.fork() == 0:\n"
        "        time.sleep(50)\n"
        "kept = b'x' * (20 * 2**20)\ntime.sleep(1.5)"
    )
    assert outcome.status is Status.SUCCEEDED, outcome


BOMB = (
    "import os, time\nend = time.monotonic() + 60\n"
    "for _ in range(10):\n"
    "    try:\n"
    "        if os.fork() == 0: {then}\n"
    "        time.sleep(0.05)\n"
    "    except OSError:\n"
    "        pass\n"
    "while time.monotonic() < end: time.sleep(0.1)\n"
    "os._exit(0)"
)
"""Twice as many processes each time, up to a thousand: a busy machine may take its time with it."""


@pytest.mark.parametrize("then", ["pass", "os.setsid()"])
def test_a_fork_bomb_comes_to_an_end(runs: Runs, then: str) -> None:
    """Its processes are counted with all that they start; the message names the limit.

    It is one that ends by itself, in case that nobody ends it.
    """
    failure = runs.fails(BOMB.format(then=then))
    # A control group counts what each process needs of the system, and memory may be out first.
    assert failure.error_type in (ErrorType.KERNEL_DIED, ErrorType.OUT_OF_MEMORY)
    assert "limits." in failure.message


def test_threads_count_as_processes(runs: Runs) -> None:
    """The system has one table for both."""
    failure = runs.fails(
        "import threading, time\nthreading.stack_size(64 * 1024)\n"
        "for _ in range(400):\n"
        "    threading.Thread(target=time.sleep, args=(20,), daemon=True).start()\n"
        "time.sleep(20)"
    )
    assert failure.error_type in (ErrorType.KERNEL_DIED, ErrorType.PAPERMILL_EXECUTION_ERROR)
    assert "limits.processes" in failure.message


def test_open_files_have_a_limit(runs: Runs) -> None:
    """The kernel has a few more for itself, and can still show where it was."""
    failure = runs.fails(USE_ALL_FILES)
    assert failure.error_type is ErrorType.PAPERMILL_EXECUTION_ERROR
    assert failure.ename == "OSError"
    assert "limits.open_files" in failure.message
    assert failure.traceback is not None
    assert any("kept.append" in line for line in failure.traceback)


def test_open_files_are_named_where_a_run_comes_to_a_stand(runs: Runs) -> None:
    """Such as a library that tries again for ever."""
    again = """
import time
def again(file_name):
    while True:
        try:
            return kept.append(open(file_name))
        except OSError:
            time.sleep(0.1)
"""
    failure = runs.fails(again, "kept = []\nwhile True: again('/dev/null')", seconds=6)
    assert failure.error_type is ErrorType.TIMEOUT
    assert "limits.open_files" in failure.message


def test_with_all_files_open_a_notebook_goes_on(runs: Runs) -> None:
    """Whatever thread has its first output then, it is heard; and the run ends in an orderly way.

    ipykernel 7.4 makes what a thread speaks through when it first speaks: without a descriptor
    for it each output waited 10 s, and was lost.
    """
    catch = "\n".join(
        [
            "import os, threading",
            "written = open('written', 'w'); written.write('all of it')",
            "kept = []",
            "try:",
            "    while True: kept.append(open('/dev/null'))",
            "except OSError as error:",
            "    found = str(error)",
        ]
    )
    outcome, executed = runs.run(
        catch,
        "print(found)",
        "own = threading.Thread(target=print, args=('a thread',)); own.start(); own.join()",
        "os.write(1, b'below Python') and None",
        "try:\n    kept.append(open('/dev/null'))\nexcept OSError:\n    print('still none')",
    )
    assert outcome.failure is None
    said = [[one["text"] for one in cell["outputs"]] for cell in executed["cells"]]
    words = ["".join("".join(text) for text in texts).strip() for texts in said]
    assert words == [
        "",
        "[Errno 24] Too many open files: '/dev/null'",
        "a thread",
        "below Python",
        "still none",
    ]
    [written] = runs.folder.rglob("written")
    assert written.read_text() == "all of it"


def test_a_kernel_that_kills_itself_did_not_run_out_of_memory(runs: Runs) -> None:
    """Nor one that is killed from outside: only the system ends a process for memory."""
    failure = runs.fails("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert failure.error_type is ErrorType.KERNEL_DIED
    assert "(SIGKILL)" in failure.message


def test_full_shared_memory_says_what_to_do(runs: Runs) -> None:
    """The system ends who writes to it by SIGBUS, and says nothing; containers have 64 MB of it."""
    failure = runs.fails(
        "import mmap\nfile = open('short', 'w+b'); file.truncate(4096)\n"
        "mapped = mmap.mmap(file.fileno(), 0); file.truncate(0); mapped[0] = 1"
    )
    assert failure.error_type is ErrorType.KERNEL_DIED
    assert "SIGBUS" in failure.message
    assert "shm_size" in failure.message


def test_a_stopped_kernel_is_dead_by_its_deadline(runs: Runs) -> None:
    """It cannot answer an interrupt, and does not have to."""
    began = time.monotonic()
    failure = runs.fails("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", seconds=1)
    assert failure.error_type is ErrorType.TIMEOUT
    assert time.monotonic() - began < 1 + 18


@pytest.mark.parametrize(
    "source",
    [
        "import os; os.closerange(0, 500)",
        "import os, shutil; shutil.rmtree(os.getcwd()); 1 / 0",
        "import os, signal, time\nos.fork() or os.kill(os.getppid(), signal.SIGSTOP)\n"
        "time.sleep(20)",
    ],
)
def test_a_kernel_that_breaks_itself_costs_no_more_than_its_time(runs: Runs, source: str) -> None:
    """Without descriptors, without a folder, stopped by its own child."""
    began = time.monotonic()
    runs.fails(source, seconds=2)
    assert time.monotonic() - began < 2 + 16, "the last one would end by itself after 20 s"


LEFT_BEHIND = [
    "import subprocess; kept = subprocess.Popen(['sleep', '60'])",
    "import subprocess; kept = subprocess.Popen(['sleep', '60'], start_new_session=True)",
    "import os, time\nif os.fork() == 0: time.sleep(60)",
    "import os, signal\nif os.fork() == 0: os.kill(os.getpid(), signal.SIGSTOP)",
    "import os, signal, time\nif os.fork() == 0:\n"
    "    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):\n"
    "        signal.signal(number, signal.SIG_IGN)\n    time.sleep(60)",
    "import os, time\nif os.fork() == 0:\n    os.setsid()\n"
    "    if os.fork() == 0: time.sleep(60)\n    os._exit(0)",
    "import os, time\nif os.fork() == 0:\n    os.setsid()\n    end = time.monotonic() + 10\n"
    "    while time.monotonic() < end:\n        if os.fork(): os._exit(0)",
]


def test_nothing_that_is_left_behind_survives_or_is_waited_for(runs: Runs) -> None:
    """In the background, in a session of its own, stopped, deaf, or always a new process."""
    last = "import time; open('ended', 'w').write(str(time.monotonic()))"  # of the whole machine
    outcome, _ = runs.run(*LEFT_BEHIND, last)
    over = time.monotonic()
    assert outcome.status is Status.SUCCEEDED, outcome
    wait_for(lambda: not runs.left())
    newest = max(runs.folder.glob("*/ended"), key=lambda one: one.stat().st_mtime_ns)
    assert over - float(newest.read_text()) < 4, "a kernel is given 5 s to end"


SHARED = {
    "never closed": "from multiprocessing import shared_memory\n"
    "kept = shared_memory.SharedMemory(create=True, size=100_000); name = kept.name",
    "closed": "from multiprocessing import shared_memory\n"
    "kept = shared_memory.SharedMemory(create=True, size=100_000); kept.close()\n"
    "name = kept.name",
    "of a process that was killed": "import multiprocessing, os, signal\n"
    "from multiprocessing import shared_memory\n"
    "def hold(pipe):\n"
    "    kept = shared_memory.SharedMemory(create=True, size=100_000)\n"
    "    pipe.send(kept.name); os.kill(os.getpid(), signal.SIGKILL)\n"
    "ours, theirs = multiprocessing.Pipe()\n"
    "multiprocessing.get_context('fork').Process(target=hold, args=(theirs,)).start()\n"
    "name = ours.recv()",
    "of another library": "import mmap, os\nname = f'other-{os.getpid()}'\n"
    "fd = os.open(f'/dev/shm/{name}', os.O_RDWR | os.O_CREAT | os.O_EXCL)\n"
    "os.ftruncate(fd, 100_000); kept = mmap.mmap(fd, 0); os.close(fd)",
    "of System V": "import ctypes\nlibc = ctypes.CDLL(None)\n"
    "name = f'segment {libc.shmget(0, 100_000, 0o1600)}'",
}


LEAVE = "import os, time; time.sleep(1); os._exit(1)"
"""A second later, since what a library maps by itself is known only by looking at the process."""


@pytest.mark.parametrize("then", ["", LEAVE, "import time; time.sleep(60)"])
def test_shared_memory_goes_with_its_run(runs: Runs, then: str) -> None:
    """Whoever has made it, and however the run ends."""
    makes = [
        f"{source}\nnames.append(name); holds.append(globals().get('kept'))"
        for source in SHARED.values()
    ]
    said = "open('names', 'w').write('\\n'.join(names))"
    seconds = 8 if "sleep(60)" in then else 60
    runs.run("names, holds = [], []", *makes, said, then, seconds=seconds)
    newest = max(runs.folder.glob("*/names"), key=lambda one: one.stat().st_mtime_ns)
    names = newest.read_text().splitlines()
    assert len(names) == len(SHARED)
    assert [name for name in names if _is_shared(name)] == []


def _is_shared(name: str) -> bool:
    """Whether a piece of shared memory is still there."""
    if not name.startswith("segment"):
        return Path("/dev/shm", name.lstrip("/")).exists()
    lines = Path("/proc/sysvipc/shm").read_text().splitlines()
    return name.split()[1] in [line.split()[1] for line in lines]


def test_shared_memory_of_others_stays(runs: Runs) -> None:
    """Of before the run, and what somebody else uses by now."""
    mine = shared_memory.SharedMemory(create=True, size=1000)
    other: list[shared_memory.SharedMemory] = []
    try:
        name = Path("/dev/shm") / f"used-{os.getpid()}"
        source = (
            "import mmap, os, time\nfrom multiprocessing import resource_tracker, shared_memory\n"
            f"one = shared_memory.SharedMemory(name={mine.name!r})\n"
            "resource_tracker.unregister(one._name, 'shared_memory')\n"
            f"fd = os.open({str(name)!r}, os.O_RDWR | os.O_CREAT)\n"
            "os.ftruncate(fd, 1000); kept = mmap.mmap(fd, 0)\n"
            "while not os.path.exists('go'): time.sleep(0.05)"
        )

        def take_it() -> None:
            wait_for(lambda: name.exists() and name.stat().st_size)
            other.append(shared_memory.SharedMemory(name=name.name))
            for one in runs.folder.iterdir():
                (one / "go").touch()

        taking = threading.Thread(target=take_it)
        taking.start()
        outcome, _ = runs.run(source)
        taking.join()
        assert outcome.status is Status.SUCCEEDED, outcome
        assert Path("/dev/shm", mine.name).exists()
        assert name.exists()
    finally:
        for one in (mine, *other):
            one.close()
            one.unlink()


def test_a_cancelled_tree_is_dead_and_its_notebook_kept(runs: Runs) -> None:
    """SIGINT is ignored by all of it, and its children have sessions of their own."""
    outcome, executed = runs.run(
        "'kept'",
        "import os, signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "if os.fork() == 0:\n    os.setsid()\n    time.sleep(60)\n"
        "open('alive', 'w').close()\n"
        "while True:\n    print('.', flush=True)\n    time.sleep(0.1)",
        stop=ErrorType.CANCELLED,
    )
    assert outcome.status is Status.CANCELLED
    assert executed["cells"][0]["outputs"]
    wait_for(lambda: not runs.left())


FLOODS = {
    "a print": "print('x' * (200 * 2**20))",
    "a display": "from IPython.display import HTML, display; display(HTML('x' * (200 * 2**20)))",
    "an error": "raise ValueError('x' * (200 * 2**20))",
    "prints": "while True: print('x' * 1000)",
    "large prints": "while True: print('x' * 2**20, flush=True)",
    "displays": "from IPython.display import HTML, display\nwhile True: display(HTML('x' * 10**5))",
    "updates": "from IPython.display import display\nshown = display(1, display_id=True)\n"
    "while True: shown.update(1)",
    "metadata": "from IPython.display import display\n"
    "while True: display({'text/plain': ''}, raw=True, metadata={'a': 'x' * 10**5})",
    "clearing": "from IPython.display import clear_output\nwhile True: clear_output()",
    "widgets": "from comm import create_comm\nwhile True:\n    create_comm(target_name="
    "'jupyter.widget', data={'state': {'a': 'x' * 10**5, '_model_module': '', '_model_name': ''}})",
    "buffers": "from comm import create_comm\none = create_comm(target_name='jupyter.widget',"
    " data={'state': {'_model_module': '', '_model_name': ''}})\n"
    "while True: one.send({'state': {}}, buffers=[b'x' * 10**5])",
}


UNSHOWN = frozenset({"clearing", "widgets", "buffers"})
"""Nothing is there to be cut in the notebook."""


REPLACING = frozenset({"clearing", "updates"})
"""Only the last one of them stays."""


@pytest.fixture(scope="module")
def roomy(start: Start) -> Runs:
    """Kernels with as much memory as they like, so that it is the output that ends them."""
    return start(LIMITS.model_copy(update={"memory_mb": None}))


@pytest.mark.parametrize("flood", FLOODS)
def test_whatever_floods_is_cut(roomy: Runs, flood: str) -> None:
    """`output_limit`; neither the job process nor what is published grows with it.

    What replaces earlier output counts little, so that the run's time may come first.
    """
    roomy.most.clear()
    ends = {ErrorType.OUTPUT_LIMIT} | ({ErrorType.TIMEOUT} if flood in REPLACING else set())
    outcome, executed = roomy.run(FLOODS[flood], seconds=2 if flood in REPLACING else 60)
    assert outcome.failure is not None
    assert outcome.failure.error_type in ends, outcome
    assert len(json.dumps(executed)) < (OUTPUT_MB + 2) * MEGABYTE
    cut = outcome.failure.error_type is ErrorType.OUTPUT_LIMIT and flood not in UNSHOWN
    assert not cut or "limits.output_mb" in json.dumps(executed)
    assert max(roomy.most.values()) < 450 * MEGABYTE


def test_no_output_is_lost_however_fast_it_comes(roomy: Runs) -> None:
    """A kernel waits for who takes its outputs; none is dropped, and the cell ends."""
    outcome, executed = roomy.run("for n in range(3_000): print(n, flush=True)")
    assert outcome.status is Status.SUCCEEDED, outcome
    text = "".join("".join(one["text"]) for one in executed["cells"][0]["outputs"])
    assert text.split() == [str(n) for n in range(3_000)]


def test_a_report_of_an_error_stays_small(roomy: Runs) -> None:
    """An exception may say megabytes; the executed notebook has them."""
    outcome, executed = roomy.run("raise ValueError('x' * 2_000_000)")
    assert outcome.failure is not None
    assert outcome.failure.ename == "ValueError"
    assert len(outcome.model_dump_json()) < 200_000
    assert len(json.dumps(executed)) > 2_000_000


def test_reading_the_results_does_not_count_as_run_time(
    roomy: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ended in time: it succeeded, though its results take longer than its limit."""
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0.5)
    done = threading.Event()

    def hold_up() -> None:
        while not done.wait(0.01):
            for reader in _readers(roomy):
                reader.suspend()
                time.sleep(7)
                reader.resume()
                done.set()

    holding = threading.Thread(target=hold_up)
    holding.start()
    outcome, _ = roomy.run(code("'x' * 300_000", "results"), seconds=6)
    done.set()
    holding.join()
    assert outcome.status is Status.SUCCEEDED, outcome
    assert len(outcome.results) > 300_000


def _readers(runs: Runs) -> list[psutil.Process]:
    """Children of job processes that have not become kernels: those have sessions of their own."""
    found = []
    for pid in runs.processes.pids:
        with suppress(psutil.Error, OSError):
            family = psutil.Process(pid).children()
            apart = [one for one in family if os.getsid(one.pid) == one.pid]
            if apart and os.getsid(pid) == pid:
                found += [one for one in family if os.getsid(one.pid) == pid]
    return found


def test_a_short_run_is_not_looked_at(start: Start) -> None:
    """What is over before the first look costs nothing; a limit of one process shows it."""
    runs = start(RunLimits(processes=1))
    outcome, _ = runs.run(code("6 * 7", "results"))
    assert outcome.status is Status.SUCCEEDED
    failure = runs.fails("import time; time.sleep(20)")
    assert "limits.processes" in failure.message


def _peak(failure: Failure) -> int:
    """Megabytes, as the message says it."""
    return int(failure.message.rpartition("peak was ")[2].split()[0])
