"""Draws how long the last runs took: a line, with a mark where one did not succeed. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from runner.gateway.page.format import duration
from runner.jobs.histories.of_names import is_bad
from runner.state.jobs import Job, seconds_between

WIDTH, HEIGHT = 640.0, 96.0
EDGE = 6.0


@dataclass(frozen=True)
class Point:
    """A run: its place in the drawing, its job, and what a reader is told of it."""

    x: float
    y: float
    is_bad: bool
    job_id: str
    text: str


@dataclass(frozen=True)
class Durations:
    """The drawing, from the oldest run to the newest. `line` are the points of a polyline."""

    points: tuple[Point, ...]
    line: str
    most: str
    """The longest time, which is the upper edge."""
    text: str


def durations_of(newest_first: Sequence[Job]) -> Durations | None:
    """Draw the runs that have begun and ended; None if there are less than two."""
    runs = [
        (job, seconds_between(job.started_at, job.finished_at))
        for job in reversed(newest_first)
        if job.started_at is not None and job.finished_at is not None
    ]
    if len(runs) < 2:
        return None
    most = max(seconds for _, seconds in runs)
    step = (WIDTH - 2 * EDGE) / (len(runs) - 1)
    scale = (HEIGHT - 2 * EDGE) / most if most else 0.0
    points = tuple(
        Point(
            x=round(EDGE + number * step, 1),
            y=round(HEIGHT - EDGE - seconds * scale, 1),
            is_bad=is_bad(job.status),
            job_id=job.job_id,
            text=f"{job.accepted_at[:16].replace('T', ' ')} UTC: {job.status}, {duration(seconds)}",
        )
        for number, (job, seconds) in enumerate(runs)
    )
    middle = median(seconds for _, seconds in runs)
    return Durations(
        points,
        " ".join(f"{one.x:g},{one.y:g}" for one in points),
        duration(most),
        f"The last {len(runs)} runs took {duration(middle)} (median), {duration(most)} at most",
    )
