"""Adds our server to a client's settings, as text. Pure; all else in the file stays as it is."""

import json
import re
import tomllib
from typing import Any

Json = dict[str, Any]


class NotOurs(Exception):
    """The file cannot be changed without harm: `why`, as the end of a sentence."""


def json_with(text: str, key: str, name: str, entry: Json, inputs: list[Json]) -> str:
    """Return a JSON file's text with our entry under `key`, and VS Code's `inputs`.

    Raises:
        NotOurs
    """
    try:
        document = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise NotOurs(f"has comments or is no JSON ({error})") from error
    servers = document.setdefault(key, {}) if isinstance(document, dict) else None
    if not isinstance(servers, dict):
        raise NotOurs(f"has no mapping of servers under {key!r}")
    before = json.dumps(document)
    servers[name] = entry
    for one in inputs:
        there = document.setdefault("inputs", [])
        if not isinstance(there, list):
            raise NotOurs("has no list under 'inputs'")
        if all(other.get("id") != one["id"] for other in there if isinstance(other, dict)):
            there.append(one)
    if json.dumps(document) == before and text.strip():
        return text
    return json.dumps(document, indent=_indent(text), ensure_ascii=False) + "\n"


def toml_with(text: str, key: str, name: str, entry: Json) -> str:
    """Return a TOML file's text with our table, in the place of an earlier one of ours.

    Raises:
        NotOurs
    """
    before = _parsed(text)
    if _inner(before, key).get(name) == entry:
        return text
    table = toml_table(key, name, entry)
    kept = _without(text, f"{key}.{name}")
    changed = f"{kept.rstrip()}\n\n{table}" if kept.strip() else table
    wanted = {**before, key: {**_inner(before, key), name: entry}}
    if _parsed(changed) != wanted:
        raise NotOurs(f"writes {key!r} in a form that cannot be changed line by line")
    return changed


def toml_table(key: str, name: str, entry: Json) -> str:
    """Write our table."""
    lines = [f"[{key}.{name}]"]
    inner: Json = {}
    for field, value in entry.items():
        if isinstance(value, dict):
            inner = {field: value}
        else:
            lines.append(f"{field} = {json.dumps(value, ensure_ascii=False)}")
    for field, value in inner.items():
        lines += ["", f"[{key}.{name}.{field}]"]
        lines += [f"{one} = {json.dumps(text, ensure_ascii=False)}" for one, text in value.items()]
    return "\n".join(lines) + "\n"


def _parsed(text: str) -> Json:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise NotOurs(f"is no valid TOML ({error})") from error


def _inner(document: Json, key: str) -> Json:
    servers = document.get(key, {})
    if not isinstance(servers, dict):
        raise NotOurs(f"has no table {key!r}")
    return servers


def _without(text: str, table: str) -> str:
    """Remove a table and those in it, from its header to the next one."""
    ours = re.compile(rf"\[\s*{re.escape(table)}\s*(\..*)?\]")
    kept, is_ours = list[str](), False
    for line in text.splitlines(keepends=True):
        if line.lstrip().startswith("["):
            is_ours = ours.match(line.strip()) is not None
        if not is_ours:
            kept.append(line)
    return "".join(kept)


def _indent(text: str) -> int | str:
    """Return the indentation that a file has."""
    found = re.search(r"^[{\[]\s*\n([ \t]+)", text, re.MULTILINE)
    if found is None:
        return 2
    return found[1] if "\t" in found[1] else len(found[1])
