"""The ledger's own path: from a drop to its result, where execution costs nothing."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

from load import Passed, fake

from speed.report import Sheet

GOAL_RATE = 1000


def measure(count: int) -> Passed:
    """So many drops, in a process of their own."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn) as pool:
        passed = pool.submit(fake, count).result()
    if passed.problems:
        raise SystemExit(f"wrong results: {passed.problems[:5]}")
    return passed


def goals(passed: Passed, goals_sheet: Sheet) -> None:
    """The row of this figure."""
    goals_sheet.add(
        f"drop to result with a fake execution, {passed.count:,} of them",
        f"{passed.count / passed.seconds:,.0f} a second; "
        f"{1000 * passed.loop_seconds / passed.count:.2f} ms of CPU in the daemon's loop each",
        f"≥ {GOAL_RATE:,} a second",
    )
