"""Sends the changing parts of the overview as server-sent events, rendered.

Costs a look a second at most, and less if looks are slow. Decides nothing about jobs.
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
"""A stream pauses this many times as long as its look took: so a slow ledger gets rest."""
DAY_SECONDS = 30.0


class Live:
    """The parts of one gateway's overview. Safe for many threads."""

    def __init__(self, overview: Overview, arrivals: Arrivals) -> None:
        self._overview = overview
        self._arrivals = arrivals

    def parts(self, look: OverviewSnapshot, question: Question) -> dict[str, str]:
        """Render the parts of the overview that change."""
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
                is_filtered=bool(question.part or question.status),
                is_first=question.before is None,
                older=query(question, look.jobs.before),
                newest=query(question, None),
            ),
            "day": render.fragment("_day.html", day=self._overview.day(now)),
        }

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
                parts = self.parts(look, question) if look != seen else {}
                if seen is not None and began - day_at < DAY_SECONDS:
                    parts.pop("day", None)
                elif parts:
                    day_at = began
                yield [(name, parts[name]) for name in _changed(seen, look) & set(parts)]
                seen = look
                time.sleep(min(REST * (time.monotonic() - began), LOOK_SECONDS))
                next_look(LOOK_SECONDS)


def query(asked: Question, before: str | None) -> str:
    """Build the address of another page of the same list."""
    values = {"name": asked.part, "status": asked.status, "before": before}
    text = "&".join(f"{key}={quote(value, safe='')}" for key, value in values.items() if value)
    return f"/?{text}" if text else "/"


def stream_url(question: Question) -> str:
    """Build the address of a list's stream."""
    return query(question, question.before).replace("/", "/ui/events", 1)


def _said(health: Health) -> tuple[object, ...]:
    """Return the line on health; the workers have a part of their own."""
    return health.reasons, health.notes, health.warm


def _changed(seen: OverviewSnapshot | None, look: OverviewSnapshot) -> set[str]:
    """Return the parts of the overview that changed."""
    if seen is None:
        return {"health", "now", "workers", "jobs", "day"}
    changed = set()
    if (_said(seen.health), seen.space) != (_said(look.health), look.space):
        changed.add("health")
    if seen.cluster != look.cluster:
        changed.add("workers")
    if seen.now != look.now:
        changed.add("now")
    if (seen.jobs, seen.trouble) != (look.jobs, look.trouble):
        changed |= {"jobs", "day"}
    return changed
