"""What a runner costs that has nothing to do: memory by process, CPU, and its short commands."""

import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drops import TINY, burst, notebook, own_folder, until_warm
from processes.parts import DRIVERS, KERNELS, PARTS, ZYGOTES, Watch, own_cpu
from processes.times import pss_mb
from program import program

from speed.report import Sheet

SLOTS, MANY_SLOTS = 2, 4
HELD = (DRIVERS, ZYGOTES, KERNELS)
QUIET_SECONDS = 3
SETTLED_SECONDS = 12
"""By then the drivers have ended that nobody has needed since the last job."""
JOBS, COMMAND_RUNS = 5, 5
COMMANDS = (("--version",), ("jobs",))
GOAL_SLOT_MB, GOAL_IDLE_MB, GOAL_COMMAND_SECONDS = 30, 150, 0.15


@dataclass(frozen=True)
class Standing:
    """What was found."""

    processes: Counter[str]
    memory_mb: dict[str, float]
    """Of an idle runner with two slots and a gateway, by part (PSS)."""
    slot_mb: float
    idle_seconds: float
    cpu: dict[str, float]
    """Seconds while it was idle, by part."""
    commands: dict[str, float]
    """Seconds of CPU."""


def measure(idle_seconds: float) -> Standing:
    """Start a runner, and leave it alone."""
    settings: dict[str, Any] = {"execution": {"concurrency": SLOTS}, "kernels": {"warm": SLOTS}}
    with own_folder() as folder, program(folder, "serve", **settings) as running:
        until_warm(running, SLOTS)
        burst(running, notebook(TINY), JOBS)
        until_warm(running, SLOTS)
        time.sleep(SETTLED_SECONDS)
        parts = Watch(running.process.pid, folder / "none").living()
        before = {pid: own_cpu(pid).total for pid in parts}
        time.sleep(idle_seconds)
        cpu, memory = Counter[str](), Counter[str]()
        for pid, part in parts.items():
            cpu[part] += own_cpu(pid).total - before[pid]  # type: ignore[assignment]
            memory[part] += pss_mb(pid)  # type: ignore[assignment]
        commands = {" ".join(one): _cpu_of(one, folder) for one in COMMANDS}
    found = Counter(parts.values())
    return Standing(found, dict(memory), _slot_mb(), idle_seconds, dict(cpu), commands)


def _slot_mb() -> float:
    """Of one of four kernels that wait, with its share of drivers and zygotes."""
    settings: dict[str, Any] = {
        "execution": {"concurrency": MANY_SLOTS},
        "kernels": {"warm": MANY_SLOTS},
    }
    with own_folder() as folder, program(folder, "serve", **settings) as running:
        until_warm(running, MANY_SLOTS)
        time.sleep(QUIET_SECONDS)
        parts = Watch(running.process.pid, folder / "none").living()
        held = sum(pss_mb(pid) for pid, part in parts.items() if part in HELD)
    return held / MANY_SLOTS


def _cpu_of(arguments: Sequence[str], folder: Path) -> float:
    """Median seconds of CPU of a command."""
    runner = Path(sys.executable).with_name("runner")
    found = []
    for _ in range(COMMAND_RUNS):
        process = subprocess.Popen([runner, *arguments], cwd=folder, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"runner {' '.join(arguments)} ended with {process.returncode}")
        found.append(usage.ru_utime + usage.ru_stime)
    return statistics.median(found)


def sheet(found: Standing) -> Sheet:
    """A row for each part."""
    made = Sheet(
        "An idle runner with two slots",
        ("part", "processes", "memory (PSS)", "CPU"),
        f"Memory counts a shared page in parts. CPU in per cent of a core over "
        f"{found.idle_seconds:g} s in which nothing was dropped.",
    )
    for part in PARTS:
        memory, cpu = found.memory_mb.get(part, 0.0), found.cpu.get(part, 0.0)
        share = f"{cpu / found.idle_seconds:.2%}"
        made.add(part, str(found.processes[part]), f"{memory:.0f} MB", share)
    whole = sum(found.memory_mb.values()), sum(found.cpu.values()) / found.idle_seconds
    made.add("all", str(found.processes.total()), f"{whole[0]:.0f} MB", f"{whole[1]:.2%}")
    return made


def goals(found: Standing, goals_sheet: Sheet) -> None:
    """The rows of those figures that have a goal."""
    whole = sum(found.memory_mb.values())
    rows = [
        (f"memory of a waiting slot (PSS, {MANY_SLOTS} of them)", found.slot_mb, GOAL_SLOT_MB),
        ("`runner serve` idle, two slots, with gateway (PSS)", whole, GOAL_IDLE_MB),
    ]
    for what, megabytes, goal in rows:
        goals_sheet.add(what, f"{megabytes:.0f} MB", f"≤ {goal} MB")
    for command, seconds in found.commands.items():
        goal_seconds = f"≤ {GOAL_COMMAND_SECONDS} s"
        goals_sheet.add(f"`runner {command}`", f"{seconds:.2f} s of CPU", goal_seconds)
