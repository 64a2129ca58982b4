"""Promises about what the tools for agents cost a model."""

import pytest

pytest.importorskip("mcp", reason="the extra `mcp` is not installed")

import asyncio
import re
from pathlib import Path

from mcp_tokens import MOST_LIST_TOKENS, list_tokens
from mcp_types import Tool

from runner.config import Settings
from runner.mcp.schemas import portable, slim
from runner.mcp.server import Service
from runner.mcp.tool_server import only


def test_the_list_of_tools_is_short() -> None:
    """Every client pays for it in each session; a group alone costs about half."""
    costs = asyncio.run(list_tokens())
    assert costs["all"] <= MOST_LIST_TOKENS
    assert costs["notebooks"] + costs["runs"] <= costs["all"] + 1
    assert max(costs["notebooks"], costs["runs"]) <= 0.7 * costs["all"]


def test_every_tool_has_a_row_with_its_arguments() -> None:
    """In the manual: those that a call needs before the semicolon, then the others."""
    manual = (
        (Path(__file__).parents[2] / "docs/mcp.md").read_text().partition("**Live notebooks.**")[0]
    )
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \|([^|]*)\|$", manual, re.M)
    told = {name: re.sub(r" \([^)]*\)", "", arguments) for name, arguments in rows}
    only.set(None)
    tools = {tool.name: tool.input_schema for tool in asyncio.run(list_tools())}
    assert set(tools) <= set(told)
    for name, schema in tools.items():
        needed, _, _ = told[name].rpartition(";")
        wanted = set(schema.get("required", []))
        assert wanted == set(re.findall(r"`(\w+)`", needed)) or not needed, name
        assert set(schema["properties"]) == set(re.findall(r"`(\w+)`", told[name])), name


async def list_tools() -> list[Tool]:
    return await Service(Settings()).server.list_tools()


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
            "any": {"anyOf": [{"type": "string"}, {"type": "array"}]},
            "map": {"type": "object", "default": {"title": None}},
        },
        "required": ["title"],
    }


def test_a_list_of_types_is_written_as_alternatives() -> None:
    """Some clients know no such list; what is said of the whole stays around them."""
    schema = {
        "properties": {
            "type": {"type": ["integer", "null"], "minimum": 1, "default": None, "title": "T"},
            "plain": {"type": "string", "enum": ["a"]},
        },
        "required": ["type"],
    }
    assert portable(schema) == {
        "properties": {
            "type": {
                "anyOf": [{"type": "integer", "minimum": 1}, {"type": "null", "minimum": 1}],
                "default": None,
                "title": "T",
            },
            "plain": {"type": "string", "enum": ["a"]},
        },
        "required": ["type"],
    }
