"""Shortens the arguments in `tools/list`, because every client pays for them in each session.

Pure. A schema says the same before and after: titles repeat names, and null means left out.
"""

from typing import Any

Json = dict[str, Any]

_VALUES = frozenset(("const", "default", "enum", "examples", "required"))
"""Keys of a schema that hold values, and no schemas."""
_AROUND = frozenset(("title", "description", "default", "examples"))
"""Keys that say something of the whole."""


def slim(schema: Json) -> Json:
    """Return a tool's input schema without titles, nulls and references."""
    definitions = schema.get("$defs", {})
    slimmed: Json = _slim({k: v for k, v in schema.items() if k != "$defs"}, definitions)
    return slimmed


def portable(schema: Any) -> Any:
    """Write each list of types as alternatives: not every client takes such a list."""
    if isinstance(schema, list):
        return [portable(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {key: _portable_part(key, value) for key, value in schema.items()}
    types = parts.get("type")
    if not isinstance(types, list):
        return parts
    around = {key: value for key, value in parts.items() if key in _AROUND}
    inner = {key: value for key, value in parts.items() if key not in (*_AROUND, "type")}
    return {**around, "anyOf": [{"type": one, **inner} for one in types]}


def _portable_part(key: str, value: Any) -> Any:
    if key in ("properties", "$defs"):
        return {name: portable(one) for name, one in value.items()}
    return value if key in _VALUES else portable(value)


def _slim(schema: Any, definitions: Json) -> Any:
    if isinstance(schema, list):
        return [_slim(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        target = definitions[schema["$ref"].rpartition("/")[2]]
        schema = {**target, **{k: v for k, v in schema.items() if k != "$ref"}}
    kept: Json = {}
    for key, value in schema.items():
        if key == "properties":
            kept[key] = {name: _slim(one, definitions) for name, one in value.items()}
        elif key == "anyOf":
            kept |= _alternatives([_slim(one, definitions) for one in value])
        elif (
            key == "title"
            or (key == "default" and value is None)
            or (key == "additionalProperties" and value is True)
        ):
            continue
        else:
            kept[key] = value if key in ("default", "enum") else _slim(value, definitions)
    return kept


def _alternatives(schemas: list[Any]) -> Json:
    """Join them, without null. A list of types would be shorter, but not every client takes it."""
    left = [_plain(one) for one in schemas if one != {"type": "null"}]
    if len(left) == 1:
        return dict(left[0])
    return {"anyOf": left}


def _plain(schema: Any) -> Any:
    """Leave out that a list's items may be anything."""
    return {k: v for k, v in schema.items() if (k, v) != ("items", {})}
