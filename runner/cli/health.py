"""Commands that say whether the runner works, and what to change: health, doctor."""

import json
import logging
import re
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from runner.cli.console import hanging
from runner.cli.options import Fault, with_settings
from runner.cli.terminal import print_json
from runner.config import Settings
from runner.contract.text.plain_text import one_line
from runner.system.files.disk import Disk

if TYPE_CHECKING:
    from rich.console import Console

    from runner.cli.doctor import Finding

HEALTH_SECONDS = 5.0
START_AGAIN = "The runner reads its settings at the start: after a change of them, start it again."
_SETTING = re.compile(r"`[a-z]+\.[a-z_.]+`")
CHECK_WIDTH = len("environment")


@click.command()
@with_settings
def health(settings: Settings) -> None:
    """Say whether a request that comes now would be run.

    As JSON. Ends with 0, or with 1 if it would not.
    """
    from runner.jobs.health import examine
    from runner.system.processes.patience import NoAnswer, ask_apart

    answer = ask_apart({"health": lambda: examine(settings)}, HEALTH_SECONDS)["health"]
    if isinstance(answer, NoAnswer):
        raise Fault(f"the state folder {settings.state} {answer}")
    click.echo(json.dumps(answer.content, indent=2))
    raise click.exceptions.Exit(1 if answer.reasons else 0)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The findings as one JSON object.")
@with_settings
def doctor(settings: Settings, as_json: bool) -> None:
    """Try out folders, machine and cluster, and say what to change.

    Ends with 0, or with 1 if something would not work.
    """
    from rich.console import Console

    from runner.cli.doctor import Level, examine

    logging.getLogger("runner").addHandler(logging.NullHandler())
    findings = []
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for finding in examine(settings, Disk()):
        findings.append(finding)
        if not as_json:
            _say(console, finding)
    healthy = all(finding.level is not Level.PROBLEM for finding in findings)
    if as_json:
        content = {"healthy": healthy, "findings": [asdict(finding) for finding in findings]}
        print_json(content)
    elif any(_SETTING.search(finding.advice or "") for finding in findings):
        console.print(START_AGAIN)
    raise click.exceptions.Exit(0 if healthy else 1)


def _say(console: "Console", finding: "Finding") -> None:
    from rich.text import Text

    color = {"ok": "green", "warning": "yellow", "problem": "red"}[finding.level]
    width = console.width if console.is_terminal else None
    before = f"{finding.level:8} {finding.check:{CHECK_WIDTH}} "
    said, *rest = hanging(before, one_line(finding.message), width)
    console.print(Text(said[:8], style=color).append("\n".join((said[8:], *rest)), style="default"))
    if finding.advice:
        advice = hanging(" " * len(before), one_line(finding.advice), width)
        console.print("\n".join(advice), style="bold")
