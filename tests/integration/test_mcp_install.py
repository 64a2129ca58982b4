"""Promises of `runner mcp --install`: our entry is added, and all else stays as it is."""

import json
import tomllib
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner, Result

from runner.cli.agents.clients import Client, Surroundings, place_of
from runner.cli.agents.documents import NotOurs, toml_with
from runner.cli.main import main

PLACES = {
    Client.CLAUDE_DESKTOP: "config/Claude/claude_desktop_config.json",
    Client.CLAUDE_CODE: "project/.mcp.json",
    Client.CURSOR: "home/.cursor/mcp.json",
    Client.VS_CODE: "project/.vscode/mcp.json",
    Client.CODEX: "home/.codex/config.toml",
}
URL = "http://nas.local:4040/mcp"


@pytest.fixture(autouse=True)
def _around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("home", "project", "config"):
        (tmp_path / name).mkdir()
    for name in ("MCP_TOKEN", "ROOM_URL", "ROOM_ID", "JUPYTER_TOKEN", "CODEX_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path / "project")


def install(client: Client, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["mcp", "--install", str(client), *arguments])


def read(file: Path) -> Any:
    text = file.read_text()
    return tomllib.loads(text) if file.suffix == ".toml" else json.loads(text)


def servers(document: Any) -> Any:
    return next(
        document[key] for key in ("mcpServers", "servers", "mcp_servers") if key in document
    )


@pytest.mark.parametrize("client", Client)
def test_an_entry_is_printed_and_written_where_the_client_looks(
    tmp_path: Path, client: Client
) -> None:
    """Nothing is written without --write; the second time there is nothing to do."""
    file = tmp_path / PLACES[client]
    printed = install(client)
    assert printed.exit_code == 0, printed.output
    assert str(file) in printed.stderr
    assert not file.exists()
    assert install(client, "--write").exit_code == 0
    assert file.read_text() == printed.stdout
    entry = servers(read(file))["inbox-runner"]
    assert Path(entry["command"]).is_absolute()
    assert entry["args"][:2] == ["mcp", "--stdio"]
    assert str(tmp_path / "project" / "inbox") in entry["args"]
    again = install(client, "--write")
    assert "has it already" in again.stderr
    assert file.read_text() == printed.stdout
    assert list(file.parent.glob("*.bak")) == []


@pytest.mark.parametrize("client", Client)
def test_a_server_that_runs_is_entered_by_its_address(
    tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project's file and one that knows variables never have the token itself."""
    monkeypatch.setenv("MCP_TOKEN", "s3cret")
    done = install(client, "--url", URL, "--write")
    assert done.exit_code == 0, done.output
    file = tmp_path / PLACES[client]
    entry = servers(read(file))["inbox-runner"]
    assert URL in (entry.get("url"), *entry.get("args", ()))
    assert ("s3cret" in file.read_text()) is (client is Client.CLAUDE_DESKTOP)
    assert file.stat().st_mode & 0o777 == 0o600


OTHERS = """\
{
    "theme": "dark",
    "mcpServers": {
        "other": {"command": "x", "args": ["ü"]}
    }
}
"""


def test_what_a_json_file_has_stays_and_the_old_file_is_kept(tmp_path: Path) -> None:
    """In its order and with its indentation; a link leads to the file that is changed."""
    real = tmp_path / "dotfiles.json"
    real.write_text(OTHERS)
    real.chmod(0o640)
    link = tmp_path / PLACES[Client.CURSOR]
    link.parent.mkdir()
    link.symlink_to(real)
    done = install(Client.CURSOR, "--write")
    assert done.exit_code == 0, done.output
    assert link.is_symlink()
    found = json.loads(real.read_text())
    assert list(found) == ["theme", "mcpServers"]
    assert found["mcpServers"]["other"] == {"command": "x", "args": ["ü"]}
    assert list(found["mcpServers"]) == ["other", "inbox-runner"]
    assert '\n    "theme"' in real.read_text()
    assert "ü" in real.read_text()
    (backup,) = tmp_path.glob("dotfiles.json.*.bak")
    assert backup.read_text() == OTHERS
    assert str(backup) in "".join(done.stderr.split("\n"))
    assert real.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "text",
    ['{\n  // mine\n  "servers": {}\n}\n', '{"servers": {},}', "[]", '{"servers": []}'],
)
def test_a_file_that_would_lose_something_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    """One with comments: what to put into it is printed."""
    file = tmp_path / PLACES[Client.VS_CODE]
    file.parent.mkdir()
    file.write_text(text)
    done = install(Client.VS_CODE, "--write")
    assert done.exit_code != 0
    assert "left as it is" in " ".join(done.stderr.split())
    assert "inbox-runner" in json.loads(done.stdout)["servers"]
    assert file.read_text() == text


TOML = """\
# mine
model = "o9"

[mcp_servers.inbox-runner]
command = "old"
args = []
[mcp_servers.inbox-runner.env]
A = "1"

[mcp_servers.other] # stays
command = "x"
"""


def test_only_our_own_table_of_a_toml_file_is_replaced(tmp_path: Path) -> None:
    """Comments stay, other tables too."""
    file = tmp_path / PLACES[Client.CODEX]
    file.parent.mkdir()
    file.write_text(TOML)
    assert install(Client.CODEX, "--write").exit_code == 0
    text = file.read_text()
    assert text.startswith('# mine\nmodel = "o9"\n')
    assert "[mcp_servers.other] # stays" in text
    found = tomllib.loads(text)["mcp_servers"]
    assert set(found) == {"other", "inbox-runner"}
    assert found["inbox-runner"]["command"] != "old"
    assert "env" not in found["inbox-runner"]


@pytest.mark.parametrize(
    "text",
    [
        'mcp_servers = { other = { command = "x" } }\n',
        'note = """\n[mcp_servers.inbox-runner]\n"""\n',
        "mcp_servers.inbox-runner.command = 'x'\n",
        "broken = \n",
        "mcp_servers = 1\n",
    ],
)
def test_a_toml_file_of_another_form_is_left_as_it_is(text: str) -> None:
    """Tables within one line, headers within texts: nobody guesses."""
    try:
        changed = toml_with(text, "mcp_servers", "inbox-runner", {"command": "y"})
    except NotOurs:
        return
    before, after = tomllib.loads(text), tomllib.loads(changed)
    assert {**after, "mcp_servers": None} == {**before, "mcp_servers": None}


@pytest.mark.parametrize(
    ("platform", "place"),
    [
        ("linux", "/xdg/Claude/claude_desktop_config.json"),
        ("darwin", "/me/Library/Application Support/Claude/claude_desktop_config.json"),
        ("win32", "/appdata/Claude/claude_desktop_config.json"),
    ],
)
def test_a_desktop_application_has_its_place_on_each_platform(platform: str, place: str) -> None:
    """As its document says."""
    environment = {"XDG_CONFIG_HOME": "/xdg", "APPDATA": "/appdata"}
    around = Surroundings(platform, Path("/me"), Path("/project"), environment)
    assert place_of(Client.CLAUDE_DESKTOP, around) == Path(place)


def test_write_and_url_belong_to_install() -> None:
    """Alone they would start a server that nobody asked for."""
    for option in (["--write"], ["--url", URL]):
        done = CliRunner().invoke(main, ["mcp", *option])
        assert done.exit_code == 2
        assert "--install" in done.stderr


@pytest.mark.kernels
def test_the_entry_starts_a_server_over_the_same_folders(tmp_path: Path) -> None:
    """From any folder, as a client starts it."""
    mcp = pytest.importorskip("mcp")
    from mcp.client.stdio import stdio_client

    assert install(Client.CLAUDE_CODE, "--write").exit_code == 0
    entry = read(tmp_path / PLACES[Client.CLAUDE_CODE])["mcpServers"]["inbox-runner"]

    async def names() -> set[str]:
        started = mcp.StdioServerParameters(
            command=entry["command"], args=entry["args"], cwd=tmp_path
        )
        async with stdio_client(started) as streams, mcp.ClientSession(*streams) as session:
            await session.initialize()
            (contents,) = (await session.read_resource("runner://notebooks")).contents
            assert "plan.ipynb" in contents.text
            return {tool.name for tool in (await session.list_tools()).tools}

    (tmp_path / "project" / "notebooks").mkdir()
    (tmp_path / "project" / "notebooks" / "plan.ipynb").write_text("{}")
    assert "run_notebook" in anyio.run(names)
