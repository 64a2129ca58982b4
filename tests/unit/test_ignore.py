"""Promises of what is left alone in the inbox: other programs' leftovers, and nothing else."""

import pytest

from runner.inbox.ignore import (
    REQUEST_SUFFIXES,
    is_left_alone,
    objection_to_name,
    split_suffix,
    why_left_alone,
    why_no_request,
)
from runner.inbox.unclaimed import WORDS, Reason, Waiting


@pytest.mark.parametrize(
    "name",
    [
        ".hidden.ipynb",
        ".~daily.ipynb",
        "~daily.ipynb",
        "~$daily.ipynb",
        "#daily.ipynb#",
        "daily.ipynb~",
        "daily.ipynb.tmp",
        "daily.TMP",
        "daily.ipynb.part",
        "daily.ipynb.partial",
        "daily.ipynb.crdownload",
        "daily.ipynb.filepart",
        ".daily.ipynb.swp",
        "daily.ipynb.swo",
        "daily.swx",
        "._daily.ipynb",
        ".nfs000000000001",
        ".smbdelete000",
        ".fuse_hidden0001",
        ".goutputstream-ABC123",
        ".DS_Store",
        "Thumbs.db",
        "THUMBS.DB",
        "desktop.ini",
        "@eaDir",
        ".ipynb_checkpoints",
        ".syncthing.daily.ipynb.tmp",
        "~syncthing~daily.ipynb.tmp",
        ".claim-0123",
        ".refused",
        *("@Recycle", "@Recently-Snapshot", "#recycle", "$RECYCLE.BIN", "lost+found", "FOUND.000"),
        *("System Volume Information", "__MACOSX", ".Trash-1000", "@tmp", "#snapshot"),
        *("a.ipynb.download", "a.ipynb.opdownload", "a.ipynb.!sync", "a.ipynb___jb_tmp___"),
        *(
            "RecycleBin_1.ffs_tmp",
            "(A Document Being Saved By TextEdit 2)",
            "DfsrPrivate",
            "_gsdata_",
        ),
        *("Recycle Bin", "trashbox"),
        *("a.ipynb@SynoEAStream", "a.ipynb:Zone.Identifier", "Icon\r"),
    ],
)
def test_leftovers_of_other_programs_are_left_alone(name: str) -> None:
    """Editors, browsers, sync tools and file managers, in upper and lower case."""
    assert is_left_alone(name)


@pytest.mark.parametrize(
    "name",
    [
        "daily.ipynb",
        "a~b.ipynb",
        "a#b.yaml",
        "tmp",
        "tmp.ipynb",
        "part.json",
        "partial",
        "daily.swap",
        "daily.parts",
        "desktop.ini.ipynb",
        "Untitled.ipynb",
        "{pm}.ipynb",
        "-x.ipynb",
        "a\nb.ipynb",
        "[x].ipynb",
        "caf\udce9.ipynb",
    ],
)
def test_requests_are_not_left_alone(name: str) -> None:
    """Also where a name only looks like one of those."""
    assert not is_left_alone(name)


def test_own_patterns_are_left_alone_as_well() -> None:
    """`intake.ignore` adds shell patterns, matched with upper and lower case as they are."""
    extra = ("draft-*", "*.bak.ipynb", "Old?")
    assert is_left_alone("draft-1.ipynb", extra)
    assert is_left_alone("a.bak.ipynb", extra)
    assert is_left_alone("Old1", extra)
    assert not is_left_alone("Draft-1.ipynb", extra)
    assert not is_left_alone("old1", extra)
    assert is_left_alone("a.tmp", extra)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("daily.ipynb", ("daily", ".ipynb")),
        ("daily.IPYNB", ("daily", ".ipynb")),
        ("a.b.yaml", ("a.b", ".yaml")),
        ("a.yml", ("a", ".yml")),
        ("a.Json", ("a", ".json")),
        ("a.cancel", ("a", ".cancel")),
        ("a b\n.ipynb", ("a b\n", ".ipynb")),
        ("a.ipynb.json", ("a.ipynb", ".json")),
        ("caf\udce9.ipynb", ("caf\udce9", ".ipynb")),
        (".ipynb", None),
        ("ipynb", None),
        ("daily", None),
        ("daily.", None),
        ("daily.txt", None),
        ("daily.ipynb ", None),
        ("", None),
        (".", None),
    ],
)
def test_only_some_suffixes_make_a_request(name: str, expected: tuple[str, str] | None) -> None:
    """The stem keeps its letters, the suffix is lower case."""
    assert split_suffix(name) == expected


def test_suffixes_are_those_of_the_contract() -> None:
    """Anything else in the inbox is not ours."""
    assert {".ipynb", ".json", ".yaml", ".yml", ".zip", ".cancel"} == REQUEST_SUFFIXES


