"""Writes what a notification says, as plain text that no receiver takes for markup or a mention."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from runner.contract.notifications import GOOD_NEWS, Event
from runner.contract.states.status import Status
from runner.contract.states.words import cell_in_words, without_cell
from runner.contract.text.plain_text import excerpt, one_line, plain_text, visible
from runner.jobs.histories.of_names import failing_line
from runner.state.books.notifications import MOST_NAMES, Counted
from runner.state.jobs import Job

TITLE_CHARS = 180
LINE_CHARS = 160
MESSAGE_CHARS = 1_200
CELL_CHARS = 200
BODY_BYTES = 3_000
"""Services have limits, in characters or bytes; ntfy takes 4096 bytes."""
_FAILED = {
    Status.FAILED: "failed",
    Status.TIMED_OUT: "ran out of time",
    Status.INTERRUPTED: "was interrupted",
    Status.REJECTED: "was rejected",
}
_CALLS = re.compile(r"@(?=(?:everyone|here|channel|all|room|team)\b)|(?<=<)(?=[@!#&])", re.I)
"""Places of text that calls everybody together, in Discord, Slack, Mattermost and Telegram."""
_BREAK = "\N{WORD JOINER}"


@dataclass(frozen=True)
class Text:
    """What a notification says: a title on one line, a body, and the line that a digest has."""

    title: str
    body: str
    line: str


class Tone(StrEnum):
    """How good or bad a message is, as Apprise has it: services give each a colour, or a sign."""

    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"


def tone_of(events: Collection[str], *, is_digest: bool) -> Tone:
    """Return how good or bad that is of which a message tells."""
    if GOOD_NEWS.issuperset(events):
        return Tone.SUCCESS
    return Tone.WARNING if is_digest or Event.MISSED in events else Tone.FAILURE


def of_job(
    job: Job, event: Event, report: Mapping[str, Any] | None, changes: Sequence[str] = ()
) -> Text:
    """Tell of a job's end. `report` is the head of its result; None where that is gone."""
    name = _safe(one_line(job.name))
    if event is Event.SUCCEEDED:
        return _text(f"{name} succeeded", [_took(job)], "")
    if event is Event.RECOVERED:
        return _text(f"{name} succeeded again", [_took(job)], "")
    report = report or {}
    message = str(report.get("message") or job.message or "No message is known.")
    parts = [_safe(one) for one in _what_failed(report, message)]
    if changes:
        since = "Since the last success of this name:"
        parts.append("\n".join([since, *(f"- {_safe(one_line(one))}" for one in changes)]))
    first = " ".join(filter(None, (_safe(one_line(job.error_type or "")), one_line(message))))
    return _text(f"{name} {_FAILED.get(job.status, str(job.status))}", parts, first)


def of_missed(schedule: str, first: str, last: str, reason: str) -> Text:
    """Tell of times of a schedule at which it did not run."""
    when = first if first == last else f"{first} to {last}"
    name = _safe(one_line(schedule))
    said = f"The schedule {name} did not run at {when}: {_safe(one_line(reason))}."
    return _text(f"schedule {name} missed a run", [said], f"{when}: {reason}")


def of_many(counted: Sequence[Counted], since: str) -> Text:
    """Tell of several notifications in one message: counts by name, and the first line of each."""
    total = sum(one.times for one in counted)
    events = Counter[str]()
    for one in counted:
        events[one.event] += one.times
    title = f"{total} notifications: " + ", ".join(
        f"{times} {event.replace('_', ' ')}" for event, times in events.most_common()
    )
    lines = [f"Since {since[:16].replace('T', ' ')} UTC:"]
    for one in sorted(counted, key=lambda one: -one.times)[:MOST_NAMES]:
        first = f"; the first: {one.line}" if one.line else ""
        name = _safe(one_line(one.name))
        lines.append(_cut(f"{name}: {one.times} × {one.event.replace('_', ' ')}{first}"))
    lines = _within(lines, len(counted))
    return _text(title, ["\n".join(lines)], "")


def of_test(name: str) -> Text:
    """Say that it is a test, for `runner notify test`."""
    return _text(
        "Inbox Runner: a test",
        [f"This is the test message of `runner notify test` to {_safe(one_line(name))}. ✓"],
        "",
    )


def _text(title: str, parts: Sequence[str], line: str) -> Text:
    body = "\n\n".join(part for part in parts if part)
    return Text(
        excerpt_line(title, TITLE_CHARS),
        cut_bytes(body, BODY_BYTES) or title,
        excerpt_line(_safe(one_line(line)), LINE_CHARS),
    )


def _what_failed(report: Mapping[str, Any], message: str) -> Iterator[str]:
    """Say which cell failed, the line that raised, and the message, which may name the cell too."""
    bare = without_cell(message)
    place = message.removesuffix(bare).rstrip(": ") or _cell(report)
    line = failing_line(report) if report.get("cell_source") else ""
    if place:
        yield f"{place}: {excerpt_line(one_line(line), CELL_CHARS)}" if line else place
    yield excerpt(visible(plain_text(bare)), MESSAGE_CHARS)


def _cell(report: Mapping[str, Any]) -> str:
    """Name the cell of a failure as messages do; empty where it has none."""
    count, index = report.get("cell"), report.get("cell_index")
    if isinstance(count, int):
        return cell_in_words(count, index if isinstance(index, int) else None)
    return f"Cell (cell_index {index})" if isinstance(index, int) else ""


def _took(job: Job) -> str:
    ended = (job.finished_at or job.accepted_at)[:16].replace("T", " ")
    return f"It ended at {ended} UTC."


def _safe(text: str) -> str:
    """Break what would call people together."""
    return _CALLS.sub(lambda match: f"{match[0]}{_BREAK}", text)


def excerpt_line(text: str, limit: int) -> str:
    """Cut a line to at most `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _cut(line: str) -> str:
    return excerpt_line(line, LINE_CHARS + 120)


def _within(lines: list[str], names: int) -> list[str]:
    """Keep as many lines as fit, and say how many names are left out."""
    kept, size = list[str](), 0
    for line in lines:
        size += len(line.encode()) + 1
        if size > BODY_BYTES - 60:
            break
        kept.append(line)
    missing = names - (len(kept) - 1)
    return [*kept, f"… and {missing} more lines like these."] if missing > 0 else kept


def cut_bytes(text: str, limit: int) -> str:
    """Cut a text to at most `limit` bytes of UTF-8, and say so."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= limit:
        return raw.decode()
    return raw[: limit - 4].decode("utf-8", "ignore") + "\n…"
