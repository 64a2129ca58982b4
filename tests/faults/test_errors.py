"""A disk that fails costs nothing: what could not be done is done again."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, groupby, zip_longest
from pathlib import Path

import pytest

from tests.faults.failing import (
    FailAt,
    Step,
    Steps,
    broken_ledger,
    full_ledger,
    io_error,
    no_space,
)
from tests.faults.likeness import Seen, key_of, rows_of
from tests.faults.scenarios import SCENARIOS
from tests.faults.world import (
    Life,
    State,
    Swaps,
    Violation,
    beginning,
    check,
    check_clean,
    check_visible,
    recovered,
    states_of,
)

NEED_SPACE = ("make_folder", "write", "create_whole", "copy", "link", "commit")


def broken(what: str) -> BaseException:
    """EIO, at whatever step."""
    return broken_ledger() if what == "commit" else io_error()


def broken_but_done(what: str) -> BaseException | None:
    """EIO though the change was made; a commit that fails is rolled back."""
    return None if what == "commit" else io_error()


def full(what: str) -> BaseException | None:
    """ENOSPC, at the steps that need space."""
    if what == "commit":
        return full_ledger()
    return no_space() if what in NEED_SPACE else None


ALSO = {"outbox away": ("failed",)}
"""Without the outbox, and with a state folder that fails as well, files are lost and it is said."""
ALONE = ("late settings",)
"""Settings are late for a minute only, and each failure costs half of it."""
Failure = Callable[[str], BaseException | None]


@dataclass(frozen=True)
class Fault:
    """How a step fails: before or after it takes place, and so many from it on."""

    failure: Failure
    after: bool = False
    lasting: int = 1

    def at(self, steps: Iterable[Step]) -> FailAt:
        """That these steps fail."""
        return FailAt(steps, after=self.after, failure=self.failure, lasting=self.lasting)


FAULTS = {
    "EIO": Fault(broken),
    "EIO though done": Fault(broken_but_done, after=True),
    "ENOSPC for a while": Fault(full, lasting=5),
}


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_step_costs_nothing(folder: Path, fault: str, name: str) -> None:
    """Each step of the program fails once in each act of a story: same results, nothing is left.

    No start is needed to get there, but to clean up. And the power may be cut at the end.
    """
    assert fail_everywhere(folder, name, FAULTS[fault], Swaps()) > 5


def fail_everywhere(folder: Path, name: str, fault: Fault, swaps: Swaps) -> int:
    """Give how many steps there were to fail.

    Raises:
        Violation: one of them cost something.
    """
    steps = steps_to_fail(folder, name, fault, swaps)
    failing = Failing(folder, name, fault, swaps)
    groups = [[step] for step in steps] if name in ALONE else far_apart(steps)
    missed = [failing.run(group) for group in groups]
    for step in chain.from_iterable(missed):
        assert not failing.run([step])
    return len(steps)


def far_apart(steps: Sequence[Step]) -> list[list[Step]]:
    """Make groups of them for one run each: in each act one of its first half, and one after it.

    What the first costs is made good before the next comes. If it comes otherwise, so that it is
    missed, it has a run of its own.
    """
    columns: list[list[Step]] = []
    for _, group in groupby(steps, lambda step: step.act):
        act = list(group)
        half = (len(act) + 1) // 2
        columns += [act[:half], act[half:]]
    return [[step for step in row if step is not None] for row in zip_longest(*columns)]


@dataclass(frozen=True)
class Failing:
    """A story with one kind of fault."""

    folder: Path
    name: str
    fault: Fault
    swaps: Swaps
    seen: Seen = field(default_factory=Seen)

    def run(self, steps: Sequence[Step]) -> list[Step]:
        """Let these steps fail; give those that did not come.

        The power is cut at the end, if what is left is not what an earlier run has left.

        Raises:
            Violation: it cost something.
        """
        fail_at = self.fault.at(steps)
        told = f"{self.name}, {' and '.join(map(str, steps))}"
        life = Life(self.folder / "run", beginning(SCENARIOS[self.name]), self.swaps)
        also = ALSO.get(self.name, ())
        end = run_to_the_end(life, fail_at)
        check_visible(life.tree(), life.world, told, live=True)
        check(life.tree(), life.world, told, also)
        for key, state in end:
            if self.seen.is_new(key) and not (state.killed and is_clean(state)):
                recovered(replace(state, label=told), self.folder / "again", self.swaps, also)
        return [*fail_at.due]


def steps_to_fail(folder: Path, name: str, fault: Fault, swaps: Swaps) -> list[Step]:
    """One for each place in the program, in each act of the story: the last that is not made, and
    the first that fails though it was made.
    """
    steps, again = Steps(fault.failure), Steps(fault.failure)
    for one in (steps, again):
        run_to_the_end(Life(folder / "clean", beginning(SCENARIOS[name]), swaps), one)
    assert steps.made == again.made, "a step that comes by chance cannot be made to fail"
    in_order = steps.made[::-1] if fault.after else steps.made
    chosen = {(step.act, step.place): step for step in in_order}
    return [step for step in steps.made if step == chosen[step.act, step.place]]


def run_to_the_end(life: Life, steps: Steps) -> list[tuple[str, State]]:
    """What is there at the end, and what may be after a power cut; each with what it is like."""
    found: list[tuple[str, State]] = []

    def around(what: str) -> Iterator[None]:
        with steps.step(what, life.world.done):
            yield

    def look() -> None:
        rows = rows_of(life.ledger._db)
        for state in states_of(life, "then", random.Random(0), samples=0):
            found.append((key_of(state.tree, rows, state.killed), state))

    life.disk.around = around
    life.at_end = look
    life.run()
    return found


def is_clean(state: State) -> bool:
    try:
        check_clean(state.tree, "at the end")
    except Violation:
        return False
    return True
