"""Commands on notifications: a test message to the receivers that the settings name."""

import json
from contextlib import closing

import click

from runner.cli.console import Listing
from runner.cli.options import Fault, with_settings
from runner.cli.terminal import print_table, remark
from runner.config import Settings
from runner.followers.notifications.message import of_test
from runner.followers.notifications.receivers import NoReceiver, Receiver, all_receivers
from runner.followers.notifications.sending import Message, NotSent, Senders, missing_extra

COLUMNS = ("receiver", "result", "why")


@click.group()
def notify() -> None:
    """Send a test message to who is notified."""


@notify.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@with_settings
def test(settings: Settings, name: str | None, as_json: bool) -> None:
    """Send a test message to all receivers of the setting `notify`, or to NAME.

    NAME is the name of a secret, or what is printed here of a URL. The exit code is 1 if one does
    not take it.
    """
    receivers = [one for one in all_receivers(settings) if name is None or _is_named(one, name)]
    if not receivers:
        known = sorted({one.name for one in all_receivers(settings)})
        of_that = "" if name is None else f" of the name {name}"
        names = f"; there are: {', '.join(known)}" if known else " in the setting `notify`"
        raise Fault(f"there is no receiver{of_that}{names}")
    if (missing := missing_extra()) is not None:
        raise Fault(missing)
    rows = []
    with closing(Senders()) as senders:
        for one in receivers:
            rows.append(_tried(one, senders))
            if as_json:
                click.echo(json.dumps(dict(zip(COLUMNS, rows[-1], strict=True))))
    if not as_json:
        print_table(Listing(COLUMNS, rows, COLUMNS))
    failed = sum(result == "failed" for _, result, _ in rows)
    if failed:
        remark(f"{failed} of {len(rows)} did not take it")
        raise click.exceptions.Exit(1)


def _is_named(one: Receiver | NoReceiver, name: str) -> bool:
    return name in (one.key, one.key.partition("#")[0], one.name, one.shown)


def _tried(one: Receiver | NoReceiver, senders: Senders) -> tuple[str, str, str]:
    if isinstance(one, NoReceiver):
        return one.name, "failed", str(one)
    text = of_test(one.name)
    try:
        senders.send(one.url, Message(text.title, text.body))
    except NotSent as error:
        return one.name, "failed", str(error)
    return one.name, "sent", ""
