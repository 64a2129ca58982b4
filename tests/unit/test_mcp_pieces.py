"""Promises about what a model sees of a cell's outputs."""

import io
import random
from base64 import b64decode, b64encode
from typing import Any

import pytest

pytest.importorskip("mcp", reason="the extra `mcp` is not installed")

from mcp_types import TextContent
from PIL import Image

from runner.mcp.answers import answer, with_names
from runner.mcp.pictures import Picture, fitted
from runner.mcp.pieces import BRIEF, FULL, PICTURES, Bounds, is_cut, pieces_of, rest_of

Json = dict[str, Any]


def encoded(image: Image.Image) -> str:
    out = io.BytesIO()
    image.save(out, "PNG")
    return b64encode(out.getvalue()).decode()


DOT = encoded(Image.new("RGB", (1, 1)))
STYLED = """<style>#T {color: red}</style><table><thead><tr><th>&nbsp;</th><th>n</th></tr></thead>
<tbody><tr><th>0</th><td>1 &lt; 2</td></tr></tbody></table>"""
TABLE = "| n\n0 | 1 < 2"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n", "plain\n"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("10%\r20%\r100%\n", "100%\n"),
        ("10%\r20%\r", "20%"),
        ("one\r\ntwo\r\n", "one\ntwo\n"),
        (["in ", "parts"], "in parts"),
    ],
)
def test_a_model_sees_what_a_person_would(text: object, shown: str) -> None:
    """No codes, and of a progress bar the last state."""
    assert pieces_of([{"output_type": "stream", "name": "stdout", "text": text}]) == [shown]


@pytest.mark.parametrize(
    ("data", "piece"),
    [
        ({"image/png": f"{DOT}\n", "text/plain": "<Figure>"}, Picture(DOT, "image/png", 1)),
        ({"image/png": "aGk=", "text/plain": "<Figure>"}, "[picture 1: it cannot be read]"),
        ({"text/html": "<table>", "text/plain": "a b"}, "a b"),
        ({"text/markdown": "# m", "text/plain": "obj"}, "# m"),
        ({"application/json": {"a": 1}}, '{"a": 1}'),
        ({"image/svg+xml": "<svg/>", "text/plain": "<SVG>"}, "[an SVG drawing, without text]"),
        (
            {"image/svg+xml": '<svg width="9" height="5"><text>a</text><text>b</text></svg>'},
            "[an SVG drawing, 9 by 5; its texts: a; b]",
        ),
        ({"text/html": STYLED, "text/plain": "<pandas.io.formats.style.Styler at 0x7f>"}, TABLE),
        ({"text/html": STYLED, "text/plain": "    n\n0  1"}, "    n\n0  1"),
        (
            {"text/html": "<script>x</script>", "text/plain": "<x.Map object>"},
            "<x.Map object>\n[An output that needs a script, a player or another page. "
            "Open the notebook in JupyterLab to see it.]",
        ),
        (
            {"application/x-own": "1"},
            "[An output of the type application/x-own, which a page cannot show. "
            "Open the notebook in JupyterLab to see it.]",
        ),
    ],
)
def test_of_a_bundle_the_best_is_shown(data: Json, piece: object) -> None:
    """A picture before text, plain text before HTML."""
    assert pieces_of([{"output_type": "display_data", "data": data}]) == [piece]


@pytest.mark.parametrize(
    ("data", "piece"),
    [
        ({"json+json": {"name": "total", "data": 42}}, "total = 42"),
        ({"text+json": {"name": "word", "data": "naïve"}}, 'word = "naïve"'),
        ({"json+json": {"name": "many", "data": {"a": [1, None]}}}, 'many = {"a":[1,null]}'),
        ({"pandas+json": {"name": "table", "data": "UEFSMQ=="}}, "table = (a DataFrame)"),
        ({"json+json": "no"}, "(unnamed) = (unreadable: its payload is no mapping)"),
    ],
)
def test_a_glued_value_is_told_with_its_name(data: Json, piece: str) -> None:
    """As JSON; a long one is cut as any other text."""
    bundle = {f"application/scrapbook.scrap.{kind}": payload for kind, payload in data.items()}
    assert pieces_of([{"output_type": "display_data", "data": bundle}]) == [piece]


