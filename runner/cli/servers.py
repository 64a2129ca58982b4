"""Commands that run until they are told to stop: serve, gateway, mcp, lab, worker."""

import logging
import os
import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import click

from runner.cli.agents.clients import Address, Client
from runner.cli.agents.install import command_of, install
from runner.cli.options import Fault, with_settings
from runner.cli.terminal import log_to_stderr
from runner.config import MEGABYTE, Settings, available_memory
from runner.places import CONFIG_FILE
from runner.state.locks import Owned
from runner.system.companion import DaemonGone, read_greeting
from runner.system.door import binding_of, check_binding
from runner.system.extras import advice_on
from runner.system.processes.forked import Forked, Work
from runner.system.processes.imports import importing

log = logging.getLogger(__name__)

AGAIN_SECONDS = 0.5


@click.command()
@click.option("-v", "--verbose", is_flag=True, help="Say more.")
@click.option(
    "--accept-folders",
    is_flag=True,
    help="Take the folders where they lie now, though an earlier start found them on a mount.",
)
@with_settings
def serve(settings: Settings, verbose: bool, accept_folders: bool) -> None:
    """Watch the inbox, and run what appears in it until stopped."""
    with importing():
        from runner.daemon.loop import Daemon
        from runner.daemon.startup import Options

    log_to_stderr(logging.DEBUG if verbose else logging.INFO)
    if settings.gateway.enabled:
        with importing():
            from runner.gateway import server

        server.check_binding(settings)
    with ExitStack() as stack:
        ahead: dict[str, Forked] = {}
        for command, work in _beside(settings).items():
            ahead[command] = Forked(f"runner {command}", work, [*ahead.values()])
            stack.callback(ahead[command].close)
        options = Options(ahead=ahead, accept_folders=accept_folders)
        _when_free(Daemon(settings, options).run)


def _beside(settings: Settings) -> dict[str, Work]:
    """Return the processes beside the daemon, which are forked while nothing is open yet.

    They share its memory. Each becomes what its command is, by which the daemon would start it
    again. Those that are not needed now are ended once the daemon has looked.
    """
    works: dict[str, Work] = {
        "follow": lambda owner, reports: follow.main(_pipes(owner, reports), "runner"),
        "submit": lambda owner, reports: submit.main(_pipes(owner, reports), "runner"),
    }
    if settings.gateway.enabled:
        works["gateway"] = lambda owner, _: gateway.main(["--owner", str(owner)], "runner")
    return works


def _pipes(owner: int, reports: int) -> list[str]:
    return ["--owner", str(owner), "--reports", str(reports)]


def _when_free(start: Callable[[], None]) -> None:
    """Start, as soon as no `runner run` has the folders: it goes by itself, after one job.

    Raises:
        Owned: another runner has them.
    """
    is_told = False
    while True:
        try:
            start()
        except Owned as error:
            if not error.is_for_one_job:
                raise
            if not is_told:
                log.info("%s; this runner starts when that has ended", error)
            is_told = True
            time.sleep(AGAIN_SECONDS)
        else:
            return


@click.command()
@click.option("--owner", type=int, hidden=True, help="The pipe of the daemon that started it.")
@click.option("--host", help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="The port to listen on.")
@with_settings
def gateway(settings: Settings, owner: int | None, host: str | None, port: int | None) -> None:
    """Answer HTTP requests only.

    `runner serve` does it as well; this is for a gateway beside it, over the same folders.
    """
    with importing():
        from runner.gateway.server import serve

    log_to_stderr(logging.INFO)
    if owner is not None:
        serve(_greeted(owner), owner=owner)
        return
    flags = {"host": host, "port": port}
    changed = {key: value for key, value in flags.items() if value is not None}
    serve(settings.model_copy(update={"gateway": settings.gateway.model_copy(update=changed)}))


@click.command(hidden=True)
@click.option("--owner", type=int, required=True, help="The pipe of the daemon that started it.")
@click.option("--reports", type=int, required=True, help="The pipe in which the daemon listens.")
def follow(owner: int, reports: int) -> None:
    """Tell followers of finished jobs; `runner serve` starts it where there is one."""
    log_to_stderr(logging.INFO)
    settings = _greeted(owner)
    with importing():
        from runner.followers.serve import serve

    serve(settings, owner=owner, reports=reports)


@click.command(hidden=True)
@click.option("--owner", type=int, required=True, help="The pipe of the daemon that started it.")
@click.option("--reports", type=int, required=True, help="The pipe in which the daemon listens.")
def submit(owner: int, reports: int) -> None:
    """Make the requests of schedules; `runner serve` starts it where there are any."""
    log_to_stderr(logging.INFO)
    settings = _greeted(owner)
    with importing():
        from runner.submitters.serve import serve

    serve(settings, owner=owner, reports=reports)


def _greeted(owner: int) -> Settings:
    """Wait for the settings. One that is not needed ends here, and has imported nothing."""
    try:
        return read_greeting(owner)
    except DaemonGone:
        click.get_current_context().exit()


