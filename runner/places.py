"""Where the settings are written, and the four folders that they name.

Leaves all other settings to `config`: commands that only look at jobs need none of them, and
pydantic, which checks them, is most of what such a command would cost.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.contract.text.shortfall import Shortfall

CONFIG_FILE = "config.yaml"
ENV_PREFIX = "INBOX_RUNNER__"
FOLDERS = ("inbox", "outbox", "notebooks", "state")
"""Their settings; the folder has the same name unless it is set."""
KEYS = frozenset(
    """
    inbox outbox notebooks state schedules rules hooks limits kernels execution intake results
    history gateway mcp jupyter callbacks report secrets notify groups journal shutdown_seconds
    """.split()
)
"""All keys at the top of the settings."""


class ConfigError(Shortfall):
    """The settings cannot be used; the message is one line for a person."""


@dataclass(frozen=True)
class Places:
    """The folders, absolute."""

    inbox: Path
    outbox: Path
    notebooks: Path
    state: Path


@dataclass(frozen=True)
class Written:
    """What a settings file says, and the folder from which its relative paths count."""

    base: Path
    content: dict[str, Any]


def read_places(config: Path | None, flags: Mapping[str, Path | None]) -> Places | None:
    """Read the folders as `config.load` does, whose arguments these are.

    None where only that can tell what is meant, or what is wrong.

    Raises:
        ConfigError: an unreadable file, or folders that lie in one another.
    """
    file = read_file(config)
    by_environment = dict(_from_environment())
    if not KEYS.issuperset({*file.content, *by_environment}):
        return None
    named = {name: name for name in FOLDERS} | file.content | by_environment
    if not all(isinstance(named[name], str) for name in FOLDERS):
        return None
    folders = {name: place(file.base, Path(named[name])) for name in FOLDERS}
    folders |= from_flags(flags)
    check_names_apart(folders)
    return Places(**folders)


def _from_environment() -> Iterator[tuple[str, object]]:
    """Yield the key at the top of each setting in the environment; a folder's with its value.

    None where the variable names something below it.
    """
    for name, value in os.environ.items():
        if name.upper().startswith(ENV_PREFIX):
            key, below, _ = name.upper().removeprefix(ENV_PREFIX).partition("__")
            yield key.lower(), None if below else value


def from_flags(flags: Mapping[str, Path | None]) -> dict[str, Path]:
    """Return the folders that the command line names."""
    here = Path.cwd()
    return {name: place(here, path) for name, path in flags.items() if path is not None}


def read_file(config: Path | None) -> Written:
    """Read a settings file, without keys that have no value.

    `config` must exist; without it, `config.yaml` of the current folder is read if it exists.

    Raises:
        ConfigError: it cannot be read, or is no mapping.
    """
    file = config or Path(CONFIG_FILE)
    if config is None and not file.is_file():
        return Written(Path.cwd(), {})
    return Written(file.resolve().parent, _content_of(file))


def place(base: Path, written: Path) -> Path:
    """Resolve a path of the settings: `~` is a home folder, others count from `base`.

    Raises:
        ConfigError: no file system has such a path.
    """
    if "\0" in str(written):
        raise ConfigError(f"the path {str(written)!r} has a NUL character in it; write it without")
    return Path(os.path.normpath(base / os.path.expanduser(written)))  # noqa: PTH111


def check_names_apart(folders: Mapping[str, Path]) -> None:
    """Refuse folders that are, or lie in, one another, by their paths: one of them may be away.

    Raises:
        ConfigError
    """
    for outer in FOLDERS:
        for inner in FOLDERS:
            if inner != outer and folders[inner].is_relative_to(folders[outer]):
                raise not_apart(folders, inner, outer)


def not_apart(folders: Mapping[str, Path], inner: str, outer: str) -> ConfigError:
    """Make the error for a folder that lies in another: outputs would come in again."""
    inside, around = folders[inner], folders[outer]
    what = (
        "is the same folder as"
        if os.path.realpath(inside) == os.path.realpath(around)
        else ("lies inside")
    )
    return ConfigError(
        f"the {inner} ({inside}) {what} the {outer} ({around}); the four folders "
        "must lie beside each other, none in another"
    )


def _content_of(file: Path) -> dict[str, Any]:
    from runner.contract.text import strict_yaml  # only if there is a file

    try:
        loaded = strict_yaml.loads(file.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read the settings in {file}: {error}") from error
    except strict_yaml.StrictYamlError as error:
        said = _QUOTED_LINE.sub(_without_value, str(error))
        raise ConfigError(f"cannot read the settings in {file}: {said}") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"the settings in {file} must be a mapping of keys to values")
    return _without_nulls(loaded)


_QUOTED_LINE = re.compile(r"`(?P<key>(?:- +)*(?:[\w.$-]+:[ \t]*)?)(?P<value>.*)`", re.DOTALL)


def _without_value(quoted: re.Match[str]) -> str:
    """Leave a value of the settings out of a quoted line: it may be a secret."""
    value = quoted["value"] if not re.fullmatch(r"[\w.$-]{0,40}", quoted["value"]) else ""
    return f"`{quoted['key']}…`" if value or quoted["key"].strip() else quoted[0]


def _without_nulls(section: Mapping[str, Any]) -> dict[str, Any]:
    """Drop keys without a value, in every section: they mean their default."""
    return {
        key: _without_nulls(value) if isinstance(value, dict) else value
        for key, value in section.items()
        if value is not None
    }