def test_other_forms_of_what_is_glued_are_told_too() -> None:
    """What it was before scrapbook, what is displayed under a name, and a value that is cut."""
    old = {"application/papermill.record+json": {"a": 1, "b": "x"}}
    assert pieces_of([{"output_type": "display_data", "data": old}]) == ['a = 1\nb = "x"']
    named = {"scrapbook": {"name": "plot", "data": False, "display": True}}
    plot = {"output_type": "display_data", "metadata": named, "data": {"text/plain": "a plot"}}
    assert pieces_of([plot]) == ["a plot"]
    long = {"application/scrapbook.scrap.json+json": {"name": "long", "data": ["x" * 90] * 900}}
    [cut] = pieces_of([{"output_type": "display_data", "data": long}])
    assert isinstance(cut, str)
    assert cut.startswith('long = ["xxx')
    assert "characters left out" in cut
    assert len(cut) < BRIEF.output_characters + 100


def test_a_model_is_not_drowned() -> None:
    """In text or in pictures; what is left out is said."""
    many = [{"output_type": "stream", "name": n, "text": "x" * 9_000} for n in "abcdef"]
    pieces = [piece for piece in pieces_of(many) if isinstance(piece, str)]
    assert sum(len(piece) for piece in pieces) < BRIEF.characters + 500
    assert "left out" in pieces[-1]
    assert len("".join(map(str, pieces_of(many, FULL)))) == 54_000
    plots: list[Json] = [{"output_type": "display_data", "data": {"image/png": DOT}}] * 6
    found = pieces_of(plots)
    assert sum(isinstance(piece, Picture) for piece in found) == PICTURES == 4
    assert found[-1] == "[2 more pictures, left out; first_picture=5 goes on]"
    last = pieces_of(plots, Bounds(first_picture=5))
    assert last == [Picture(DOT, "image/png", number) for number in (5, 6)]
    assert rest_of(found, BRIEF) == rest_of(found, FULL) == {"first_picture": 5}
    assert not is_cut(found)
    assert rest_of(pieces, BRIEF) == {"detail": "full"}
    assert rest_of(pieces, FULL) == {}
    assert with_names(last)[0] == "[picture 5]\n[picture 6]"
    cells = ["a:", *pieces_of(plots[:2]), "b:", *pieces_of(plots[:1])]
    assert with_names(cells)[0].splitlines()[-1] == "[picture 3: number 1 of its cell]"


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_large_picture_is_made_smaller(mode: str) -> None:
    """1,568 pixels a side, and 300 kB, as far as it needs; a small one stays as it is."""
    noise = Image.frombytes("RGB", (2400, 1200), random.Random(1).randbytes(2400 * 1200 * 3))
    for image in (noise.convert(mode), Image.new(mode, (3000, 100))):
        small = fitted(Picture(encoded(image), "image/png"))
        assert small is not None
        raw = b64decode(small.data)
        assert len(raw) <= 300_000
        with Image.open(io.BytesIO(raw)) as back:
            assert max(back.size) <= 1568
            assert abs(back.width / back.height - image.width / image.height) < 1
            assert small.media_type == f"image/{str(back.format).lower()}"
    assert fitted(Picture(DOT, "image/png")) == Picture(DOT, "image/png")
    assert fitted(Picture("no", "image/png")) is None


def test_an_answer_is_one_text_and_then_its_pictures() -> None:
    """The text names each where it was; nothing else is there that clients might show instead."""
    dot = Picture(DOT, "image/png")
    result = answer(["head", "a\n", dot, "", "b", dot])
    first, *others = result.content
    assert isinstance(first, TextContent)
    assert first.text == "head\na\n[picture 1]\nb\n[picture 2]"
    assert [one.type for one in others] == ["image", "image"]
    assert result.structured_content is None
