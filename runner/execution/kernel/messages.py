"""Puts a kernel's messages into the shape of the protocol, however the notebook made them.

A notebook can publish anything. Pure; decides nothing about a run.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

Message = dict[str, Any]

DEEPEST = 150
"""JSON nested more deeply becomes a note: not every reader survives it."""
TOO_DEEP = "[left out: nested too deeply]"
_JSON_TYPE = re.compile(r"application/(.*\+)?json")
_WITH_DATA = frozenset({"display_data", "execute_result", "update_display_data"})


def well_formed(msg: Message) -> Message | None:
    """Return the message with a content as nbformat and nbclient expect it; None if it has none.

    A correct message comes back unchanged.
    """
    kind, content = msg.get("msg_type"), msg.get("content")
    if not isinstance(kind, str):
        return None
    content = content if isinstance(content, dict) else {}
    if kind == "stream":
        name = content.get("name")
        whole: Mapping[str, Any] = {
            "name": name if name in ("stdout", "stderr") else "stdout",
            "text": _text(content.get("text")),
        }
    elif kind in _WITH_DATA:
        whole = _display(content)
    elif kind == "error":
        whole = _error(content)
    elif kind.startswith("comm"):
        whole = content
        if not isinstance(content.get("data"), dict) or not isinstance(content.get("comm_id"), str):
            return None
    elif kind == "status":
        whole = {"execution_state": content.get("execution_state")}
    else:
        whole = content
    counted = _without_odd_count(whole, needs_one=kind == "execute_result")
    return {**msg, "content": {**counted, "transient": _transient(content.get("transient"))}}


def well_formed_reply(msg: Message) -> Message | None:
    """Return the reply to a cell as nbclient expects it; None if it does not say how that ended."""
    content = msg["content"]
    if not isinstance(content, dict) or not isinstance(content.get("status"), str):
        return None
    if content["status"] != "error":
        return msg
    return {**msg, "content": {**content, **_error(content)}}


def _display(content: Message) -> Message:
    bundle, metadata = content.get("data"), content.get("metadata")
    data = bundle if isinstance(bundle, dict) else {}
    return {
        **content,
        "data": {
            mime: _payload(mime, value)
            for mime, value in data.items()
            if value is not None or _JSON_TYPE.fullmatch(mime)
        },
        "metadata": metadata if isinstance(metadata, dict) and not _is_deep(metadata) else {},
    }


def _transient(transient: object) -> Message:
    display_id = transient.get("display_id") if isinstance(transient, dict) else None
    return {"display_id": display_id} if isinstance(display_id, str) else {}


def _payload(mime: str, value: object) -> object:
    """Return text, or a list of texts, or JSON if the type says so."""
    if _is_deep(value):
        return TOO_DEEP
    if _JSON_TYPE.fullmatch(mime) or isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return value
    return json.dumps(value)


def _error(content: Message) -> Message:
    traceback = content.get("traceback")
    lines = traceback if isinstance(traceback, list) else [traceback] if traceback else []
    return {
        "ename": _text(content.get("ename")) or "Error",
        "evalue": _text(content.get("evalue")),
        "traceback": [_text(line) for line in lines],
    }


def _without_odd_count(content: Mapping[str, Any], *, needs_one: bool) -> Message:
    count = content.get("execution_count")
    is_count = isinstance(count, int) and not isinstance(count, bool) and count >= 0
    whole = dict(content)
    if needs_one and not is_count:
        whole["execution_count"] = None
    elif not is_count:
        whole.pop("execution_count", None)
    return whole


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return TOO_DEEP if _is_deep(value) else json.dumps(value)


def _is_deep(value: object) -> bool:
    """Measure level by level, because recursion is what would fail."""
    level = [value]
    for _ in range(DEEPEST):
        inner: list[object] = []
        for one in level:
            if isinstance(one, dict):
                inner.extend(one.values())
            elif isinstance(one, list):
                inner.extend(one)
        level = [one for one in inner if isinstance(one, dict | list)]
        if not level:
            return False
    return True
