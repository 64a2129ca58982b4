"""Settings: where they come from, in which order, and what is said when they are wrong."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from runner.config import SHORT_NAMES, Settings, available_cores, check_apart, load
from runner.places import FOLDERS, KEYS, ConfigError, Places, read_places

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of whoever runs the tests, and a folder without a settings file."""
    for name, _, _ in SHORT_NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def keys(model: type[BaseModel]) -> set[str]:
    """Every setting as `section.key`."""
    found: set[str] = set()
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found |= {f"{name}.{key}" for key in keys(inner)}
        else:
            found.add(name)
    return found


def listed(written: Mapping[str, Any]) -> set[str]:
    """Every setting of a file, in the same way."""
    found: set[str] = set()
    for name, inner in written.items():
        found |= (
            {f"{name}.{key}" for key in listed(inner)}
            if inner and isinstance(inner, dict)
            else {name}
        )
    return found


def test_the_projects_settings_file_lists_every_setting_at_its_default() -> None:
    """So that it changes nothing as it is, and nobody has to look into the code."""
    written: dict[str, Any] = yaml.safe_load((PROJECT / "config.yaml").read_text())
    assert listed(written) == keys(Settings)
    defaults = Settings().model_dump()
    loaded = load(PROJECT / "config.yaml").model_dump()
    for folder in ("inbox", "outbox", "notebooks", "state", "secrets"):
        assert loaded.pop(folder) == PROJECT / str(defaults.pop(folder))
    assert loaded == defaults


def test_relative_folders_count_from_the_settings_file(tmp_path: Path) -> None:
    """Wherever the program is started; those of a flag count from the current folder."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "my.yaml").write_text("inbox: ../drop\noutbox: out\n")
    settings = load(tmp_path / "etc" / "my.yaml", {"state": Path("here")})
    assert settings.inbox == tmp_path / "drop"
    assert settings.outbox == tmp_path / "etc" / "out"
    assert settings.state == tmp_path / "here"
    triggers = dict.fromkeys(("schedules", "rules", "hooks"), "own")
    (tmp_path / "etc" / "my.yaml").write_text(yaml.safe_dump(triggers))
    settings = load(tmp_path / "etc" / "my.yaml")
    places = {settings.schedules_folder, settings.rules_folder, settings.hooks_folder}
    assert places == {tmp_path / "etc" / "own"}


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As everywhere else; a folder called `~` is made nowhere."""
    monkeypatch.setenv("HOME", "/home/anna")
    monkeypatch.setenv("INBOX_RUNNER__OUTBOX", "~/results")
    (tmp_path / "my.yaml").write_text("inbox: ~/drop\nnotebooks: a~b\n")
    settings = load(tmp_path / "my.yaml", {"state": Path("~/state")})
    assert settings.inbox == Path("/home/anna/drop")
    assert settings.outbox == Path("/home/anna/results")
    assert settings.notebooks == tmp_path / "a~b"
    assert settings.state == Path("/home/anna/state")  # no shell expands `--state=~/state`


def test_flag_wins_over_environment_over_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the long name of a variable over the short one."""
    (tmp_path / "config.yaml").write_text("inbox: a\nlimits: {run_seconds: 1, notebook_mb: 1}\n")
    monkeypatch.setenv("INBOX_RUNNER__INBOX", str(tmp_path / "b"))
    monkeypatch.setenv("EXECUTION_TIMEOUT", "2")
    monkeypatch.setenv("MAX_NOTEBOOK_SIZE_MB", "2")
    monkeypatch.setenv("INBOX_RUNNER__LIMITS__NOTEBOOK_MB", "3")
    settings = load(flags={"outbox": tmp_path / "c"})
    assert settings.inbox == tmp_path / "b"
    assert settings.outbox == tmp_path / "c"
    assert settings.limits.run_seconds == 2
    assert settings.limits.notebook_mb == 3
    assert load(flags={"inbox": tmp_path / "d"}).inbox == tmp_path / "d"


def test_a_key_without_a_value_means_its_default(tmp_path: Path) -> None:
    """At every level; and plain text means what it does in a request."""
    (tmp_path / "config.yaml").write_text(
        "limits:\n  memory_mb:\nkernels:\ngateway: {token: 0123, port: ~}\n"
    )
    settings = load()
    assert settings.limits == Settings().limits
    assert settings.gateway.secret == "0123"
    (tmp_path / "config.yaml").write_text("# nothing yet\n")
    assert load().limits == Settings().limits


def test_lists_and_switches_come_out_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists as JSON."""
    monkeypatch.setenv("INBOX_RUNNER__KERNELS__ALLOWED", '["python3", "ir"]')
    monkeypatch.setenv("USE_SCRAPBOOK", "false")
    settings = load()
    assert settings.kernels.allowed == ("python3", "ir")
    assert settings.results.scrapbook is False


