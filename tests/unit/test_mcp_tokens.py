"""Promises about what the tools for agents cost a model."""

import pytest

pytest.importorskip("mcp", reason="the extra `mcp` is not installed")

import asyncio

from mcp_tokens import MOST_LIST_TOKENS, list_tokens

from runner.mcp.schemas import slim


def test_the_list_of_tools_is_short() -> None:
    """Every client pays for it in each session; a group alone costs about half."""
    costs = asyncio.run(list_tokens())
    assert costs["all"] <= MOST_LIST_TOKENS
    assert costs["notebooks"] + costs["runs"] <= costs["all"] + 1
    assert max(costs["notebooks"], costs["runs"]) <= 0.7 * costs["all"]


def test_a_short_schema_says_the_same() -> None:
    """Without titles, nulls and references; names of arguments are no keywords."""
    schema = {
        "title": "Args",
        "type": "object",
        "$defs": {"Mood": {"title": "Mood", "enum": ["a", "b"], "type": "string"}},
        "properties": {
            "title": {"title": "Title", "type": "string"},
            "mood": {"anyOf": [{"$ref": "#/$defs/Mood"}, {"type": "null"}], "default": None},
            "any": {"anyOf": [{"type": "string"}, {"items": {}, "type": "array"}]},
            "map": {"type": "object", "additionalProperties": True, "default": {"title": None}},
        },
        "required": ["title"],
    }
    assert slim(schema) == {
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "mood": {"enum": ["a", "b"], "type": "string"},
            "any": {"type": ["string", "array"]},
            "map": {"type": "object", "default": {"title": None}},
        },
        "required": ["title"],
    }
