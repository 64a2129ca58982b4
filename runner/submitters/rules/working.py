"""Works the rules off, turn by turn: which files come together, and what keeps them from it."""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.jobs.problem import Problem, ProblemType
from runner.submitters.rules.files import Ruled
from runner.submitters.rules.matching import Matching
from runner.submitters.rules.taking import CannotTake, Taking
from runner.submitters.rules.whole import DataFile, Wholeness
from runner.system.backoff import Backoff
from runner.system.clocks import Clocks

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
LONGEST_LOOK_SECONDS = 10.0
SHARE = 0.2
"""Most of a processor that looks may take while they find nothing to do."""
STAY_SECONDS = 10.0
"""How often to look whether files that stay have changed."""
A_TURN = 200
"""Most jobs that a turn makes; the next one goes on at once."""
FIRST_SECONDS, LAST_SECONDS = 1.0, 60.0
HOLD_UP = frozenset({ProblemType.QUEUE_FULL, ProblemType.UNAVAILABLE})
"""Problems of the runner, not of a file: nothing more is taken out of the inbox then."""


@dataclass(frozen=True)
class Place:
    """The inbox to look into; `has_leases` says whether its files tell of their writers."""

    look: Callable[[Callable[[str], bool], Mapping[str, DataFile]], Sequence[DataFile]]
    """Lists the files that are wanted; those that are known are not looked at again."""
    has_leases: Callable[[], bool]


