"""Promises about outputs: what a notebook holds of a cell, and what a model sees of it."""

from typing import Any

import pytest

from runner.mcp.outputs import (
    PICTURES,
    STREAM_CHARACTERS,
    TEXTS_CHARACTERS,
    Outputs,
    Picture,
    pieces_of,
)

Json = dict[str, Any]


def message(kind: str, **content: object) -> Json:
    return {"header": {"msg_type": kind}, "content": content}


def printed(text: str, name: str = "stdout") -> Json:
    return message("stream", name=name, text=text)


def displayed(**given: object) -> Json:
    data = {"text/plain": "x"}
    return message("display_data", **{"data": data, "metadata": {}, "transient": {}, **given})


def collected(*messages: Json) -> list[Json]:
    outputs = Outputs()
    for one in messages:
        outputs.add(one)
    return outputs.items


def test_pieces_of_a_stream_are_one_output() -> None:
    """Until another stream or a display comes between."""
    found = collected(printed("a"), printed("b"), printed("c", "stderr"), printed("d"))
    assert [(one["name"], one["text"]) for one in found] == [
        ("stdout", "ab"),
        ("stderr", "c"),
        ("stdout", "d"),
    ]


def test_a_result_and_an_error_are_outputs() -> None:
    """As nbformat wants them, without what belongs to the kernel's messages alone."""
    result = message("execute_result", data={"text/plain": "7"}, metadata={}, execution_count=3)
    error = message("error", ename="E", evalue="v", traceback=["t"])
    assert collected(result, displayed(), error, message("status", execution_state="idle")) == [
        {
            "output_type": "execute_result",
            "data": {"text/plain": "7"},
            "metadata": {},
            "execution_count": 3,
        },
        {"output_type": "display_data", "data": {"text/plain": "x"}, "metadata": {}},
        {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["t"]},
    ]


def test_a_display_is_updated_in_its_place() -> None:
    """Wherever it was shown; an unknown one is nothing."""
    first = displayed(transient={"display_id": "d"})
    update = message(
        "update_display_data", data={"text/plain": "new"}, transient={"display_id": "d"}
    )
    found = collected(first, printed("between"), first, update)
    assert [one.get("data") for one in found] == [
        {"text/plain": "new"},
        None,
        {"text/plain": "new"},
    ]
    assert collected(update) == []


def test_outputs_are_cleared_at_once_or_with_the_next() -> None:
    """`wait` spares a person the flicker."""
    clear = message("clear_output", wait=False)
    later = message("clear_output", wait=True)
    assert collected(printed("a"), clear) == []
    assert [one["text"] for one in collected(printed("a"), later)] == ["a"]
    assert [one["text"] for one in collected(printed("a"), later, printed("b"))] == ["b"]


def test_a_cell_that_prints_without_end_is_cut() -> None:
    """Once, with a word about it."""
    outputs = Outputs()
    chunk = "x" * 300_000
    for _ in range(10):
        outputs.add(printed(chunk))
    (found,) = outputs.items
    assert STREAM_CHARACTERS < len(found["text"]) < STREAM_CHARACTERS + 200
    assert "left out" in found["text"]
    assert not outputs.add(printed("more"))


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
        ({"image/png": "aGk=\n", "text/plain": "<Figure>"}, Picture("aGk=", "image/png")),
        ({"text/html": "<table>", "text/plain": "a b"}, "a b"),
        ({"text/markdown": "# m", "text/plain": "obj"}, "# m"),
        ({"application/json": {"a": 1}}, '{"a": 1}'),
        ({"image/svg+xml": "<svg/>", "text/plain": "<SVG>"}, "<SVG>"),
        ({"application/x-own": "1"}, "[an output of application/x-own]"),
    ],
)
def test_of_a_bundle_the_best_is_shown(data: Json, piece: object) -> None:
    """A picture before text, plain text before HTML."""
    assert pieces_of([{"output_type": "display_data", "data": data}]) == [piece]


def test_a_model_is_not_drowned() -> None:
    """In text or in pictures; what is left out is said."""
    many = [{"output_type": "stream", "name": n, "text": "x" * 9_000} for n in "abcdef"]
    pieces = [piece for piece in pieces_of(many) if isinstance(piece, str)]
    assert sum(len(piece) for piece in pieces) < TEXTS_CHARACTERS + 500
    assert "left out" in pieces[-1]
    plots = [{"output_type": "display_data", "data": {"image/png": "aa"}}] * (PICTURES + 1)
    found = pieces_of(plots)
    assert sum(isinstance(piece, Picture) for piece in found) == PICTURES
    assert found[-1] == "[one more picture, left out]"
    huge = [{"output_type": "display_data", "data": {"image/png": "a" * 5_000_000}}]
    assert "left out" in str(pieces_of(huge)[0])[:100]
