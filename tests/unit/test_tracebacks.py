"""Promises about tracebacks that are read by a model, or in a terminal."""

import pytest

from runner.contract.text.tracebacks import MOST_LINES, folded

LIB = "/home/me/.venv/lib/python3.13/site-packages"
RULE = "-" * 75
CHAIN = f"""\
{RULE}
KeyError                                  Traceback (most recent call last)
File {LIB}/pandas/core/indexes/base.py:3816, in Index.get_loc(self, key)
   3815 try:
-> 3816     return self._engine.get_loc(casted_key)

File pandas/_libs/index.pyx:172, in pandas._libs.index.IndexEngine.get_loc()
--> 172 'Could not get source, probably due dynamically evaluated source code.'

KeyError: 'c'

The above exception was the direct cause of the following exception:

KeyError                                  Traceback (most recent call last)
Cell In[3], line 1
----> 1 load('c')

Cell In[2], line 3, in load(path)
      1 def load(path):
      2     total = 0
----> 3     return df[path]

File ~/.local/share/uv/python/lib/python3.13/json/decoder.py:12, in decode(self)
      8 '''

File {LIB}/pandas/core/frame.py:4330, in DataFrame.__getitem__(self, key)
   4326 \n-> 4330     indexer = self.columns.get_loc(key)

KeyError: 'c'"""


def test_the_notebooks_frames_come_first_and_the_libraries_in_a_line() -> None:
    """With how many they are, and the last of them; the cause follows."""
    assert folded(CHAIN.split("\n")) == [
        "Cell In[3], line 1",
        "----> 1 load('c')",
        "Cell In[2], line 3, in load(path)",
        "      1 def load(path):",
        "      2     total = 0",
        "----> 3     return df[path]",
        "[2 library frames, the last: pandas/core/frame.py:4330, "
        "in DataFrame.__getitem__(self, key)]",
        "KeyError: 'c'",
        "Caused by: [2 library frames, the last: pandas/_libs/index.pyx:172, in "
        "pandas._libs.index.IndexEngine.get_loc()]",
        "KeyError: 'c'",
    ]


@pytest.mark.parametrize(
    ("frame", "own"),
    [
        ("File ~/notebooks/loading.py:12, in load(path)", True),
        ("File /srv/notebooks/lib/loading.py:12", True),
        ("~/notebooks/loading.py in load(path)", True),
        ("Input In [3], in <cell line: 1>()", True),
        ("<ipython-input-3-0a1b> in <module>", True),
        (f"{LIB}/requests/api.py in get(url)", False),
        ("File <frozen importlib._bootstrap>:1360, in _find_and_load(name, import_)", False),
        ("File /usr/lib/python3/dist-packages/yaml/reader.py:7, in peek(self)", False),
    ],
)
def test_a_file_of_ones_own_is_no_library(frame: str, own: bool) -> None:
    """Neighbours of a notebook stay whole, whatever IPython wrote the frame."""
    lines = [
        "Cell In[1], line 1",
        "----> 1 go()",
        "",
        frame,
        "     12 went()",
        "",
        "ValueError: no",
    ]
    said = folded(lines)
    assert (frame in said) is own
    assert ("     12 went()" in said) is own
    assert any(line.startswith("[a library frame: ") for line in said) is not own
    assert said[-1] == "ValueError: no"


@pytest.mark.parametrize(
    "text",
    [
        "  Cell In[2], line 1\n    x = (\n        ^\nSyntaxError: '(' was never closed",
        "SystemExit: enough",
        "Error in print(x) : object 'x' not found\nTraceback:\n1. print(x)",
        "  + Exception Group Traceback (most recent call last):\n  | ExceptionGroup: two",
        "",
    ],
)
def test_what_is_no_such_traceback_stays(text: str) -> None:
    """Errors before the code ran, exits, and other languages."""
    assert folded(text.split("\n")) == text.split("\n")


def test_lines_of_a_message_stay() -> None:
    """Also one that looks like a path; a long one loses its middle."""
    message = ["ValueError: two things", "File x is gone", "see /usr/lib/python3/x in there"]
    lines = ["Cell In[1], line 1", "----> 1 go()", "", *message]
    assert folded(lines) == [*lines[:2], *message]
    long = folded([*lines, *(f"row {n}" for n in range(500))])
    assert len(long) == MOST_LINES + 1
    assert long[0] == "Cell In[1], line 1"
    assert "[… 445 more lines …]" in long
    assert long[-1] == "row 499"


def test_a_traceback_that_is_folded_stays_as_it_is() -> None:
    """A report has it folded already where it is long, and its readers fold it once more."""
    for text in (CHAIN, CHAIN.replace("load('c')", "\n".join(f"line {n}" for n in range(200)))):
        once = folded(text.split("\n"), MOST_LINES - 1)
        assert folded(once) == once
