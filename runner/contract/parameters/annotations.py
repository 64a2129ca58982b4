"""Reads a type as Python code writes it, and returns it as JSON Schema.

Reads the text by `ast` alone and runs nothing. A name counts by its last part: `t.Literal` and
`typing.Literal` are the same. A type that is not known here is no schema, and never an error.
"""

import ast
from collections.abc import Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]

MAX_CHARS = 2_000
"""Longest annotation that is read."""
MAX_MEMBERS = 500
"""Most members of a `Literal` or a union."""
_TEXT, _WHOLE, _NUMBER, _TRUTH = (
    {"type": kind} for kind in ("string", "integer", "number", "boolean")
)
_STAMP = {"type": "string", "format": "date-time"}
_PLAIN: Mapping[str, Schema] = {
    **dict.fromkeys(("str", "string", "text", "Path", "PurePath", "PosixPath", "StrictStr"), _TEXT),
    **dict.fromkeys(("AnyStr", "LiteralString", "PathLike"), _TEXT),
    **dict.fromkeys(("int", "integer", "StrictInt"), _WHOLE),
    **dict.fromkeys(("float", "number", "double", "Number", "Real", "StrictFloat"), _NUMBER),
    **dict.fromkeys(("bool", "boolean", "StrictBool"), _TRUTH),
    "None": {"type": "null"},
    "NoneType": {"type": "null"},
    "Decimal": {"type": ["number", "string"]},
    "date": {"type": "string", "format": "date"},
    **dict.fromkeys(("datetime", "Timestamp"), _STAMP),
    "time": {"type": "string", "format": "time"},
    "UUID": {"type": "string", "format": "uuid"},
    "PositiveInt": {"type": "integer", "exclusiveMinimum": 0},
    "NonNegativeInt": {"type": "integer", "minimum": 0},
    "NegativeInt": {"type": "integer", "exclusiveMaximum": 0},
    "PositiveFloat": {"type": "number", "exclusiveMinimum": 0},
    "NonNegativeFloat": {"type": "number", "minimum": 0},
}
_LISTS = frozenset(
    "list List Sequence MutableSequence Iterable Collection tuple Tuple set Set frozenset "
    "FrozenSet".split()
)
_SETS = frozenset("set Set frozenset FrozenSet".split())
_MAPPINGS = frozenset("dict Dict Mapping MutableMapping OrderedDict defaultdict".split())
_ANYTHING = frozenset(("Any", "object"))
_PASSED = frozenset(("Final", "ClassVar", "Required", "NotRequired"))
_PARTS = {"array": "Items", "object": "Properties"}
_BOUNDS = {
    "Ge": ("minimum",),
    "Gt": ("exclusiveMinimum",),
    "Le": ("maximum",),
    "Lt": ("exclusiveMaximum",),
    "MultipleOf": ("multipleOf",),
    "MinLen": ("min_length",),
    "MaxLen": ("max_length",),
    "Len": ("min_length", "max_length"),
}
_ARGUMENTS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
    "min_length": "min_length",
    "max_length": "max_length",
    "min_inclusive": "min_length",
    "max_exclusive": "max_length",
    "min_items": "min_length",
    "max_items": "max_length",
}
_WORDS = {"title": "title", "description": "description", "documentation": "description"}


class _Unknown(Exception):
    """A type that JSON Schema cannot say, or that is not known here."""


def schema_of(text: str) -> Schema | None:
    """Return the schema of an annotation or a type comment; None if it is not understood."""
    if len(text) > MAX_CHARS:
        return None
    try:
        return _schema(ast.parse(text.strip(), mode="eval").body)
    except (_Unknown, SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return None


def type_of(value: object) -> str | None:
    """Return the JSON type of a value; None if JSON has no such value."""
    if isinstance(value, bool):
        return "boolean"
    for types, name in (
        (int, "integer"),
        (float, "number"),
        (str, "string"),
        (list | tuple | set, "array"),
        (dict, "object"),
        (type(None), "null"),
    ):
        if isinstance(value, types):
            return name
    return None


def is_whole(value: object) -> bool:
    """Return whether UTF-8 can hold the texts in a value: an escape may be half of a pair."""
    if isinstance(value, str):
        return not any("\ud800" <= char <= "\udfff" for char in value)
    if isinstance(value, dict):
        return all(is_whole(key) and is_whole(part) for key, part in value.items())
    return not isinstance(value, list | tuple | set) or all(map(is_whole, value))


def _schema(node: ast.expr) -> Schema:
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            return _schema(ast.parse(node.value.strip(), mode="eval").body)
        if node.value is None:
            return _PLAIN["None"]
        raise _Unknown
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _union(_alternatives(node))
    if isinstance(node, ast.Subscript):
        return _subscript(_name(node.value), _arguments(node.slice))
    return _bare(_name(node))


def _name(node: ast.expr) -> str:
    """Return the last part of a dotted name."""
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Name):
        return node.id
    raise _Unknown


def _arguments(node: ast.expr) -> list[ast.expr]:
    return list(node.elts) if isinstance(node, ast.Tuple) else [node]


def _alternatives(node: ast.expr) -> list[ast.expr]:
    """List the members of `A | B | C`."""
    members: list[ast.expr] = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        members.append(node.right)
        node = node.left
    return [node, *reversed(members)]


def _bare(name: str) -> Schema:
    if name in _PLAIN:
        return _PLAIN[name]
    if name in _LISTS:
        return {"type": "array", **({"uniqueItems": True} if name in _SETS else {})}
    if name in _MAPPINGS:
        return {"type": "object"}
    raise _Unknown


