"""Promises of `runner backup` and `runner restore`: whole, while it runs, and over nothing."""

import gzip
import shutil
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from runner.cli.main import main
from runner.contract.states.status import Status
from runner.daemon.startup import forget_if_copied, new_incarnation
from runner.state.books.callbacks import CallbackBook, NewCallback
from runner.state.books.notifications import NotificationBook
from runner.state.contents import Acceptance
from runner.state.ledger import Ledger
from runner.state.ledger_reader import LedgerReader
from runner.state.listing import LEDGER_FILE
from runner.state.locks import LOCK_FILE, own
from runner.submitters.schedules.book import Book
from tests.conftest import Program, Serving, code, notebook, wait_for

ACCEPTANCE = Acceptance("1" * 32, "daily", "{}", b"{}", "a", "b", "2026-01-02T03:04:05.000Z")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with settings and a ledger of one job that waits."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text("history: {keep_runs: 7}\n")
    (tmp_path / "state").mkdir()
    ledger = Ledger(tmp_path / "state")
    ledger.accept(ACCEPTANCE)
    ledger.close()
    return tmp_path


def runner(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


def names(state: Path) -> list[str]:
    with closing(LedgerReader(state)) as reader:
        return [job.name for job in reader.jobs()]


def test_a_backup_of_a_running_daemon_is_whole(serving: Serving, tmp_path: Path) -> None:
    """What was committed is in it, and the daemon goes on."""
    program = serving()
    program.drop("one.ipynb", notebook(code("1", "results")))
    program.await_report("one")
    file = tmp_path / "saved.tar"
    done = runner("backup", file, "--state", program.root / "state")
    assert done.exit_code == 0, done.output
    assert file.stat().st_mode & 0o777 == 0o600
    state = tmp_path / "again"
    assert runner("restore", file, "--state", state).exit_code == 0
    with closing(LedgerReader(state)) as reader:
        assert [(job.name, job.status) for job in reader.jobs()] == [("one", Status.SUCCEEDED)]
    program.drop("two.ipynb", notebook(code("2", "results")))
    assert program.await_report("two")["status"] == "succeeded"


def test_ledger_and_settings_come_back(home: Path) -> None:
    """Into an empty folder, where there are no settings yet; the ledger opens."""
    done = runner("backup", "saved.tar")
    assert done.output == f"saved {home / 'state'} and config.yaml in saved.tar\n"
    with tarfile.open("saved.tar") as tar:
        assert tar.getnames() == [LEDGER_FILE, "config.yaml"]
    (home / "config.yaml").rename("old.yaml")
    (home / "state").rename("old")
    done = runner("restore", "saved.tar")
    assert done.exit_code == 0, done.output
    assert names(home / "state") == ["daily"]
    assert (home / "config.yaml").read_bytes() == (home / "old.yaml").read_bytes()
    Ledger(home / "state").close()
    left = {"config.yaml", "old.yaml", "old", "state", "saved.tar"}
    assert {one.name for one in home.iterdir()} == left


def test_pauses_and_the_journal_come_back(home: Path) -> None:
    """Everything in the state folder that nobody could make again; the rest is left out."""
    state = home / "state"
    book = Book(state)
    book.pause("daily", "cli", "2026-01-02T03:04:05+00:00")
    callbacks = CallbackBook(state)
    callbacks.add([NewCallback("msg_1", "1", "a", "failed", "http://x", {}, b"{}", "2026", "2027")])
    told = NotificationBook(state)
    told.add((), [("daily", "2026-01-02T03:00Z")])
    pause = b'{"by": "cli"}'
    (state / "paused").mkdir()
    (state / "paused" / "daily.json").write_bytes(pause)
    share = f"{'a' * 32}-{'b' * 16}.json"
    (state / "shares").mkdir()
    (state / "shares" / share).write_bytes(b"{}")
    (state / "journal.jsonl").write_bytes(b'{"job_id": "1"}\n')
    job_id = ACCEPTANCE.job_id
    (state / "inputs").mkdir()
    (state / "inputs" / f"{job_id}.zip").write_bytes(b"PK")
    (state / "inputs" / f"{'0' * 32}.zip").write_bytes(b"of a job that is over")
    (state / "pulse.json").write_bytes(b"{}")
    (state / "work").mkdir()
    done = runner("backup", "saved.tar")
    book.close()
    callbacks.close()
    told.close()
    assert done.exit_code == 0, done.output
    done = runner("restore", "saved.tar", "--state", "new")
    assert done.exit_code == 0, done.output
    said = "ledger.sqlite3, schedules.sqlite3, callbacks.sqlite3, notifications.sqlite3, journal.j"
    assert said in done.output
    left = {"ledger.sqlite3", "schedules.sqlite3", "journal.jsonl", "paused", ".runner.lock"}
    left |= {"inputs", "callbacks.sqlite3", "notifications.sqlite3", "shares"}
    assert {one.name for one in (home / "new").iterdir()} == left
    assert (home / "new" / "paused" / "daily.json").read_bytes() == pause
    assert [one.name for one in (home / "new" / "shares").iterdir()] == [share]
    assert [one.name for one in (home / "new" / "inputs").iterdir()] == [f"{job_id}.zip"]
    again = Book(home / "new")
    assert again.entries()["daily"].paused_by == "cli"
    again.close()
    restored = CallbackBook(home / "new")
    assert restored.count_waiting() == 1
    told = NotificationBook(home / "new")
    assert told.missed() == {"daily": "2026-01-02T03:00Z"}
    told.close()
    restored.close()


def test_nothing_leads_out_of_the_state_folder(home: Path) -> None:
    """Whatever an archive names beside the records is left in it."""
    strange = ("paused/../../out.json", "paused/a/b.json", "paused/.json/..", "/etc/x", "work/x")
    runner("backup", "saved.tar")
    with tarfile.open("saved.tar", "a") as tar:
        for name in strange:
            tar.addfile(tarfile.TarInfo(name))
    assert runner("restore", "saved.tar", "--state", "new").exit_code == 0
    assert {one.name for one in (home / "new").iterdir()} == {LEDGER_FILE, LOCK_FILE}


def test_settings_that_come_back_say_where_the_ledger_goes(home: Path) -> None:
    """As they would have at the first start."""
    (home / "config.yaml").write_text("state: elsewhere\n")
    (home / "state").rename("elsewhere")
    assert runner("backup", "saved.tar").exit_code == 0
    (home / "config.yaml").unlink()
    (home / "elsewhere").rename("old")
    assert runner("restore", "saved.tar").exit_code == 0
    assert names(home / "elsewhere") == ["daily"]


def test_secrets_that_settings_name_are_asked_for_before_the_start(home: Path) -> None:
    """They are in no backup; what is there comes back all the same."""
    (home / "secret").write_text("whsec_c2VjcmV0")
    (home / "config.yaml").write_text("callbacks: {secret_file: secret}\n")
    assert runner("backup", "saved.tar").exit_code == 0
    for name in ("config.yaml", "state", "secret"):
        (home / name).rename(f"old {name}")
    done = runner("restore", "saved.tar")
    assert done.exit_code == 0, done.output
    assert names(home / "state") == ["daily"]
    assert f"before the runner starts: cannot read `callbacks.secret_file` {home}" in done.output


def test_settings_that_are_there_stay(home: Path) -> None:
    """And that those of the backup are others is said."""
    runner("backup", "saved.tar")
    (home / "config.yaml").write_text("history: {keep_runs: 8}\n")
    done = runner("restore", "saved.tar", "--state", "new")
    assert done.exit_code == 0
    assert "stays as it is" in done.output
    assert (home / "config.yaml").read_text() == "history: {keep_runs: 8}\n"


def test_nothing_is_restored_over_a_ledger(home: Path) -> None:
    """The message says what to do."""
    runner("backup", "saved.tar")
    ledger = (home / "state" / LEDGER_FILE).read_bytes()
    for other in (".followers.lock", "a.txt"):
        (home / "state" / other).touch()
    done = runner("restore", "saved.tar")
    assert done.exit_code == 70
    assert f"is not empty (there is {LEDGER_FILE})" in done.output
    assert (home / "state" / LEDGER_FILE).read_bytes() == ledger


def test_nothing_is_restored_under_a_runner(home: Path) -> None:
    """Whose folder it is is said."""
    runner("backup", "saved.tar")
    (home / "new").mkdir()
    lock = own([home / "new"], "runner serve", "now")
    done = runner("restore", "saved.tar", "--state", "new")
    lock.release()
    assert done.exit_code == 70
    assert "belongs to runner serve" in done.output


def test_a_backup_replaces_an_earlier_one_only_whole(home: Path) -> None:
    """One that fails leaves the earlier one, and nothing beside it."""
    runner("backup", "saved.tar")
    before = Path("saved.tar").read_bytes()
    (home / "state" / LEDGER_FILE).write_bytes(b"damaged" * 1_000)
    assert runner("backup", "saved.tar").exit_code == 70
    assert Path("saved.tar").read_bytes() == before
    assert {one.name for one in home.iterdir()} == {"config.yaml", "state", "saved.tar"}


def test_a_folder_that_is_not_there_is_wrong_usage(home: Path) -> None:
    """As it is for a file to restore; 70 is for the runner's own trouble."""
    done = runner("backup", "none/saved.tar")
    assert (done.exit_code, len(done.output.splitlines())) == (2, 1)
    assert runner("restore", "none.tar").exit_code == 2


def test_without_a_ledger_there_is_nothing_to_save(home: Path) -> None:
    """And no file is made."""
    done = runner("backup", "saved.tar", "--state", "new")
    assert done.exit_code == 70
    assert "no ledger" in done.output
    assert not (home / "saved.tar").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", b"a,b\n1,2\n", b"\0" * 20_000, gzip.compress(b"\1" * 2_000, mtime=0)[:20]],
)
def test_what_is_no_backup_is_refused(home: Path, content: bytes) -> None:
    """On one line, and nothing is made."""
    Path("bad.tar").write_bytes(content)
    done = runner("restore", "bad.tar", "--state", "new")
    assert done.exit_code == 2
    assert "cannot be restored" in done.output
    assert len(done.output.splitlines()) == 1
    assert not (home / "new").exists()