@click.command()
@click.option("--stdio", is_flag=True, help="Talk over stdin and stdout instead of HTTP.")
@click.option("--host", help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="The port to listen on.")
@click.option(
    "--install",
    "client",
    type=click.Choice([str(one) for one in Client]),
    help="Print the entry for a client's settings instead: by default one that starts this runner.",
)
@click.option("--url", help="With --install: the address of a server that runs (…/mcp).")
@click.option("--write", is_flag=True, help="With --install: put it into the client's file.")
@with_settings
def mcp(
    settings: Settings,
    stdio: bool,
    host: str | None,
    port: int | None,
    client: str | None,
    url: str | None,
    write: bool,
) -> None:
    """Offer tools to agents, over MCP.

    For live notebooks in JupyterLab, and for runs over the same folders.
    """
    if client is not None:
        _install(Client(client), settings, url, write=write)
        return
    if url or write:
        raise click.UsageError("--url and --write belong to --install CLIENT.")
    flags = {"host": host, "port": port}
    changed = {key: value for key, value in flags.items() if value is not None}
    settings = settings.model_copy(update={"mcp": settings.mcp.model_copy(update=changed)})
    if not stdio:  # said before the imports, which take seconds
        check_binding(binding_of("the MCP server", "mcp", settings.mcp))
    try:
        with importing():
            from runner.mcp.server import serve, serve_stdio
    except ImportError as error:
        raise _needs("mcp", error) from error

    log_to_stderr(logging.INFO)
    (serve_stdio if stdio else serve)(settings)


def _install(client: Client, settings: Settings, url: str | None, *, write: bool) -> None:
    given: Path | None = click.get_current_context().params.get("config_file")
    config = given or (Path(CONFIG_FILE) if Path(CONFIG_FILE).is_file() else None)
    token = settings.mcp.secret
    install(client, Address(url, token) if url else command_of(settings, config), write=write)


@click.command()
@with_settings
def lab(settings: Settings) -> None:
    """Start JupyterLab over the same folders."""
    from runner.cli.lab.start import become_lab

    log_to_stderr(logging.INFO)
    become_lab(settings, os.environ)


def _check_ports(_: click.Context, __: click.Parameter, ports: str | None) -> str | None:
    """Check the ports at once; Dask would complain only when the worker starts."""
    if ports is not None and not re.fullmatch(r"\d{1,5}(:\d{1,5})?", ports):
        raise click.BadParameter(f"{ports!r} is neither a port nor a range such as 9000:9003")
    return ports


@click.command()
@click.option("--scheduler", help="The scheduler's address, tcp://HOST:8786; from the settings.")
@click.option("--slots", type=click.IntRange(1), help="Notebooks at a time in each process.")
@click.option("--processes", type=click.IntRange(1), default=1, help="Worker processes; 1.")
@click.option(
    "--memory-mb", type=click.IntRange(1), help="Memory that requests may reserve; all of it."
)
@click.option(
    "--gpus", type=click.IntRange(0), default=0, help="GPUs that requests may reserve; none."
)
@click.option("--label", "labels", multiple=True, help="A label that requests may ask for.")
@click.option("--host", help="The address under which this machine is reached.")
@click.option("--port", callback=_check_ports, help="Its port, or a range (9000:9003); any.")
@click.option("--name", help="The worker's name in the cluster.")
@with_settings
def worker(
    settings: Settings,
    scheduler: str | None,
    slots: int | None,
    processes: int,
    memory_mb: int | None,
    gpus: int,
    labels: tuple[str, ...],
    host: str | None,
    port: str | None,
    name: str | None,
) -> None:
    """Run notebooks of a Dask cluster on this machine.

    Memory, GPUs and labels are those of each process. At the first SIGTERM or Ctrl-C what runs has
    shutdown_seconds of the settings to end; at the second it is interrupted.
    """
    try:
        with importing():
            from runner.execution.cluster.join import Offer, Place, work
            from runner.execution.cluster.scheduler_link import Scheduler
            from runner.execution.cluster.tls import security_of
    except ImportError as error:
        raise _needs("dask", error) from error

    log_to_stderr(logging.INFO)
    address = scheduler or settings.execution.dask.address
    if address is None:
        raise click.UsageError(
            "where is the scheduler? Give --scheduler tcp://HOST:8786, or execution.dask.address"
        )
    most = memory_mb or (available_memory() or 0) // MEGABYTE // processes
    offer = Offer(slots or max(settings.concurrency // processes, 1), most, gpus, labels)
    place = Place(processes, name, host, port)
    joined = Scheduler(address, security_of(settings.execution.dask.tls))
    work(joined, offer, place, settings.shutdown_seconds)


def _needs(extra: str, error: ImportError) -> Fault:
    return Fault(f"this needs more packages ({error.name}): {advice_on(extra)}")
