"""Runs a burst and samples it: Python's stacks from inside, or the system's by perf."""

import os
import select
import shutil
import signal
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from drops import burst, until_warm
from processes.parts import PARTS, WATCHED, Cpu, Watch, watching
from program import Running, program

from profiling.stacks import Stacks, native_stacks, python_stacks

HERTZ = 997
PERF_SECONDS = 60
PERF = ("perf", "record", "-e", "cpu-clock")


@dataclass(frozen=True)
class Recording:
    """What a burst of `count` jobs has spent, by part."""

    count: int
    cpu: dict[str, Cpu]
    stacks: dict[str, Stacks]


def python(raw: bytes, count: int) -> Recording:
    """By samples of Python's stacks."""
    with tempfile.TemporaryDirectory(prefix="profile-") as name:
        root, samples = Path(name), Path(name) / "samples"
        samples.mkdir()
        with _warm(root, samples) as (running, watch):
            sizes = {path.name: path.stat().st_size for path in samples.iterdir()}
            cpu = _burst(running, watch, raw, count)
            found = dict(python_stacks(samples, sizes))
            return Recording(count, cpu, _by_part(watch, found))


def why_no_perf() -> str | None:
    """What to do before perf can record; None if it can."""
    if shutil.which("perf") is None:
        return "install perf (Debian: apt-get install linux-perf) to see the system's share too"
    command = [*PERF, "-o", "/dev/null", "--", "true"]
    tried = subprocess.run(command, capture_output=True, check=False, text=True)
    if tried.returncode == 0:
        return None
    last = " ".join(tried.stderr.split())[-200:]
    return (
        f"perf may not record here: run this as root, or set kernel.perf_event_paranoid=1 ({last})"
    )


def native(raw: bytes, count: int) -> Recording:
    """By perf, with the system's own frames."""
    with tempfile.TemporaryDirectory(prefix="profile-") as name:
        root, data = Path(name), Path(name) / "perf.data"
        with _warm(root, None) as (running, watch):
            with _recording(data, watch.living()):
                cpu = _burst(running, watch, raw, count)
            return Recording(count, cpu, _by_part(watch, dict(native_stacks(data, HERTZ))))


@contextmanager
def _recording(data: Path, pids: Iterable[int]) -> Iterator[None]:
    """Have perf record these processes and all that they start; it has begun within the block."""
    words, answers = data.with_suffix(".words"), data.with_suffix(".answers")
    os.mkfifo(words)
    os.mkfifo(answers)
    control = ("-D", "-1", "--control", f"fifo:{words},{answers}")
    listed = ",".join(map(str, pids))
    log = data.with_suffix(".log")
    with log.open("w") as said:
        recorder = subprocess.Popen(
            [*PERF, "-F", str(HERTZ), "-g", "-p", listed, "-o", str(data), *control],
            stdout=said,
            stderr=said,
        )
    word, answer = os.open(words, os.O_RDWR), os.open(answers, os.O_RDWR)
    try:
        os.write(word, b"enable\n")
        if not select.select([answer], [], [], PERF_SECONDS)[0]:
            raise SystemExit(f"perf has not begun to record: {log.read_text()}")
        yield
    finally:
        recorder.send_signal(signal.SIGINT)
        recorder.wait(PERF_SECONDS)
        os.close(word)
        os.close(answer)


@contextmanager
def _warm(root: Path, samples: Path | None) -> Iterator[tuple[Running, Watch]]:
    notes = root / "reaped"
    with program(root, "serve", environment=watching(notes, samples), **WATCHED) as running:
        until_warm(running)
        yield running, Watch(running.process.pid, notes)


def _burst(running: Running, watch: Watch, raw: bytes, count: int) -> dict[str, Cpu]:
    before = watch.settled()
    burst(running, raw, count)
    after = watch.settled()
    return {part: (after[part] - before[part]).each(count) for part in PARTS}


def _by_part(watch: Watch, found: dict[int, Stacks]) -> dict[str, Stacks]:
    parts = {**watch.known, **{pid: part for pid, part, _ in watch.ended()}}
    by_part: dict[str, Stacks] = {part: defaultdict(float) for part in PARTS}
    for pid, stacks in found.items():
        for stack, took in stacks.items():
            by_part[parts.get(pid, PARTS[-1])][stack] += took
    return by_part
