"""Publication: whole or not at all, repeatable after any failure, never over somebody's files."""

import contextlib
import errno
import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import pytest

from runner.outbox.placing import Publication
from runner.outbox.publish import Outbox, OutboxGone
from runner.outbox.reader import OutboxReader
from runner.system.files.disk import Disk
from runner.system.files.output_folder import FileCaps
from tests.faults.failing import Crash, FailingDisk, no_space

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CAPS = FileCaps(1000, 10)
ID = "ab" * 16
OTHER = "cd" * 16


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    (folder / "sub").mkdir(parents=True)
    (folder / "table.csv").write_text("a,b\n")
    (folder / "sub" / "plot.png").write_bytes(b"png")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    outbox = tmp_path / "outbox"
    outbox.mkdir()
    return outbox


def publication(outbox: Outbox, work: Path, job_id: str = ID, name: str = "sub/n") -> Publication:
    staged = outbox.stage(job_id, work, CAPS, name)
    report = json.dumps({"job_id": job_id, "name": name}).encode()
    return Publication(job_id, name, True, report, b"{}", staged.files)


def publish(outbox: Outbox, new: Publication) -> list[str]:
    """Publish it alone; the warnings."""
    (placed,) = outbox.publish([new])
    if placed.error is not None:
        raise placed.error
    return placed.warnings


def visible(folder: Path) -> set[str]:
    """Everything outside the hidden folders."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in found if not path.parts[0].startswith(".")}


WHOLE = {"sub/n.result.json", "sub/n.ipynb", "sub/n.files/table.csv", "sub/n.files/sub/plot.png"}


def test_everything_is_there_when_the_report_is(folder: Path, work: Path) -> None:
    """And nothing is left in the staging folder."""
    outbox = Outbox(folder, Disk())
    new = publication(outbox, work)
    assert visible(folder) == set()
    assert publish(outbox, new) == []
    assert visible(folder) == WHOLE
    assert not list((folder / ".staging").iterdir())
    assert [file.path for file in new.files] == [
        "sub/n.files/sub/plot.png",
        "sub/n.files/table.csv",
    ]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("failure", [Crash, no_space])
def test_publication_can_be_repeated_after_any_failure(
    folder: Path, work: Path, after: bool, failure: Callable[[], BaseException]
) -> None:
    """At each change, before and after it, the report is visible only with all it names.

    A second attempt completes it, and brings nothing twice.
    """
    at, clean = 0, False
    while not clean:
        at += 1
        for path in list(folder.iterdir()):
            Disk().remove_tree(path)
        new = publication(Outbox(folder, Disk()), work)
        disk = FailingDisk(at, after=after, failure=failure)
        with contextlib.suppress(Crash, OSError):
            publish(Outbox(folder, disk), new)
        clean = disk.is_clean
        if "sub/n.result.json" in visible(folder):
            assert visible(folder) == WHOLE, f"change {at}"
        assert publish(Outbox(folder, Disk()), new) == [], f"change {at}"
        assert visible(folder) == WHOLE, f"change {at}"
        assert not (folder / ".history").exists(), f"change {at}"
    assert at > 5


@pytest.mark.parametrize("after", [False, True])
def test_retiring_can_be_repeated_after_any_failure(folder: Path, work: Path, after: bool) -> None:
    """The files of one run end up together in its history folder."""
    at, clean = 0, False
    while not clean:
        at += 1
        for path in list(folder.iterdir()):
            Disk().remove_tree(path)
        outbox = Outbox(folder, Disk())
        publish(outbox, publication(outbox, work))
        disk = FailingDisk(at, after=after, failure=Crash)
        with contextlib.suppress(Crash):
            Outbox(folder, disk).retire("sub/n", ID, NOW)
        clean = disk.is_clean
        outbox.retire("sub/n", ID, NOW)
        assert visible(folder) == set()
        history = {p.name for p in (folder / ".history" / "sub" / "n" / ID).iterdir()}
        assert history == {"n.result.json", "n.ipynb", "n.files"}, f"change {at}"


def test_files_of_somebody_else_are_moved_and_never_overwritten(folder: Path, work: Path) -> None:
    """Whatever lies at those places."""
    outbox = Outbox(folder, Disk())
    new = publication(outbox, work, name="n")
    (folder / "n.ipynb").write_text("mine")
    (folder / "n.error.json").write_text("mine too")
    (folder / "n.files").mkdir()
    warnings = publish(outbox, new)
    assert "n.ipynb" in warnings[0]
    kept = next((folder / ".history" / "n").glob("unknown-*"))
    assert (kept / "n.ipynb").read_text() == "mine"
    assert (kept / "n.error.json").read_text() == "mine too"
    assert (folder / "n.result.json").exists()


def test_a_report_of_an_unknown_job_is_not_filed_under_a_known_one(folder: Path) -> None:
    """The ledger does not know it, so it goes to `unknown-TIME`."""
    (folder / "n.result.json").write_text(json.dumps({"job_id": OTHER}))
    Outbox(folder, Disk()).retire("n", ID, NOW)
    assert (folder / ".history" / "n" / "unknown-20260102T030405" / "n.result.json").exists()


def test_caps_leave_files_out_with_a_warning(folder: Path, work: Path) -> None:
    """By size and by number; the rest is published."""
    (work / "large.bin").write_bytes(b"x" * 2000)
    staged = Outbox(folder, Disk()).stage(ID, work, CAPS, "n")
    assert {file.path for file in staged.files} == {"n.files/table.csv", "n.files/sub/plot.png"}
    assert "large.bin" in staged.warnings[0]
    few = Outbox(folder, Disk()).stage(ID, work, FileCaps(10_000, 1), "n")
    assert len(few.files) == 1
    assert len(few.warnings) == 2


def test_links_and_pipes_are_not_published(folder: Path, work: Path, tmp_path: Path) -> None:
    """A link could lead to anything that the runner may read."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (work / "link").symlink_to(secret)
    (work / "linked").symlink_to(tmp_path)
    os.mkfifo(work / "pipe")
    staged = Outbox(folder, Disk()).stage(ID, work, CAPS, "n")
    assert {file.path for file in staged.files} == {"n.files/table.csv", "n.files/sub/plot.png"}


