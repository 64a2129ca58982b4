"""Promises about names of notebooks and cells, and about kernels that lost their variables."""

import pytest

pytest.importorskip("mcp", reason="the extra `mcp` is not installed")

from runner.mcp.jupyter.api import Session
from runner.mcp.jupyter.cells import hash_of
from runner.mcp.jupyter.paths import misspelt, suggestions
from runner.mcp.notebooks.activities import Activity
from runner.mcp.notebooks.live import Marks, cell_head, marks_of
from runner.mcp.notebooks.memory import GONE, Memory
from runner.mcp.notebooks.running import Step


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("a/quartely.ipynb", "a/quarterly.ipynb"),
        ("a/Quartrely report.ipynb", None),
        ("a/daily_2.ipynb", None),
        ("a/plan_c.ipynb", None),
        ("a/sales_america.ipynb", None),
        ("b/quartely.ipynb", None),
        ("a/Quarterly.ipynb", "a/quarterly.ipynb"),
        ("a/PLAN_B.ipynb", "a/plan_b.ipynb"),
        ("b/quarterly.ipynb", "a/quarterly.ipynb"),
        ("a/huse.ipynb", "a/house.ipynb"),
        ("a/frsh.ipynb", "a/fresh.ipynb"),
        ("a/2026-10002.ipynb", None),
        ("brken.ipynb", "notebooks/broken.ipynb"),
        ("c/brken.ipynb", None),
        ("laon.ipynb", "notebooks/loan.ipynb"),
        ("a/lab wrok ü.ipynb", "a/lab work ü.ipynb"),
        ("a/dialy_1.ipynb", "a/daily_1.ipynb"),
    ],
)
def test_a_new_name_is_told_from_a_slip(path: str, meant: str | None) -> None:
    """Series of notebooks have similar names on purpose."""
    names = ["quarterly", "daily_1", "plan_b", "sales_europe", "house", "fresh", "2026-10001"]
    present = [f"a/{name}.ipynb" for name in (*names, "lab work ü")]
    present += ["notebooks/broken.ipynb", "notebooks/loan.ipynb"]
    assert misspelt(path, present, "notebooks") == meant


def test_a_missing_notebook_has_suggestions() -> None:
    """The same name elsewhere first."""
    present = ["x/other.ipynb", "work/report.ipynb", "reports.ipynb"]
    assert suggestions("report.ipynb", present, "notebooks")[:2] == [
        "work/report.ipynb",
        "reports.ipynb",
    ]
    assert suggestions("qqqqqq.ipynb", ["abcdefgh.ipynb"], "notebooks") == []
    library = ["a/loan.ipynb", "notebooks/sleeper.ipynb", "notebooks/loan.ipynb"]
    assert suggestions("nowhere.ipynb", library[1:], "notebooks") == []
    assert suggestions("loan.ipynb", library, "notebooks") == [
        "notebooks/loan.ipynb",
        "a/loan.ipynb",
    ]


def test_a_hash_is_of_kind_and_source() -> None:
    """Outputs do not count: running a cell does not change it."""
    cell = {"cell_type": "code", "source": "1"}
    assert hash_of(cell) == hash_of({**cell, "outputs": [1], "execution_count": 5})
    assert hash_of(cell) != hash_of({**cell, "source": "2"})
    assert hash_of(cell) != hash_of({**cell, "cell_type": "markdown"})


def test_a_cell_that_raised_or_was_changed_is_marked() -> None:
    """Changed since an agent ran it; what others ran is not known."""
    ran, other, new = (
        {"cell_type": "code", "source": source, "id": source, "execution_count": 1}
        for source in "123"
    )
    error = {"output_type": "error", "ename": "KeyError", "evalue": "x", "traceback": []}
    steps = [
        Step("1", "1", hash_of(ran), status="ok"),
        Step("2", "2", "000000", status="error"),
        Step("3", "3", "000000"),
    ]
    marks = marks_of([Activity("n", steps, 1)])
    assert cell_head(ran, 0, marks).endswith("code, In[1]")
    failed = {**other, "outputs": [error]}
    assert cell_head(failed, 1, marks).endswith(", changed since it ran, 1 output, raised KeyError")
    assert cell_head(new, 2, marks).endswith("In[1], waits for its turn")
    assert cell_head(new, 2, Marks()).endswith("In[1]")


def test_a_new_kernel_is_told_once() -> None:
    """By its id or by its count, which starts anew."""
    first, second = (Session("s", kernel, "python3", "idle") for kernel in ("a", "b"))
    memory = Memory()

    def note(session: Session, count: int, *, is_cell: bool = True) -> str | None:
        return memory.note("n", session, count, is_cell=is_cell)

    assert [note(first, 1), note(first, 2), note(first, 2, is_cell=False)] == [None] * 3
    assert [note(first, 1), note(first, 2)] == [GONE, None]
    assert [note(second, 3), note(second, 4)] == [GONE, None]
    assert [note(second, 0, is_cell=False), note(second, 1)] == [GONE, None]
    memory.forget("n")
    assert note(first, 1) is None
    memory.lose("n")
    assert [note(first, 0, is_cell=False), note(first, 1)] == [GONE, None]
    fresh = Memory()
    assert fresh.note("n", first, 1, is_cell=True, ran_before=True) == GONE
    assert fresh.note("c", first, 0, is_cell=False, ran_before=True) == GONE
    assert fresh.note("m", first, 7, is_cell=True, ran_before=True) is None
