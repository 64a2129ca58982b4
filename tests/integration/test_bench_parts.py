"""Promises of the benchmarks' own arithmetic: CPU by part, phases, rows of other pages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from growth.slots import of_cluster
from processes.parts import DAEMON, DRIVERS, KERNELS, SERVER, ZYGOTES, Cpu, Watch, watching
from profiling.stacks import python_stacks
from speed.phases import ACCEPTED, BESIDE, CELLS, PUBLISHED, SEEN, phases_of

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_what_has_ended_is_told_by_part_and_without_its_children(tmp_path: Path) -> None:
    """A driver's sum holds what it reaped; each process counts once, and in its own part."""
    notes = tmp_path / "reaped"
    notes.write_text(
        "30 40 0.050000 0.010000 python\n"  # the zygote 30 reaps a kernel
        "20 30 0.060000 0.020000 python\n"  # the driver 20 reaps the zygote
        "10 20 0.100000 0.030000 runner driver\n"  # and the server the driver
    )
    watch = Watch(os.getpid(), notes, {10: SERVER})
    ended = {pid: (part, cpu) for pid, part, cpu in watch.ended()}
    assert {pid: part for pid, (part, _) in ended.items()} == {
        20: DRIVERS,
        30: ZYGOTES,
        40: KERNELS,
    }
    assert ended[20][1].user == pytest.approx(0.04)
    assert sum((cpu for _, cpu in ended.values()), Cpu()).total == pytest.approx(0.13)


def test_a_watched_process_notes_its_children_and_its_stacks(tmp_path: Path) -> None:
    """What a child that lived for a moment has spent is noted, and where its parent was."""
    script = """
import os, time
if os.fork() == 0:
    began = time.process_time()
    while time.process_time() - began < 0.2:
        pass
    os._exit(3)
assert os.waitstatus_to_exitcode(os.waitpid(-1, 0)[1]) == 3
"""
    notes, samples = tmp_path / "reaped", tmp_path / "samples"
    samples.mkdir()
    process = subprocess.Popen([sys.executable, "-c", script], env=watching(notes, samples))
    assert process.wait(60) == 0
    ((pid, part, cpu),) = Watch(process.pid, notes).ended()
    assert part == DAEMON
    assert 0.2 <= cpu.total < 2
    stacks = dict(python_stacks(samples, {}))[pid]
    assert 40 <= sum(stacks.values()) <= 2000
    assert ("<string>:<module>",) in stacks


def test_phases_of_a_drop_make_the_whole() -> None:
    """The phases of a result sum to the time between the drop and its result."""
    result = {
        "accepted_at": "2026-11-28T07:00:00.010+00:00",
        "started_at": "2026-11-28T07:00:00.012+00:00",
        "finished_at": "2026-11-28T07:00:00.040+00:00",
        "usage": {"cells": [{"seconds": 0.004}, {"seconds": 0.006}]},
    }
    began = 1795849200.0
    phases = phases_of(result, began, began + 0.05)
    assert list(phases) == [SEEN, ACCEPTED, CELLS, BESIDE, PUBLISHED]
    assert [round(one) for one in phases.values()] == [10, 2, 10, 18, 10]


def test_the_rows_of_clusters_are_those_of_their_page() -> None:
    """The page on performance shows slots up to 200, out of the tables of the page on clusters."""
    rows = of_cluster((DOCS / "scale.md").read_text())
    assert [row[0] for row in rows][-1] == "200"
    assert all(row[1].startswith("Dask") and row[2].endswith("%") for row in rows)