def test_a_survey_gives_what_staging_would(folder: Path, work: Path) -> None:
    """So that an outcome can be sealed while the outbox cannot take its files."""
    outbox = Outbox(folder, Disk())
    assert outbox.survey(work, CAPS, "n") == outbox.stage(ID, work, CAPS, "n")


def test_nothing_is_written_where_the_outbox_is_gone(folder: Path, work: Path) -> None:
    """The folder is never made again."""
    outbox = Outbox(folder, Disk())
    new = publication(outbox, work)
    moved = folder.with_name("moved")
    folder.rename(moved)
    with pytest.raises(OutboxGone):
        publish(outbox, new)
    with pytest.raises(OutboxGone):
        outbox.status("n", {})
    assert not folder.exists()
    moved.rename(folder)
    publish(outbox, new)
    assert visible(folder) == WHOLE


def test_reports_are_found_by_job_also_in_the_history(folder: Path, work: Path) -> None:
    """Who waits for one job waits for its id."""
    outbox, reader = Outbox(folder, Disk()), OutboxReader(folder)
    publish(outbox, publication(outbox, work, ID))
    outbox.retire("sub/n", ID, NOW)
    assert reader.current("sub/n") is None
    publish(outbox, publication(outbox, work, OTHER))
    for job_id in (ID, OTHER):
        found = reader.of_job("sub/n", job_id)
        assert found is not None
        assert found.content["job_id"] == job_id
    assert reader.of_job("sub/n", "ef" * 16) is None


@pytest.mark.parametrize("content", [None, b"[" * 100_000], ids=["pipe", "deep"])
def test_what_is_no_report_holds_up_nobody(folder: Path, work: Path, content: bytes | None) -> None:
    """A pipe in its place has nobody who writes to it; a nested list has no end."""
    outbox = Outbox(folder, Disk())
    publish(outbox, publication(outbox, work, name="n"))
    place = folder / "n.result.json"
    place.unlink()
    if content is None:
        os.mkfifo(place)
    else:
        place.write_bytes(content)
    found: list[object] = []

    def look() -> None:
        found.append(OutboxReader(folder).current("n"))
        outbox.retire("n", ID, NOW)
        found.append(visible(folder))

    looking = Thread(target=look, daemon=True)
    looking.start()
    looking.join(90)
    assert found == [None, set()]
    assert list((folder / ".history" / "n").glob("unknown-*/n.result.json"))


def test_pruning_removes_one_run_and_empty_folders(folder: Path, work: Path) -> None:
    """Other runs of the name stay."""
    outbox = Outbox(folder, Disk())
    for job_id in (ID, OTHER):
        publish(outbox, publication(outbox, work, job_id))
        outbox.retire("sub/n", job_id, NOW)
    outbox.prune("sub/n", ID)
    assert [p.name for p in (folder / ".history" / "sub" / "n").iterdir()] == [OTHER]
    outbox.prune("sub/n", OTHER)
    assert not (folder / ".history" / "sub").exists()


