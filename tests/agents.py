"""The MCP server as its users start it, and the official client that calls it."""

import importlib.util
import json
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import anyio
import pytest

from tests.conftest import Json, wait_for
from tests.zygote import MCP_MODULES, Forked, forked

if importlib.util.find_spec("mcp") is None:
    assert not os.environ.get("ALL_TESTS"), "mcp is not installed"
    pytest.skip("mcp is not installed (the extra `mcp`)", allow_module_level=True)

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, ImageContent, TextContent

T = TypeVar("T")
OWN = ("MCP_", "ROOM_", "RUNTIME_", "JUPYTER_TOKEN", "BIND_ADDRESS", "INBOX_RUNNER__")
"""Settings of whoever runs the tests."""


@dataclass
class Agents:
    """`runner mcp` over HTTP in a folder."""

    root: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    process: "subprocess.Popen[bytes] | Forked | None" = None
    before: int = 0

    def start(self) -> "Agents":
        with (self.root / "mcp.log").open("ab") as log:
            self.before = log.tell()
        self.process = forked(
            self.root,
            environment(self.environment),
            ("mcp", "--port", "0", *self.arguments),
            self.root / "mcp.log",
            MCP_MODULES,
        )
        process = self.process
        wait_for(lambda: "MCP at" in self.log or process.poll() is not None, 60)
        assert process.poll() is None, self.log
        return self

    @property
    def log(self) -> str:
        """What this one has said."""
        return (self.root / "mcp.log").read_bytes()[self.before :].decode()

    @property
    def url(self) -> str:
        """Where it listens, without the protocol's path."""
        found = re.findall(r"MCP at (http://\S+)/mcp", self.log)[0]
        return str(found).replace("0.0.0.0", "127.0.0.1")

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def call(self, tool: str, /, **arguments: object) -> CallToolResult:
        """One call by a client of its own."""
        return ask(self.url, lambda client: client.call_tool(tool, dict(arguments)))


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """This process's, without settings, and with these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
    return {**kept, **given}


@contextmanager
def agents(root: Path, *arguments: str, **given: str) -> Iterator[Agents]:
    """A server that is ended afterwards, and says so with 0."""
    made = Agents(root, given, arguments)
    try:
        yield made.start()
    finally:
        if made.process is not None and made.process.poll() is None:
            assert made.stop() == 0, made.log


@asynccontextmanager
async def connected(
    url: str, token: str | None = None, mode: str = "auto"
) -> AsyncIterator[Client]:
    """The official client. `legacy` is the protocol with a handshake, that of most clients yet."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    timeout = httpx2.Timeout(30, read=300)
    async with (
        # To load certificates would take longer than most calls.
        httpx2.AsyncClient(headers=headers, timeout=timeout, verify=False) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


def ask(
    url: str,
    what: Callable[[Client], Awaitable[T]],
    token: str | None = None,
    mode: str = "auto",
) -> T:
    """What a client does, from a test that is not asynchronous."""

    async def run() -> T:
        async with connected(url, token, mode) as client:
            return await what(client)

    return anyio.run(run)


def text(result: CallToolResult) -> str:
    """All that a model would read."""
    return "\n".join(block.text for block in result.content if isinstance(block, TextContent))


def pictures(result: CallToolResult) -> list[ImageContent]:
    return [block for block in result.content if isinstance(block, ImageContent)]


_JOB = re.compile(r"Job (?P<job_id>[0-9a-f]{32})(?: \((?P<name>.+?)\))?: (?P<status>[a-z_]+)")
_CELL = re.compile(
    r"(?P<notebook>\S+) \[(?P<cell_index>.+?)\] (?P<cell_id>\S+?)(?: #(?P<hash>\w+))?: (?P<said>.+)"
)
_STATUS = {
    "ran out of time": "timed_out",
    "ran": "ok",
    "raised": "error",
    "lost": "kernel_died",
    "was not run": "not_run",
    "still running": "running",
}
_COUNT = re.compile(r"count (\d+)")


def job_of(result: CallToolResult) -> Json:
    """What an answer says of a job."""
    said = text(result)
    match = _JOB.match(said)
    assert match is not None, result
    results = re.search(r"^Results: (.+)$", said, re.M)
    return {**match.groupdict(), "results": json.loads(results[1]) if results else {}}


def cell_of(result: CallToolResult) -> Json:
    """What an answer says of a cell: its headline, and below that its output."""
    head, _, output = text(result).partition("\n")
    match = _CELL.match(head)
    assert match is not None, result
    count, said = _COUNT.search(head), match["said"]
    status = next((status for words, status in _STATUS.items() if said.startswith(words)), None)
    found = {**match.groupdict(), "status": status, "output": output}
    return {**found, "count": int(count[1]) if count else None}
