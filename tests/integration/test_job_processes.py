"""Job processes serve one run after the other: nothing of one reaches the next."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Literal

import psutil
import pytest

from runner.contract.outcome import ErrorType, Outcome, Status
from runner.execution.environment import clean_environment
from runner.execution.forking.serve import GROWN_BYTES, Growth
from runner.execution.forking.zygote import ANSWER_SECONDS
from runner.execution.limits.hold import MEGABYTE
from runner.execution.local.job_process import JobProcess
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
        self.kernels = folder / "jupyter" / "kernels"
        self.processes = JobProcesses(
            ProcessSettings(
                environment={
                    **clean_environment(os.environ),
                    "JUPYTER_PATH": str(self.kernels.parent),
                },
                instance=f"job-processes-{folder.name}",
                warm=1,
            )
        )

    def run(
        self,
        *cells: str,
        heard: Callable[[str, Progress], None] = lambda *_: None,
        kernel: str = "python3",
        start: Literal["fork", "cold"] = "fork",
    ) -> tuple[Outcome, bytes]:
        """Execute these cells."""
        key = os.urandom(16).hex()
        output = self.folder / key
        output.mkdir()
        order = Order(
            job_id=key,
            name="a",
            kernel=kernel,
            allowed_kernels=(kernel,),
            timeout_seconds=60,
            output_folder=str(output),
            start=start,
        )
        raw = json.dumps(notebook(*cells[:-1], code(cells[-1], "results"))).encode()
        outcome, executed = self.processes.execute(order, raw, heard)
        return outcome, executed or b""

    def install(self, name: str, *argv: str) -> None:
        """Add a kernelspec."""
        (self.kernels / name).mkdir(parents=True)
        spec = {"argv": argv, "display_name": name, "language": "python"}
        (self.kernels / name / "kernel.json").write_text(json.dumps(spec))

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


def test_a_kernel_that_does_not_start_leaves_the_next_run_alone(bench: Bench) -> None:
    """Nor does one that is started cold leave threads or descriptors."""
    bench.install("broken", sys.executable, "-c", "raise SystemExit(1)", "{connection_file}")
    bench.install("missing", "/nonexistent/python", "{connection_file}")
    bench.install("cold", sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}")
    for _ in range(3):
        for name in ("broken", "missing"):
            outcome, _ = bench.run("1", kernel=name, start="cold")
            assert outcome.failure is not None
            assert outcome.failure.error_type is ErrorType.KERNEL_STARTUP
            assert "did not start" in outcome.failure.message
            wait_for(lambda: bench._keep() or bench.processes._pool._idle)
        assert bench.run("1", kernel="cold", start="cold")[0].status is Status.SUCCEEDED
        bench.wait_until_free()
        assert bench.run("1")[0].status is Status.SUCCEEDED
        bench.wait_until_free()
    pool = bench.processes._pool
    (idle,) = pool._idle
    assert idle.pid is not None
    assert psutil.Process(idle.pid).num_threads() == 1


STOP_NOW = """
import os, pathlib, signal
pathlib.Path({note!r}).touch()
os.kill(os.getppid(), signal.SIGSTOP)
"""
STOP_LATE = """
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", f'''
import os, pathlib, select, signal, time
print("there", flush=True)
select.select([os.pidfd_open({{os.getpid()}})], [], [])
os.kill({{os.getppid()}}, signal.SIGSTOP)
pathlib.Path({note!r}).touch()
time.sleep(100)
'''], start_new_session=True, stdout=subprocess.PIPE).stdout.readline()
os._exit(3)
"""
"""Stops the zygote once it has collected the kernel, unless it is ended before as a leftover."""


@pytest.mark.parametrize("cell", [STOP_NOW, STOP_LATE])
def test_a_zygote_that_is_stopped_keeps_no_run_waiting(bench: Bench, cell: str) -> None:
    """Its job process serves no more."""
    note = bench.folder / "stopped"
    before: set[int] = set()

    def is_stopped() -> bool:
        for _ in range(2):  # two job processes may take turns
            bench.wait_until_free()
            before.update(bench.pids())
        bench.wait_until_free()
        bench.run(cell.format(note=str(note)), "1")
        return note.exists()

    wait_for(is_stopped)
    began = time.monotonic()
    seen = set()
    for _ in range(2):
        bench.wait_until_free()
        seen.add(bench.pids()[2])
    assert time.monotonic() - began < ANSWER_SECONDS / 2
    assert seen - before


ADOPTED = """
import ctypes, os, platform, time
clone, of_my_parent = {"x86_64": 56, "aarch64": 220}[platform.machine()], 0x8000
pid = ctypes.CDLL(None, use_errno=True).syscall(clone, of_my_parent | 17, 0, 0, 0, 0)
if pid == 0:
    time.sleep(100)
assert pid > 0, ctypes.get_errno()
[os.getppid(), pid]
"""
"""Starts a child of its parent, which never collects it."""


def test_no_run_follows_where_a_process_of_one_is_left(bench: Bench) -> None:
    """One whose remains cannot be collected: the job process ends with them."""
    bench.wait_until_free()
    outcome, _ = bench.run(ADOPTED)
    assert outcome.status is Status.SUCCEEDED, outcome
    zygote, left = json.loads(outcome.results)["cell_1"]["application/json"]
    bench.wait_until_free()
    assert zygote not in bench.processes.pids
    wait_for(lambda: not psutil.pid_exists(left))


def test_idle_job_processes_that_are_gone_are_not_asked(bench: Bench) -> None:
    """However many: an order is sent to a few that do not live, and then given up."""
    bench.processes._pool._size = 0
    together = threading.Barrier(4)
    threads = [threading.Thread(target=bench.run, args=["1"]) for _ in range(4)]
    take = bench.processes._pool.take

    def take_together(*, bare: bool = False) -> JobProcess:
        process = take(bare=bare)
        together.wait()
        return process

    bench.processes._pool.take = take_together  # type: ignore[method-assign]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bench.processes._pool.take = take  # type: ignore[method-assign]

    def idle() -> bool:
        bench.processes.keep(0)
        return len(bench.processes._pool._idle) == 4

    wait_for(idle)
    for process in bench.processes._pool._idle:
        process.kill()
        assert process.has_ended(30)
    assert bench.run("1", start="cold")[0].status is Status.SUCCEEDED


def test_a_stopped_server_or_job_process_is_replaced(bench: Bench) -> None:
    """As by a notebook that stops whatever it finds."""
    bench.wait_until_free()
    (waiting,) = bench.processes._pool._waiting
    server = bench.processes._pool._servers.current
    assert waiting.pid is not None
    for process in map(psutil.Process, (waiting.pid, server.pid)):
        process.suspend()
        while process.status() != psutil.STATUS_STOPPED:
            time.sleep(0.01)
    bench.processes.keep(0)
    assert bench.run("1")[0].status is Status.SUCCEEDED
    assert server is not bench.processes._pool._servers.current


FORGED = """
kernel = get_ipython().kernel
socket = getattr(kernel.shell_stream, "socket", kernel.shell_stream)
to, parent = list(kernel._parent_ident["shell"]), kernel.get_parent("shell")
for parts in ([b""], [b"<IDS|MSG>"], [b"<IDS|MSG>", b"a", b"b", b"c", b"d", b"e"]):
    socket.send_multipart(to + parts)
for content in ({}, {"status": 1}, {"state": "ok"}):
    kernel.session.send(socket, "execute_reply", content, parent=parent, ident=to)
"""


def test_replies_that_a_notebook_makes_up_do_not_end_its_run(bench: Bench) -> None:
    """Those that are no messages, and those that do not say how their cell ended."""
    outcome, _ = bench.run(FORGED, "1 + 1")
    assert outcome.status is Status.SUCCEEDED, outcome
    odd = '{"status": "error", "ename": 3, "evalue": None, "traceback": 7, "payload": {"a": 1}}'
    outcome, _ = bench.run(f"{FORGED.replace('{}', odd)}", "1 + 1")
    assert outcome.failure is not None
    assert outcome.failure.error_type is ErrorType.PAPERMILL_EXECUTION_ERROR


def test_a_run_keeps_its_sockets_when_its_server_is_gone(bench: Bench) -> None:
    """Its kernel may just come up, and its job process connects to it by them."""
    bench.wait_until_free()
    pool = bench.processes._pool
    server = pool._servers.current
    process = pool.take()
    server.kill()
    wait_for(lambda: server.has_ended)
    wait_for(lambda: bench._keep() or pool._servers.current is not server)
    assert list(Path(server.runtime_folder).glob("*/*/kernel.json"))
    pool.give_back(process, is_over=False)
    bench.wait_until_free()
    assert not Path(server.runtime_folder).exists()
