"""Promises of YAML: what JSON can say, read in one pass that ends early where there is too much."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.contract.text.strict_json import MAX_DEPTH
from runner.contract.text.strict_yaml import MAX_DIRECTIVES, MAX_NODES, StrictYamlError, loads

TEXTS = st.text(st.characters(blacklist_categories=("Cs", "Cc")))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**30), 10**30), TEXTS),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(TEXTS, inner)),
    max_leaves=20,
)


@given(VALUES)
def test_json_is_yaml(value: Any) -> None:
    """A JSON text without escapes means the same here."""
    assert loads(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: |\n  x\n  y\n", {"a": "x\ny\n"}),
        ("a: >-\n  x\n  y\n", {"a": "x y"}),
        ("a: 'it''s'", {"a": "it's"}),
        ("- a: 1\n  b: [x, {y: z}]\n-\n", [{"a": 1, "b": ["x", {"y": "z"}]}, None]),
        ("? a\n: 1", {"a": 1}),
        ("'1': x\n\"null\": y", {"1": "x", "null": "y"}),
        ("'<<': 1", {"<<": 1}),
        ("no: 1\non: 2", {"no": 1, "on": 2}),
        (
            "a: !!str 5\nb: !!float 5\nc: ! 5\nd: !!int 0x10",
            {"a": "5", "b": 5.0, "c": "5", "d": 16},
        ),
        ("a: !!map {b: !!seq [!!null '', !!bool true]}", {"a": {"b": [None, True]}}),
        ("%YAML 1.2\n---\na: 1\n...\n", {"a": 1}),
        ("\ufeffa: 1", {"a": 1}),
        ("a:\r\n  - 1\r\n", {"a": [1]}),
        ("- &x 1\n- &x 2", [1, 2]),
        ("", None),
    ],
)
def test_plain_yaml_is_read(text: str, expected: object) -> None:
    """Block and flow style, quotes, tags of YAML itself; keys are texts."""
    assert loads(text.encode()) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 1_000_000, f"more than {MAX_DEPTH} deep"),
        ("{a: " * 250_000, f"more than {MAX_DEPTH} deep"),
        ("- " * 500_000, f"more than {MAX_DEPTH} deep"),
        ("? " * 500_000, "a key is a list or a mapping"),
        ("[" + "1," * 500_000 + "1]", f"more than {MAX_NODES} keys and values"),
        ("- +\n" * 250_000, f"more than {MAX_NODES} keys and values"),
        ("".join(f"%TAG !a{i}! x\n" for i in range(MAX_DIRECTIVES + 2)), "begin with %"),
        ("a: &a [1]\n" + "b: *a\n", "alias"),
        ("a: 1\n" * 200_000, "'a' stands there twice"),
        ("a: " + "1" * 1_000_000, "too long"),
        ("a: 0x" + "f" * 1_000_000, "too long"),
        ("--- a\n" * 100_000, "more than one document"),
    ],
)
def test_what_would_take_long_is_refused_where_it_begins(text: str, said: str) -> None:
    """The message says what is too much, and where."""
    with pytest.raises(StrictYamlError, match=said):
        loads(text.encode())


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("limits:\n\trun: 5", "line 2"),
        ("ä: 😀\nb:\n  c: 1\n\td: 2", "line 4"),
        ("\ta: 1", "line 1"),
    ],
)
def test_an_indent_by_a_tab_is_called_so(text: str, place: str) -> None:
    """An editor's tab looks like spaces, and YAML takes none."""
    with pytest.raises(StrictYamlError, match=f"here is a tab .{place}"):
        loads(text.encode())


@pytest.mark.parametrize("raw", [b"a: \xff", "a: 1".encode("utf-16"), b"a: \x00", b'a: "\\ud800"'])
def test_what_is_no_text_is_refused(raw: bytes) -> None:
    """Whatever a file holds, reading it ends in a value or in one kind of error."""
    with pytest.raises(StrictYamlError):
        loads(raw)


@given(st.text(alphabet="ab:-[]{}!&*?|>'\"%#@`, \n\t\\01.~<"))
def test_any_text_is_a_value_or_one_kind_of_error(text: str) -> None:
    """Nothing of the parser comes through."""
    try:
        loads(text.encode())
    except StrictYamlError as error:
        said = str(error)
    else:
        said = ""
    assert "\n" not in said


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (
            b'a: 1\nparameters:\n  x: "\\ud83d\\ude00"\n',
            'as \\ud83d\\ude00 is in JSON: write "\U0001f600" or "\\U0001F600" (line 3,',
        ),
        (b'a: "\\ud83d"', "as \\ud83d is in JSON: write the character itself (line 1, column 7)"),
        (b'a: "\\ude00\\ud83d"', "as \\ude00 is in JSON: write the character itself (line 1,"),
    ],
)
def test_half_a_character_is_told_with_what_to_write(raw: bytes, said: str) -> None:
    """JSON writes an emoji as two escapes, and YAML as one."""
    with pytest.raises(StrictYamlError) as caught:
        loads(raw)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("a: 1\ncron: * * * * *\n", 'quote it: `cron: "* * * * *"` (line 2'),
        ("cron: */5 * * * * # often", 'quote it: `cron: "*/5 * * * *"` (line 1'),
        ("cron: @daily", 'quote it: `cron: "@daily"` (line 1'),
        ("p:\n  a: %x", 'quote it: `a: "%x"` (line 2'),
        ("p:\n  a: {{ day | date }}", 'quote it: `a: "{{ day | date }}"` (line 2'),
        ("p:\n  - {{ day }}", 'quote it: `- "{{ day }}"` (line 2'),
        ("p:\n\ta: 1", "indented by spaces, and here is a tab (line 2"),
        ("notebook:a.ipynb", "a space after its colon: `notebook: a.ipynb` (line 1"),
        ("notebook: a\nkernel:b\n", "a space after its colon: `kernel: b` (line 2"),
        ("title: Sales: a week", 'quote it: `title: "Sales: a week"` (line 1'),
        ("a: 'it's'", 'the quotes end before the value does; write `a: "it\'s"` (line 1'),
        ('a: "x\n', 'a quote is not closed; write `a: "x"` (line 1'),
        ('a: "C:\\Users"', "write `a: 'C:\\Users'` (line 1"),
        ("a: [1, 2\nb: 3\n", "the list that begins with [ is not closed (line 1"),
        ("a: {b: %x}", "quote it (line 1"),
        ("a:\n  - 1\n - 2\n", "the indentation fits no line above (line 3"),
    ],
)
def test_the_usual_slips_say_what_to_write(text: str, advice: str) -> None:
    """In words of the file, rather than in those of a parser."""
    with pytest.raises(StrictYamlError) as caught:
        loads(text.encode())
    assert advice in str(caught.value)
