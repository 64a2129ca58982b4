"""How long one notebook takes, by every way, in turn with each other."""

import statistics
import time
from collections.abc import Mapping, Sequence

from drops import NOTEBOOKS, notebook, own_folder, until_warm
from program import program

from speed.report import Sheet, p95
from speed.ways import DROP, FLOOR, POST, Way, all_ways

PAUSE_SECONDS = 0.3
WAY_SECONDS, LEAST = 10, 3
"""Time for one way on one notebook; and how often it is taken, however long that takes."""
GOAL_MS = {"tiny": 40, "pandas + scrapbook": 75}
RATIO, MORE_MS = 2, 3
Took = dict[str, list[float]]
"""Milliseconds, by way."""


def measure(times: int) -> dict[str, Took]:
    """Every way on every notebook."""
    found = {}
    with own_folder() as folder, program(folder, "serve") as running:
        until_warm(running)
        for name, cells in NOTEBOOKS.items():
            with all_ways(cells, notebook(cells), running, times, PAUSE_SECONDS) as ways:
                found[name] = in_turn(ways)
    return found


def in_turn(ways: Sequence[Way]) -> Took:
    """Take each once without counting, and then all in rounds, the slow ones in fewer of them."""
    took: Took = {way.name: [] for way in ways}
    times = {way.name: _affordable(way, _timed(way)) for way in ways}
    rounds = max(times.values())
    for number in range(rounds):
        for way in ways:
            if (number + 1) * times[way.name] // rounds > number * times[way.name] // rounds:
                time.sleep(way.pause_seconds)
                took[way.name].append(_timed(way) * 1000)
    return took


def _affordable(way: Way, seconds: float) -> int:
    """How often a way is taken, if once takes so long."""
    return min(way.times, max(LEAST, int(WAY_SECONDS / seconds)))


def _timed(way: Way) -> float:
    began = time.perf_counter()
    way.run()
    return time.perf_counter() - began


def sheet(found: Mapping[str, Took]) -> Sheet:
    """A row for each way and notebook."""
    made = Sheet(
        "One notebook, by every way",
        ("notebook", "way", "runs", "median", "p95", "of the floor", "of a drop"),
        "The ways take turns with each other, on one machine in one run. p95 of fewer than 20 runs "
        "is the longest. The papermill behind WSGI is a synchronous worker on Python's own WSGI "
        "server that calls `papermill.execute_notebook` for each POST: what a Flask application "
        "does, without Flask.",
    )
    for notebook_name, took in found.items():
        medians = {way: statistics.median(one) for way, one in took.items()}
        for way, one in took.items():
            made.add(
                notebook_name,
                way,
                str(len(one)),
                f"{medians[way]:.0f} ms",
                f"{p95(one):.0f} ms",
                f"{medians[way] / medians[FLOOR]:.1f} x",
                f"{medians[way] / medians[DROP]:.2f} x",
            )
    return made


def goals(found: Mapping[str, Took], goals_sheet: Sheet) -> None:
    """The rows of those figures that have a goal."""
    for name, took in found.items():
        dropped, posted, floor = (statistics.median(took[way]) for way in (DROP, POST, FLOOR))
        goal = f"≤ {GOAL_MS[name]} ms"
        if name == "tiny":
            goal += f", ≤ {RATIO} x the floor"
        figure = f"{dropped:.0f} ms, {dropped / floor:.1f} x the floor"
        goals_sheet.add(f"{name}, drop to result", figure, goal)
        more = f"{posted - dropped:+.1f} ms"
        goals_sheet.add(f"{name}, `POST /run` over a drop", more, f"≤ +{MORE_MS} ms")
