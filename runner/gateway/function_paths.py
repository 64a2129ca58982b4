"""Describes each notebook of the library as an operation of its own, for the OpenAPI document.

Pure.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from runner.contract.parameters.schemas import TooLarge, fits, value_in_words
from runner.contract.parameters.sidecar import stem_of
from runner.contract.parameters.signature import Signature
from runner.jobs.functions import Function, names_of

Json = dict[str, Any]

MAX_DESCRIBED = 200
"""Most notebooks that have an operation of their own; the others run all the same."""
MAX_BODY_CHARS = 50_000
"""Largest schema in the document, so that one notebook makes it no burden for every client."""
GENERAL = "/notebooks/{path}"
_DAY, _TIME = "2026-01-31", "12:30:00"
_EXAMPLES: Mapping[str, Any] = {
    "boolean": True,
    "integer": 1,
    "number": 1.0,
    "array": [],
    "object": {},
    "null": None,
}
_TEXTS = {"date": _DAY, "date-time": f"{_DAY}T{_TIME}Z", "time": f"{_TIME}Z"}


def paths_of(functions: Sequence[Function], whole: Json, *, is_closed: bool) -> dict[str, Json]:
    """Return a path for each notebook, beside those of the `whole` document.

    `is_closed`: the runner refuses unknown parameters.
    """
    general = whole["paths"][GENERAL]
    functions = [one for one in functions if not set("{}") & set(one.path)]
    names = names_of(one.path for one in functions)
    return {
        f"/notebooks/{quote(stem_of(one.path))}": {
            "get": _without_path(general["get"], f"show_{names[one.path]}", one),
            "post": _call(one, f"run_{names[one.path]}", general["post"], is_closed=is_closed),
        }
        for one in functions
    }


def _without_path(general: Json, name: str, function: Function) -> Json:
    """Describe an operation on one notebook like that on any of them."""
    return {
        **general,
        "operationId": name,
        "tags": ["notebooks"],
        "summary": function.title or function.path,
        "parameters": [one for one in general["parameters"] if one["in"] != "path"],
    }


def _call(function: Function, name: str, general: Json, *, is_closed: bool) -> Json:
    """Describe a call of one notebook: with its own body and an example."""
    schema = body_of(function.signature)
    if len(json.dumps(schema)) > MAX_BODY_CHARS:
        schema = {"type": "object", "description": "GET this address for its many parameters."}
    if is_closed:
        schema["additionalProperties"] = False
    media: Json = {"schema": schema}
    example = example_of(function.signature)
    if example is not None and "properties" in schema:
        media["example"] = example
    return {
        **_without_path(general, name, function),
        **({"description": function.description} if function.description else {}),
        "requestBody": {"required": True, "content": {"application/json": media}},
    }


def body_of(signature: Signature) -> Json:
    """Return the schema of a call, with each default in words.

    A client that is generated from it (openapi-typescript) would demand a key with a `default`.
    """
    schema = signature.schema()
    for one in schema["properties"].values():
        if "default" in one:
            words = f"Default: {value_in_words(one.pop('default'))}."
            one["description"] = f"{one.get('description', '')} {words}".strip()
    return schema


def example_of(signature: Signature) -> Json | None:
    """Return values for a call: the defaults, and something for what has none.

    None if nothing is known for one that is required.
    """
    values: Json = {}
    for one in signature.parameters:
        schema = one.schema
        if "default" in schema and not one.moving_default:
            values[one.name] = schema["default"]
            continue
        if not (one.is_required or one.is_declared):
            continue
        value = _example(schema)
        try:
            is_good = fits(value, schema)
        except TooLarge:
            is_good = False
        if is_good:
            values[one.name] = value
        elif one.is_required:
            return None
    return values


def _example(schema: Mapping[str, Any]) -> Any:
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    if "const" in schema:
        return schema["const"]
    members = schema.get("anyOf") or schema.get("oneOf")
    if members and isinstance(members[0], dict):
        return _example({**schema, **members[0], "anyOf": None, "oneOf": None})
    types = schema.get("type")
    kind = types[0] if isinstance(types, list) else types
    if kind == "string":
        return _TEXTS.get(schema.get("format", ""), "text")
    if kind in ("integer", "number") and "minimum" in schema:
        return schema["minimum"]
    if kind == "array":
        return [_example(one) for one in schema.get("prefixItems", ())]
    return _EXAMPLES.get(str(kind))
