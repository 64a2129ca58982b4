"""The overview's parts as they change: rendered, and sent as server-sent events to who looks on.

Costs a look a second at most, and less where looks are slow. Decides nothing about jobs.
"""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from urllib.parse import quote

from runner.gateway.page import render
from runner.gateway.page.overview import Overview, OverviewSnapshot
from runner.jobs.health import Health
from runner.jobs.record import Question
from runner.jobs.waiting import Arrivals

LOOK_SECONDS = 1.0
REST = 20
"""A stream rests so many times as long as its look took: a slow ledger is not looked at always."""
DAY_SECONDS = 30.0


class Live:
    """The parts of one gateway's overview. Safe for many threads."""

    def __init__(self, overview: Overview, arrivals: Arrivals) -> None:
        self._overview = overview
        self._arrivals = arrivals

    def parts(self, look: OverviewSnapshot, asked: Question) -> dict[str, str]:
        """The parts of the overview that change, rendered."""
        now = datetime.now(UTC)
        return {
            "health": render.fragment("_health.html", look=look),
            "now": render.fragment("_now.html", now=look.now, at=now),
            "workers": render.fragment("_workers.html", cluster=look.cluster),
            "jobs": render.fragment(
                "_jobs.html",
                jobs=look.jobs,
                at=now,
                trouble=look.trouble,
                is_filtered=bool(asked.part or asked.status),
                is_first=asked.before is None,
                older=query(asked, look.jobs.before),
                newest=query(asked, None),
            ),
            "day": render.fragment("_day.html", day=self._overview.day(now)),
        }

    def news(
        self, asked: Question, has_left: Callable[[], bool]
    ) -> Iterator[list[tuple[str, object]]]:
        """Give the parts of the page, rendered, of which a look tells something new."""
        seen: OverviewSnapshot | None = None
        day_at = 0.0
        with self._arrivals.listen(None) as next_look:
            while not self._arrivals.is_closed and not has_left():
                began = time.monotonic()
                look = self._overview.look(asked)
                parts = self.parts(look, asked) if look != seen else {}
                if seen is not None and began - day_at < DAY_SECONDS:
                    parts.pop("day", None)
                elif parts:
                    day_at = began
                yield [(name, parts[name]) for name in _changed(seen, look) & set(parts)]
                seen = look
                time.sleep(min(REST * (time.monotonic() - began), LOOK_SECONDS))
                next_look(LOOK_SECONDS)


def query(asked: Question, before: str | None) -> str:
    """The address of another page of the same list."""
    given = {"name": asked.part, "status": asked.status, "before": before}
    found = "&".join(f"{key}={quote(value, safe='')}" for key, value in given.items() if value)
    return f"/?{found}" if found else "/"


def stream_url(asked: Question) -> str:
    """Where the news of a list are."""
    return query(asked, asked.before).replace("/", "/ui/events", 1)


def _said(health: Health) -> tuple[object, ...]:
    """What the line on health says; the workers have a part of their own."""
    return health.reasons, health.notes, health.warm


def _changed(seen: OverviewSnapshot | None, look: OverviewSnapshot) -> set[str]:
    """Which parts of the overview tell something new."""
    if seen is None:
        return {"health", "now", "workers", "jobs", "day"}
    found = set()
    if (_said(seen.health), seen.space) != (_said(look.health), look.space):
        found.add("health")
    if seen.cluster != look.cluster:
        found.add("workers")
    if seen.now != look.now:
        found.add("now")
    if (seen.jobs, seen.trouble) != (look.jobs, look.trouble):
        found |= {"jobs", "day"}
    return found
