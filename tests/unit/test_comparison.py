"""What `make conform` takes for the same, and what not."""

import base64
import io
from typing import Any

import pytest
from comparison import Side, compare
from PIL import Image

Json = dict[str, Any]


def side(*outputs: Json, folders: tuple[str, ...] = (), ename: str | None = None) -> Side:
    cell = {
        "cell_type": "code",
        "source": "f()",
        "metadata": {},
        "execution_count": 1,
        "outputs": list(outputs),
    }
    outcome = "succeeded" if ename is None else "failed"
    return Side(outcome, ename, {"cells": [cell], "metadata": {}}, folders)


def text(value: str, name: str = "stdout") -> Json:
    return {"output_type": "stream", "name": name, "text": value}


def shown(**bundle: str) -> Json:
    data = {mime.replace("_", "/"): value for mime, value in bundle.items()}
    return {"output_type": "display_data", "metadata": {}, "data": data}


def png(color: str, level: int) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), color).save(buffer, "png", compress_level=level)
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (text("<object at 0x7f01aabbccdd>"), text("<object at 0x55d0deadbeef>")),
        (text("in /there/x\n"), text("in /here/x\n")),
        (text("CPU times: user 1 s\nx"), text("CPU times: user 2 s\nx")),
        (text("10%\r20%\rdone"), text("done")),
        (text("\x1b[31mred\x1b[0m"), text("red")),
        (shown(image_png=png("red", 0)), shown(image_png=png("red", 9))),
    ],
)
def test_what_no_two_runs_have_alike_is_no_difference(one: Json, other: Json) -> None:
    """Addresses, folders, measured times, colours, progress and compression are left out."""
    assert compare([side(one, folders=("/there",))], side(other, folders=("/here",))) == []


def test_text_that_comes_in_pieces_is_one_text() -> None:
    """How often a kernel flushes is chance, and so is which stream comes first."""
    pieces = side(text("a"), text("w", "stderr"), text("b\n"), shown(text_plain="1"))
    whole = side(text("w", "stderr"), text("ab\n"), shown(text_plain="1"))

    assert compare([pieces], whole) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (text("1"), text("2")),
        (text("a"), text("a", "stderr")),
        (shown(text_plain="1"), shown(text_plain="1", text_html="1")),
        (shown(image_png=png("red", 0)), shown(image_png=png("blue", 0))),
    ],
)
def test_any_other_output_is_a_difference(one: Json, other: Json) -> None:
    """Text, stream, MIME types and pixels count."""
    (difference,) = compare([side(one)], side(other))

    assert difference.where == "cell 0, outputs"


def test_an_outcome_and_its_exception_come_first() -> None:
    """The cells of a run that ended otherwise say nothing more."""
    (difference,) = compare([side(ename="KeyError")], side(ename="ValueError"))

    assert difference.where == "ename"
    assert [d.where for d in compare([side()], side(ename="KeyError"))] == ["outcome"]


def test_what_papermill_does_not_repeat_counts_as_far_as_it_does() -> None:
    """Two runs that differ in numbers bind the words; two that differ in words, the kinds."""
    numbers = [side(text("took 3 s")), side(text("took 4 s"))]
    words = [side(text("a fox")), side(text("two hens"))]

    assert compare(numbers, side(text("took 5 s"))) == []
    assert compare(numbers, side(text("gave 5 s"))) != []
    assert compare(words, side(text("no dog"))) == []
    assert compare(words, side(text("no dog", "stderr"))) != []
