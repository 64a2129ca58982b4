"""Builds JupyterLab's command line over the same folders, and checks whether it may start.

Becomes that process, and has no rules of its own about notebooks.
"""

import importlib.util
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from runner.config import DEFAULT_TOKEN, Settings
from runner.system.door import CannotListen, binding_of, check_binding
from runner.system.extras import advice_on

log = logging.getLogger(__name__)


def folder_of(settings: Settings) -> Path:
    """Return the file browser's folder: the setting, or else the parent of the three folders.

    These are inbox, outbox and library; if they share nothing but the root, it is the library
    alone.
    """
    if settings.jupyter.folder is not None:
        return settings.jupyter.folder
    shared = Path(os.path.commonpath([settings.inbox, settings.outbox, settings.notebooks]))
    return settings.notebooks if shared == Path(shared.anchor) else shared


def command(settings: Settings, data: Path, *, is_root: bool) -> list[str]:
    """Return the arguments of `jupyter lab`. The token is not among them: everybody may read these.

    `data` is Jupyter's data folder. It keeps the history of edits; jupyter-collaboration would use
    the current folder, which may be read-only.
    """
    own = settings.jupyter
    return [
        *(
            "--no-browser",
            "--Application.log_level=WARN",
            f"--ServerApp.ip={own.host}",
            f"--ServerApp.port={own.port}",
        ),
        *("--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder_of(settings)}"),
        f"--SQLiteYStore.db_path={data / 'collaboration.db'}",
        *(f"--ServerApp.local_hostnames={name}" for name in own.allowed_hosts),
        *(_trusting(settings.outbox) if own.trust_results else []),
        *(["--allow-root"] if is_root else []),
    ]


def _trusting(outbox: Path) -> list[str]:
    """Make JupyterLab show all outputs of executed notebooks."""
    return [
        "--ServerApp.contents_manager_class=runner.cli.lab.contents.ResultsTrusted",
        f"--ResultsTrusted.outbox={outbox}",
    ]


def become_lab(settings: Settings, environment: Mapping[str, str]) -> None:
    """Replace this process by JupyterLab.

    Raises:
        CannotListen: others could reach it without a token of their own, or it is not installed.
    """
    if importlib.util.find_spec("jupyterlab") is None:
        raise CannotListen(f"this needs JupyterLab: {advice_on('lab')}")
    own = settings.jupyter
    token = own.secret or DEFAULT_TOKEN
    chosen = None if token == DEFAULT_TOKEN else token
    check_binding(replace(binding_of("JupyterLab", "jupyter", own), secret=chosen))
    if chosen is None:
        log.warning(
            "JupyterLab's token is %r, which everybody knows; set JUPYTER_TOKEN", DEFAULT_TOKEN
        )
    from jupyter_core.paths import jupyter_data_dir

    query = "" if chosen else f"?token={DEFAULT_TOKEN}"
    log.info("starting JupyterLab; it will be at http://%s:%d/lab%s", own.host, own.port, query)
    data = Path(jupyter_data_dir())
    data.mkdir(parents=True, exist_ok=True)
    own_arguments = command(settings, data, is_root=os.getuid() == 0)
    arguments = [sys.executable, "-P", "-m", "jupyterlab", *own_arguments]
    os.execve(sys.executable, arguments, {**environment, "JUPYTER_TOKEN": token})  # noqa: S606
