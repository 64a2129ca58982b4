"""Promises of names: plain ones stay, all others become safe, short, distinct and stable."""

import os
import unicodedata

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from runner.contract.names import MAX_COMPONENT_BYTES, MAX_NAME_BYTES, is_job_name, job_name

LONGEST_SUFFIX = ".result.json"


@pytest.mark.parametrize(
    "name",
    [
        "daily",
        "sales/daily",
        "Convex Hull",
        "a.b.c",
        "2026-01-02",
        "{pm}",
        "%s {0} $HOME `x`",
        "übergröße",
        "日本/語",
        "it's",
        "a=b&c;d",
        "daily.files",
        "daily.ipynb",
        "daily.json",
        "files/json/ipynb",
        "a..b",
        "console",
        "com",
        "lpt10",
        "auxiliary",
        "x" * MAX_COMPONENT_BYTES,
    ],
)
def test_plain_name_stays_as_it_is(name: str) -> None:
    """What people chose is what they find."""
    assert job_name(name) == name
    assert is_job_name(name)


ID = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    "path", [f"a/{ID}", f"a/{ID}/b", f"a/{ID.upper()}", "a/unknown-20260102T030405", f"a/b/{ID}"]
)
def test_no_name_is_that_of_a_run_in_the_history_of_another(path: str) -> None:
    """Earlier runs of `a` lie in `.history/a/JOB_ID/`, and those of `a/b` in `.history/a/b/`."""
    name = job_name(path)
    assert name != path
    assert is_job_name(name)
    assert not {ID, ID.upper(), "unknown-20260102T030405"} & set(name.split("/"))


def test_what_nobody_named_over_http_keeps_its_place() -> None:
    """`http/DATE/JOB_ID` is a name; then `http/DATE` is none, whose runs would lie there."""
    assert is_job_name(f"http/2026-01-02/{ID}")
    assert not is_job_name("http/2026-01-02")
    assert is_job_name(job_name("http/2026-01-02"))
    assert is_job_name(ID)


@pytest.mark.parametrize(
    ("path", "start"),
    [
        ("a\nb", "a_b-"),
        ("a\x1b[31mb", "a_[31mb-"),
        ("a\u2028b", "a_b-"),
        ("a\x85b", "a_b-"),
        ("a:b", "a_b-"),
        ('<a>"|?*\\', "_a______-"),
        ("-x", "_x-"),
        ("--help", "_-help-"),
        (".hidden", "hidden-"),
        ("~backup", "_backup-"),
        ("#x#", "_x#-"),
        (" a", "a-"),
        ("a ", "a-"),
        ("a.", "a-"),
        ("...", "_-"),
        ("", "_-"),
        ("con", "_con-"),
        ("NUL", "_NUL-"),
        ("Com1.report", "_Com1.report-"),
        ("lpt9", "_lpt9-"),
        ("aux/x", "_aux-"),
        ("a.files/x", "a.files-"),
        ("a.IPYNB/x", "a.IPYNB-"),
        ("a.result.json/x", "a.result.json-"),
        ("../x", "_-"),
        ("./x", "_-"),
        ("a//b", "a/_-"),
        ("/a", "_-"),
        ("a/", "a/_-"),
        ("e\u0301", "\u00e9-"),
        (os.fsdecode(b"caf\xe9"), "caf_-"),
    ],
)
def test_other_name_becomes_safe(path: str, start: str) -> None:
    """What Windows, a shell, a terminal or a reader of the outbox would misread."""
    found = job_name(path)
    assert found.startswith(start)
    assert found != path
    assert not is_job_name(path)
    assert is_job_name(found)


def test_name_of_bytes_is_always_the_same() -> None:
    """Names survive restarts, and programs may know them."""
    assert job_name("a:b") == "a_b-6783a31e"


