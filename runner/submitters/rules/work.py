"""The rules of one runner, over its real inbox, for the process that submits."""

from collections.abc import Iterator, Mapping, Sequence

from runner.inbox import write_lease
from runner.jobs.backend import Backend
from runner.submitters.rules.files import Ruled, RuleFiles
from runner.submitters.rules.listing import Listing
from runner.submitters.rules.outlook import errors_of
from runner.submitters.rules.taking import Inbox, Taking
from runner.submitters.rules.telling import Telling
from runner.submitters.rules.whole import Wholeness
from runner.submitters.rules.working import LOOK_SECONDS, Place, Working
from runner.system.clocks import Clocks
from runner.system.files.disk import Disk
from runner.system.files.mounts import least_trusted, polls

MOUNTS_SECONDS = 30.0
"""How often to look by what mount the inbox lies there."""
READ_SECONDS = 0.2
"""How long a turn may read notebooks: files that came must not wait for it."""


class RuleWork:
    """Works off the rules; of one thread, the main one of its process."""

    def __init__(self, backend: Backend, clocks: Clocks) -> None:
        write_lease.ignore_breaks()
        self._settings = settings = backend.settings
        self._functions = backend.functions
        self._clocks = clocks
        self._files = RuleFiles(settings.rules_folder, settings.request_rules)
        inbox = settings.inbox
        listing = Listing(inbox, settings.intake.ignore, clocks, self._has_leases)
        place = Place(listing.files, self._has_leases)
        taking = Taking(
            Inbox(inbox, settings.bundle_limits),
            backend.runs,
            Disk(),
            lambda: clocks.now().astimezone().date(),
        )
        whole = Wholeness(inbox, clocks.seconds, clocks.wall_ns)
        self._working = Working(place, whole, taking, clocks)
        self._telling = Telling(settings.state, self._working.why_stays)
        self._ruled: Sequence[Ruled] = ()
        self._refusals: Mapping[str, str] = {}
        self._problem: str | None = None
        self._looked = -MOUNTS_SECONDS
        self._leases = False
        self._again = 0.0

    def turn(self) -> float:
        """Take what came if it is time, and return the seconds until the next look."""
        left = self._again - self._clocks.seconds()
        if left <= 0:
            left = self._turn()
            self._again = self._clocks.seconds() + left
        return left

    def _turn(self) -> float:
        try:
            self._ruled = self._files.all()
            self._refusals = errors_of(self._ruled, self._functions, READ_SECONDS)
            wait = self._working.turn(self._ruled, self._refusals)
            self._telling.tell(self._ruled, self._refusals, self._working.conflicts())
        except OSError as error:
            self._problem = f"rules cannot be worked off now: {error}"
            return LOOK_SECONDS
        self._problem = None
        return wait

    def notes(self) -> Iterator[str]:
        """Say which rules do nothing, which files stay, and why."""
        if self._problem is not None:
            yield self._problem
        for one in self._ruled:
            if one.error is not None:
                yield f"the rule {one.name} takes no file: {one.error}"
        for name, why in self._refusals.items():
            yield f"the rule {name} takes no file: {why}"
        for problem in self._working.problems():
            yield problem if problem.startswith("the rules") else f"no job was made of {problem}"

    def _has_leases(self) -> bool:
        """Tell whether files of the inbox show their writers: on local disks."""
        now = self._clocks.seconds()
        if now - self._looked >= MOUNTS_SECONDS:
            mount = least_trusted(self._settings.inbox)
            self._leases = not polls(self._settings.intake.mode, mount)
            self._looked = now
        return self._leases