@pytest.mark.parametrize(
    "name",
    [
        "a.sync-conflict-20260101-120000-ABCDEFG.ipynb",
        "a (Anna's conflicted copy 2026-01-01).ipynb",
        "a (conflicted copy 2019-01-01 120000).json",
        "a (Annas in Konflikt stehende Kopie 2026-01-01).yaml",
        "a (SFConflict anna@x.de 2015-03-07-11-30-28).yaml",
        "a(Conflict_other (Web browser)_2020-03-25-22-50-36).ipynb",
        "a_conflict-20121023-151712.ipynb",
        "a-conflict-2018-11-19T15_04_05.ipynb",
        "a_Andy-PC_Jan-03-0901-2013_CaseConflict_1.ipynb",
        "a_DiskStation_Aug-22-151034-2016_Conflict.ipynb",
        "a.Conflict.ipynb",
        "a.conflict1.json",
        "a_conf(1).ipynb",
        "a [conflicted].ipynb",
        "a-DESKTOP-AB12CD3.ipynb",
        "a (conflicted copy).ipynb",
        "a (Anna's conflicted copy 2).ipynb",
        "a (Conflicted copy ThinkPad-T14 202603121129).json",
        "a (Case Conflict 1).ipynb",
        "a (Selective Sync Conflict).ipynb",
        "a (case clash from anna 2026-10-03 101500).ipynb",
        "a (# Name clash 2026-03-29 sqyss1C #).ipynb",
        "a (# Edit conflict 2026-10-05 a1b2c3C #).ipynb",
        "a (Annas modstridende kopi 2026-03-10).ipynb",
        "a (Конфликтующая копия пользователя Anna 2026-02-14 02_1.12.08 PM).ipynb",
        "a (安娜 の競合コピー 2026-10-29).ipynb",
        "a (G Z 的冲突副本 2026-01-21).ipynb",
    ],
)
def test_what_a_sync_program_puts_aside_is_no_request(name: str) -> None:
    """Each of them names it in its own way."""
    assert why_left_alone(name) is Reason.CONFLICT


@pytest.mark.parametrize(
    "name",
    [
        "conflict.ipynb",
        "trade_conflict.ipynb",
        "middle-east-conflict.ipynb",
        "conflict-2020.ipynb",
        "a (conflict).ipynb",
        "court case conflict 1.ipynb",
        "clash (# 3).ipynb",
        "(a document).ipynb",
        "Übersicht (Konflikte 2026).ipynb",
        "sales-desktop-overview.ipynb",
        "conference(2).ipynb",
        "model-checkpoint.json",
        "checkpoint.ipynb",
        "a (1).ipynb",
        "recycle.ipynb",
        "@home.ipynb",
    ],
)
def test_names_that_only_sound_so_are_requests(name: str) -> None:
    """People write about conflicts and checkpoints."""
    assert why_left_alone(name) is None


def test_a_checkpoint_copy_outside_its_folder_is_no_request() -> None:
    """JupyterLab's name for it, wherever a file manager or a backup has put it."""
    assert why_left_alone("daily-checkpoint.ipynb") is Reason.CHECKPOINT
    assert why_left_alone("daily-checkpoint.ipynb", is_folder=True) is None


@pytest.mark.parametrize("name", ["C4E439~4", "REPORT~1.IPY", "report~1.ipy", "A5Q2ZK~M.JSO"])
def test_a_name_that_a_server_shortened_is_told_as_such(name: str) -> None:
    """Its suffix is lost, so nothing else would say what became of the drop."""
    assert why_no_request(name) is Reason.MANGLED_NAME


def test_every_reason_has_its_words() -> None:
    """Why, and what to do."""
    assert set(WORDS) == set(Reason)
    assert all(words.text and words.advice for words in WORDS.values())
    assert not any(words.text.endswith(".") for words in WORDS.values())
    assert Waiting("a", Reason.INCOMPLETE, "", "It has no cells.").text.endswith("It has no cells")


@pytest.mark.parametrize(
    "name",
    ["@eaDir/x", "a/lost+found/x", "r (conflicted copy 2026-01-01)", "x.part/y", "drafts/x"],
)
def test_a_name_that_the_inbox_would_leave_alone_is_refused(name: str) -> None:
    """Who chooses it would wait for ever; so would who lies too deep."""
    assert objection_to_name(name, ["drafts"])
    assert objection_to_name("a/" * 33 + "x") == WORDS[Reason.TOO_DEEP].text


@pytest.mark.parametrize(
    "name", ["x", "x.tmp", "daily-checkpoint", "a/b.conflict/c", "a/" * 32 + "x"]
)
def test_other_names_are_free(name: str) -> None:
    """A suffix follows, and folders are not copies."""
    assert objection_to_name(name, ["drafts"]) is None
