"""Reads the files of the schedules' folder. Writes nothing, and leaves other files alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.contract.names import job_name
from runner.contract.rules import Rules
from runner.contract.triggers.documents import TriggerError, with_line
from runner.contract.triggers.schedules import Schedule, read_schedule
from runner.inbox.ignore import objection_to_name
from runner.submitters.schedules.calendar import Calendar
from runner.submitters.trigger_files import one_each, read_named
from runner.system.files.yaml_files import YamlFiles, name_of


def job_name_of(schedule: str, written: str | None = None) -> str:
    """Return the name of a schedule's jobs in the outbox, if its file has `written`, or none."""
    return job_name(written or f"schedules/{schedule}")


@dataclass(frozen=True)
class Plan:
    """A schedule that is right, with its times."""

    name: str
    schedule: Schedule
    calendar: Calendar

    @property
    def job_name(self) -> str:
        """Return the name that its jobs have in the outbox."""
        return job_name_of(self.name, self.schedule.timing.name)

    @property
    def timing(self) -> str:
        """Return what makes two versions of a file come due at the same times."""
        timing = self.schedule.timing
        return f"{timing.cron} {self.calendar.zone.key}"


@dataclass(frozen=True)
class Planned:
    """A schedule's file: the plan, or what is wrong with it."""

    name: str
    path: Path
    plan: Plan | None = None
    error: str | None = None


class ScheduleFiles:
    """The schedules below a folder. Reads a file again only where it has changed."""

    def __init__(
        self, folder: Path, rules: Rules | None = None, ignored: Sequence[str] = ()
    ) -> None:
        """Set it up. `ignored` are the patterns of names that the inbox leaves alone."""
        self._folder = folder
        self._rules = rules
        self._ignored = ignored
        self._files = YamlFiles(folder, self.one)

    def all(self) -> list[Planned]:
        """List the schedules by name; none where there is no folder.

        Raises:
            OSError: the folder is there and cannot be read.
        """
        return one_each(
            self._files.all(), lambda name, path, error: Planned(name, path, error=error)
        )

    def one(self, path: Path) -> Planned:
        """Read one file, which may lie elsewhere."""
        name = name_of(path, self._folder)
        try:
            raw = read_named(path, name, "schedule")
        except TriggerError as error:
            return Planned(name, path, error=str(error))
        try:
            schedule = read_schedule(raw, self._rules)
            plan = Plan(name, schedule, Calendar(name, schedule))
            self._check_name(plan.job_name)
            return Planned(name, path, plan)
        except TriggerError as error:
            text = raw.decode("utf-8-sig", "replace")
            return Planned(name, path, error=with_line(str(error), text))

    def _check_name(self, name: str) -> None:
        """Refuse a name under which a request would stay in the inbox.

        Raises:
            TriggerError
        """
        objection = objection_to_name(name, self._ignored)
        if objection is not None:
            raise TriggerError(
                f"The inbox leaves the name {name!r} alone: {objection}. Give the jobs another "
                "one, by `name`."
            )
