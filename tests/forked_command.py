"""A `runner` command as a process of its own, forked from the tests.

The imports of a Python that starts anew are most of what a short command costs.
"""

import importlib
import io
import logging
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired
from typing import NoReturn

COMMANDS = ("cancel", "check", "health", "inbox", "jobs", "run", "schedules", "show")
"""Those that may be forked: they do their work, and end."""
MODULES = (
    "runner.cli.main",
    "runner.cli.running",
    "runner.daemon.loop",
    "runner.jobs.health",
    "runner.jobs.refusals",
)
"""What they import; a child has it already."""


def forked_command(
    root: Path, environment: Mapping[str, str], arguments: Sequence[str], seconds: float
) -> "CompletedProcess[str]":
    """What came of a command in the folder `root`.

    Raises:
        TimeoutExpired: it took too long, and was killed.
    """
    for module in MODULES:
        importlib.import_module(module)
    command = ["runner", *arguments]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if pid == 0:
            _become(command, root, environment, (out.fileno(), err.fileno()))
        code = _await(pid, command, seconds)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
    return CompletedProcess(command, code, *texts)


def _await(pid: int, command: Sequence[str], seconds: float) -> int:
    deadline = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise TimeoutExpired(command, seconds)
        time.sleep(0.01)


def _become(
    command: list[str], root: Path, environment: Mapping[str, str], streams: tuple[int, int]
) -> NoReturn:
    """The child: its streams, folder and environment are those of a new process."""
    from runner.__main__ import main

    code = 70
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, fd in enumerate(streams, 1):
            os.dup2(fd, number)
        sys.stdin, sys.stdout, sys.stderr = (
            io.TextIOWrapper(io.FileIO(number, mode, closefd=False), encoding="utf-8")
            for number, mode in enumerate("rww")
        )
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(root)
        os.environ.update(environment)
        sys.argv = command
        logging.getLogger().handlers.clear()
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
