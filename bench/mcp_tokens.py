"""Prints what the tools for agents cost a model: the list of tools, and the answer to `1+1`.

    python bench/mcp_tokens.py                              the list, out of this checkout
    python bench/mcp_tokens.py --url http://localhost:4040  both, of a server beside JupyterLab

A token is taken as four characters of JSON.
"""

import argparse
import asyncio
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcp import Client

from runner.config import Settings
from runner.mcp.server import GROUPS, Service
from runner.mcp.tool_server import only

CHARACTERS_A_TOKEN = 4
MOST_LIST_TOKENS = 5_000
MOST_ANSWER_TOKENS = 60


def tokens(content: object) -> int:
    """Return the tokens of a value as JSON."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return math.ceil(len(text) / CHARACTERS_A_TOKEN)


async def list_tokens() -> Mapping[str, int]:
    """Return what `tools/list` costs: all tools, and each group alone."""
    server = Service(Settings()).server
    costs: dict[str, int] = {}
    for group in (None, *GROUPS):
        only.set(group)
        tools = [
            tool.model_dump(mode="json", by_alias=True, exclude_none=True)
            for tool in await server.list_tools()
        ]
        costs[group or "all"] = tokens(tools)
    return costs


async def answer_tokens(url: str, notebook: str) -> Mapping[str, int]:
    """Return what a server's answers to `1+1` cost, by tool."""
    one_and_one: dict[str, dict[str, Any]] = {
        "insert_cell": {"source": "1+1", "notebook": notebook},
        "execute_code": {"code": "1+1", "notebook": notebook},
        "run_notebook": {"notebook": ["1+1"]},
    }
    costs: dict[str, int] = {}
    async with Client(f"{url}/mcp") as client:
        for tool, arguments in one_and_one.items():
            result: Any = await client.call_tool(tool, arguments)
            content = [block.model_dump(exclude_none=True) for block in result.content]
            costs[tool] = tokens(content)
    return costs


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--url", help=f"a server to ask for 1+1; run it in {Path.cwd()}")
    url = parser.parse_args().url
    for group, cost in asyncio.run(list_tokens()).items():
        print(f"{cost:6}  list of tools, {group}")
    if url:
        for tool, cost in asyncio.run(answer_tokens(url, "tokens.ipynb")).items():
            print(f"{cost:6}  1+1 by {tool}")


if __name__ == "__main__":
    main()
