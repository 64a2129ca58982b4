"""Events are hints: what is lost is told, and what cannot be watched is polled."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runner.system.files.watch import RETRY_SECONDS, Watch
from tests.conftest import Program, notebook, wait_for

pytestmark = pytest.mark.kernels

ONE = notebook("1")
QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")
NEVER = 3600


class Seen:
    """The paths that a watch told."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.any = threading.Event()

    def __call__(self, path: str) -> None:
        self.paths.append(path)
        self.any.set()


@contextmanager
def queue_of(events: int) -> Iterator[None]:
    """What is watched inside of this gets a queue of so many events; root alone may say so."""
    if not os.access(QUEUE, os.W_OK):
        pytest.skip("fs.inotify.max_queued_events may not be set here")
    before = QUEUE.read_text()
    try:
        QUEUE.write_text(str(events))
    except OSError as error:
        pytest.skip(f"fs.inotify.max_queued_events may not be set here: {error.strerror}")
    try:
        yield
    finally:
        QUEUE.write_text(before)


def limited(program: Program, limits: str) -> Program:
    """Start it in a user namespace of its own, in which other limits hold."""
    prefix = ("unshare", "--user", "--map-root-user", "sh", "-c", f'{limits}; exec "$@"', "sh")
    if subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("a user namespace with limits of its own cannot be had here")
    program.prefix = prefix
    return program.start()


def test_a_folder_made_anew_is_watched_anew_though_its_number_is_the_same(tmp_path: Path) -> None:
    """A file system gives the number of a removed folder to the next one."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    seen = Seen()
    watch = Watch(folder, seen)
    try:
        for turn in range(5):
            assert watch.ensure()
            folder.rmdir()
            folder.mkdir()
            wait_for(lambda: not watch.is_current())
            assert watch.ensure()
            seen.any.clear()
            (folder / f"{turn}.ipynb").touch()
            assert seen.any.wait(90)
            (folder / f"{turn}.ipynb").unlink()
    finally:
        watch.stop()


def test_what_cannot_be_watched_leaves_no_thread_and_no_descriptor(tmp_path: Path) -> None:
    """Each attempt begins with an instance of inotify, and the system has few of them."""
    source = f"""
        import os, threading
        from pathlib import Path
        from runner.system.files.watch import RETRY_SECONDS, Watch
        now = 0.0
        watch = Watch(Path({str(tmp_path)!r}), print, clock=lambda: now)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            now += RETRY_SECONDS
            assert not watch.ensure()
            assert watch.is_current()
        assert threading.active_count() == 1, threading.enumerate()
        assert len(os.listdir("/proc/self/fd")) == before
        print(watch.trouble)
    """
    for limit, expected in (("instances", "instance limit"), ("watches", "watch limit")):
        command = [
            *("unshare", "--user", "--map-root-user", "sh", "-c"),
            f'echo 0 > /proc/sys/user/max_inotify_{limit}; exec "$@"',
            *("sh", sys.executable, "-c", textwrap.dedent(source)),
        ]
        if subprocess.run([*command[:5], "true"], capture_output=True).returncode:
            pytest.skip("a user namespace cannot be had here")
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout
        assert "polling instead" in done.stdout


def test_a_watch_that_was_refused_is_tried_again_after_a_while(tmp_path: Path) -> None:
    """Not at every look: an attempt walks through all folders."""
    now = 0.0
    watch = Watch(tmp_path, lambda _: None, clock=lambda: now)
    try:
        assert watch.ensure()
        observer = watch._observer
        assert observer is not None
        observer._queue.refused = "inotify watch limit reached"
        assert not watch.ensure()
        assert watch.trouble == "not all file system events (inotify watch limit reached); " + (
            "polling instead"
        )
        assert watch.is_current()
        now += RETRY_SECONDS
        assert not watch.is_current()
        assert watch.ensure()
        assert watch.trouble is None
    finally:
        watch.stop()


def test_watchdog_says_nothing_of_its_own(tmp_path: Path) -> None:
    """It calls an error what comes whenever a watch ends between two of its steps."""
    script = """
        import sys
        from runner.cli.terminal import log_to_stderr
        from runner.system.files.inotify import Observer
        from watchdog.events import FileSystemEventHandler
        log_to_stderr(20)
        observer = Observer(lambda: None)
        observer.schedule(FileSystemEventHandler(), sys.argv[1], recursive=True)
        (emitter,) = observer.emitters
        emitter.queue_events(0)  # as after its end
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_lost_events_are_one_event(make_program: Callable[..., Program]) -> None:
    """After an overflow the inbox is looked at, though no event of a drop came through."""
    program = make_program({"intake": {"rescan_seconds": NEVER}})
    program.inbox.mkdir()
    for number in range(40):
        (program.inbox / f"{number}.tmp").touch()
    with queue_of(16):
        program.start()
    program.drop("first.ipynb", ONE)
    program.await_report("first")
    assert program.process is not None
    program.process.send_signal(signal.SIGSTOP)
    for number in range(40):
        (program.inbox / f"{number}.tmp").unlink()
    program.drop("lost.ipynb", ONE)
    program.process.send_signal(signal.SIGCONT)
    assert program.await_report("lost")["status"] == "succeeded"


def test_a_hundred_drops_through_a_queue_of_sixteen(
    make_program: Callable[..., Program],
) -> None:
    """All are found; none runs twice. What they ask for is refused, which takes no kernel."""
    program = make_program({"intake": {"rescan_seconds": NEVER}})
    with queue_of(16):
        program.start()
    names = [f"s{number % 7}/n{number}" for number in range(100)]
    for name in names:
        program.drop(f"{name}.json", {"notebook": "is-not-there.ipynb"})
    for name in names:
        assert program.await_report(name)["error_type"] == "invalid_request"
    assert program.log.count("refused 's") == 100


def test_a_watch_limit_is_said_and_polled_around(make_program: Callable[..., Program]) -> None:
    """A subfolder beyond the limit raises no events; it is looked at all the same."""
    program = make_program({"intake": {"rescan_seconds": NEVER, "poll_seconds": 0.5}})
    for number in range(5):
        (program.inbox / f"s{number}").mkdir(parents=True)
    limited(program, "echo 2 > /proc/sys/user/max_inotify_watches")
    wait_for(lambda: "inotify watch limit reached" in program.log)
    for number in range(5):
        program.drop(f"s{number}/a.json", {"notebook": "is-not-there.ipynb"})
    for number in range(5):
        program.await_report(f"s{number}/a")

    def pulse() -> Any:
        return json.loads((program.root / "state" / "pulse.json").read_bytes())

    wait_for(lambda: "polling instead" in " ".join(pulse()["notes"]))
    assert pulse()["troubles"] == []


def test_without_any_inotify_the_inbox_is_polled(make_program: Callable[..., Program]) -> None:
    """Other programs may have taken all instances; that is no reason to take nothing."""
    program = make_program({"intake": {"rescan_seconds": NEVER, "poll_seconds": 0.5}})
    limited(program, "echo 0 > /proc/sys/user/max_inotify_instances")
    program.drop("a.json", {"notebook": "is-not-there.ipynb"})
    assert program.await_report("a")["error_type"] == "invalid_request"
    assert "inotify instance limit reached" in program.log
