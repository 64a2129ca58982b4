"""What a notebook gives back is read within bounds of its own; with real processes and files."""

import base64
import io
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from runner.execution.job import reading
from runner.execution.job.reading import SMALL_BYTES, Found, Sought, read_results
from tests.conftest import Json

MEGABYTE = 1 << 20


@pytest.fixture
def sought(tmp_path: Path) -> Sought:
    """Bounds that no ordinary result comes to."""
    return Sought(
        tag="results",
        scrapbook=True,
        result_bytes=20 * MEGABYTE,
        memory_bytes=1024 * MEGABYTE,
        seconds=90,
        folder=tmp_path,
    )


def glued(**scraps: Any) -> Json:
    """An executed notebook that has glued these values and tables."""
    outputs = []
    for name, value in scraps.items():
        kind, encoded = "json", value
        if isinstance(value, pd.DataFrame):
            parquet = io.BytesIO()
            value.to_parquet(parquet)
            kind, encoded = "pandas", base64.b64encode(parquet.getvalue()).decode()
        mime = f"application/scrapbook.scrap.{kind}+json"
        data = {mime: {"name": name, "data": encoded, "encoder": kind, "version": 1}}
        outputs.append({"output_type": "display_data", "metadata": {}, "data": data})
    return {"cells": [{"cell_type": "code", "metadata": {}, "outputs": outputs}]}


def read(executed: Mapping[str, Any], sought: Sought) -> tuple[Json, Found]:
    """The results as values, and all that was found; apart from this process."""
    found = read_results(executed, SMALL_BYTES + 1, sought)
    return json.loads(found.results), found


def table_of(rows: int, text: str) -> pd.DataFrame:
    """A table that is small while it is a file."""
    return pd.DataFrame(
        {"text": pd.Categorical.from_codes(np.zeros(rows, np.int8), pd.Index([text]))}
    )


def test_ordinary_results_are_the_same_wherever_they_are_read(sought: Sought) -> None:
    """Here or in a process of their own; tables with their columns, index and data."""
    executed = glued(a=1, table=pd.DataFrame({"x": [1, 2]}), text="é")
    values, found = read(executed, sought)
    assert list(values) == ["a", "table", "text"]
    assert values["table"] == {"columns": ["x"], "index": [0, 1], "data": [[1], [2]]}
    assert (found.problems, found.warnings) == ((), ())
    assert read_results(glued(a=1), 10, sought).results == '{\n  "a": 1\n}'


def test_a_table_that_is_a_thousand_times_larger_when_read_becomes_a_file(sought: Sought) -> None:
    """Its parquet, as it was glued; it is not even read, and what else was glued is there."""
    bomb = table_of(11_000_000, "x" * 30)
    executed = glued(before=1, bomb=bomb, after=2)
    assert len(json.dumps(executed)) < 500_000
    values, found = read(executed, sought)
    assert values == {"before": 1, "after": 2}
    assert found.problems == ()
    [warning] = found.warnings
    assert "'bomb'" in warning
    assert "20 MB (limits.results_mb)" in warning
    assert "'bomb.parquet'" in warning
    assert len(pd.read_parquet(sought.folder / "bomb.parquet")) == 11_000_000


def test_a_table_that_takes_more_memory_than_a_run_may_becomes_a_file(sought: Sought) -> None:
    """What its size does not tell is seen while it is read; the rest is read all the same."""
    executed = glued(before=1, bomb=table_of(3_000_000, "x" * 100))
    values, found = read(executed, replace(sought, memory_bytes=60 * MEGABYTE))
    assert values == {"before": 1}
    [warning] = found.warnings
    assert "more memory or time" in warning
    assert (sought.folder / "bomb.parquet").stat().st_size < 100_000


def test_what_cannot_be_read_in_time_costs_the_run_nothing_else(sought: Sought) -> None:
    """It is in the executed notebook, and a warning says so."""
    values, found = read(glued(a=1), replace(sought, seconds=0))
    assert values == {}
    assert found.problems == ()
    assert "executed notebook" in found.warnings[0]


def test_large_values_are_files_and_small_ones_behind_them_are_results(sought: Sought) -> None:
    """Whatever they are called, and whatever lies there already."""
    (sought.folder / "big.json").write_text("the notebook's own")
    executed = glued(**{"a/../b": "y" * 2000, "big": ["x" * 2000], "small": 1})
    values, found = read(executed, replace(sought, result_bytes=1000))
    assert values == {"small": 1}
    assert len(found.warnings) == 2
    assert (sought.folder / "big.json").read_text() == "the notebook's own"
    assert json.loads((sought.folder / "big-1.json").read_text()) == ["x" * 2000]
    assert len(os.listdir(sought.folder)) == 3


def test_a_folder_that_has_become_a_link_gets_no_file(sought: Sought, tmp_path: Path) -> None:
    """Nothing is written outside; the warning says what became of it."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    tight = replace(sought, result_bytes=10, folder=tmp_path / "link")
    values, found = read(glued(big="x" * 100), tight)
    assert values == {}
    assert "could not be made a file" in found.warnings[0]
    assert os.listdir(tmp_path / "elsewhere") == []


def test_a_value_that_is_read_again_is_one_file(sought: Sought) -> None:
    """As after output that came late; and what the notebook itself wrote stays."""
    (sought.folder / "big.json").write_text("the notebook's own")
    tight = replace(sought, result_bytes=1000)
    read(glued(big="x" * 2000), tight)
    _, found = read(glued(big="y" * 2000), tight)
    assert "'big-1.json'" in found.warnings[0]
    assert sorted(os.listdir(sought.folder)) == ["big-1.json", "big.json"]
    assert json.loads((sought.folder / "big-1.json").read_text()) == "y" * 2000


def test_a_reading_that_is_given_up_leaves_no_file(
    sought: Sought, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that read has written one by then; the next one names its own."""
    monkeypatch.setattr(reading, "_understood", lambda answer: None)
    read(glued(big="x" * 2000), replace(sought, result_bytes=1000))
    assert os.listdir(sought.folder) == []
