"""Prints our entry for a client's settings, or writes it there beside what the file has."""

import json
import os
import shutil
import sys
from datetime import datetime
from pathlib import Path

import click

from runner.cli.agents.clients import (
    NAME,
    SECRETS,
    Address,
    Client,
    Command,
    Surroundings,
    entry_of,
    inputs_of,
    place_of,
    servers_key,
    variables_of,
)
from runner.cli.agents.documents import NotOurs, json_with, toml_table, toml_with
from runner.cli.options import Fault
from runner.config import Settings

PASSED_ON = ("ROOM_URL", "ROOM_ID", "RUNTIME_URL", *SECRETS)
"""Settings in our own environment, which the client's does not have."""


def install(client: Client, server: Command | Address, *, write: bool) -> None:
    """Show the entry for a client; with `write`, put it into the client's file.

    Raises:
        Fault: the file is of a form that we do not change.
        OSError
    """
    around = Surroundings(sys.platform, Path.home(), Path.cwd(), os.environ)
    file = Path(os.path.realpath(place_of(client, around)))  # of a link, what it leads to
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    shown = _alone(client, server)
    try:
        changed = _with_entry(client, text, server)
    except NotOurs as reason:
        click.echo(shown, nl=False)
        raise Fault(f"{file} {reason}; it was left as it is. Put the above into it") from reason
    if changed == text:
        click.echo(f"{file} has it already.", err=True)
    elif not write:
        click.echo(shown, nl=False)
        click.echo(f"\nThis belongs into {file}; --write puts it there.", err=True)
    else:
        backup = _replace(file, changed)
        kept = "" if backup is None else f"; as it was before: {backup}"
        click.echo(f"Wrote {NAME!r} into {file}{kept}. Start {client} again.", err=True)
    for name in variables_of(client, server):
        click.echo(f"The file names {name} alone: set it where {client} starts.", err=True)


def command_of(settings: Settings, config: Path | None) -> Command:
    """Return how a client starts this very runner, over the same folders, from any folder."""
    program = Path(sys.executable).with_name("runner")
    words = [str(program)] if program.exists() else [sys.executable, "-m", "runner"]
    words += ["mcp", "--stdio"]
    if config is not None:
        words += ["--config", str(config.absolute())]
    for name in ("inbox", "outbox", "notebooks", "state"):
        words += [f"--{name}", str(getattr(settings, name))]
    environment = {name: os.environ[name] for name in PASSED_ON if os.environ.get(name)}
    return Command(tuple(words), environment)


def _with_entry(client: Client, text: str, server: Command | Address) -> str:
    key, entry = servers_key(client), entry_of(client, server)
    if client is Client.CODEX:
        return toml_with(text, key, NAME, entry)
    return json_with(text, key, NAME, entry, inputs_of(client, server))


def _alone(client: Client, server: Command | Address) -> str:
    """Write the entry as a file that has nothing else."""
    key, entry = servers_key(client), entry_of(client, server)
    if client is Client.CODEX:
        return toml_table(key, NAME, entry)
    inputs = inputs_of(client, server)
    document = {**({"inputs": inputs} if inputs else {}), key: {NAME: entry}}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _replace(file: Path, text: str) -> Path | None:
    """Replace a file at once, and keep the old one beside it; return that."""
    file.parent.mkdir(parents=True, exist_ok=True)
    backup = None
    mode = 0o600  # it may hold a token
    if file.exists():
        backup = file.with_name(f"{file.name}.{datetime.now():%Y%m%dT%H%M%S.%f}.bak")
        shutil.copy2(file, backup)
        mode = file.stat().st_mode & 0o777
    temp = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(fd, "w", encoding="utf-8") as new:
        new.write(text)
        new.flush()
        os.fsync(new.fileno())
    temp.replace(file)
    return backup
