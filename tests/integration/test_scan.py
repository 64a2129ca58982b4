"""When is a file whole, and whose turn is it: real files, a clock that the test moves."""

import json
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from runner.contract.rules import BundleLimits
from runner.inbox.drop import Drop, DropKind, Scan
from runner.inbox.scanning.decision import SettingsWait
from runner.inbox.scanning.inspection import Bounds, Trust
from runner.inbox.scanning.preview import left_alone
from runner.inbox.scanning.scan import BATCH_FILES, Inbox, Selection, never_late
from runner.inbox.unclaimed import Reason, notes_of
from runner.system.clocks import Clocks
from runner.system.files.disk import Disk, is_whole
from runner.system.processes.side_process import SideProcess
from tests.conftest import notebook, wait_for

RAW = json.dumps(notebook("1")).encode()
BOUNDS = Bounds(100_000, broken_seconds=15)
NO_LEASES = Trust(leases=False, settle_seconds=0.05, yaml_seconds=10)


@dataclass
class World:
    """An inbox, its clock, and everything that it gave."""

    folder: Path
    inbox: Inbox
    now: float = 0.0

    def scan(self, room: int = 1000) -> Scan:
        found = self.inbox.scan(room) if room else self.inbox.scan_cancels()
        for drop in found.drops:
            drop.release()
        return found

    def drops(self, room: int = 1000) -> list[tuple[DropKind, str]]:
        return [(drop.kind, drop.path) for drop in self.scan(room).drops]

    def read_aside(self, name: str, content: bytes) -> Drop:
        """What a file becomes that no scan reads itself, to be released; the file is gone then."""
        path = self.write(name, content)
        assert self.inbox.scan(100).drops == ()
        drop: Drop = wait_for(lambda: self.inbox.scan(100).drops)[0]
        path.unlink()
        return drop

    def write(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path


def make(
    folder: Path,
    trust: Trust,
    bounds: Bounds = BOUNDS,
    settings_wait: SettingsWait = never_late,
    wall_ns: Callable[[], int] = lambda: 10**19,
) -> World:
    world = World(folder, None)  # type: ignore[arg-type]
    clocks = Clocks(seconds=lambda: world.now, wall_ns=wall_ns)
    selection = Selection(bounds, ignore=("draft-*",))
    world.inbox = Inbox(folder, selection, clocks, trust, settings_wait)
    return world


@pytest.fixture
def world(tmp_path: Path) -> World:
    """On a local disk, with leases."""
    return make(tmp_path, Trust())


def test_what_a_client_made_in_one_piece_is_taken_at_once(tmp_path: Path) -> None:
    """A file of anybody else waits a moment: it may still get its mode, or its neighbour."""
    asked, made = b'{"notebook": "a.ipynb"}', tmp_path / "made.json"
    Disk().create_whole(made, asked, "test")
    if not is_whole(made):
        pytest.skip("no extended attributes here")
    world = make(tmp_path, Trust(), wall_ns=lambda: made.lstat().st_ctime_ns + 1)
    assert world.drops() == [(DropKind.SUBMIT, "made")]
    made.unlink()
    copied = world.write("copied.json", asked)
    world = make(tmp_path, Trust(), wall_ns=lambda: copied.lstat().st_ctime_ns + 1)
    assert world.drops() == []
    assert make(tmp_path, Trust()).drops() == [(DropKind.SUBMIT, "copied")]


@pytest.fixture
def large(tmp_path: Path) -> World:
    """Where large files are taken, and broken ones at once."""
    return make(tmp_path, Trust(), Bounds(5_000_000, broken_seconds=0))


@pytest.fixture
def untrusted(tmp_path: Path) -> World:
    """Where leases cannot be had."""
    return make(tmp_path, NO_LEASES)


def left(world: World) -> list[tuple[str, Reason]]:
    """What stays, by the last look."""
    return [(one.path, one.reason) for one in world.inbox.waiting.files]


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
        assert all(drop.main.contents.broken for drop in taken.drops)
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


MANY_LISTS = (
    b'{"cells": [{"cell_type": "code", "source": ""}], "x": [' + b"[]," * 1_600_000 + b"[]]}"
)
ASIDE: dict[str, tuple[bytes, str | None]] = {
    "fine.yaml": (
        b"notebook: x.ipynb\nparameters: {a: [" + b"1, " * 20_000 + b"1]}\n",
        None,
    ),
    "many.yaml": (b"notebook: [" + b"1," * 400_000 + b"1]", "more than 200000 keys and values"),
    "fine.ipynb": (MANY_LISTS, None),
    "many.ipynb": (MANY_LISTS[:-1], "Expecting ',' delimiter"),
    "carried.json": (b'{"notebook": ' + MANY_LISTS + b', "parameters": {"n": 1}}', None),
    "digits.json": (
        b'{"notebook": "x.ipynb", "parameters": {"n": [' + b"1" * 3000 + b"]}}" + b" " * 50_000,
        None,
    ),
}
"""What takes long to read, and what is wrong with it."""


@pytest.mark.parametrize("name", ASIDE)
def test_what_is_slow_to_read_is_read_beside_the_scan(large: World, name: str) -> None:
    """Whatever it holds, a scan does not wait for it; what was read is taken then, once."""
    content, broken = ASIDE[name]
    drop = large.read_aside(name, content)
    contents = drop.main.contents
    assert broken in contents.broken if contents.broken and broken else contents.broken is broken
    assert (contents.request is None) is (broken is not None or name == "fine.ipynb")
    if name == "carried.json":
        assert contents.notebook is not None
        assert json.loads(contents.notebook) == json.loads(content)["notebook"]
    drop.release()


def test_a_file_that_ends_its_reader_is_refused(
    large: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the next one finds a reader again."""
    reader = large.inbox._inspection._documents._reader
    monkeypatch.setattr(reader, "_process", SideProcess("no.such.module", 60))
    drop = large.read_aside("a.ipynb", MANY_LISTS)
    assert "cannot be read: it takes more memory than it may" in (drop.main.contents.broken or "")
    drop.release()
    monkeypatch.undo()
    drop = large.read_aside("b.ipynb", MANY_LISTS)
    assert drop.main.contents.broken is None
    drop.release()


def test_settings_under_the_notebooks_whole_name_are_told_theirs(world: World) -> None:
    """They wait for an `a.ipynb.ipynb` that nobody will drop."""
    world.write("a.ipynb.yaml", b"parameters: {x: 1}\n")
    assert world.drops() == []
    [one] = world.inbox.waiting.files
    assert (one.reason, one.detail) == (
        Reason.SETTINGS,
        "those of 'a.ipynb' are called 'a.yaml'",
    )


def test_an_archive_with_notebooks_in_folders_says_how_to_name_one(tmp_path: Path) -> None:
    """As GitHub packs a repository."""
    with zipfile.ZipFile(tmp_path / "repo.zip", "w") as archive:
        archive.writestr("repo-main/README.md", "x")
        archive.writestr("repo-main/notebooks/a.ipynb", RAW)
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("a.csv", "x")
    stays = left_alone(tmp_path, ["repo.zip", "data.zip"], BundleLimits())
    assert "`notebook: notebooks/a.ipynb`" in stays["repo.zip"].detail
    assert stays["data.zip"].detail == "it has no notebook or request.yaml in it"


def test_settings_alone_wait_for_their_notebook(world: World) -> None:
    """However often the inbox is scanned meanwhile."""
    world.write("a.yaml", b"parameters: {x: 1}\n")
    for _ in range(3):
        assert world.drops() == []
    world.write("a.ipynb", RAW)
    assert len(world.scan().drops[0].settings) == 1


def test_settings_that_come_late_wait_as_long_as_they_are_told_to(tmp_path: Path) -> None:
    """Then they are given as such; those of which nobody knows wait for their notebook."""
    told: dict[str, float | None] = {"a": 5.0, "b": None}
    asked = make(tmp_path, Trust(), settings_wait=lambda path, _age: told[path])
    asked.write("a.yaml", b"parameters: {x: 1}\n")
    asked.write("b.yaml", b"parametres: {x: 1}\n")
    scan = asked.scan()
    assert (scan.drops, scan.look_again) == ((), 5.0)
    assert (
        "Unknown key `parametres`"
        in {one.path: one.text for one in asked.inbox.waiting.files}["b.yaml"]
    )
    assert scan.lone_settings == (("a", "a.yaml"),)
    assert left(asked) == [("a.yaml", Reason.SETTINGS), ("b.yaml", Reason.SETTINGS)]
    told["a"] = 0.0
    assert asked.drops() == [(DropKind.LATE_SETTINGS, "a")]


def test_how_long_ago_settings_came_is_told(tmp_path: Path) -> None:
    """By the clock that only goes forward, since a share may have another time of day."""
    ages: list[float] = []

    def wait(_path: str, age: float) -> float:
        ages.append(age)
        return 1.0

    asked = make(tmp_path, NO_LEASES, settings_wait=wait)
    asked.write("a.json", b'{"parameters": {}}')
    asked.drops()
    asked.now = 7.0
    asked.drops()
    assert ages == [7.0]


def test_links_folders_and_pipes_are_never_opened(world: World) -> None:
    """A pipe would block, a link leads elsewhere."""
    target = world.write("real.ipynb", RAW)
    (world.folder / "link.ipynb").symlink_to(target)
    (world.folder / "linked").symlink_to(world.folder)
    (world.folder / "folder.ipynb").mkdir()
    os.mkfifo(world.folder / "pipe.ipynb")
    assert world.drops() == [(SUBMIT, "real")]


def test_names_to_ignore_are_ignored_in_folders_too(world: World) -> None:
    """The built-in list and `intake.ignore`; a folder is named, and nothing in it."""
    for name in ("draft-1.ipynb", "draft-x/a.ipynb", ".hidden/a.ipynb", "a.ipynb~", "~a.ipynb"):
        world.write(name, RAW)
    world.write("@Recycle/a.ipynb", RAW)
    world.write("lost+found/deep/a.ipynb", RAW)
    assert world.drops() == []
    assert dict(left(world)) == {
        "draft-1.ipynb": Reason.IGNORED,
        "draft-x/": Reason.IGNORED,
        ".hidden/": Reason.HIDDEN,
        "a.ipynb~": Reason.UNFINISHED,
        "~a.ipynb": Reason.HIDDEN,
        "@Recycle/": Reason.SYSTEM,
        "lost+found/": Reason.SYSTEM,
    }


def test_whatever_stays_is_listed_with_its_reason(world: World) -> None:
    """Each kind, once taken as it is; what is ours is not listed."""
    target = world.write("real.txt", b"")
    (world.folder / "link.ipynb").symlink_to(target)
    (world.folder / "linked").symlink_to(world.folder)
    os.mkfifo(world.folder / "pipe.ipynb")
    world.write("/".join(["d"] * 33) + "/deep.ipynb", RAW)
    world.write("list.json", b'[{"notebook": "a.ipynb"}]')
    world.write("number.json", b"7")
    world.write("mail.cancel", b"dear subscription service,\n")
    world.write("alone.yaml", b"parameters: {}\n")
    world.write("Untitled.ipynb", json.dumps(notebook("")).encode())
    world.write("C4E439~4", RAW)
    world.write("half.ipynb", RAW[:50])
    world.write("a.sync-conflict-20260101-120000-ABCDEFG.ipynb", RAW)
    world.write("a-checkpoint.ipynb", RAW)
    world.write("caf\udce9.txt", b"")
    (world.folder / ".refused").mkdir()
    for _ in range(2):
        assert world.drops() == []
        found = {one.path: one for one in world.inbox.waiting.files}
        assert {path: one.reason for path, one in found.items()} == {
            "real.txt": Reason.OTHER,
            "link.ipynb": Reason.LINK,
            "linked": Reason.LINK,
            "pipe.ipynb": Reason.NO_FILE,
            "/".join(["d"] * 33) + "/": Reason.TOO_DEEP,
            "list.json": Reason.NO_REQUEST,
            "number.json": Reason.NO_REQUEST,
            "mail.cancel": Reason.NO_CANCEL,
            "alone.yaml": Reason.SETTINGS,
            "Untitled.ipynb": Reason.UNTITLED,
            "C4E439~4": Reason.MANGLED_NAME,
            "half.ipynb": Reason.INCOMPLETE,
            "a.sync-conflict-20260101-120000-ABCDEFG.ipynb": Reason.CONFLICT,
            "a-checkpoint.ipynb": Reason.CHECKPOINT,
            "caf\\xe9.txt": Reason.OTHER,
        }
    assert world.inbox.waiting.count == len(found)
    assert "a list of requests" in found["list.json"].text
    assert all(one.since.startswith("20") and one.advice for one in found.values())
    assert [one.path for one in found.values()][:2] == ["C4E439~4", "/".join(["d"] * 33) + "/"]


def test_what_is_listed_is_bounded_and_counted(world: World) -> None:
    """What may need somebody is listed first, however much else lies there."""
    for number in range(1_100):
        world.write(f"photo{number}.jpg", b"")
    world.write("list.json", b"[]")
    world.drops()
    assert left(world)[0] == ("list.json", Reason.NO_REQUEST)
    assert (len(world.inbox.waiting.files), world.inbox.waiting.count) == (1_000, 1_101)


def test_what_waits_for_a_minute_is_said_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log, and as a note for health."""
    path = world.write("slow.ipynb", RAW)
    with path.open("ab"):
        world.drops()
        assert list(notes_of(world.inbox.waiting)) == []
        for world.now in (59, 61, 130):
            world.drops()
    assert caplog.text.count("'slow.ipynb' waits in the inbox for more than a minute") == 1
    note = next(iter(notes_of(world.inbox.waiting)))
    assert "'slow.ipynb' stays in the inbox: somebody has it open for writing" in note
    assert world.drops() == [(SUBMIT, "slow")]
    assert list(notes_of(world.inbox.waiting)) == []


def test_a_notebook_without_code_is_taken_once_it_is_quiet(world: World) -> None:
    """Somebody may write on; a change starts the time anew. Only an empty `Untitled` stays."""
    prose = notebook({"cell_type": "markdown", "source": "x", "metadata": {}})
    world.write("prose.ipynb", json.dumps(prose).encode())
    world.write("Untitled.ipynb", json.dumps(notebook("")).encode())
    found = world.scan()
    assert (found.drops, found.look_again) == ((), 10)
    world.now = 9.0
    prose["cells"][0]["source"] = "y"
    world.write("prose.ipynb", json.dumps(prose).encode())
    assert world.drops() == []
    world.now = 18.0
    assert world.drops() == []
    assert ("prose.ipynb", Reason.NO_CODE) in left(world)
    world.now = 19.0
    assert world.drops() == [(SUBMIT, "prose")]
    world.now = 1000.0
    assert left(world) == [("Untitled.ipynb", Reason.UNTITLED)]


@pytest.mark.parametrize(
    "part",
    ["a.part", "a.Xy12.ipynb.part", "a.ipynb.crdownload", "Unconfirmed 12.crdownload"],
)
def test_a_browsers_placeholder_waits_for_its_download(world: World, part: str) -> None:
    """It is empty, and would be answered as broken."""
    world.write("a.ipynb", b"")
    world.write(part, RAW)
    for world.now in (0.0, 100.0):
        assert world.drops() == []
    assert left(world)[0] == ("a.ipynb", Reason.DOWNLOAD)
    (world.folder / part).rename(world.folder / "a.ipynb")
    assert world.drops() == [(SUBMIT, "a")]


def test_a_download_with_gaps_waits_for_its_end(world: World) -> None:
    """aria2 fills the file itself, and nobody has it open while the download is paused."""
    world.write("a.ipynb", RAW[: len(RAW) // 2].ljust(len(RAW), b"\0"))
    world.write("a.ipynb.aria2", b"\0\1")
    for world.now in (0.0, 100.0):
        assert world.drops() == []
    assert ("a.ipynb", Reason.DOWNLOAD) in left(world)
    world.write("a.ipynb", RAW)
    (world.folder / "a.ipynb.aria2").unlink()
    assert world.drops() == [(SUBMIT, "a")]


def test_a_whole_file_waits_for_no_control_file_that_was_left_behind(world: World) -> None:
    """Some programs that use aria2 keep them."""
    world.write("a.ipynb", RAW)
    world.write("a.ipynb.aria2", b"\0\1")
    assert world.drops() == [(SUBMIT, "a")]


def test_safaris_folder_is_a_download_too(world: World) -> None:
    """The file in it is not whole, and its name beside it may be empty."""
    world.write("a.ipynb.download/a.ipynb", RAW)
    assert world.drops() == []
    assert left(world) == [("a.ipynb.download/", Reason.UNFINISHED)]


def test_a_folder_that_cannot_be_read_is_said_once(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the log, and in what health notes for as long as it is so."""
    world.write("private/a.ipynb", RAW)
    world.write("b.ipynb", RAW)
    real = os.scandir

    def refuse(path: str | Path) -> object:
        if str(path).endswith("private"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    for _ in range(3):
        assert world.drops() == [(SUBMIT, "b")]
        assert left(world) == [("private/", Reason.UNREADABLE)]
    assert caplog.text.count("'private/' stays in the inbox") == 1
    assert "'private/' stays in the inbox" in next(iter(notes_of(world.inbox.waiting)))


def test_a_name_that_a_share_cannot_say_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listed, and not there: once that is a file that just went, twice it is its name."""
    world.write("gone?.ipynb", RAW)
    real = os.scandir

    class Nameless:
        name = "gone?.ipynb"

        def is_dir(self, *, follow_symlinks: bool) -> bool:
            return False

        def is_file(self, *, follow_symlinks: bool) -> bool:
            return True

        def stat(self, *, follow_symlinks: bool) -> os.stat_result:
            raise FileNotFoundError(2, "No such file or directory")

    @contextmanager
    def listing(path: Path) -> Iterator[list[Nameless]]:
        with real(path):
            yield [Nameless()]

    monkeypatch.setattr(os, "scandir", listing)
    assert (world.drops(), left(world)) == ([], [])
    assert (world.drops(), left(world)) == ([], [("gone?.ipynb", Reason.LOST_NAME)])


def test_a_mount_with_changing_inode_numbers_is_compared_by_size_and_time(tmp_path: Path) -> None:
    """As rclone's: a file has another number at each look, and is taken all the same."""
    untrusted = make(tmp_path, NO_LEASES)
    path = untrusted.write("a.ipynb", RAW)
    times = path.stat().st_mtime_ns
    for untrusted.now in (0.0, 0.04):
        assert untrusted.drops() == []
        path.unlink()
        untrusted.write("other", b"")
        untrusted.write("a.ipynb", RAW)
        os.utime(path, ns=(times, times))
    untrusted.now = 0.06
    drop = untrusted.inbox.scan(10).drops[0]
    copy = untrusted.write("copy", RAW)
    os.utime(copy, ns=(times, times))
    assert drop.main.intact(copy)
    os.utime(copy)
    assert drop.main.intact(copy)
    copy.write_bytes(RAW.replace(b"1", b"2"))
    assert not drop.main.intact(copy)
    drop.release()


def test_a_cancel_takes_effect_in_the_order_of_arrival(world: World) -> None:
    """Before a request that came later, after one that came earlier."""
    world.write("a.cancel", b"")
    os.utime(world.folder / "a.cancel")
    world.write("a.ipynb", RAW)
    assert world.drops() == [(DropKind.CANCEL, "a"), (SUBMIT, "a")]
    os.utime(world.folder / "a.cancel")
    assert make(world.folder, Trust()).drops() == [(SUBMIT, "a"), (DropKind.CANCEL, "a")]


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
    assert left(world) == [("a.ipynb", Reason.UNREADABLE)]
    assert "Permission denied" in world.inbox.waiting.files[0].text
    assert path.exists()
    assert world.drops() == [(SUBMIT, "a")]
    assert left(world) == []


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


def test_a_time_of_change_that_comes_and_goes_is_settled_by_the_bytes(tmp_path: Path) -> None:
    """As on `rclone mount`, which shows the present for what it has not uploaded yet.

    A file that is filled at its full size is none of these.
    """
    untrusted = make(tmp_path, NO_LEASES)
    path = untrusted.write("a.ipynb", RAW)
    filled = untrusted.write("filled.ipynb", RAW[:-3] + b"   ")
    taken: list[tuple[DropKind, str]] = []
    for look in range(5):
        untrusted.now = look * 0.04
        for one in (path, filled):
            os.utime(one, ns=(look * 10**9, look * 10**9))
        if look == 3:
            filled.write_bytes(RAW)
        taken = untrusted.drops()
        if taken:
            break
    assert (taken, look) == ([(SUBMIT, "a")], 3)
    path.unlink()
    for look in range(4, 9):
        untrusted.now = look * 0.04
        os.utime(filled, ns=(look * 10**9, look * 10**9))
        taken = untrusted.drops()
        if taken:
            break
    assert (taken, look) == ([(SUBMIT, "filled")], 5)


NFC, NFD = "Bericht \u00e4", "Bericht a\u0308"


@pytest.mark.parametrize(("first", "second"), [(NFC, NFD), (NFD, NFC)])
def test_accented_settings_belong_to_their_notebook_however_they_are_written(
    world: World, first: str, second: str
) -> None:
    """One character or two for a letter; the request has the notebook's spelling."""
    world.write(f"{first}.yaml", b"parameters: {x: 1}\n")
    assert world.drops() == []
    world.write(f"{second}.ipynb", RAW)
    drop = world.scan().drops[0]
    assert (drop.path, len(drop.settings)) == (second, 1)


def test_every_notebook_of_one_name_is_taken_one_after_the_other(world: World) -> None:
    """`Report.IPYNB` from Windows beside `Report.ipynb`, and one whose suffix is `.json`."""
    names = {"a.ipynb", "a.IPYNB", "a.json"}
    for name in names:
        world.write(name, RAW)
    taken: list[str] = []
    for _ in range(3):
        found = world.scan()
        (drop,) = found.drops
        assert (found.look_again is None) == (len(taken) == 2)
        assert {reason for _, reason in left(world)} <= {Reason.NEIGHBOUR}
        (world.folder / drop.main.sighting.path).unlink()
        taken.append(drop.main.sighting.path)
    assert set(taken) == names
    assert world.drops() == []


def test_notebooks_that_differ_in_spelling_only_stay_two(world: World) -> None:
    """Each with the settings that are written as it is."""
    for name in (NFC, NFD):
        world.write(f"{name}.ipynb", RAW)
        world.write(f"{name}.yaml", b"parameters: {x: 1}\n")
    assert sorted((drop.path, len(drop.settings)) for drop in world.scan().drops) == [
        (NFD, 1),
        (NFC, 1),
    ]