def test_the_mcp_server_reads_the_names_that_its_users_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One token of Jupyter for both, unless each has its own; none of them is shown."""
    for name, value in {
        "ROOM_URL": "http://jupyter:8888",
        "ROOM_ID": "work/main.ipynb",
        "JUPYTER_TOKEN": "s3cret",
        "MCP_PORT": "4041",
        "MCP_TOKEN": "t0ken",
        "MCP_ALLOWED_HOSTS": "mcp, nas.local",
        "BIND_ADDRESS": "0.0.0.0",
        "RUNTIME_URL": "",
    }.items():
        monkeypatch.setenv(name, value)
    mcp = load().mcp
    assert (mcp.room_url, mcp.room_id, mcp.runtime_url) == (
        "http://jupyter:8888",
        "work/main.ipynb",
        None,
    )
    assert (mcp.port, mcp.secret, mcp.allowed_hosts) == (4041, "t0ken", ("mcp", "nas.local"))
    assert mcp.room_secret == mcp.runtime_secret == "s3cret"
    assert mcp.bind_address == load().gateway.bind_address == "0.0.0.0"
    assert "s3cret" not in repr(mcp)
    assert "t0ken" not in repr(mcp)
    monkeypatch.setenv("RUNTIME_TOKEN", "other")
    assert load().mcp.runtime_secret == "other"
    assert load().mcp.room_secret == "s3cret"


def test_a_server_reads_its_token_out_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As secrets are handed to containers; not beside a token."""
    (tmp_path / "secret").write_text("t0ken\n")
    monkeypatch.setenv("INBOX_RUNNER__MCP__TOKEN_FILE", "secret")
    assert load().mcp.secret == "t0ken"
    monkeypatch.setenv("MCP_TOKEN", "other")
    with pytest.raises(ConfigError, match=r"`mcp\.token`"):
        load()


def test_an_address_of_jupyter_is_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name alone is a mistake that is told at once."""
    monkeypatch.setenv("ROOM_URL", "jupyter:8888")
    with pytest.raises(ConfigError, match="room_url"):
        load()


@pytest.mark.parametrize("name", ["INBOX_RUNNER__LIMTS__RUN_SECONDS", "INBOX_RUNNER__INBOXX"])
def test_an_unknown_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A mistyped one would be ignored in silence."""
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigError, match=name):
        load()


@pytest.mark.parametrize("name", ["KERNELS__PRELOAD", "INTAKE__IGNORE", "GATEWAY__ALLOWED_HOSTS"])
@pytest.mark.parametrize("text", ["numpy", "[numpy", "{"])
def test_a_list_that_is_no_json_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    """With what would do."""
    monkeypatch.setenv(f"INBOX_RUNNER__{name}", text)
    with pytest.raises(ConfigError) as refused:
        load()
    assert f"`INBOX_RUNNER__{name}`" in str(refused.value)
    assert repr(text) in str(refused.value)


