"""The command line: its commands and their exit codes. Results on stdout, all else on stderr.

Holds no rules of its own; a user's mistake is one line, never a traceback.
"""

import click

from runner import __version__
from runner.cli import health, jobs, notebook, servers
from runner.cli.backup import commands as backup


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="runner")
def main() -> None:
    """Drop a Jupyter notebook into a folder, get its result out of another."""


for command in (
    *(servers.serve, servers.gateway, servers.follow, servers.mcp, servers.lab, servers.worker),
    *(health.health, health.doctor),
    *(notebook.run, notebook.check, notebook.schema),
    *(jobs.jobs, jobs.inbox, jobs.show, jobs.cancel),
    *(backup.backup, backup.restore),
):
    main.add_command(command)
