"""When is a file whole, and whose turn is it: real files, a clock that the test moves."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from runner.intake.inbox import BATCH_FILES, Drop, DropKind, Inbox, Scan, Trust
from tests.conftest import notebook

RAW = json.dumps(notebook("1")).encode()
NO_LEASES = Trust(leases=False, settle_seconds=0.05, yaml_seconds=10)


@dataclass
class World:
    """An inbox, its clock, and everything that it gave."""

    folder: Path
    inbox: Inbox
    now: float = 0.0

    def scan(self, room: int = 1000) -> Scan:
        found = self.inbox.scan(room)
        for drop in found.drops:
            drop.release()
        return found

    def drops(self, room: int = 1000) -> list[tuple[DropKind, str]]:
        return [(drop.kind, drop.path) for drop in self.scan(room).drops]

    def write(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path


def make(folder: Path, trust: Trust, **more: object) -> World:
    world = World(folder, None)  # type: ignore[arg-type]
    world.inbox = Inbox(
        folder=folder,
        max_bytes=100_000,
        broken_seconds=15,
        ignore=("draft-*",),
        trust=trust,
        clock=lambda: world.now,
        wall=lambda: 10**19,
        **more,  # type: ignore[arg-type]
    )
    return world


@pytest.fixture
def world(tmp_path: Path) -> World:
    """On a local disk, with leases."""
    return make(tmp_path, Trust())


@pytest.fixture
def untrusted(tmp_path: Path) -> World:
    """Where leases cannot be had."""
    return make(tmp_path, NO_LEASES)


SUBMIT = DropKind.SUBMIT


def test_a_whole_notebook_is_taken_at_the_first_look(world: World) -> None:
    """A lease says that nobody writes, and JSON that it is complete."""
    world.write("sub/a.ipynb", RAW)
    assert world.drops() == [(SUBMIT, "sub/a")]


def test_a_file_that_somebody_writes_is_waited_for(world: World) -> None:
    """However long, and although what is there parses already."""
    path = world.write("a.ipynb", RAW)
    with path.open("ab"):
        world.now = 1000.0
        found = world.scan()
        assert found.drops == ()
        assert found.look_again is not None
        assert found.pending == 1
    assert world.drops() == [(SUBMIT, "a")]


def test_no_prefix_of_a_notebook_is_ever_taken(world: World) -> None:
    """Truncated at every offset, with no writer: not before `broken_seconds`."""
    for size in range(len(RAW)):
        world.write(f"p{size}.ipynb", RAW[:size])
    seen = 0
    for _ in range(len(RAW) // BATCH_FILES + 1):
        found = world.scan()
        assert found.drops == ()
        seen = found.pending
    assert seen == len(RAW)
    world.now = 14.9
    assert world.drops() == []
    world.now = 15.1
    taken = world.scan()
    while taken.drops:
        assert all(drop.main.broken for drop in taken.drops)
        seen -= len(taken.drops)
        for drop in taken.drops:
            (world.folder / drop.main.sighting.path).unlink()
        taken = world.scan()
    assert seen == 0


def test_a_broken_file_that_grows_is_not_given_up(world: World) -> None:
    """The time counts from its last change."""
    for size in (10, 20, 30):
        world.write("a.ipynb", RAW[:size])
        assert world.drops() == []
        world.now += 14
    world.write("a.ipynb", RAW)
    assert world.drops() == [(SUBMIT, "a")]


def test_without_leases_two_looks_must_agree(untrusted: World) -> None:
    """50 ms apart; a change in between starts anew."""
    untrusted.write("a.ipynb", RAW)
    first = untrusted.scan()
    assert first.drops == ()
    assert first.look_again == pytest.approx(0.05)
    untrusted.now = 0.06
    untrusted.write("a.ipynb", RAW + b" ")
    assert untrusted.drops() == []
    untrusted.now = 0.12
    assert untrusted.drops() == [(SUBMIT, "a")]


def test_without_leases_yaml_needs_ten_seconds(untrusted: World) -> None:
    """Half of the truncations of a YAML request parse as another request."""
    untrusted.write("a.yaml", b"notebook: x.ipynb\n")
    assert untrusted.drops() == []
    untrusted.now = 9.9
    assert untrusted.drops() == []
    untrusted.now = 10.1
    assert untrusted.drops() == [(SUBMIT, "a")]


def test_a_notebook_waits_for_settings_that_are_being_written(world: World) -> None:
    """They are taken together or not at all."""
    world.write("a.ipynb", RAW)
    settings = world.write("a.yaml", b"parameters: {x: 1}\n")
    with settings.open("ab"):
        assert world.drops() == []
    found = world.scan()
    assert [held.sighting.path for held in found.drops[0].files] == ["a.yaml", "a.ipynb"]


def test_settings_alone_wait_for_their_notebook(world: World) -> None:
    """However often the inbox is scanned meanwhile."""
    world.write("a.yaml", b"parameters: {x: 1}\n")
    for _ in range(3):
        assert world.drops() == []
    world.write("a.ipynb", RAW)
    assert len(world.scan().drops[0].settings) == 1


def test_settings_that_come_late_are_asked_for(tmp_path: Path) -> None:
    """Only while somebody wants them."""
    wanted = make(tmp_path, Trust(), wants_settings=lambda path: path == "a")
    wanted.write("a.yaml", b"parameters: {x: 1}\n")
    wanted.write("b.yaml", b"parameters: {x: 1}\n")
    assert wanted.drops() == [(DropKind.LATE_SETTINGS, "a")]


def test_links_folders_and_pipes_are_never_opened(world: World) -> None:
    """A pipe would block, a link leads elsewhere."""
    target = world.write("real.ipynb", RAW)
    (world.folder / "link.ipynb").symlink_to(target)
    (world.folder / "linked").symlink_to(world.folder)
    (world.folder / "folder.ipynb").mkdir()
    os.mkfifo(world.folder / "pipe.ipynb")
    assert world.drops() == [(SUBMIT, "real")]


def test_names_to_ignore_are_ignored_in_folders_too(world: World) -> None:
    """The built-in list and `intake.ignore`."""
    for name in ("draft-1.ipynb", "draft-x/a.ipynb", ".hidden/a.ipynb", "a.ipynb~", "~a.ipynb"):
        world.write(name, RAW)
    assert world.drops() == []


def test_a_cancel_takes_effect_in_the_order_of_arrival(world: World) -> None:
    """Before a request that came later, after one that came earlier."""
    world.write("a.cancel", b"")
    os.utime(world.folder / "a.cancel")
    world.write("a.ipynb", RAW)
    assert world.drops() == [(DropKind.CANCEL, "a"), (SUBMIT, "a")]
    os.utime(world.folder / "a.cancel")
    world.inbox._memos.clear()
    assert world.drops() == [(SUBMIT, "a"), (DropKind.CANCEL, "a")]


def test_a_cancel_that_is_no_id_is_left_alone(world: World) -> None:
    """It may be somebody's document."""
    world.write("a.cancel", b"dear subscription service,\n")
    assert world.drops() == []


