"""Where the time of one tiny notebook goes: by a drop, by nbclient, by papermill's command."""

import asyncio
import json
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import nbformat
from drops import TINY, drop, notebook, own_folder, result_of, until_warm
from nbclient import NotebookClient
from program import Running, program

from speed.ways import COMMAND, DROP, NBCLIENT

IMPORTS, KERNEL, CELLS, REST = "imports", "kernel starts", "cells", "the rest"
SEEN, ACCEPTED, BESIDE, PUBLISHED = "seen", "accepted", "run, beside its cells", "published"
DROPS, CALLS = 15, 3
PAUSE_SECONDS = 0.4
Phases = dict[str, float]
"""Milliseconds, in order."""


def measure(command_ms: float) -> dict[str, Phases]:
    """Medians by way, given how long the papermill command takes."""
    raw = notebook(TINY)
    with own_folder() as folder, program(folder, "serve") as running:
        until_warm(running)
        _of_a_drop(running, "first", raw)
        drops = [_of_a_drop(running, f"drop{number}", raw) for number in range(DROPS)]
    calls = [asyncio.run(_of_nbclient(raw)) for _ in range(CALLS + 1)][1:]
    by_nbclient = _medians(calls)
    before = max(command_ms - sum(by_nbclient.values()), 0.0)
    return {
        COMMAND: {IMPORTS: before, **by_nbclient},
        NBCLIENT: by_nbclient,
        DROP: _medians(drops),
    }


def _medians(found: Sequence[Phases]) -> Phases:
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def _of_a_drop(running: Running, name: str, raw: bytes) -> Phases:
    """By the times that its result has, and those of this process."""
    time.sleep(PAUSE_SECONDS)
    began = time.time()
    drop(running, name, raw)
    path = result_of(running, name)
    return phases_of(json.loads(Path(path).read_bytes()), began, time.time())


def phases_of(result: Mapping[str, object], began: float, visible: float) -> Phases:
    """The phases between two times, in seconds since the epoch, of a result that was dropped."""
    accepted, started, finished = (
        datetime.fromisoformat(str(result[name])).timestamp()
        for name in ("accepted_at", "started_at", "finished_at")
    )
    usage = result["usage"]
    assert isinstance(usage, Mapping)
    cells = sum(cell["seconds"] for cell in usage["cells"])
    parts = {
        SEEN: accepted - began,
        ACCEPTED: started - accepted,
        CELLS: cells,
        BESIDE: finished - started - cells,
        PUBLISHED: visible - finished,
    }
    return {name: max(seconds * 1000, 0.0) for name, seconds in parts.items()}


async def _of_nbclient(raw: bytes) -> Phases:
    """Its kernel's start, its cells, its end."""
    wanted = nbformat.reads(raw.decode(), as_version=4)
    client = NotebookClient(wanted, kernel_name="python3")
    times = [time.perf_counter()]
    async with client.async_setup_kernel(stderr=subprocess.DEVNULL):
        times.append(time.perf_counter())
        for number, cell in enumerate(wanted.cells):
            await client.async_execute_cell(cell, number)
        times.append(time.perf_counter())
    times.append(time.perf_counter())
    took = [(after - before) * 1000 for before, after in pairwise(times)]
    return dict(zip((KERNEL, CELLS, REST), took, strict=True))
