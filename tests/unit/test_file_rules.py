"""Rules over files: which paths match, and what is wrong with a rule's file."""

import pytest

from runner.contract.triggers.documents import TriggerError
from runner.contract.triggers.rules import read_rule

REQUEST = "notebook: a.ipynb\nparameters: {path: '{{ file }}'}\n"


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("invoices/*.pdf", ["invoices/a.pdf", "INVOICES/ä b.PDF"], ["a.pdf", "invoices/x/a.pdf"]),
        ("**/*.csv", ["a.csv", "x/a.csv", "x/y/z/a.csv"], ["a.csvx", "a.CSV/b"]),
        ("in/**", ["in/a", "in/x/y.bin"], ["out/in/a", "in.csv"]),
        ("in/**/out/**/*.tif", ["in/out/a.tif", "in/1/2/out/3/a.tif"], ["in/a.tif"]),
        ("scan-[0-9]?.txt", ["scan-1a.txt"], ["scan-a1.txt", "scan-1.txt"]),
        ("*", ["a", "a.csv"], ["a.ipynb", "a.YAML", "a.zip", "x/a"]),
    ],
)
def test_patterns_are_of_paths(pattern: str, matching: list[str], others: list[str]) -> None:
    """By whole parts, in any letter case, and never of a request."""
    files = read_rule(f"pattern: '{pattern}'\n{REQUEST}".encode()).files
    assert [path for path in matching if not files.matches(path)] == []
    assert [path for path in others if files.matches(path)] == []


def test_a_hostile_pattern_takes_no_time() -> None:
    """The steps grow with the product of the parts, and no further."""
    pattern = "/".join(["**", "*a*"] * 15)
    files = read_rule(f"pattern: '{pattern}'\n{REQUEST}".encode()).files
    assert not files.matches("/".join(["a"] * 400 + ["b"]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (REQUEST, "It has no `pattern`"),
        (f"patern: a\n{REQUEST}", "Did you mean `pattern` by `patern`?"),
        (f"pattern: /etc/*\n{REQUEST}", "a path below the inbox, such as invoices/*.pdf (line 1)"),
        (f"pattern: a/../b\n{REQUEST}", "(line 1)"),
        (f"pattern: .done/*\n{REQUEST}", "hidden files"),
        (f"pattern: '*.json'\n{REQUEST}", "are requests"),
        (f"pattern: '*'\ngroup: some\n{REQUEST}", "`group` is 'some'"),
        (f"pattern: '*'\nbatch_files: 5000\n{REQUEST}", "(line 2)"),
        (f"pattern: '*'\ngroup: batch\n{REQUEST}", "names nothing that is known here"),
        ("pattern: '*'\nnotebook: a.ipynb\ncolour: red\n", "colour"),
        ("pattern: '*'\nparameters: {}\n", "notebook"),
        ("pattern: '*'\nnotebook: a.ipynb\nparameters: {{ file }}\n", "so quote it"),
    ],
)
def test_a_wrong_file_is_told_by_line(text: str, said: str) -> None:
    """With what would be right."""
    with pytest.raises(TriggerError) as caught:
        read_rule(text.encode())
    assert said in str(caught.value)


def test_placeholders_name_the_files() -> None:
    """One of them, its name, or all."""
    text = "pattern: '*'\nnotebook: a.ipynb\nname: 'n/{{ stem }}'\n"
    rule = read_rule(f"{text}parameters: {{a: '{{{{ file }}}}', b: '{{{{ files }}}}'}}".encode())
    request, name = rule.request_of(["in/a.b.csv"])
    assert request["parameters"] == {"a": "in/a.b.csv", "b": ["in/a.b.csv"]}
    assert name == "n/a.b"
