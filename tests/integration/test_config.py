"""Settings: where they come from, in which order, and what is said when they are wrong."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from runner.config import ConfigError, Settings, available_cores, load

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of whoever runs the tests, and a folder without a settings file."""
    for name in ("MAX_NOTEBOOK_SIZE_MB", "EXECUTION_TIMEOUT", "USE_SCRAPBOOK"):
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


def test_the_projects_settings_file_lists_every_setting_at_its_default() -> None:
    """So that it changes nothing as it is, and nobody has to look into the code."""
    written: dict[str, Any] = yaml.safe_load((PROJECT / "config.yaml").read_text())
    listed = {
        f"{section}.{key}" if isinstance(inner, dict) else section
        for section, inner in written.items()
        for key in (inner if isinstance(inner, dict) else [section])
    }
    assert listed == keys(Settings)
    defaults = Settings().model_dump()
    loaded = load(PROJECT / "config.yaml").model_dump()
    for folder in ("inbox", "outbox", "notebooks", "state"):
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


def test_lists_and_switches_come_out_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists as JSON."""
    monkeypatch.setenv("INBOX_RUNNER__KERNELS__ALLOWED", '["python3", "ir"]')
    monkeypatch.setenv("USE_SCRAPBOOK", "false")
    settings = load()
    assert settings.kernels.allowed == ("python3", "ir")
    assert settings.results.scrapbook is False


@pytest.mark.parametrize("name", ["INBOX_RUNNER__LIMTS__RUN_SECONDS", "INBOX_RUNNER__INBOXX"])
def test_an_unknown_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A mistyped one would be ignored in silence."""
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigError, match=name):
        load()


def test_an_unknown_key_of_a_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a section, too."""
    monkeypatch.setenv("INBOX_RUNNER__LIMITS__RUN_SECONDZ", "1")
    with pytest.raises(ConfigError, match="run_secondz"):
        load()


def test_cores_are_those_that_this_process_may_use() -> None:
    """At least one, and no more than the machine has."""
    import os

    assert 1 <= available_cores() <= (os.cpu_count() or 1)
