"""Formats figures, times and states for people: short, and the same on every page.

Pure. Renders nothing, and reads no clock.
"""

from datetime import UTC, datetime
from urllib.parse import quote
from zoneinfo import ZoneInfo

from markupsafe import Markup, escape

from runner.contract.states.status import Status

STATUS_WORDS = {
    Status.QUEUED: "Waiting",
    Status.RUNNING: "Running",
    Status.SUCCEEDED: "Succeeded",
    Status.FAILED: "Failed",
    Status.TIMED_OUT: "Timed out",
    Status.CANCELLED: "Cancelled",
    Status.INTERRUPTED: "Interrupted",
    Status.REJECTED: "Rejected",
}


def status_word(status: str) -> str:
    """Return the word for a status."""
    return STATUS_WORDS[Status(status)]


def duration(seconds: float | None) -> str:
    """Write `0.65 s`, `12 s`, `3 min 5 s`, `2 h 4 min`, `3 d 1 h`; a dash for none."""
    if seconds is None:
        return "–"
    if seconds < 0.005:
        return "0 s"
    if seconds < 9.95:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, size, next_unit, next_size in (
        ("d", 86_400, "h", 3_600),
        ("h", 3_600, "min", 60),
        ("min", 60, "s", 1),
    ):
        if whole >= size:
            rest = whole % size // next_size
            return f"{whole // size} {unit}" + (f" {rest} {next_unit}" if rest else "")
    return f"{whole} s"


def age(iso: str, now: datetime) -> str:
    """Say how long ago a time is: `just now`, `5 min ago`, `3 h ago`, `2 days ago`."""
    passed = (now - datetime.fromisoformat(iso)).total_seconds()
    if passed < 10:
        return "just now"
    for unit, seconds in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if passed >= (2 * seconds if unit == "days" else seconds):
            return f"{int(passed // seconds)} {unit} ago"
    return f"{int(passed)} s ago"


def ahead(iso: str, now: datetime) -> str:
    """Say how far a time is off: `at once`, `in 5 min`, `in 3 h`, `in 2 days`."""
    left = (datetime.fromisoformat(iso) - now).total_seconds()
    for unit, seconds in (("days", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        if left >= (2 * seconds if unit == "days" else seconds):
            return f"in {int(left // seconds)} {unit}"
    return "at once"


def when(iso: str) -> str:
    """Write a time in full, in UTC; the browser shows its own."""
    time = datetime.fromisoformat(iso).astimezone(UTC)
    return f"{time.day} {time:%b %Y, %H:%M:%S} UTC"


def in_zone(time: datetime) -> str:
    """Write a time by the clock of its own zone, to the minute: `Mon 30 Nov 2026, 06:00`."""
    return f"{time:%a} {time.day} {time:%b %Y, %H:%M}"


def stamp_in(stamped: str, zone: ZoneInfo) -> str:
    """Write a time in ISO 8601 by the clock of a zone."""
    return in_zone(datetime.fromisoformat(stamped).astimezone(zone))


def schedule_url(name: str) -> str:
    """Return the address of a schedule's page."""
    return f"/ui/schedules/{quote(name)}"


def name_url(name: str) -> str:
    """Return the address of the page of a name."""
    return f"/ui/names/{quote(name)}"


def size(count: int) -> str:
    """Write bytes as people do: `812 B`, `1.4 kB`, `23 MB`."""
    if count < 1000:
        return f"{count} B"
    amount = float(count)
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        if amount < 999.5 or unit == "GB":
            return f"{amount:.1f} {unit}" if amount < 9.95 else f"{amount:.0f} {unit}"
    raise AssertionError


def with_code(text: str) -> Markup:
    """Show words in backticks as code, if the backticks pair."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    pieces = (
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part)
        for place, part in enumerate(parts)
    )
    return Markup("").join(pieces)


def with_inbox_link(note: str) -> Markup:
    """Show health's note with a link to the inbox's page, in place of the command at its end.

    Words in backticks of another note are code.
    """
    before, command, after = note.rpartition("`runner inbox`")
    if not command:
        return with_code(note)
    return Markup('{}<a href="/ui/inbox">the Inbox page</a>{}').format(before, after)


def plural(count: int, one: str, many: str | None = None) -> str:
    """Write `1 run`, `2 runs`, `1,200 runs`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
