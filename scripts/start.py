"""Start what is named in the Procfile, say where to look once all of it answers, and end all of it.

Each process is a group of its own, which ends by SIGTERM with this one: at Ctrl-C, when a terminal
or a pipe closes, or when one of them ends. A second Ctrl-C ends what is left at once.

    python scripts/start.py run|stack
"""

import ctypes
import errno
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from runner.config import DEFAULT_TOKEN, load, reached
from runner.places import ConfigError
from runner.state.locks import holder_of

ROOT = Path(__file__).resolve().parent.parent
RUNNER = "runner"
GATEWAY = "papermill-gateway"
"""What the gateway calls itself in its health."""
LOOK_SECONDS = 0.2
END_SECONDS = 45.0
"""Running notebooks have 30 seconds by default (`shutdown_seconds`)."""
PR_SET_PDEATHSIG = 1


def main() -> int:
    stack = sys.argv[1] == "stack"
    os.chdir(ROOT)
    commands = dict(_procfile()) if stack else {RUNNER: "runner serve"}
    running = Running(commands)
    taken = not stack and _page_port_is_taken()  # before our own gateway has it
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, running.stop)
    for name in commands:
        running.start(name)
    waited = threading.Thread(target=_say_where, args=(running, stack, taken), daemon=True)
    waited.start()
    return running.attend()


def _procfile() -> Iterator[tuple[str, str]]:
    for line in (ROOT / "Procfile").read_text().splitlines():
        name, colon, command = line.partition(":")
        if colon and not line.startswith("#"):
            yield name, command.strip()


class Running:
    """The processes, and whether they are to end."""

    def __init__(self, commands: dict[str, str]) -> None:
        self._commands = commands
        self._width = max(map(len, commands)) if len(commands) > 1 else 0
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._stop_at: float | None = None
        self._closed = False
        self._lock = threading.Lock()

    @property
    def stops(self) -> bool:
        return self._stop_at is not None

    def owns(self, inbox: Path) -> bool:
        """Whether our runner holds the inbox, rather than one that was there before."""
        process, holder = self._processes.get(RUNNER), holder_of(inbox)
        return process is not None and holder is not None and f"(pid {process.pid} " in holder

    def start(self, name: str) -> None:
        process = subprocess.Popen(
            ["sh", "-c", f"exec env {self._commands[name]}"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_us,
        )
        self._processes[name] = process
        threading.Thread(target=self._pass_on, args=(name, process), daemon=True).start()

    def stop(self, received: int | None = None, _: FrameType | None = None) -> None:
        """At first as a service is stopped, then at once.

        Ctrl-C is one for the runner, whose log names it; JupyterLab would ask whether it is meant.
        """
        if self._stop_at is None:
            self._stop_at = time.monotonic() + END_SECONDS
        for name, process in self._processes.items():
            is_interrupt = received == signal.SIGINT and name == RUNNER
            self._signal(process, signal.SIGINT if is_interrupt else signal.SIGTERM)

    def attend(self) -> int:
        """Until all have ended; a runner that was killed starts again. The exit code of the first.

        A second signal goes on to the processes, for which it means: at once.
        """
        code = 0
        while True:
            for name, process in list(self._processes.items()):
                ended = process.poll()
                if ended is None:
                    continue
                del self._processes[name]
                if ended < 0 and name == RUNNER and not self.stops:
                    what = f"{name} was ended by {signal.Signals(-ended).name}"
                    self.write(f"{what}; it starts again, and runs what waits\n")
                    time.sleep(1)
                    self.start(name)
                elif not self.stops:
                    self.write(f"{name} ended ({ended}); ending the others\n")
                    code = ended or 1
                    self.stop()
            if not self._processes:
                return code
            if self._closed and not self.stops:
                self.stop()
            if self._stop_at is not None and time.monotonic() > self._stop_at:
                for process in self._processes.values():
                    self._signal(process, signal.SIGKILL)
            time.sleep(LOOK_SECONDS)

    def write(self, text: str) -> None:
        """To our output; when nobody reads it any more, all is to end."""
        with self._lock:
            try:
                sys.stdout.write(text)
                sys.stdout.flush()
            except OSError:
                self._closed = True
                sys.stdout = open(os.devnull, "w")  # noqa: SIM115

    def _pass_on(self, name: str, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        before = f"{name:{self._width}} | " if self._width else ""
        for line in process.stdout:
            if self.stops and name != RUNNER:
                continue  # JupyterLab ends by a traceback
            self.write(before + line.decode(errors="replace"))

    @staticmethod
    def _signal(process: "subprocess.Popen[bytes]", number: int) -> None:
        if process.poll() is None:
            process.send_signal(number)


def _end_with_us() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _page_port_is_taken() -> bool:
    """Whether another program, or another runner, listens where our page is to be."""
    try:
        gateway = load().gateway
        socket.create_server((gateway.host, gateway.port)).close()
    except ConfigError:  # the runner says so
        return False
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False


def _say_where(running: Running, stack: bool, taken: bool) -> None:
    """Addresses, once they answer, so that they are the last lines; none of another runner."""
    try:
        settings = load()
    except ConfigError:  # the runner says so
        return
    page = f"http://{reached(settings.gateway.host)}:{settings.gateway.port}"
    jupyter = f"http://{reached(settings.jupyter.host)}:{settings.jupyter.port}"
    mcp = f"http://{reached(settings.mcp.host)}:{settings.mcp.port}"
    token = f"?token={DEFAULT_TOKEN}" if settings.jupyter.secret in (None, DEFAULT_TOKEN) else ""
    there = {"the page": page} if stack or settings.gateway.enabled else {}
    if taken and there:
        port = settings.gateway.port
        there = {"the page": f"none: {port} is taken; GATEWAY_PORT={port % 65535 + 1} make run"}
    probes = page_probes = [] if taken else [f"{url}/healthz" for url in there.values()]
    if stack:
        there |= {"JupyterLab": f"{jupyter}/lab{token}", "tools for agents (MCP)": f"{mcp}/mcp"}
        probes += [f"{jupyter}/api", f"{mcp}/health"]
    else:
        there |= {"notebooks go into": f"{settings.inbox}/", "results": f"{settings.outbox}/"}
    while not running.owns(settings.inbox) or probes:
        if running.stops:
            return
        probes = [url for url in probes if not _answers(url, GATEWAY if url in page_probes else "")]
        time.sleep(LOOK_SECONDS)
    there["to try"] = f"cp notebooks/loan.ipynb {shlex.quote(str(settings.inbox))}/"
    lines = [f"  {what:23} {where}\n" for what, where in there.items()]
    rest = "" if stack else "; make stack has JupyterLab and the tools for agents"
    running.write(f"\n{''.join(lines)}\n  Ctrl-C ends it{rest}.\n\n")


def _answers(url: str, word: str) -> bool:
    """Whether it answers, and with this word: another program may have the port."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            text = answer.read()
    except urllib.error.HTTPError as error:
        text = error.read()
    except OSError:
        return False
    return word.encode() in text


if __name__ == "__main__":
    sys.exit(main())
