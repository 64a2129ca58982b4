"""A disk that fails costs nothing: what could not be done is done again."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.faults.failing import FailAt, broken_ledger, full_ledger, io_error, no_space
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
CUTS = 5
"""At the end of each fifth run the power is cut."""
Failure = Callable[[str], BaseException | None]


@dataclass(frozen=True)
class Fault:
    """How a step fails: before or after it takes place, and so many from it on."""

    failure: Failure
    after: bool = False
    lasting: int = 1

    def at(self, step: int) -> FailAt:
        """That this step fails."""
        return FailAt(step, after=self.after, failure=self.failure, lasting=self.lasting)


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
    for at in steps:
        life = Life(folder / f"{at}", beginning(SCENARIOS[name]), swaps)
        end = run_to_the_end(life, fault.at(at))
        also = ALSO.get(name, ())
        told = f"step {at} of {name}"
        check_visible(end[0].tree, life.world, told, live=True)
        check(end[0].tree, life.world, told, also)
        for number, state in enumerate(end):
            if (number and at % CUTS == 0) or not is_clean(state):
                recovered(replace(state, label=told), folder / f"{at}-{number}", swaps, also)
    return len(steps)


def steps_to_fail(folder: Path, name: str, fault: Fault, swaps: Swaps) -> list[int]:
    """One for each place in the program, in each act of the story: the last that is not made, and
    the first that fails though it was made.
    """
    never = fault.at(0)
    run_to_the_end(Life(folder / "clean", beginning(SCENARIOS[name]), swaps), never)
    places = list(enumerate(never.places, 1))
    in_order = places if fault.after else places[::-1]
    return sorted({place: number for number, place in in_order}.values())


def run_to_the_end(life: Life, fail_at: FailAt) -> list[State]:
    """What is there at the end, and what would be after a power cut if that is something else."""
    found: list[State] = []

    def around(what: str) -> Iterator[None]:
        with fail_at.step(what, life.world.done):
            yield

    def look() -> None:
        states: dict[object, State] = {}
        for state in states_of(life, "then", random.Random(0), samples=0):
            states.setdefault(state.as_found(), state)
        found.extend(states.values())

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