def _subscript(name: str, arguments: list[ast.expr]) -> Schema:
    if name == "Literal":
        return _choice(arguments)
    if name == "Annotated":
        return _annotated(_schema(arguments[0]), arguments[1:])
    if name in _PASSED:
        return _schema(arguments[0])
    if name in ("Optional", "optional"):
        return _union([*arguments, ast.Constant(None)])
    if name == "Union":
        return _union(arguments)
    if name in ("tuple", "Tuple"):
        return _tuple(arguments)
    if name in _LISTS:
        return {**_bare(name), **_part("items", arguments[0])}
    if name in _MAPPINGS and len(arguments) == 2:
        return {"type": "object", **_part("additionalProperties", arguments[1])}
    raise _Unknown


def _part(keyword: str, node: ast.expr) -> Schema:
    """Return the keyword for the parts of a container; nothing if anything goes there."""
    schema = _inner(node)
    return {keyword: schema} if schema else {}


def _inner(node: ast.expr) -> Schema:
    """Return the schema of a part; empty if it may be anything or is not understood."""
    try:
        return _schema(node)
    except _Unknown:
        return {}


def _tuple(arguments: list[ast.expr]) -> Schema:
    last = arguments[-1]
    if len(arguments) == 2 and isinstance(last, ast.Constant) and last.value is ...:
        return {"type": "array", **_part("items", arguments[0])}
    size = len(arguments)
    return {
        "type": "array",
        "prefixItems": [_inner(one) for one in arguments],
        "minItems": size,
        "maxItems": size,
    }


def _choice(arguments: Sequence[ast.expr]) -> Schema:
    values: list[Any] = []
    for node in arguments[:MAX_MEMBERS]:
        if isinstance(node, ast.Subscript):  # a Literal in a Literal
            values.extend(_schema(node)["enum"])
            continue
        value = ast.literal_eval(node)
        if type_of(value) in (None, "array", "object", "number") or not is_whole(value):
            raise _Unknown
        values.append(value)
    if len(arguments) > MAX_MEMBERS:
        raise _Unknown
    return choice_of(values)


def choice_of(values: Sequence[Any]) -> Schema:
    """Return the schema of a choice, with the type of its values."""
    types = list(dict.fromkeys(type_of(value) for value in values))
    return {"type": types[0] if len(types) == 1 else types, "enum": list(values)}


def _union(nodes: Sequence[ast.expr]) -> Schema:
    if len(nodes) > MAX_MEMBERS:
        raise _Unknown
    members = [_schema(node) for node in nodes]
    plain = [one for one in members if set(one) == {"type"}]
    if len(plain) == len(members):
        types = [name for one in plain for name in _list(one["type"])]
        return {"type": _type_of_union(types)}
    choices = [one for one in members if set(one) == {"type", "enum"} or one == _PLAIN["None"]]
    if len(choices) == len(members):
        return choice_of([value for one in choices for value in one.get("enum", [None])])
    others = [one for one in members if one != _PLAIN["None"]]
    if len(others) == 1 and len(members) > 1 and isinstance(others[0].get("type"), str):
        return {**others[0], "type": [others[0]["type"], "null"]}
    return {"anyOf": list(members)}


def _type_of_union(types: Sequence[str]) -> str | list[str]:
    """Join types; each number is one, whole or not."""
    left = [one for one in dict.fromkeys(types) if one != "integer" or "number" not in types]
    return left[0] if len(left) == 1 else left


def _list(types: Any) -> list[str]:
    return [types] if isinstance(types, str) else list(types)


def _annotated(schema: Schema, notes: Sequence[ast.expr]) -> Schema:
    """Add what `Annotated` says beside the type; other notes say nothing."""
    result = dict(schema)
    for note in notes:
        if isinstance(note, ast.Constant) and isinstance(note.value, str):
            result |= _if_text("description", note.value)
        elif isinstance(note, ast.Call):
            result |= _of_call(note, result)
    return result


def _of_call(call: ast.Call, schema: Schema) -> Schema:
    name = _name(call.func) if isinstance(call.func, ast.Name | ast.Attribute) else ""
    limits = {
        key: _literal(value) for key, value in zip(_BOUNDS.get(name, ()), call.args, strict=False)
    }
    if name == "Doc" and call.args:
        return _if_text("description", _literal(call.args[0]))
    if name in ("Field", "Interval", "Meta", *_BOUNDS):
        limits |= {
            _ARGUMENTS.get(one.arg or "", _WORDS.get(one.arg or "", "")): _literal(one.value)
            for one in call.keywords
        }
    words: dict[str, Any] = {}
    for key in ("title", "description"):
        words |= _if_text(key, limits.pop(key, None))
    return {**words, **_limits(limits, schema)}


def _if_text(key: str, value: object) -> dict[str, Any]:
    return {key: value} if isinstance(value, str) and is_whole(value) else {}


def _limits(limits: Mapping[str, object], schema: Schema) -> dict[str, Any]:
    """Return the limits that can hold, under the names that the type's schema has for them."""
    parts = next((_PARTS[one] for one in _list(schema.get("type", "")) if one in _PARTS), "Length")
    names = {"min_length": f"min{parts}", "max_length": f"max{parts}"}
    return {names.get(key, key): one for key, one in limits.items() if _can_hold(key, one)}


def _can_hold(key: str, limit: object) -> bool:
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not key:
        return False
    if key in ("min_length", "max_length"):
        return isinstance(limit, int) and limit >= 0
    return limit > 0 if key == "multipleOf" else abs(limit) < float("inf")


def _literal(node: ast.expr) -> object:
    """Return the value of a note's argument; None if it is computed."""
    try:
        return ast.literal_eval(node)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