def test_an_unknown_key_of_a_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a section, too."""
    monkeypatch.setenv("INBOX_RUNNER__LIMITS__RUN_SECONDZ", "1")
    with pytest.raises(ConfigError, match="run_secondz"):
        load()


def test_cores_are_those_that_this_process_may_use() -> None:
    """At least one, and no more than the machine has."""
    import os

    assert 1 <= available_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"outbox": "inbox/out"}, "the outbox .* lies inside the inbox"),
        ({"inbox": "outbox/../outbox/in"}, "the inbox .* lies inside the outbox"),
        ({"notebooks": "inbox"}, "the (inbox|notebooks) .* is the same folder as"),
        ({"state": "notebooks/.state"}, "the state .* lies inside the notebooks"),
        ({"inbox": "."}, "lies inside the inbox"),
    ],
)
def test_no_folder_lies_in_another(
    tmp_path: Path, written: Mapping[str, str], message: str
) -> None:
    """What goes out would come in again."""
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(dict(written)))
    with pytest.raises(ConfigError, match=message):
        load(file)


def test_links_do_not_hide_that_a_folder_lies_in_another(tmp_path: Path) -> None:
    """Neither to the folder itself, nor to one above it; names that only begin alike are apart."""
    settings = load()
    for name in ("inbox", "inbox2", "notebooks", "state"):
        (tmp_path / name).mkdir()
    check_apart(settings)
    check_apart(settings.model_copy(update={"outbox": tmp_path / "inbox2"}))
    (tmp_path / "inbox" / "out").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "inbox")
    for outbox in (tmp_path / "linked", tmp_path / "linked" / "out", tmp_path / "linked" / "new"):
        with pytest.raises(ConfigError, match="inbox"):
            check_apart(settings.model_copy(update={"outbox": outbox}))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limits: 5", "`limits`: This is a section; its settings go below it"),
        ("gateway: [5005]", "`gateway`: This is a section; its settings go below it"),
        ("kernels: {preload: numpy}", "`kernels.preload`: Input should be a list, such as"),
        ("intake: {ignore: {a: 1}}", "`intake.ignore`: Input should be a list, such as"),
    ],
)
def test_a_setting_of_another_shape_is_told_in_the_words_of_a_settings_file(
    tmp_path: Path, text: str, said: str
) -> None:
    """Sections and lists, and no dictionaries, instances and tuples."""
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert said in str(caught.value)
    assert "(got " in str(caught.value)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("jupyter: {port: 5190}\n", "http://127.0.0.1:5190"),
        ("jupyter: {port: 5190}\nmcp: {room_url: null}\n", "http://127.0.0.1:5190"),
        ("jupyter: {port: 5190}\nmcp: {room_url: http://lab:1}\n", "http://lab:1"),
        ("mcp: {port: 1}\n", "http://127.0.0.1:8888"),
        ("jupyter: {host: 0.0.0.0}\n", "http://127.0.0.1:8888"),
        ("jupyter: {host: '::1', port: 1}\n", "http://[::1]:1"),
    ],
)
def test_agents_tools_look_for_the_lab_of_the_same_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, url: str
) -> None:
    """Unless they are told where another one is."""
    (tmp_path / "config.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert load().mcp.room_url == url


@pytest.mark.parametrize(
    "line",
    [
        '  - to: "mailtos://u:Geheim\\q@h"',
        '  - {to: "mailtos://u:Geheim@h}',
        "  - to: %Geheim",
        "  - to:Geheim://x",
        "token: a: Geheim",
        'token: "Geheim" x',
    ],
)
def test_an_error_quotes_no_value_of_the_settings(tmp_path: Path, line: str) -> None:
    """It may be a password, and errors stand in logs."""
    file = tmp_path / "config.yaml"
    file.write_text(f"notify:\n{line}\n" if line.startswith(" ") else f"gateway:\n  {line}\n")
    with pytest.raises(ConfigError) as error:
        load(file)
    assert "Geheim" not in str(error.value)


@pytest.mark.parametrize(
    ("written", "environment", "flags"),
    [
        ("", {}, {}),
        ("inbox: in\nstate: ~/runner/state\nlimits: {run_seconds: 5}\n", {}, {}),
        ("inbox: in\noutbox:\n", {"INBOX_RUNNER__INBOX": "from", "inbox_runner__state": "st"}, {}),
        ("inbox: in\n", {"INBOX_RUNNER__LIMITS__RUN_SECONDS": "7"}, {"inbox": Path("flag")}),
    ],
)
def test_the_folders_alone_are_those_of_all_settings(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    written: str,
    environment: Mapping[str, str],
    flags: Mapping[str, Path],
) -> None:
    """Wherever they are written."""
    file = tmp_path / "elsewhere" / "settings.yaml"
    file.parent.mkdir()
    file.write_text(written)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = load(file, flags)
    expected = Places(**{name: getattr(settings, name) for name in FOLDERS})
    assert read_places(file, flags) == expected


@pytest.mark.parametrize(
    ("written", "environment"),
    [
        ("inbxo: in\n", {}),
        ("inbox: [in]\n", {}),
        ("", {"INBOX_RUNNER__INBXO": "in"}),
    ],
)
def test_what_is_unclear_about_the_folders_is_left_to_all_settings(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    written: str,
    environment: Mapping[str, str],
) -> None:
    """They say what is wrong."""
    (tmp_path / "config.yaml").write_text(written)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert read_places(None, {}) is None
    with pytest.raises(ConfigError):
        load()


def test_a_variable_below_a_folder_is_left_to_all_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They know that it names no folder."""
    monkeypatch.setenv("INBOX_RUNNER__STATE__PLACE", "elsewhere")
    assert read_places(None, {}) is None


def test_a_path_with_a_nul_is_no_path(tmp_path: Path) -> None:
    """Whoever reads the folders says so, before a system call fails on it."""
    (tmp_path / "config.yaml").write_text('outbox: "out\\0box"\n')
    with pytest.raises(ConfigError, match="NUL"):
        read_places(None, {})
    with pytest.raises(ConfigError, match="NUL"):
        load()


def test_the_folders_alone_are_told_where_one_lies_in_another(tmp_path: Path) -> None:
    """In the same words as those of all settings."""
    (tmp_path / "config.yaml").write_text("outbox: inbox/out\n")
    with pytest.raises(ConfigError) as alone:
        read_places(None, {})
    with pytest.raises(ConfigError) as among_all:
        load()
    assert str(alone.value) == str(among_all.value)


def test_all_keys_at_the_top_of_the_settings_are_known_where_the_folders_are_read() -> None:
    """A new one that is not would make commands slow that only look."""
    assert set(Settings.model_fields) == KEYS
