"""Sends the changing parts of the overview as server-sent events, rendered.

Costs a look a second at most, and less if looks are slow. Decides nothing about jobs.
"""

import time
from collections.abc import Callable, Iterator, Set
from datetime import UTC, datetime
from urllib.parse import quote

from runner.gateway.page import render
from runner.gateway.page.overview import Overview, OverviewSnapshot
from runner.jobs.health import Health
from runner.jobs.record import Question
from runner.jobs.waiting import Arrivals

LOOK_SECONDS = 1.0
REST = 20
"""A stream pauses this many times as long as its look took: so a slow ledger gets rest."""
DAY_SECONDS = 30.0
"""The day is looked at this often though nothing has finished: its hours move on."""
PARTS = frozenset({"health", "now", "workers", "jobs", "day"})


class Live:
    """The parts of one gateway's overview. Safe for many threads."""

    def __init__(self, overview: Overview, arrivals: Arrivals) -> None:
        self._overview = overview
        self._arrivals = arrivals

    def parts(
        self, look: OverviewSnapshot, question: Question, wanted: Set[str] = PARTS
    ) -> dict[str, str]:
        """Render the parts of the overview that change, or some of them."""
        now = datetime.now(UTC)
        ways: dict[str, Callable[[], str]] = {
            "health": lambda: render.fragment("_health.html", look=look),
            "now": lambda: render.fragment("_now.html", now=look.now, at=now),
            "workers": lambda: render.fragment("_workers.html", cluster=look.cluster),
            "jobs": lambda: render.fragment(
                "_jobs.html",
                jobs=look.jobs,
                at=now,
                trouble=look.trouble,
                is_filtered=bool(question.part or question.status),
                is_first=question.before is None,
                older=query(question, look.jobs.before),
                newest=query(question, None),
            ),
            "day": lambda: render.fragment("_day.html", day=self._overview.day(now)),
        }
        return {name: way() for name, way in ways.items() if name in wanted}

    def news(
        self, question: Question, has_left: Callable[[], bool]
    ) -> Iterator[list[tuple[str, object]]]:
        """Yield the rendered parts of the page that are new since the last look."""
        seen: OverviewSnapshot | None = None
        day_at = 0.0
        with self._arrivals.listen(None) as next_look:
            while not self._arrivals.is_closed and not has_left():
                began = time.monotonic()
                look = self._overview.look(question)
                changed = _changed(seen, look)
                if "day" in changed or began - day_at >= DAY_SECONDS:
                    changed.add("day")
                    day_at = began
                yield list(self.parts(look, question, changed).items())
                seen = look
                time.sleep(min(REST * (time.monotonic() - began), LOOK_SECONDS))
                next_look(LOOK_SECONDS)


def query(question: Question, before: str | None) -> str:
    """Build the address of another page of the same list."""
    values = {"name": question.part, "status": question.status, "before": before}
    text = "&".join(f"{key}={quote(value, safe='')}" for key, value in values.items() if value)
    return f"/?{text}" if text else "/"


def stream_url(question: Question) -> str:
    """Build the address of a list's stream."""
    return query(question, question.before).replace("/", "/ui/events", 1)


def _said(health: Health) -> tuple[object, ...]:
    """Return the line on health; the workers have a part of their own."""
    return health.reasons, health.notes, health.warm


def _open(look: OverviewSnapshot) -> set[str]:
    """Return the jobs that run or wait: a list of some jobs may leave out one that finishes."""
    return {one.job_id for one in look.now.running} | {one.job_id for one in look.now.queued}


def _changed(seen: OverviewSnapshot | None, look: OverviewSnapshot) -> set[str]:
    """Return the parts of the overview that changed."""
    if seen is None:
        return set(PARTS)
    changed = set()
    if (_said(seen.health), seen.space) != (_said(look.health), look.space):
        changed.add("health")
    if seen.cluster != look.cluster:
        changed.add("workers")
    if seen.now != look.now:
        changed.add("now")
    if (seen.jobs, seen.trouble) != (look.jobs, look.trouble):
        changed.add("jobs")
    if "jobs" in changed or _open(seen) - _open(look):
        changed.add("day")
    return changed
