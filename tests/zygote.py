"""A process that has imported the program, and forks its servers; and the tests' side of it.

Their imports are most of what it costs to start them. The tests cannot fork them themselves: what
SQLite knows of an open ledger must not pass into another process.
"""

import atexit
import importlib
import io
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from subprocess import DEVNULL, Popen, TimeoutExpired
from typing import Any, NoReturn

OF_PYTHON = ("PYTHON", "LD_", "MALLOC_")
"""How the names of variables begin that a process reads only when it starts anew."""
MODULES = ("runner.cli.main", "runner.daemon.loop", "runner.gateway.server")
"""What `runner serve` imports."""
MCP_MODULES = ("runner.cli.main", "runner.mcp.server")
"""What `runner mcp` imports."""
MESSAGE_BYTES = 1 << 20
_ONE_AT_A_TIME = threading.Lock()


# The tests' side


class Forked:
    """A server that runs, with what the tests use of a `Popen`."""

    def __init__(self, zygote: socket.socket, pid: int, command: Sequence[str]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._zygote = zygote
        self._command = command

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = _ask(self._zygote, {"pid": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and timeout is not None and time.monotonic() > deadline:
                raise TimeoutExpired(self._command, timeout)
            time.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def forked(
    root: Path,
    environment: Mapping[str, str],
    arguments: Sequence[str],
    log: Path,
    modules: tuple[str, ...] = MODULES,
) -> Forked:
    """Start `runner ARGUMENTS` in a folder; its words are added to `log`.

    `environment` is all that it has, `modules` are what it has imported.
    """
    zygote = _zygote(modules)
    wanted = {
        "root": str(root),
        "environment": dict(environment),
        "arguments": list(arguments),
        "log": str(log),
    }
    return Forked(zygote, _ask(zygote, wanted), ("runner", *arguments))


@cache
def _zygote(modules: tuple[str, ...]) -> socket.socket:
    """One for each process of tests and set of modules; it ends with the tests."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    number = its.fileno()
    command = [sys.executable, __file__, str(number), *modules]
    process = Popen(command, pass_fds=(number,), stdin=DEVNULL)
    its.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _ask(zygote: socket.socket, message: object) -> Any:
    with _ONE_AT_A_TIME:
        zygote.send(json.dumps(message).encode())
        answer = zygote.recv(MESSAGE_BYTES)
    assert answer, "the zygote has ended: see what it said on stderr"
    return json.loads(answer)


# The zygote's side


def serve(tests: socket.socket) -> None:
    """Fork, and tell how one has ended, until the tests are gone."""
    while message := tests.recv(MESSAGE_BYTES):
        asked = json.loads(message)
        if "pid" in asked:
            ended, status = os.waitpid(asked["pid"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if ended else None
        else:
            answer = os.fork()
            if answer == 0:
                _become(tests, **asked)
        tests.send(json.dumps(answer).encode())


def _become(
    tests: socket.socket,
    root: str,
    environment: Mapping[str, str],
    arguments: Sequence[str],
    log: str,
) -> NoReturn:
    """The child: its streams, folder and environment are those of a new process."""
    from runner.__main__ import main

    code = 70
    try:
        tests.close()
        fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        for number in (1, 2):
            os.dup2(fd, number)
        os.close(fd)
        for name in ("stdout", "stderr"):
            number = getattr(sys, name).fileno()
            writer = io.FileIO(number, "w", closefd=False)
            setattr(sys, name, io.TextIOWrapper(writer, "utf-8", write_through=True))
        os.chdir(root)
        os.environ.clear()
        os.environ.update(environment)
        time.tzset()
        sys.argv = ["runner", *arguments]
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
        os._exit(code)


if __name__ == "__main__":
    del sys.path[0]  # the folder of the tests
    for module in sys.argv[2:]:
        importlib.import_module(module)
    serve(socket.socket(fileno=int(sys.argv[1])))