def test_folders_stay_folders() -> None:
    """Each part is made safe on its own."""
    assert job_name("sales/da:ily/x").split("/")[0] == "sales"
    assert job_name("sales/da:ily/x").split("/")[2] == "x"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a:b", "a?b"),
        ("a\nb", "a_b"),
        ("é", "e\u0301"),
        (os.fsdecode(b"a\xe9"), os.fsdecode(b"a\xe8")),
        ("x" * 250, "x" * 251),
        ("é" * 120, "é" * 121),
        ("a ", "a."),
        (".a", "~a"),
        ("con", "_con"),
        ("a/b:c", "a/b?c"),
        ("x:/a", "x?/a"),
        (
            "/".join("x" * 150 for _ in range(8)) + "/a",
            "/".join("y" * 150 for _ in range(8)) + "/a",
        ),
    ],
)
def test_different_paths_have_different_names(one: str, other: str) -> None:
    """No request takes the place of another."""
    assert job_name(one) != job_name(other)


@pytest.mark.parametrize("length", [201, 249, 250, 255])
@pytest.mark.parametrize("letter", ["x", "é", "☃", "😀"])
def test_long_name_is_cut_between_characters(length: int, letter: str) -> None:
    """A file name has 255 bytes, and the suffix needs some of them."""
    path = letter * (length // len(letter.encode()) + 1)
    found = job_name(path)
    assert found.startswith(letter)
    assert len((found + LONGEST_SUFFIX).encode()) <= 255
    assert is_job_name(found)


def test_deep_path_becomes_one_short_name() -> None:
    """A whole path has its limit as well; what is left is the file's own name."""
    found = job_name("/".join(["folder"] * 200) + "/daily")
    assert found.startswith("daily-")
    assert "/" not in found


def test_chosen_name_with_a_lone_surrogate_is_no_job_name() -> None:
    """A name out of JSON or YAML may have any half of a pair; the answer is no."""
    assert not is_job_name("\ud800")


@pytest.mark.parametrize("char", ["\u202e", "\u2066", "\u200f"])
def test_character_that_turns_the_text_around_is_unsafe(char: str) -> None:
    """A terminal shows `gpj.exe` for what is called something else."""
    assert not is_job_name(f"a{char}b")


@pytest.mark.parametrize("name", ["com¹", "LPT³.txt", "CONIN$", "conout$"])
def test_rarer_device_name_is_unsafe(name: str) -> None:
    """The outbox may be a share that Windows reads."""
    assert not is_job_name(name)


CHARACTERS = st.one_of(
    st.sampled_from('ab/ .-~#:\n\\"%{}éè\u0301\u2028☃😀\udc80\udcff'),
    st.characters(codec="utf-8"),
    st.integers(0xDC80, 0xDCFF).map(chr),
)
PARTS = st.one_of(
    st.text(CHARACTERS, max_size=20),
    st.sampled_from(["con", "a.files", "a.json", "..", "x" * 255, "é" * 127, "☃" * 85]),
)
PATHS = st.lists(PARTS, min_size=1, max_size=8).map("/".join)


@given(PATHS)
@settings(max_examples=150)
def test_name_is_always_safe(path: str) -> None:
    """Whatever the path: valid UTF-8, NFC, no controls, no hidden parts, no way up, short."""
    name = job_name(path)
    name.encode()
    assert unicodedata.is_normalized("NFC", name)
    assert len(name.encode()) <= MAX_NAME_BYTES
    for part in name.split("/"):
        assert part
        assert part[0] not in " .-~#"
        assert part[-1] not in " ."
        assert not any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in part)
        assert not set(part) & set('<>:"\\|?*')
        assert len((part + LONGEST_SUFFIX).encode()) <= 255


@given(PATHS)
@settings(max_examples=100)
def test_name_of_a_name_is_itself(path: str) -> None:
    """What was made safe once is safe."""
    assert is_job_name(job_name(path))


@given(PATHS, PATHS)
@settings(max_examples=150)
def test_distinct_paths_have_distinct_names(one: str, other: str) -> None:
    """Two files of the inbox never share their outcome's place."""
    assume(one != other)
    assert job_name(one) != job_name(other)
