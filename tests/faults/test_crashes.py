"""Nothing is lost and nothing runs twice, wherever the process or the machine stops."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from runner.contract.names import job_name
from runner.daemon.receiving.reception import Entries, Reception
from runner.inbox.claim import Claim
from runner.inbox.drop import DropKind
from runner.outbox.layout import ERROR, RESULT, beside
from runner.state.books.callbacks import CALLBACKS_FILE
from runner.state.books.notifications import NOTIFICATIONS_FILE
from runner.state.listing import LEDGER_FILE
from runner.submitters.schedules.book import BOOK_FILE
from tests.faults.likeness import Seen
from tests.faults.scenarios import SCENARIOS
from tests.faults.world import Life, Swaps, beginning, check, check_clean, crashes, recovered

SAMPLES = 1
"""States in between, for each step, besides the extremes."""
FIRST, SECOND = 2, 8
"""How many crashes are followed by another one, and at how many of its steps."""


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_story_without_a_fault_keeps_its_promises(folder: Path, name: str) -> None:
    """So that what the other tests find is the faults' doing."""
    life = Life(folder / "run", beginning(SCENARIOS[name]))
    life.at_end = lambda: mirrors(life)
    life.run()
    check(life.tree(), life.world, name, ())
    check_clean(life.tree(), name)


class NoOlderResult(Reception):
    """Looks for results of a name while a request of that name leaves the inbox."""

    def accept(self, claims: Sequence[Claim]) -> Entries:
        outbox = self._claiming._history._outbox.folder
        for claim in claims:
            if claim.drop.kind is DropKind.SUBMIT:
                name = job_name(claim.drop.path)
                active = {job.job_id for job in self._ledger.unclosed(name)}
                for end in (RESULT, ERROR):
                    report = beside(outbox / name, end)
                    shown = json.loads(report.read_bytes()) if report.exists() else {}
                    assert active - {shown.get("job_id")} or not shown
        return super().accept(claims)


@pytest.mark.parametrize("name", SCENARIOS)
def test_who_sees_the_request_gone_sees_no_older_result(folder: Path, name: str) -> None:
    """Also if it was dropped the moment that the one before became visible."""
    Life(folder / "run", beginning(SCENARIOS[name]), Swaps(reception=NoOlderResult)).run()


def mirrors(life: Life) -> None:
    """The model is what lies there."""
    records = (LEDGER_FILE, BOOK_FILE, CALLBACKS_FILE, NOTIFICATIONS_FILE)
    real = {
        path.relative_to(life.root).as_posix(): None if path.is_dir() else path.read_bytes()
        for path in life.root.rglob("*")
        if not path.name.startswith(records)
    }
    assert real == life.tree()


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_step_may_be_the_last(folder: Path, name: str) -> None:
    """Killed or cut off before each step, started again: each request has its one result."""
    seen = Seen()
    states = crashes(Life(folder / "run", beginning(SCENARIOS[name])), SAMPLES, name, seen)
    assert len(states) > 20
    for number, state in enumerate(states):
        recovered(state, folder / str(number), seen=seen)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_recovery_may_end_at_any_step_too(folder: Path, name: str) -> None:
    """A second crash, out of all pairs a sample that is the same each time.

    What was not synced before a kill may still be lost by a power cut in the recovery.
    """
    rng = random.Random(f"second {name}")
    first = crashes(Life(folder / "run", beginning(SCENARIOS[name])), 1, name)
    for number, state in enumerate(rng.sample(first, min(FIRST, len(first)))):
        seen = Seen()
        second = crashes(Life(folder / f"{number}", state), 1, f"{name} {number}", seen)
        for nth, again in enumerate(rng.sample(second, min(SECOND, len(second)))):
            recovered(again, folder / f"{number}-{nth}", seen=seen)
