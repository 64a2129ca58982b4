"""Commands that list rules and web hooks: what each does, and how its last job went."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from runner.cli.console import Listing
from runner.cli.options import with_settings
from runner.cli.terminal import print_table, remark
from runner.config import Settings
from runner.jobs.backend import backend_of
from runner.state.jobs import Job
from runner.submitters.hooks import overview as of_hooks
from runner.submitters.hooks.files import HookFiles
from runner.submitters.rules import overview as of_rules
from runner.submitters.rules.files import RuleFiles

RULES = ("name", "state", "last", "pattern", "notebook")
HOOKS = ("name", "state", "last", "proof", "notebook")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@with_settings
def rules(settings: Settings, as_json: bool) -> None:
    """List rules: which files start which notebook.

    They are the files NAME.yaml in the folder `rules` of the library. `runner pause rule:NAME`
    lets the jobs of one wait.
    """
    views = of_rules.RulesOverview(backend_of(settings)).all()
    rows = [
        (one.name, one.state, _status(one.last), one.pattern or "", one.notebook or "")
        for one in views
    ]
    _print(
        "rules",
        settings.rules_folder,
        [of_rules.row_of(one) for one in views],
        None if as_json else Listing(RULES, rows, (RULES[0], RULES[3], RULES[4])),
    )


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@with_settings
def hooks(settings: Settings, as_json: bool) -> None:
    """List web hooks: which notebook each starts.

    They are the files NAME.yaml in the folder `hooks` of the library. `runner pause hook:NAME`
    lets the jobs of one wait.
    """
    # Secrets may be in the environment of the gateway, which this process has not.
    views = of_hooks.HooksOverview(backend_of(settings), environ=None).all()
    rows = [
        (one.name, one.state, _status(one.last), one.verify or "", one.notebook or "")
        for one in views
    ]
    _print(
        "hooks",
        settings.hooks_folder,
        [of_hooks.row_of(one) for one in views],
        None if as_json else Listing(HOOKS, rows, (HOOKS[0], HOOKS[4])),
    )
    for one in views:
        if one.secret_env is not None and one.error is None:
            remark(
                f"{one.name}: whether the gateway has {one.secret_env} is in GET /hooks and "
                "`runner health`"
            )


def _print(
    what: str, folder: Path, rows: Sequence[dict[str, Any]], listing: Listing | None
) -> None:
    """Print them as a table; where there is none, as JSON."""
    if listing is None:
        for row in rows:
            click.echo(json.dumps(row))
        return
    if not rows:
        remark(f"no {what}; a file NAME.yaml in {folder} is one")
        return
    print_table(listing)
    for row in rows:
        if row["error"] is not None:
            remark(f"{row['name']}: {row['error']}")
        elif row["paused_by"] is not None:
            remark(f"{row['name']}: paused by {row['paused_by']}; its jobs wait")


def doubt_about(name: str, settings: Settings) -> str | None:
    """Say that there is no rule or web hook of a name such as `rule:NAME`; None if there is one."""
    kind, colon, of = name.partition(":")
    folders = {"rule": settings.rules_folder, "hook": settings.hooks_folder}
    if not colon or kind not in folders:
        return None
    what = "web hook" if kind == "hook" else kind
    files: RuleFiles | HookFiles = (
        RuleFiles(folders[kind]) if kind == "rule" else HookFiles(folders[kind], environ=None)
    )
    try:
        names = [one.name for one in files.all()]
    except OSError:  # health tells
        return None
    if of in names:
        return None
    known = f"there are {', '.join(names)}" if names else "there is none"
    return f"there is no {what} {of!r} now; {known}"


def _status(last: Job | None) -> str:
    return "" if last is None else str(last.status)
