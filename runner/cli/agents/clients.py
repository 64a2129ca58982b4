"""Knows where each client keeps its servers, and in which form. Pure.

Places and keys are those of the clients' own documents:
https://modelcontextprotocol.io/docs/develop/connect-local-servers (Claude Desktop),
https://code.claude.com/docs/en/mcp, https://cursor.com/docs/mcp,
https://code.visualstudio.com/docs/agents/reference/mcp-configuration,
https://developers.openai.com/codex/mcp
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

Json = dict[str, Any]

NAME = "inbox-runner"
"""The name of our entry."""
SECRETS = ("ROOM_TOKEN", "RUNTIME_TOKEN", "JUPYTER_TOKEN")
MCP_TOKEN = "MCP_TOKEN"  # noqa: S105  the name of a variable


class Client(StrEnum):
    """A client that we know."""

    CLAUDE_DESKTOP = "claude-desktop"
    CLAUDE_CODE = "claude-code"
    CURSOR = "cursor"
    VS_CODE = "vscode"
    CODEX = "codex"


@dataclass(frozen=True)
class Surroundings:
    """What the places of settings depend on."""

    platform: str
    """As `sys.platform`."""
    home: Path
    folder: Path
    """The project's folder."""
    environment: Mapping[str, str]

    @property
    def applications(self) -> Path:
        """The folder in which desktop applications keep their settings."""
        if self.platform == "darwin":
            return self.home / "Library" / "Application Support"
        if self.platform == "win32":
            return Path(self.environment.get("APPDATA") or self.home / "AppData" / "Roaming")
        return Path(self.environment.get("XDG_CONFIG_HOME") or self.home / ".config")


@dataclass(frozen=True)
class Command:
    """A server that the client starts, over stdio."""

    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Address:
    """A server that runs already, over HTTP."""

    url: str
    token: str | None = None


def place_of(client: Client, around: Surroundings) -> Path:
    """Return the file in which a client keeps its servers: its user's, or the project's."""
    match client:
        case Client.CLAUDE_DESKTOP:
            return around.applications / "Claude" / "claude_desktop_config.json"
        case Client.CLAUDE_CODE:
            return around.folder / ".mcp.json"
        case Client.CURSOR:
            return around.home / ".cursor" / "mcp.json"
        case Client.VS_CODE:
            return around.folder / ".vscode" / "mcp.json"
        case Client.CODEX:
            home = around.environment.get("CODEX_HOME")
            return Path(home or around.home / ".codex") / "config.toml"


def servers_key(client: Client) -> str:
    """Return the key under which a client keeps its servers."""
    return {Client.VS_CODE: "servers", Client.CODEX: "mcp_servers"}.get(client, "mcpServers")


def entry_of(client: Client, server: Command | Address) -> Json:
    """Return what belongs under our name.

    The files of a project are shared, and so they name a token's variable, never the token.
    """
    if isinstance(server, Command):
        program, *arguments = server.words
        entry: Json = {"command": program, "args": arguments}
        if client in (Client.CLAUDE_CODE, Client.VS_CODE):
            entry = {"type": "stdio", **entry}
        values = {name: _value(client, name, value) for name, value in server.environment.items()}
        return {**entry, "env": values} if values else entry
    if client is Client.CLAUDE_DESKTOP:
        return _bridged(server)
    if client is Client.CODEX:
        named = {} if server.token is None else {"bearer_token_env_var": MCP_TOKEN}
        return {"url": server.url, **named}
    entry = {"url": server.url}
    if client in (Client.CLAUDE_CODE, Client.VS_CODE):
        entry = {"type": "http", **entry}
    if server.token is not None:
        secret = _value(client, MCP_TOKEN, server.token)
        entry["headers"] = {"Authorization": f"Bearer {secret}"}
    return entry


def inputs_of(client: Client, server: Command | Address) -> list[Json]:
    """Return what VS Code asks its user for, once."""
    if client is not Client.VS_CODE:
        return []
    if isinstance(server, Address):
        names = [] if server.token is None else [MCP_TOKEN]
    else:
        names = [name for name in server.environment if name in SECRETS]
    return [
        {"type": "promptString", "id": _input(name), "description": name, "password": True}
        for name in names
    ]


def variables_of(client: Client, server: Command | Address) -> list[str]:
    """Return the variables that must be set where the client starts."""
    if client not in (Client.CLAUDE_CODE, Client.CURSOR, Client.CODEX):
        return []
    if isinstance(server, Address):
        return [] if server.token is None else [MCP_TOKEN]
    if client is Client.CODEX:
        return []
    return [name for name in server.environment if name in SECRETS]


def _bridged(server: Address) -> Json:
    """Reach an address by way of `mcp-remote`: the desktop's file has commands alone."""
    entry: Json = {"command": "npx", "args": ["-y", "mcp-remote", server.url]}
    if server.token is not None:  # in a variable, since its arguments must have no spaces
        entry["args"] += ["--header", "Authorization:${AUTH}"]
        entry["env"] = {"AUTH": f"Bearer {server.token}"}
    return entry


def _value(client: Client, name: str, value: str) -> str:
    """Return a variable's value as a client's file has it."""
    if name not in (*SECRETS, MCP_TOKEN):
        return value
    match client:
        case Client.CLAUDE_CODE:
            return f"${{{name}}}"
        case Client.CURSOR:
            return f"${{env:{name}}}"
        case Client.VS_CODE:
            return f"${{input:{_input(name)}}}"
        case _:
            return value


def _input(name: str) -> str:
    return f"inbox-runner-{name.lower().replace('_', '-')}"
