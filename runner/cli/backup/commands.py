"""Commands that save and restore the runner's own record: backup, restore."""

import os
import re
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import click

from runner import config
from runner.cli.backup import archive
from runner.cli.options import Fault, WrongUsage, with_settings
from runner.config import Settings
from runner.places import CONFIG_FILE
from runner.state.listing import LEDGER_FILE
from runner.state.locks import LOCK_FILE, own
from runner.system.clocks import Clocks
from runner.system.files.disk import Disk

_FOLDERS = ("state", "notebooks", "outbox", "inbox")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@with_settings
def backup(settings: Settings, file: Path) -> None:
    """Save jobs, pauses and settings in a file, while it runs too.

    FILE is a tar file; an earlier one is replaced once the new one is whole. It has the ledger,
    the records of schedules, callbacks and notifications, and the journal. Notebooks, the outbox
    and the folder of secrets are folders of your own, and not in it.
    """
    if not (settings.state / LEDGER_FILE).exists():
        raise Fault(f"there is no ledger in {settings.state}, so there is nothing to save.")
    written = _settings_file()
    if not file.absolute().parent.is_dir():
        raise WrongUsage(f"the folder {file.absolute().parent} does not exist.")
    archive.write(file.absolute(), settings.state, written if written.is_file() else None)
    what = f"{settings.state} and {written}" if written.is_file() else str(settings.state)
    click.echo(f"saved {what} in {file}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@with_settings
def restore(settings: Settings, file: Path) -> None:
    """Bring a backup back into an empty state folder.

    Settings are brought back where there is no settings file; one that is there stays.
    """
    written = _settings_file().absolute()
    with tempfile.TemporaryDirectory(prefix=".restore.", dir=written.parent) as folder:
        try:
            content = archive.unpack(file, Path(folder))
        except archive.BadArchive as error:
            raise WrongUsage(f"{error}.") from error
        brings_settings = content.settings is not None and not written.exists()
        if brings_settings:
            settings = _settings_of(content, written)
        _make_own(content.records[LEDGER_FILE])
        _put_records(content.records, settings.state)
        if brings_settings:
            (Path(folder) / archive.SETTINGS_FILE).rename(written)
            archive.sync(written.parent)
    click.echo(f"restored {_in_words(content.records)} in {settings.state}")
    if brings_settings:
        click.echo(f"restored the settings in {written}")
        _say_what_is_missing(written)
    elif content.settings is not None and content.settings != written.read_bytes():
        click.echo(f"{written} stays as it is; the settings in {file} are others", err=True)


def _say_what_is_missing(written: Path) -> None:
    """Say which files the restored settings name that no backup has, such as secrets."""
    try:
        config.load(written)
    except config.ConfigError as error:
        click.echo(f"before the runner starts: {error}", err=True)


def _settings_file() -> Path:
    """Return the settings file that this command reads, or would."""
    chosen: Path | None = click.get_current_context().params.get("config_file")
    return chosen or Path(CONFIG_FILE)


def _settings_of(content: archive.Content, written: Path) -> Settings:
    """Read a backup's settings as they will count at their place."""
    params = click.get_current_context().params
    fd, name = tempfile.mkstemp(prefix=".restore.", suffix=".yaml", dir=written.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content.settings or b"")
        folders = {one: params[one] for one in _FOLDERS}
        return config.load(Path(name), folders, reads_secrets=False)
    finally:
        Path(name).unlink()


def _make_own(ledger: Path) -> None:
    """Let the records be those of a runner of its own: the one that was saved may live on."""
    with closing(sqlite3.connect(ledger)) as db, db:
        db.execute("DELETE FROM facts WHERE key IN ('instance', 'runtime_folder', 'inode')")


def _put_records(records: dict[str, Path], state: Path) -> None:
    """Put records into an empty state folder, whole or not at all.

    Raises:
        Owned: a runner has the folder.
        OSError: they cannot be written.
    """
    state.mkdir(parents=True, exist_ok=True)
    lock = own([state], "runner restore", Clocks().now().isoformat(timespec="seconds"))
    try:
        there = {one.name for one in state.iterdir() if one.name != LOCK_FILE}
        if there:
            raise Fault(
                f"{state} is not empty (there is {min(there, key=_telling)}), and nothing is "
                "overwritten. Move it aside, or name another folder with --state."
            )
        try:
            # The ledger last: without it there is nothing.
            for name in sorted(records, key=lambda name: name == LEDGER_FILE):
                _put(records[name], state / name)
        except BaseException:
            for one in [one for one in state.iterdir() if one.name != LOCK_FILE]:
                Disk().remove_tree(one)
            raise
        archive.sync(state)
    finally:
        lock.release()


def _put(source: Path, place: Path) -> None:
    """Copy a file to its place, durable and whole."""
    part = place.with_name(f"{place.name}.part")
    if not place.parent.is_dir():
        place.parent.mkdir()
        archive.sync(place.parent.parent)
    shutil.copyfile(source, part)
    archive.sync(part)
    part.rename(place)
    archive.sync(place.parent)


def _in_words(records: dict[str, Path]) -> str:
    """Name the records: `ledger.sqlite3, schedules.sqlite3, paused/`."""
    return ", ".join(dict.fromkeys(re.sub(r"/.*", "/", name) for name in records))


def _telling(name: str) -> tuple[bool, bool, str]:
    """Order files by how much they tell: the ledger, those that `ls` lists, the hidden ones."""
    return name != LEDGER_FILE, name.startswith("."), name
