"""Promises about what a notebook holds of a running cell."""

from typing import Any

from runner.mcp.outputs import STREAM_CHARACTERS, Outputs

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
