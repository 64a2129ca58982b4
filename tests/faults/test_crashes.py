"""Nothing is lost and nothing runs twice, wherever the process or the machine stops."""

import random
from pathlib import Path

import pytest

from tests.faults.scenarios import SCENARIOS
from tests.faults.world import Life, beginning, check, check_clean, crashes, recovered


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_without_a_fault_keeps_its_promises(tmp_path: Path, name: str) -> None:
    """So that what the other tests find is the faults' doing."""
    life = Life(tmp_path / "run", beginning(SCENARIOS[name]))
    life.run()
    check(life.tree(), life.world, name, crashed=False)
    check_clean(life.tree(), name)


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_step_may_be_the_last(tmp_path: Path, name: str) -> None:
    """Killed or cut off before each step, started again: each request has its one result."""
    states = crashes(Life(tmp_path / "run", beginning(SCENARIOS[name])), 2, name)
    assert len(states) > 40
    for number, state in enumerate(states):
        recovered(state, tmp_path / str(number))
