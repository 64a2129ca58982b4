"""The harness's own proof: with any one sync, or the order of two steps, taken out, it objects."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from runner.daemon.receiving.reception import Entries, Reception
from runner.daemon.running.dispatch import Dispatch
from runner.daemon.running.publishing import Publishing
from runner.followers.journal import Journal
from runner.followers.notifications.follower import Notifications, _Result, _Sending
from runner.inbox.claim import Claim, Claims
from runner.inbox.drop import Drop
from runner.jobs import submissions
from runner.jobs.submit import cancel, new_job_id
from runner.outbox.history_folders import HistoryFolders, Retirement
from runner.outbox.placing import Publication
from runner.outbox.publish import Outbox
from runner.state import deliveries
from runner.state.jobs import Job
from runner.system.files.disk import Disk
from runner.system.files.mounts import Anchor
from tests.faults.likeness import Seen
from tests.faults.scenarios import SCENARIOS
from tests.faults.simulated import SimulatedDisk, durable, lay_out
from tests.faults.test_crashes import SAMPLES
from tests.faults.test_errors import FAULTS, fail_everywhere
from tests.faults.world import (
    Life,
    SimulatedLedger,
    Swaps,
    Violation,
    beginning,
    crashes,
    recovered,
)

SYNCS = {
    "submit: folder": "client",
    "submit: bytes": "client",
    "submit: name": "client",
    "cancel: bytes": "cancel of another job",
    "answer to a cancel: bytes": "cancel of another job",
    "claim: settings first": "settings",
    "claim: files": "a drop",
    "claim: folder": "a drop",
    "late settings: folder": "late settings",
    "late settings: bytes": "late settings",
    "late settings: name": "late settings",
    "rule: owner": "a rule",
    "rule: files": "a rule",
    "rule: folder": "a rule",
    "rule: done": "a rule",
    "inputs: folder": "with files",
    "inputs: bytes": "with files",
    "inputs: name": "with files",
    "work folders": "outbox away",
    "kept: bytes": "outbox away",
    "kept: work folder": "outbox away",
    "staged: folder": "files",
    "staged: bytes": "files",
    "staged: files": "files",
    "files: names": "files",
    "published: folder": "settings",
    "published: bytes": "a drop",
    "published: what the report names": "settings",
    "published: report": "a drop",
    "journal: lines": "a journal",
    "journal: name": "a journal",
    "history: folder": "dropped again",
    "history: report first": "dropped again",
    "history: of an earlier try": "dropped again",
}
"""The reason of every sync in the program, and the story that needs it."""

ELSEWHERE = {
    "cancel: name": (
        "a cancel that is lost is one that came too late; see test_what_a_client_was_told"
    ),
}
"""And those whose loss no story feels."""

ALSO = [
    ("files: names", "outbox away"),
    ("history: folder", "litter"),
    ("history: report first", "litter"),
]
"""Other stories that need one of them too, by another way to the same place."""
TWICE = {"history: of an earlier try"}
"""Only needed by a start after a kill that is cut off in turn."""
FAILED = {"history: of an earlier try": "litter", "brought back": "dropped again"}
"""Only needed after something else failed, and the story that needs it then."""
RECOVERY = 20
"""So many states from a start on belong to the recovery, of which the last act is crossed."""


def objection(folder: Path, name: str, swaps: Swaps, *, twice: bool = False) -> str | None:
    """What the harness says against a program that is not right.

    With a sync left out a kill costs nothing, unless the power is cut as well.
    """
    story = SCENARIOS[name]
    if twice:
        story = replace(story, acts=story.acts[:2])
    seen, lacks_sync = Seen(), swaps.deaf is not Swaps.deaf
    try:
        states = crashes(Life(folder / "run", beginning(story), swaps), SAMPLES, name, seen)
        for number, state in enumerate(states):
            if not twice:
                if lacks_sync and state.killed:
                    continue
                recovered(state, folder / str(number), swaps, seen=seen)
            elif state.killed and "(sync)" in state.label and state.world.done == len(story.acts):
                again = crashes(Life(folder / f"{number}", state, swaps), 0, name)
                for nth, second in enumerate(again[:RECOVERY]):
                    recovered(second, folder / f"{number}-{nth}", swaps)
    except Violation as violation:
        return str(violation)
    return None


@pytest.mark.parametrize(("why", "story"), [*SYNCS.items(), *ALSO])
def test_no_sync_can_be_left_out(folder: Path, why: str, story: str) -> None:
    """Each of them keeps a promise."""
    swaps = Swaps(deaf=lambda reason: reason == why)
    assert objection(folder, story, swaps, twice=why in TWICE)


def test_every_sync_is_known(folder: Path) -> None:
    """A new one names the story that needs it."""
    met = set[str]()

    def note(why: str) -> bool:
        met.add(why)
        return False

    for name, scenario in SCENARIOS.items():
        Life(folder / "run", beginning(scenario), Swaps(deaf=note)).run()
        assert met <= {*SYNCS, *ELSEWHERE, *FAILED}, name
    assert {*SYNCS, *ELSEWHERE} - met <= TWICE


@pytest.mark.parametrize("why", FAILED)
def test_what_failed_is_made_good(folder: Path, why: str) -> None:
    """The next attempt finds nothing left to move, or brings back what had been moved, and syncs
    what the last one did not."""
    swaps = Swaps(deaf=lambda reason: reason == why)
    with pytest.raises(Violation):
        fail_everywhere(folder, FAILED[why], FAULTS["EIO"], swaps)


@pytest.mark.parametrize("deaf", [False, True])
def test_what_a_client_was_told(folder: Path, deaf: bool) -> None:
    """A cancel is in the inbox after a power cut once the call returned, thanks to its sync."""
    lay_out({"inbox": None}, folder)
    disk = SimulatedDisk(folder, durable({"inbox": None}))
    disk.deaf = lambda why: deaf and why in ELSEWHERE
    cancel(folder / "inbox", "n", "a" * 32, disk)
    found = [tree.get("inbox/n.cancel") for _, tree in disk.model.survivors(random.Random(0), 0)]
    assert all(content == b"a" * 32 for content in found) is not deaf


# The order of two steps


class ReportFirst(Outbox):
    """Publishes the report before what it names."""

    def __init__(self, folder: Path, disk: Disk, anchor: Anchor | None = None) -> None:
        super().__init__(folder, disk, anchor)
        placing = self._placing
        first, then = placing._place_report, placing._place_what_it_names
        placing._place_report, placing._place_what_it_names = then, first  # type: ignore[method-assign]


class ReportLastFolders(HistoryFolders):
    """Moves the report to the history after what it names."""

    def _move(self, name: str, owner: str, paths: Sequence[Path]) -> Retirement:
        reports = [path for path in paths if path.suffix == ".json"]
        moved: Retirement = ()
        for moving in ([path for path in paths if path not in reports], reports):
            if moving:
                moved += super()._move(name, owner, moving)
        return moved


class ReportLast(Outbox):
    """Has such a history."""

    def __init__(self, folder: Path, disk: Disk, anchor: Anchor | None = None) -> None:
        super().__init__(folder, disk, anchor)
        self._history = ReportLastFolders(self._layout, disk)


class SettingsLast(Claims):
    """Claims a notebook before its settings."""

    def take(self, drop: Drop, job_id: str) -> Claim | None:
        if drop.claim is not None or not drop.settings:
            return super().take(drop, job_id)
        main = replace(drop, settings=())
        claim = super().take(main, job_id)
        assert claim is not None
        for held in drop.settings:
            old = self._inbox / held.sighting.path
            self._disk.rename(old, self._inbox / claim.folder / old.name)
        return replace(claim, drop=drop)


class LateSync(Claims):
    """Does not sync when it is told to."""

    def sync(self, claims: Iterable[Claim]) -> None:
        self.late = list(claims)


class AcceptedFirst(Reception):
    """Accepts claims before they are durable."""

    def count(self, entries: Entries) -> None:
        claims = self._claiming._claims
        assert isinstance(claims, LateSync)
        Claims.sync(claims, claims.late)
        super().count(entries)


class ReleasedFirst(Reception):
    """Removes claims before the ledger has them."""

    def accept(self, claims: Sequence[Claim]) -> Entries:
        self._claiming.remove(claims)
        return super().accept(claims)


class StartedFirst(Dispatch):
    """Executes before it is recorded that it does."""

    def reserve(self) -> None:
        super().reserve()
        self.launch()


class WorkGoneFirst(Publishing):
    """Removes the work folder before its files are published."""

    def _prepare(self, job_id: str) -> Publication:
        self._work.remove(job_id)
        return super()._prepare(job_id)


class LazyLedger(SimulatedLedger):
    """Closes jobs in a commit that need not be durable."""

    _lazy = False

    def published(self, job_id: str, published_at: str, followers: Iterable[str] = ()) -> None:
        self._lazy = True
        super().published(job_id, published_at, followers)

    def commit(self) -> None:
        super().commit()
        self._lazy = False

    def is_durable(self) -> bool:
        return super().is_durable() and not self._lazy


class ClosedWithTheNext(Dispatch):
    """Closes a job in the transaction in which the next of its name starts."""

    def close_published(self) -> None:
        """No look at the inbox comes between."""

    def _record_all(self, *, may_start: bool) -> None:
        self._publishing.record_closed()
        if may_start:
            self.reserve()
        self._endings.record()


class Forgetful(Journal):
    """Does not look what is there already."""

    def _tail(self) -> tuple[int, set[str]]:
        return super()._tail()[0], set()


class ClosedFirst(SimulatedLedger):
    """Closes a job, and writes the rows for its followers in a transaction of its own."""

    def published(self, job_id: str, published_at: str, followers: Iterable[str] = ()) -> None:
        super().published(job_id, published_at)
        self.late = [*getattr(self, "late", []), (job_id, published_at, followers)]

    def commit(self) -> None:
        super().commit()
        late, self.late = getattr(self, "late", []), []
        if late:
            with self.transaction():
                for row in late:
                    deliveries.add(self._db, *row)


class SettledFirst(Journal):
    """Says that it was told before it writes."""

    def deliver(self, jobs: Sequence[Job]) -> None:
        self.late, late = jobs, getattr(self, "late", ())
        if late:
            super().deliver(late)


class NotifiedLate(Notifications):
    """Says that it has notifications before they are recorded."""

    def deliver(self, jobs: Sequence[Job]) -> None:
        self.late, late = jobs, getattr(self, "late", ())
        super().deliver(late)

    def work(self) -> float:
        super().deliver(getattr(self, "late", ()))
        self.late = ()
        return super().work()


class RecordedFirst(Notifications):
    """Records that a notification went before it goes."""

    def _send(self, sending: _Sending) -> None:
        self._record(self._opened(), sending, _Result())
        super()._send(sending)


SWAPPED = {
    "notifications settled before they are recorded": (
        "a notification",
        Swaps(notifications=NotifiedLate),
    ),
    "a notification recorded before it is sent": (
        "a notification",
        Swaps(notifications=RecordedFirst),
    ),
    "a follower that forgets": ("a journal", Swaps(journal=Forgetful)),
    "closed before its followers' rows are there": ("a journal", Swaps(ledger=ClosedFirst)),
    "settled before it is delivered": ("a journal", Swaps(journal=SettledFirst)),
    "the report before its notebook": ("files", Swaps(outbox=ReportFirst)),
    "into the history, the report last": ("dropped again", Swaps(outbox=ReportLast)),
    "the notebook before its settings": ("settings", Swaps(claims=SettingsLast)),
    "accepted before the claim is durable": (
        "a drop",
        Swaps(claims=LateSync, reception=AcceptedFirst),
    ),
    "released before accepted": ("a drop", Swaps(reception=ReleasedFirst)),
    "executed before recorded": ("a drop", Swaps(dispatch=StartedFirst)),
    "the work folder before its files": ("outbox away", Swaps(publishing=WorkGoneFirst)),
    "a ledger with synchronous = NORMAL": ("a drop", Swaps(weak_ledger=True)),
    "closed in the transaction in which the next starts": (
        "dropped again while it runs",
        Swaps(dispatch=ClosedWithTheNext),
    ),
    "closed in a commit that is not durable": (
        "dropped again while it runs",
        Swaps(ledger=LazyLedger),
    ),
}


@pytest.mark.parametrize("swap", SWAPPED)
def test_no_two_steps_can_be_swapped(folder: Path, swap: str) -> None:
    """Each order keeps a promise."""
    name, swaps = SWAPPED[swap]
    assert objection(folder, name, swaps)


def test_the_program_as_it_is_passes_twice(folder: Path) -> None:
    """What is objected to above is the swap's doing, also after two crashes."""
    assert objection(folder, "dropped again", Swaps(), twice=True) is None


def test_an_id_of_its_own_for_each_try_is_objected_to(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One cause is one job since its id follows from it."""
    monkeypatch.setattr(submissions, "id_of_cause", lambda _: new_job_id())
    assert objection(folder, "a cause", Swaps())
