"""JupyterLab over the same folders: its command line, and whether it may start like this.

Becomes that process, and has no rules of its own about notebooks.
"""

import importlib.util
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from runner.access import Binding, CannotListen, check_binding
from runner.config import DEFAULT_TOKEN, Settings

log = logging.getLogger(__name__)


def folder_of(settings: Settings) -> Path:
    """What the file browser shows: as the settings say, or what inbox, outbox and library share.

    The library alone, if they share nothing but the root.
    """
    if settings.jupyter.folder is not None:
        return settings.jupyter.folder
    shared = Path(os.path.commonpath([settings.inbox, settings.outbox, settings.notebooks]))
    return settings.notebooks if shared == Path(shared.anchor) else shared


def command(settings: Settings, *, is_root: bool) -> list[str]:
    """The arguments of `jupyter lab`. The token is not among them: everybody may read these."""
    own = settings.jupyter
    return [
        *("--no-browser", f"--ServerApp.ip={own.host}", f"--ServerApp.port={own.port}"),
        *("--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder_of(settings)}"),
        *(f"--ServerApp.local_hostnames={name}" for name in own.allowed_hosts),
        *(["--allow-root"] if is_root else []),
    ]


def become_lab(settings: Settings, environment: Mapping[str, str]) -> None:
    """Replace this process by JupyterLab.

    Raises:
        CannotListen: others could reach it without a token of their own, or it is not installed.
    """
    own = settings.jupyter
    token = own.secret or DEFAULT_TOKEN
    chosen = None if token == DEFAULT_TOKEN else token
    check_binding(
        Binding("JupyterLab", "jupyter", own.host, own.bind_address, chosen, own.insecure)
    )
    if chosen is None:
        log.warning(
            "JupyterLab's token is %r, which everybody knows; set JUPYTER_TOKEN", DEFAULT_TOKEN
        )
    if importlib.util.find_spec("jupyterlab") is None:
        raise CannotListen("this needs JupyterLab: pip install 'inbox-runner[lab]'")
    arguments = [sys.executable, "-m", "jupyterlab", *command(settings, is_root=os.getuid() == 0)]
    os.execve(sys.executable, arguments, {**environment, "JUPYTER_TOKEN": token})  # noqa: S606
