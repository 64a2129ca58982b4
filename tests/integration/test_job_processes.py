"""Job processes serve one run after the other: nothing of one reaches the next."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

from runner.contract.outcome import ErrorType, Outcome, Status
from runner.execution.environment import clean_environment
from runner.execution.forking.serve import GROWN_BYTES, Growth
from runner.execution.limits.hold import MEGABYTE
from runner.execution.local.processes import JobProcesses, ProcessSettings
from runner.execution.order import Order, Progress
from tests.conftest import code, notebook, wait_for

pytestmark = pytest.mark.kernels

ABOVE = (
    "import os, psutil\nzygote = psutil.Process(os.getppid())\n"
    "[os.getpid(), zygote.pid, zygote.ppid()]"
)


class Bench:
    """Job processes, of which one kernel waits if `keep` is called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes = JobProcesses(
            ProcessSettings(
                environment=clean_environment(os.environ),
                instance=f"job-processes-{folder.name}",
                warm=1,
            )
        )

    def run(
        self, *cells: str, heard: Callable[[str, Progress], None] = lambda *_: None
    ) -> tuple[Outcome, bytes]:
        """Execute these cells."""
        key = os.urandom(16).hex()
        output = self.folder / key
        output.mkdir()
        order = Order(job_id=key, name="a", timeout_seconds=60, output_folder=str(output))
        raw = json.dumps(notebook(*cells[:-1], code(cells[-1], "results"))).encode()
        outcome, executed = self.processes.execute(order, raw, heard)
        return outcome, executed or b""

    def pids(self) -> tuple[int, int, int]:
        """Those of the next run: kernel, zygote, job process."""
        outcome, _ = self.run(ABOVE)
        assert outcome.status is Status.SUCCEEDED, outcome
        kernel, zygote, job_process = json.loads(outcome.results)["cell_1"]["application/json"]
        return kernel, zygote, job_process

    def wait_until_free(self) -> None:
        """Until the last job process may serve again, and its kernel waits."""
        wait_for(self._keep)

    def _keep(self) -> bool:
        self.processes.keep(1)
        return self.processes.warm == 1 and not self.processes._pool._returned


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.processes.close()


def holds(pid: int, text: bytes) -> bool:
    """Whether a process has a text anywhere in its memory."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in lines:
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line)
            if match is None or line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            first, end = (int(one, 16) for one in match.groups())
            memory.seek(first)
            with suppress(OSError):  # a page of a file that ends before it
                if text in memory.read(end - first):
                    return True
    return False


def waiting_kernel(bench: Bench) -> psutil.Process:
    """The one that is up and has no order."""
    (process,) = bench.processes._pool._waiting
    assert process.zygote is not None
    (kernel,) = psutil.Process(process.zygote).children()
    return kernel


def test_a_job_process_serves_again_and_each_run_has_a_kernel_of_its_own(bench: Bench) -> None:
    """One and the next, which has a kernel ready meanwhile, serve in turn."""
    seen = []
    for _ in range(5):
        bench.wait_until_free()
        seen.append(bench.pids())
    kernels, *above = (set(each) for each in zip(*seen, strict=True))
    assert len(kernels) == 5
    assert [len(each) for each in above] == [2, 2]


def test_no_byte_of_a_run_is_in_the_memory_of_a_later_kernel(bench: Bench) -> None:
    """Of its code, outputs, results, files and errors; job processes have had them all."""
    marks = [f"mark-{kind}-{os.urandom(6).hex()}" for kind in ("code", "print", "result", "error")]
    halves = [(mark[:9], mark[9:]) for mark in marks]
    for first, _ in halves:
        bench.wait_until_free()
        assert bench.processes._pool._waiting, first
        code_mark, printed, result, error = halves
        bench.run(
            f"kept = {''.join(code_mark)!r}",
            f"print({printed[0]!r} + {printed[1]!r})",
            f"open('file.txt', 'w').write({printed[0]!r} + {printed[1]!r})",
            f"{result[0]!r} + {result[1]!r}",
        )
        failed, _ = bench.run(f"raise ValueError({error[0]!r} + {error[1]!r})")
        assert failed.failure is not None
        assert failed.failure.error_type is ErrorType.PAPERMILL_EXECUTION_ERROR
    bench.wait_until_free()
    kernel = waiting_kernel(bench)
    assert not [mark for mark in marks if holds(kernel.pid, mark.encode())]
    known = bench.processes.pids
    assert [mark for mark in marks if any(holds(pid, mark.encode()) for pid in known)]


def test_what_a_process_keeps_is_growth() -> None:
    """And what it gives back is none."""
    growth = Growth()
    kept = b"x" * (GROWN_BYTES + MEGABYTE)
    assert growth.is_too_much()
    del kept
    assert not growth.is_too_much()


def _note(ids: list[str], job_id: str, _: Progress) -> None:
    ids.append(job_id)


def test_what_comes_too_late_for_a_run_is_not_for_the_next(bench: Bench) -> None:
    """A cancel of a job that has just ended, whose job process has another order."""
    for _ in range(5):
        bench.wait_until_free()
        ids: list[str] = []
        outcome, _ = bench.run("1", heard=partial(_note, ids))
        assert outcome.status is Status.SUCCEEDED
        bench.processes.stop(ids[0], ErrorType.CANCELLED)
        bench.processes.keep_alive(ids[0], 0.0)
        assert bench.run("import time; time.sleep(0.2)", "2")[0].status is Status.SUCCEEDED


def test_progress_of_a_run_ends_with_it(bench: Bench) -> None:
    """The next one begins with its own first cell."""
    bench.wait_until_free()
    bench.run("print('of the first'); 1", "2", "3")
    bench.wait_until_free()
    told: list[tuple[str, Progress]] = []
    bench.run("import time; time.sleep(1.5); 1", heard=lambda *progress: told.append(progress))
    assert {job_id for job_id, _ in told} == {told[0][0]}
    assert told[0][1].cell == 1
    assert all("of the first" not in progress.tail for _, progress in told)


def test_a_zygote_ends_quietly_though_its_last_words_were_not_read() -> None:
    """Most often these are of a kernel's end, in which nobody is interested."""
    program = """
import os, socket, sys, psutil
from runner.execution.forking.zygote import Zygote, start_zygote

class Template:
    def bring_up(self, *_):
        os._exit(0)

zygote = start_zygote(Template())
if not isinstance(zygote, Zygote):
    zygote()()
pid = psutil.Process(zygote.pid)
kernel = zygote.fork("file", socket.socket(socket.AF_UNIX))
while psutil.pid_exists(kernel) or pid.status() != psutil.STATUS_SLEEPING:
    pass
del zygote
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid.pid, 0)[1]))
"""
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
