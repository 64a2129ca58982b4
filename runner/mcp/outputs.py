"""Turns a kernel's messages into a notebook's outputs.

Pure. Talks to no kernel and writes no notebook.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

STREAM_CHARACTERS = 1_000_000
"""Longest stream, so that an endless print fills neither the shared notebook nor the memory."""
CUT = "\n[text beyond a million characters is left out; write such output to a file]\n"


@dataclass
class Outputs:
    """The outputs of a running cell, as its notebook holds them (nbformat 4)."""

    items: list[Json] = field(default_factory=list)
    _displays: dict[str, list[int]] = field(default_factory=dict)
    _printed: int = 0
    _clear_next: bool = False

    def add(self, message: Mapping[str, Any]) -> bool:
        """Take a message from the kernel; return whether it changed something."""
        kind, content = message["header"]["msg_type"], message["content"]
        if kind == "clear_output":
            self._clear_next = bool(content.get("wait"))
            return False if self._clear_next else self._clear()
        if kind == "update_display_data":
            return self._update(content)
        output = _output_of(kind, content)
        if output is None:
            return False
        if self._clear_next:
            self._clear()
        if kind == "stream":
            return self._print(output)
        display = (content.get("transient") or {}).get("display_id")
        if display is not None:
            self._displays.setdefault(display, []).append(len(self.items))
        self.items.append(output)
        return True

    def _print(self, output: Json) -> bool:
        """Append to the last output of the same stream, as JupyterLab does."""
        left = STREAM_CHARACTERS - self._printed
        if left <= 0:
            return False
        if len(output["text"]) > left:
            output["text"] = output["text"][:left] + CUT
        self._printed += len(output["text"])
        last = self.items[-1] if self.items else {}
        if last.get("output_type") == "stream" and last["name"] == output["name"]:
            last["text"] += output["text"]
        else:
            self.items.append(output)
        return True

    def _update(self, content: Mapping[str, Any]) -> bool:
        display = (content.get("transient") or {}).get("display_id", "")
        places = self._displays.get(display, [])
        for place in places:
            self.items[place]["data"] = dict(content["data"])
            self.items[place]["metadata"] = dict(content.get("metadata") or {})
        return bool(places)

    def _clear(self) -> bool:
        had = bool(self.items)
        self.items.clear()
        self._displays.clear()
        self._printed, self._clear_next = 0, False
        return had


def _output_of(kind: str, content: Mapping[str, Any]) -> Json | None:
    if kind == "stream":
        return {"output_type": kind, "name": content["name"], "text": content["text"]}
    if kind == "error":
        keys = ("ename", "evalue", "traceback")
        return {"output_type": kind, **{key: content.get(key) for key in keys}}
    if kind not in ("display_data", "execute_result"):
        return None
    output: Json = {
        "output_type": kind,
        "data": dict(content["data"]),
        "metadata": dict(content.get("metadata") or {}),
    }
    if kind == "execute_result":
        output["execution_count"] = content.get("execution_count")
    return output
