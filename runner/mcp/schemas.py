"""Shortens the arguments in `tools/list`, because every client pays for them in each session.

Pure. A schema says the same before and after: titles repeat names, and null means left out.
"""

from typing import Any

Json = dict[str, Any]


def slim(schema: Json) -> Json:
    """Return a tool's input schema without titles, nulls and references."""
    definitions = schema.get("$defs", {})
    slimmed: Json = _slim({k: v for k, v in schema.items() if k != "$defs"}, definitions)
    return slimmed


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
    """Join them: without null, and plain types in one list."""
    left = [one for one in schemas if one != {"type": "null"}]
    if len(left) == 1:
        return dict(left[0])
    if all(set(one) <= {"type", "items"} and one.get("items", {}) == {} for one in left):
        return {"type": [one["type"] for one in left]}
    return {"anyOf": left}