class Picky(Disk):
    """A disk that takes some names only, as that of a share may; cases are one to it."""

    def copy(self, source: int, target: Path, why: str) -> Iterator[bytes]:
        if ":" in target.name:
            raise OSError(errno.EINVAL, "Invalid argument")
        if target.parent.is_dir():
            names = {path.name.lower() for path in target.parent.iterdir()}
            if target.name.lower() in names:
                raise FileExistsError(errno.EEXIST, "File exists")
        yield from super().copy(source, target, why)


def test_a_file_that_the_outbox_refuses_is_left_out_alone(folder: Path, work: Path) -> None:
    """Names of a FAT disk or a share, paths that are too long there; each is named, the rest is
    published."""
    (work / "a:b").write_text("refused")
    (work / "Twin").write_text("first")
    (work / "twin").write_text("second")
    deep = work
    fd = os.open(work, os.O_RDONLY)
    for _ in range(20):  # by descriptor: from here the path may be too long already
        deep = deep / ("d" * 200)
        os.mkdir(deep.name, dir_fd=fd)
        inner = os.open(deep.name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    (deep.parent.parent.parent / "far").write_text("far")
    outbox = Outbox(folder, Picky())
    new = publication(outbox, work)
    assert publish(outbox, new) == []
    far = next(path for path in visible(folder) if path.endswith("far"))
    assert visible(folder) == {*WHOLE, "sub/n.files/Twin", far}
    told = " ".join(outbox.stage(ID, work, CAPS, "/".join(["n" * 190] * 5)).warnings)
    assert "'a:b' was not published: the outbox refuses it (Invalid argument)" in told
    assert "'twin' was not published: the outbox refuses it (File exists)" in told
    assert "far' was not published: its path in the outbox would be too long" in told
    assert "ddd' was not published: its path is too long" in told


def test_names_that_are_no_utf8_are_published_apart(folder: Path, work: Path) -> None:
    """Under names that every reader can ask for, one for each of them."""
    for name in (b"caf\xe9", b"caf\xe8", b"caf%E9"):
        (work / os.fsdecode(name)).write_bytes(name)
    outbox = Outbox(folder, Disk())
    new = publication(outbox, work)
    publish(outbox, new)
    paths = [file.path for file in new.files]
    assert len(set(paths)) == len(paths) == 5
    for name, wanted in ((b"caf%E9", "caf%E9"), (b"caf\xe8", "caf%E8"), (b"caf\xe9", "caf%E9~2")):
        assert (folder / "sub" / "n.files" / wanted).read_bytes() == name
        assert f"sub/n.files/{wanted}" in paths
    assert "'caf%E8': its name is no UTF-8" in " ".join(outbox.stage(ID, work, CAPS, "n").warnings)


def test_an_output_folder_that_became_a_link_publishes_nothing(
    folder: Path, work: Path, tmp_path: Path
) -> None:
    """What lies behind it is somebody else's; that is said."""
    work.rename(tmp_path / "elsewhere")
    work.symlink_to(tmp_path / "elsewhere")
    staged = Outbox(folder, Disk()).stage(ID, work, CAPS, "n")
    assert staged.files == ()
    assert "the output folder cannot be read" in staged.warnings[0]


def test_links_are_left_out_with_a_word(folder: Path, work: Path) -> None:
    """Whatever lies in the output folder and is not published is said."""
    (work / "latest.csv").symlink_to(work / "table.csv")
    staged = Outbox(folder, Disk()).stage(ID, work, CAPS, "n")
    assert len(staged.files) == 2
    assert "'latest.csv' was not published: only regular files are" in staged.warnings[0]


def test_pruning_leaves_the_history_of_a_name_that_lies_in_a_run(folder: Path, work: Path) -> None:
    """As older releases could have it: `a/JOBID` is a name, and JOBID a run of `a`."""
    outbox = Outbox(folder, Disk())
    publish(outbox, publication(outbox, work, ID, "a"))
    outbox.retire("a", ID, NOW)
    publish(outbox, publication(outbox, work, OTHER, f"a/{ID}"))
    outbox.retire(f"a/{ID}", OTHER, NOW)
    outbox.prune("a", ID)
    kept = folder / ".history" / "a" / ID
    assert [path.name for path in kept.iterdir()] == [OTHER]
    assert OutboxReader(folder).of_job(f"a/{ID}", OTHER) is not None
