"""Promises of the help: what each command and option says of itself."""

import click
import pytest
from click.testing import CliRunner

from runner.cli.main import main


def test_the_list_of_commands_cuts_no_sentence() -> None:
    """In a terminal of 80 columns each command says in a whole line what it does."""
    shown = CliRunner().invoke(main, ["--help"], terminal_width=80, max_content_width=80).output
    lines = shown.partition("Commands:")[2].strip().splitlines()
    assert [line.split()[0] for line in lines] == sorted(main.commands)
    assert [line for line in lines if not line.endswith(".") or line.endswith("...")] == []


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_option_says_what_it_is(command: str) -> None:
    """No option stands there with its name alone."""
    options = [one for one in main.commands[command].params if isinstance(one, click.Option)]
    assert [one.opts for one in options if not one.help] == []