@pytest.mark.parametrize(("damage", "reason"), [(b"x" * 9_000, "damaged"), (None, "newer runner")])
def test_a_ledger_that_does_not_fit_is_refused(
    home: Path, damage: bytes | None, reason: str
) -> None:
    """One that is damaged, and one of a later version."""
    file = home / "one.sqlite3"
    if damage is None:
        with closing(sqlite3.connect(file)) as db:
            db.execute("PRAGMA user_version = 99")
            db.execute("CREATE TABLE jobs (a)")
    else:
        file.write_bytes(damage)
    with tarfile.open("bad.tar", "w") as tar:
        tar.add(file, LEDGER_FILE)
    done = runner("restore", "bad.tar", "--state", "new")
    assert done.exit_code == 2
    assert reason in done.output
    assert not (home / "new").exists()


@pytest.mark.parametrize("how", ["restored", "copied"])
def test_a_copy_beside_the_original_touches_nothing_of_it(
    make_program: Callable[..., Program], tmp_path: Path, how: str
) -> None:
    """Neither its processes nor their folder in /tmp: a running job goes on, and the next ones."""
    original = make_program({"execution": {"concurrency": 1}}).start()
    begun, release = tmp_path / "begun", tmp_path / "release"
    waits = (
        f"import os, time\nopen({str(begun)!r}, 'w')\n"
        f"while not os.path.exists({str(release)!r}): time.sleep(0.05)\n42"
    )
    original.drop("long.ipynb", notebook(code(waits, "results")))
    wait_for(begun.exists)
    copy = make_program()
    if how == "restored":
        file = tmp_path / "saved.tar"
        assert runner("backup", file, "--state", original.root / "state").exit_code == 0
        assert runner("restore", file, "--state", copy.root / "state").exit_code == 0
    else:
        shutil.copytree(original.root / "state", copy.root / "state", ignore=only_databases)
    before = {one.pid for one in original.processes()}
    copy.start()
    wait_for(lambda: copy.processes())
    assert before <= {one.pid for one in original.processes()}
    release.touch()
    assert original.await_report("long")["status"] == "succeeded"
    for number in range(3):
        original.drop(f"{number}.ipynb", notebook(code("1", "results")))
        assert original.await_report(str(number))["status"] == "succeeded"


def only_databases(_folder: str, names: list[str]) -> set[str]:
    """What is no record: sockets, locks and the files of runs."""
    return {name for name in names if ".sqlite3" not in name}


def test_a_folder_that_is_moved_is_the_same_runner(home: Path) -> None:
    """It ends what an earlier start has left; a copy does not."""
    state, moved, copied = home / "state", home / "moved", home / "copied"

    def instance(folder: Path) -> str | None:
        ledger = Ledger(folder)
        try:
            forget_if_copied(ledger, folder)
            return new_incarnation(ledger, "host").instance
        finally:
            ledger.close()

    first = instance(state)
    assert instance(state) == first
    state.rename(moved)
    assert instance(moved) == first
    shutil.copytree(moved, copied)
    second = instance(copied)
    assert second != first
    assert (instance(copied), instance(moved)) == (second, first)
