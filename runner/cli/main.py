"""The command line: its commands and their exit codes. Results on stdout, all else on stderr.

Holds no rules of its own; a user's mistake is one line, never a traceback.
"""

import importlib
from typing import Any

import click

from runner import __version__
from runner.system.processes.imports import importing
from runner.system.processes.standard_streams import quiet_without_reader

MODULES = {
    **dict.fromkeys(("serve", "gateway", "follow", "submit", "mcp", "lab", "worker"), "servers"),
    **dict.fromkeys(("health", "doctor"), "health"),
    **dict.fromkeys(("run", "check", "schema"), "notebook"),
    **dict.fromkeys(("jobs", "inbox", "show"), "jobs.listing"),
    **dict.fromkeys(("cancel", "pause", "resume"), "jobs.steering"),
    **dict.fromkeys(("history", "environment"), "jobs.history"),
    "notify": "notify",
    **dict.fromkeys(("backup", "restore"), "backup.commands"),
    "schedules": "triggers.schedules",
    **dict.fromkeys(("rules", "hooks"), "triggers.listings"),
}
"""The module of each command, below `runner.cli`."""


class _Commands(click.Group):
    """Imports a command's module once somebody wants the command or its help."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with quiet_without_reader():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        with quiet_without_reader():
            return super().invoke(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if super().get_command(ctx, cmd_name) is None:
            return None
        with importing():
            module = importlib.import_module(f"runner.cli.{MODULES[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command


NAMES = {name: click.Command(name) for name in MODULES}
"""So that click can list them, and say which one a misspelt name means."""


@click.group(
    cls=_Commands, commands=NAMES, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="runner")
def main() -> None:
    """Drop a Jupyter notebook into a folder, get its result out of another."""
