"""Promises about whose code a frame of a traceback is said to be."""

import pytest

pytest.importorskip("mcp", reason="the extra `mcp` is not installed")

from runner.mcp.frames import Ran, ran_cells, renumbered

CELLS: list[dict[str, object]] = [
    {"id": "a", "execution_count": 3, "source": "x = 1\nf(x)"},
    {"id": "b", "execution_count": 3, "source": "\n\n%time f(2)\nf(3)"},
    {"id": "c", "execution_count": None, "source": "f(x)"},
]
FIRST = "Cell In[3], line 2\n      1 x = 1\n----> 2 f(x)\n"


@pytest.mark.parametrize(
    ("traceback", "name"),
    [
        (FIRST, "Cell [0] a"),
        ("Cell In[3], line 2\n      1 get_ipython().run_line()\n----> 2 f(3)\n", "Cell [1] b"),
        ("Cell In[3], line 1, in g()\n----> 1 own()\n", "The code of this call"),
        ("Cell In[3], line 1, in g()\n----> 1 no()\n", "Code that no cell has now (In[3])"),
        ("Cell In[3], line 1\n----> 1 rewritten()\n", "The code of this call"),
        ("Cell In[4], line 1, in g()\n----> 1 f(x)\n", "Code that no cell has now (In[4])"),
        ("  Cell In[3], line 2\n    f(x)\n    ^\nSyntaxError: no", "  Cell [0] a"),
        ("Cell In[3], line 1", "Cell In[3]"),
    ],
)
def test_a_frame_is_of_the_code_whose_lines_it_shows(traceback: str, name: str) -> None:
    """A count is not of one cell alone: code without a cell has that of the next one."""
    known = [Ran("The code of this call", 3, "own()", is_own=True), *ran_cells(CELLS)]
    assert renumbered(traceback, known).startswith(f"{name}, line ")


def test_code_of_a_cell_that_was_changed_since_says_to_run_it_again() -> None:
    """Its lines may be the same there, or not."""
    cells = [{"id": "a", "execution_count": 1, "source": "def f():\n    new()\nsame()"}]
    known = list(ran_cells(cells, {("a", 1): "def f():\n    old()\nsame()", ("a", 0): "x"}))
    for line in ("2     old()", "3 same()"):
        said = renumbered(f"Cell In[1], line {line[0]}, in f()\n----> {line}\n", known)
        assert said.startswith("Cell [0] a as it was before its change (run [0] again), line")
    assert [one.name for one in ran_cells(cells, {("a", 2): "x"})] == ["Cell [0] a"]


def test_a_count_alone_decides_where_one_kernel_ran_all() -> None:
    """As in a job; other frames stay as they are."""
    said = renumbered(f"{FIRST}Cell In[4], line 1\n", [Ran("Cell [7] z", 3)])
    assert said.startswith("Cell [7] z, line 2\n")
    assert "\nCell In[4], line 1\n" in said
