"""A process that was forked before it is needed waits, shares memory, and stays behind nobody."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import PIPE, Popen, TimeoutExpired

import psutil
import pytest

from runner.daemon.companions.companion import Companion
from runner.system.processes.forked import Forked, Work
from tests.conftest import wait_for


def _wait_for_end(owner: int, _: int) -> None:
    while os.read(owner, 100):
        pass


@contextmanager
def forked(work: Work = _wait_for_end) -> Iterator[Forked]:
    process = Forked("waits ahead", work)
    try:
        yield process
    finally:
        process.close()


def test_it_gets_what_is_written_to_it_and_then_the_end() -> None:
    """As a process does that is started with the end of a pipe."""

    def say_it_back(owner: int, reports: int) -> None:
        os.write(reports, os.read(owner, 100))
        _wait_for_end(owner, reports)

    with forked(say_it_back) as process:
        pipe, reports = process.take_pipes()
        os.write(pipe, b"the greeting")
        assert os.read(reports, 100) == b"the greeting"
        assert process.poll() is None
        with pytest.raises(TimeoutExpired):
            process.wait(0.01)
        os.close(pipe)
        assert process.wait(20) == 0
        assert os.read(reports, 100) == b""
        os.close(reports)


def test_it_has_a_name_of_its_own() -> None:
    """It has the command line of the one that forked it."""
    with forked() as process:
        wait_for(lambda: psutil.Process(process.pid).name() == "waits ahead")


def test_ctrl_c_is_for_the_one_that_forked_it() -> None:
    """Both are in the terminal's group."""
    with forked() as process:
        wait_for(lambda: psutil.Process(process.pid).name() == "waits ahead")
        os.kill(process.pid, signal.SIGINT)
        for pipe in process.take_pipes():
            os.close(pipe)
        assert process.wait(20) == 0


def test_one_that_nobody_takes_ends_with_its_owner() -> None:
    """However that ends."""
    with forked() as process:
        pass
    assert process.poll() == 0
    owner = (
        "import os, sys, time\n"
        "from runner.system.processes.forked import Forked\n"
        "child = Forked('x', lambda owner, _: os.read(owner, 1))\n"
        "print(child.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with Popen([sys.executable, "-c", owner], stdin=PIPE, stdout=PIPE) as killed:
        assert killed.stdout is not None
        child = psutil.Process(int(killed.stdout.readline()))
        killed.kill()
        killed.wait()
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_its_end_is_told_as_that_of_any_process() -> None:
    """By its exit code, or by the signal."""

    def fail(*_: int) -> None:
        raise SystemExit(70)

    with forked(fail) as process:
        assert process.wait(20) == 70
    with forked() as process:
        process.kill()
        assert process.wait(20) == -signal.SIGKILL


def test_one_holds_no_pipe_of_those_before_it() -> None:
    """They would not see that their owner has gone, as long as it lives."""
    with forked() as first:
        second = Forked("second", _wait_for_end, [first])
        try:
            wait_for(lambda: psutil.Process(second.pid).name() == "second")
            for pipe in first.take_pipes():
                os.close(pipe)
            assert first.wait(20) == 0
            assert second.poll() is None
        finally:
            second.close()


def test_a_companion_that_is_not_needed_lets_the_waiting_process_end() -> None:
    """Its pid is known until then; it cannot be taken any more."""
    with forked() as process:
        companion = Companion("follow", b"{}", time.monotonic, ahead=process)
        assert companion.pids == {process.pid}
        companion.dismiss()
        assert not process.is_waiting
        assert process.wait(20) == 0
        companion.dismiss()
        assert companion.pids == set()


def test_a_long_greeting_that_nobody_reads_holds_up_nobody() -> None:
    """It fills the pipe of a companion that stands still."""
    greeting = b"x" * 300_000 + b"\n"
    read = 0

    def read_when_told(owner: int, reports: int) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)
        got = b""
        while not got.endswith(b"\n"):
            got += os.read(owner, 65536)
        os.write(reports, b"%d\n" % len(got))
        _wait_for_end(owner, reports)

    def note(line: bytes) -> None:
        nonlocal read
        read = int(line)

    with forked(read_when_told) as process:
        companion = Companion("waits", greeting, time.monotonic, note, process)
        wait_for(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
        keeping = threading.Thread(target=companion.keep)
        keeping.start()
        keeping.join(20)
        is_held_up = keeping.is_alive()
        os.kill(process.pid, signal.SIGCONT)
        wait_for(lambda: read == len(greeting))
        companion.close()
    assert not is_held_up
