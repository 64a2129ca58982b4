"""Promises of the help: what each command and option says of itself."""

import errno
import os

import click
import pytest
from click.testing import CliRunner

from runner.cli.main import MODULES, main
from runner.cli.options import _what_to_do


def command_of(name: str) -> click.Command:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    return command


def test_the_list_of_commands_cuts_no_sentence() -> None:
    """In a terminal of 80 columns each command says in a whole line what it does."""
    shown = CliRunner().invoke(main, ["--help"], terminal_width=80, max_content_width=80).output
    lines = shown.partition("Commands:")[2].strip().splitlines()
    told = sorted(name for name in MODULES if not command_of(name).hidden)
    assert [line.split()[0] for line in lines] == told
    assert [line for line in lines if not line.endswith(".") or line.endswith("...")] == []


@pytest.mark.parametrize("command", sorted(MODULES))
def test_every_option_says_what_it_is(command: str) -> None:
    """No option stands there with its name alone."""
    options = [one for one in command_of(command).params if isinstance(one, click.Option)]
    assert [one.opts for one in options if not one.help] == []


def test_a_misspelt_command_is_told_what_it_probably_is() -> None:
    """Though no command's module is imported for that."""
    said = CliRunner().invoke(main, ["job"])
    assert said.exit_code == 2
    assert "jobs" in said.output


def test_a_volume_of_other_ids_is_told_with_the_command_that_gives_it_away() -> None:
    """The state folder of a container, after NB_UID was set."""
    error = PermissionError(errno.EACCES, "Permission denied", "/var/lib/inbox-runner/ledger.db")
    told = _what_to_do(error)
    ids = f"{os.geteuid()}:{os.getegid()}"
    assert f"-v inbox-runner-state:/v inbox-runner chown -R {ids} /v" in told
    elsewhere = PermissionError(errno.EACCES, "Permission denied", "/srv/inbox/.lock")
    assert "NB_UID" in _what_to_do(elsewhere)
