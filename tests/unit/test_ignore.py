"""Promises of what is left alone in the inbox: other programs' leftovers, and nothing else."""

import pytest

from runner.intake.ignore import REQUEST_SUFFIXES, is_left_alone, split_suffix


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
    assert {".ipynb", ".json", ".yaml", ".yml", ".cancel"} == REQUEST_SUFFIXES