class Working:
    """Works off the rules of one inbox. For one thread."""

    def __init__(self, place: Place, whole: Wholeness, taking: Taking, clocks: Clocks) -> None:
        self._place = place
        self._whole = whole
        self._taking = taking
        self._clocks = clocks
        self._delays = Backoff(clocks.seconds, FIRST_SECONDS, LAST_SECONDS)
        self._stays: dict[str, tuple[DataFile, str]] = {}
        """Files of which no job can be made until they change, and why."""
        self._conflicts: dict[tuple[str, ...], str] = {}
        self._unfinished: tuple[str, ...] = ()
        self._matching = Matching()
        self._stays_at = 0.0
        self._is_held_up = False
        """Whether nothing can be submitted now."""
        self._holding_up: set[str] = set()
        """The folders whose jobs could not be submitted, as no other's could."""
        self._first: dict[str, float] = {}
        """When the first file of a rule's batch was whole."""

    def turn(self, rules: Sequence[Ruled], refusals: Collection[str] = ()) -> float:
        """Take what is whole; return the seconds until there may be more.

        `refusals` names rules whose jobs would be refused now: their files stay.

        Raises:
            OSError: the inbox cannot be read.
        """
        began = self._clocks.cpu()
        self._finish_earlier(rules)
        if self._has_to_wait() or not any(one.rule is not None for one in rules):
            self._conflicts.clear()
            return LOOK_SECONDS
        by_rule = self._look(rules)
        made = 0
        for ruled in rules:
            if ruled.name in refusals:
                continue
            for group in self._groups(ruled, by_rule.get(ruled.name, [])):
                if made >= A_TURN:
                    return 0.0
                made += self._take(ruled, group)
                if self._has_to_wait():
                    return LOOK_SECONDS
        if made:
            return LOOK_SECONDS
        spent = self._clocks.cpu() - began
        return min(max(LOOK_SECONDS, spent / SHARE), LONGEST_LOOK_SECONDS)

    def _has_to_wait(self) -> bool:
        return self._is_held_up

    def _look(self, rules: Sequence[Ruled]) -> dict[str, list[DataFile]]:
        """Look what lies there, and return the files that may go, by the rule that matches each."""
        if not self._matching.is_of(rules):
            self._matching = Matching(rules)
            self._stays.clear()
        files = self._place.look(self._matching.is_wanted, self._at_rest())
        paths = [file.path for file in files]
        self._matching.keep(paths)
        self._whole.keep(files)
        self._stays = {
            file.path: self._stays[file.path]
            for file in files
            if self._stays.get(file.path, (None,))[0] == file
        }
        self._delays.keep({*paths, *self._unfinished})
        return self._sorted(files)

    def _at_rest(self) -> dict[str, DataFile]:
        """Return the files that stay, and need no look now."""
        now = self._clocks.seconds()
        if now < self._stays_at:
            return {path: file for path, (file, _) in self._stays.items()}
        self._stays_at = now + STAY_SECONDS
        return {}

    def problems(self) -> Iterator[str]:
        """Say which files stay, and why."""
        yield from self._conflicts.values()
        yield from (f"{path}: {why}" for path, (_, why) in self._stays.items())
        yield from (f"{path}: {why}" for path, why in self._delays.reasons.items())

    def conflicts(self) -> dict[str, str]:
        """Say for rules that match one file with another rule, which file that is."""
        return {name: why for names, why in self._conflicts.items() for name in names}

    def why_stays(self, path: str) -> str | None:
        """Say why no job is made of a file now; None if it may be on its way."""
        stays = self._stays.get(path)
        return self._delays.reasons.get(path) if stays is None else stays[1]

    def _finish_earlier(self, rules: Sequence[Ruled]) -> None:
        self._is_held_up = False
        claims = self._taking.unfinished()
        self._unfinished = tuple(claim.name for claim in claims)
        self._holding_up &= set(self._unfinished)
        for claim in claims:
            if self._delays.why_held(claim.name) is None:
                self._finish(claim, rules)
            if claim.name in self._holding_up:
                self._is_held_up = True
                return

    def _finish(self, claim: Path, rules: Sequence[Ruled]) -> None:
        self._holding_up.discard(claim.name)
        try:
            self._taking.finish(claim, rules)
        except (CannotTake, Problem, OSError) as error:
            self._delays.hold(claim.name, _reason(error))
            if _holds_up(error):
                self._holding_up.add(claim.name)
        except Exception as error:  # unexpected; the others go on
            log.exception("%s cannot be finished", claim.name)
            self._delays.hold(claim.name, _reason(error))
        else:
            self._delays.release(claim.name)

    def _sorted(self, files: Sequence[DataFile]) -> dict[str, list[DataFile]]:
        """Give each file to the one rule that matches it; two that do are an error of both."""
        by_rule: dict[str, list[DataFile]] = {}
        conflicts: dict[tuple[str, ...], str] = {}
        for file in files:
            names = self._matching.names(file.path)
            if len(names) > 1:
                both = " and ".join(names)
                conflicts.setdefault(
                    names, f"the rules {both} match one file ({file.path}); change one of them"
                )
            elif file.path not in self._stays and self._delays.why_held(file.path) is None:
                by_rule.setdefault(names[0], []).append(file)
        self._conflicts = conflicts
        return by_rule

    def _groups(self, ruled: Ruled, files: Sequence[DataFile]) -> Iterable[Sequence[DataFile]]:
        """Yield the files that make a job each time: whole ones, and of a batch all that came."""
        assert ruled.rule is not None or not files
        if ruled.rule is None:
            return
        keys, leases = ruled.rule.files, self._place.has_leases()
        whole = (
            file
            for file in files
            if self._may_go(file)
            and self._whole.is_whole(file, keys.data_seconds, has_leases=leases)
        )
        if keys.group == "single":
            yield from ([file] for file in whole)
            return
        batch = list(whole)
        if not batch:
            self._first.pop(ruled.name, None)
            return
        now = self._clocks.seconds()
        since = self._first.setdefault(ruled.name, now)
        while len(batch) >= keys.batch_files or (batch and now - since >= keys.batch_seconds):
            together = self._together(batch, keys.batch_files)
            yield together
            taken = set(together)
            batch = [file for file in batch if file not in taken]
            self._first.pop(ruled.name, None)

    def _may_go(self, file: DataFile) -> bool:
        why = self._taking.objection(file)
        if why is not None:
            self._stays[file.path] = file, why
        return why is None

    def _together(self, files: Sequence[DataFile], most: int) -> list[DataFile]:
        """Take the first files that may be one batch; the others are the next one."""
        if self._taking.fit_together(files[:most]):
            return list(files[:most])
        together: list[DataFile] = []
        for file in files:
            if len(together) < most and self._taking.fit_together([*together, file]):
                together.append(file)
        return together

    def _take(self, ruled: Ruled, files: Sequence[DataFile]) -> bool:
        """Make a job of files; a failure of one holds up no other."""
        first = files[0]
        try:
            self._taking.take(ruled, files)
        except CannotTake as error:
            for file in files:
                self._stays[file.path] = file, str(error)
            return False
        except (Problem, OSError) as error:
            self._delays.hold(first.path, _reason(error))
            self._is_held_up = _holds_up(error)
            return False
        except Exception as error:  # unexpected; the others go on
            log.exception("%s cannot be taken", first.path)
            self._delays.hold(first.path, _reason(error))
            return False
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        log.info("rule %s: %s%s", ruled.name, first.path, more)
        return True


def _holds_up(error: Exception) -> bool:
    """Tell whether the next submission would fail as well."""
    return isinstance(error, Problem) and error.error_type in HOLD_UP


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)
