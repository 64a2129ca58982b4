"""A cell's outputs: how a message becomes one, how much it counts, and text that still grows.

Over messages in the shape of the protocol. Decides nothing about a run.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from nbformat import NotebookNode, from_dict

from runner.contract.text.terminal import TerminalText

CUT_HERE = "[cut here: the notebook's output limit is reached (limits.output_mb)]"
LEAST_BYTES = 100
"""Size that any message without text counts for."""
_FIELDS = {
    "stream": ("name", "text"),
    "display_data": ("metadata", "data"),
    "execute_result": ("metadata", "data", "execution_count"),
    "error": ("ename", "evalue", "traceback"),
}
"""Parts of an output, by the type of the message, in nbformat's order."""


def output_of(msg: Mapping[str, Any]) -> NotebookNode | None:
    """Return the output that a well-formed message stands for; None if it is none.

    nbformat would check it against its schema once more, which takes ten times as long.
    """
    fields = _FIELDS.get(msg["msg_type"])
    if fields is None:
        return None
    content = msg["content"]
    output: NotebookNode = from_dict(
        {"output_type": msg["msg_type"], **{name: content[name] for name in fields}}
    )
    return output


def kept(outputs: Iterable[Mapping[str, Any]]) -> int:
    """Estimate the bytes that outputs have been counted for."""
    return sum(
        length(one["text"])
        if one["output_type"] == "stream"
        else LEAST_BYTES + sum(length(one[key]) for key in one if key != "output_type")
        for one in outputs
    )


def size(msg: Mapping[str, Any]) -> int:
    """Estimate the bytes of a message that stay in the notebook or in this process.

    Everything that a notebook can make its kernel say counts, if only a little.
    """
    kind, content = msg["msg_type"], msg["content"]
    if kind in ("status", "execute_input"):
        return 0
    if kind == "stream":
        return length(content["text"])
    buffers = sum(len(buffer) for buffer in msg.get("buffers", ()))
    return LEAST_BYTES + buffers + length(content)


def length(value: object) -> int:
    """Return the length of a JSON value's text in UTF-8, without its punctuation."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, Mapping):
        return sum(len(key) + length(inner) for key, inner in value.items())
    if isinstance(value, list):
        return sum(map(length, value))
    return 8


def cut(msg: dict[str, Any]) -> None:
    """Shorten the output that passed the limit, with a note in the notebook."""
    note, content = CUT_HERE, msg["content"]
    if msg["msg_type"] == "error":
        content.update(ename="OutputLimit", evalue=note, traceback=[note])
    elif msg["msg_type"] in ("display_data", "execute_result", "update_display_data"):
        content.update(data={"text/plain": note}, metadata={})
    else:
        content.update(data={}, metadata={})


class StreamText:
    """A cell's stream output that may still grow; reading it joins the parts."""

    def __init__(self, output: NotebookNode) -> None:
        self._output = output
        self._screen = TerminalText()
        self._has_grown = False

    def is_last(self, outs: list[NotebookNode], content: dict[str, Any]) -> bool:
        """Return whether a message continues this output, which is still the last one."""
        return bool(outs) and outs[-1] is self._output and self._output["name"] == content["name"]

    def write(self, text: str) -> int:
        """Append text; return the number of added bytes."""
        self._has_grown = True
        grown = self._screen.write(text)
        # Exact for ASCII; of other text a little too much where it is folded.
        return grown if text.isascii() else grown + length(text) - len(text)

    def cut(self, excess: int) -> None:
        """Shorten the text that passed the limit, with a note."""
        self._screen.cut(excess)
        self._screen.write(f"\n{CUT_HERE}\n")

    def close(self) -> None:
        """Write the text into the notebook, if there is more than before."""
        if self._has_grown:
            self._output["text"] = self._screen.text
            self._has_grown = False
