"""Says when a schedule comes due, in its time zone.

A run at a time that summer time skips comes right after the gap; a run at a time that comes twice
comes once; what runs every so many minutes or hours follows the real ones. So has cronsim it, from
Debian's cron.
"""

import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim

from runner.contract.triggers.causes import stamp
from runner.contract.triggers.documents import TriggerError
from runner.contract.triggers.schedules import Schedule, Timing

_LOCALTIME = Path("/etc/localtime")
_MINUTE = timedelta(minutes=1)


def local_zone_name() -> str:
    """Return the IANA name of this machine's time zone: of `TZ`, or of `/etc/localtime`."""
    name = os.environ.get("TZ", "").removeprefix(":")
    if not name:
        name = os.path.realpath(_LOCALTIME).partition("/zoneinfo/")[2]
    try:
        return ZoneInfo(name or "UTC").key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return "UTC"


def zone_of(timing: Timing) -> ZoneInfo:
    """Return the schedule's time zone.

    Raises:
        TriggerError: there is none of that name.
    """
    name = timing.timezone or local_zone_name()
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise TriggerError(
            f"`timezone` is {name[:80]!r}: no time zone of that name is known here. Use an IANA "
            "name, such as Europe/Berlin or UTC."
        ) from error


class Calendar:
    """The occurrences of one schedule. All moments have its time zone."""

    def __init__(self, name: str, schedule: Schedule) -> None:
        """Set it up.

        Raises:
            TriggerError: its time zone is unknown.
        """
        self.zone = zone_of(schedule.timing)
        self._name = name
        self._timing = schedule.timing

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Yield the occurrences after a moment, the first first."""
        for one in CronSim(self._timing.cron, moment.astimezone(self.zone)):
            if self._is_past_end(one):
                return
            yield one

    def last_until(self, moment: datetime) -> datetime | None:
        """Return the last occurrence that is due at a moment; None if there is none before it."""
        start = moment.astimezone(self.zone) + _MINUTE
        for one in CronSim(self._timing.cron, start, reverse=True):
            if not self._is_past_end(one) and self.due_at(one) <= moment:
                return one
        return None

    def due_at(self, occurrence: datetime) -> datetime:
        """Return when the run of an occurrence starts: the same jitter each time, in UTC."""
        due = occurrence.astimezone(UTC)
        if not self._timing.jitter_seconds:
            return due
        digest = hashlib.blake2b(f"{self._name}@{stamp(due)}".encode(), digest_size=8).digest()
        share = int.from_bytes(digest, "big") / 2**64
        return due + timedelta(seconds=share * self._timing.jitter_seconds)

    def _is_past_end(self, occurrence: datetime) -> bool:
        until = self._timing.until
        if until is None:
            return False
        if not isinstance(until, datetime):
            return occurrence.date() > until
        return occurrence > (until if until.tzinfo else until.replace(tzinfo=self.zone))