def test_a_listing_is_worked_off_in_batches(world: World) -> None:
    """Every file once, `room` and the batch's size kept, and told that there is more."""
    for number in range(300):
        world.write(f"n{number:03}.ipynb", RAW)
    sizes, names = [], []
    while True:
        found = world.scan(room=100)
        sizes.append(len(found.drops))
        names += [drop.path for drop in found.drops]
        for drop in found.drops:
            (world.folder / drop.main.sighting.path).unlink()
        if found.look_again is None:
            break
        assert found.look_again == 0.0
    assert max(sizes) == 100
    assert sorted(names) == [f"n{number:03}" for number in range(300)]


def test_no_descriptor_is_left_open(world: World) -> None:
    """Whatever becomes of a file: taken, waited for, left alone."""
    before = len(os.listdir("/proc/self/fd"))
    world.write("a.ipynb", RAW)
    world.write("b.ipynb", RAW[:50])
    world.write("c.json", b"[]")
    world.write("d.yaml", b"parameters: {}\n")
    for _ in range(3):
        world.scan()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_cannot_be_read_is_told_and_retried(world: World) -> None:
    """Seen in `troubles`, and taken as soon as it can be."""
    path = world.write("a.ipynb", RAW)
    real = os.open

    def refuse(*arguments: object, **more: object) -> int:
        raise PermissionError(13, "Permission denied")

    os.open = refuse
    try:
        found = world.scan()
    finally:
        os.open = real
    assert found.drops == ()
    assert world.inbox.troubles == {"a.ipynb": "Permission denied"}
    assert path.exists()
    assert world.drops() == [(SUBMIT, "a")]
    assert world.inbox.troubles == {}


def test_what_lies_in_a_claim_folder_is_looked_at_again(world: World) -> None:
    """It keeps the id that the folder's name tells, and the name that it had."""
    job_id = "0" * 32
    world.write(f"sub/.claim-{job_id}/a.ipynb", RAW)
    (world.folder / f".claim-{'1' * 32}").mkdir()
    found = world.scan()
    drop: Drop = found.drops[0]
    assert (drop.path, drop.claim) == ("sub/a", f"sub/.claim-{job_id}")
    assert found.abandoned == (f".claim-{'1' * 32}",)


def test_a_cancel_is_taken_when_there_is_no_room(world: World) -> None:
    """It is what makes room; requests stay where they are, and are found later."""
    world.write("a.ipynb", RAW)
    world.write("b.cancel", b"")
    assert world.drops(room=0) == [(DropKind.CANCEL, "b")]
    (world.folder / "b.cancel").unlink()
    assert world.drops(room=0) == []
    assert world.drops(room=1) == [(SUBMIT, "a")]
