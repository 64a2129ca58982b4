"""The common base of every interface: records, submitting, waiting and the library."""

from dataclasses import dataclass

from runner.config import Settings
from runner.jobs.functions import Functions
from runner.jobs.record import Record
from runner.jobs.submissions import Runs
from runner.jobs.waiting import Arrivals
from runner.system.files.disk import Disk


@dataclass(frozen=True)
class Backend:
    """The jobs behind one face. Safe for many threads; `arrivals` is closed with the face."""

    settings: Settings
    record: Record
    arrivals: Arrivals
    runs: Runs
    disk: Disk
    functions: Functions


def backend_of(settings: Settings, disk: Disk | None = None) -> Backend:
    """Stand on the folders of the settings. Opens nothing yet."""
    disk = disk or Disk()
    record, arrivals = Record(settings), Arrivals(settings.outbox, settings.gateway.max_waiting)
    runs = Runs(settings, record, arrivals, disk)
    return Backend(settings, record, arrivals, runs, disk, Functions(settings))
