"""Starts a Chromium for one piece of work, with nothing of its user's, and without a network.

The calling process must be the parent of orphans (`adopt_orphans`), and single-threaded: whatever
the browser started ends with it, also when this process is killed.
"""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO

import psutil

from runner.reports.printing.devtools import Devtools, Ended
from runner.system.files.passing_folders import passing_folder
from runner.system.processes.process_tree import (
    children,
    die_with_parent,
    end_descendants,
    hear_signals_again,
)

MEMORY_BYTES = 2 * 1024**3
"""What all its processes may hold together; what they share counts once."""
LOOK_SECONDS = 0.5
PREFIX = "runner-printing-"
_NOBODY = "127.0.0.1:9"
SWITCHES = (
    *("--headless", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check"),
    *("--disable-gpu", "--mute-audio", "--hide-scrollbars", "--font-render-hinting=none"),
    # Docker's /dev/shm has 64 MB, and a large page crashes in it: shared memory lies in TMPDIR.
    "--disable-dev-shm-usage",
    *("--disable-extensions", "--disable-sync", "--disable-default-apps"),
    *("--disable-breakpad", "--disable-crash-reporter", "--password-store=basic"),
    *("--disable-background-networking", "--disable-component-update", "--disable-quic"),
    *("--no-pings", "--disable-features=Translate,MediaRouter,OptimizationHints"),
    # Every request is answered by us. These are for what a page may do without a request.
    *("--host-resolver-rules=MAP * ~NOTFOUND", f"--proxy-server=http://{_NOBODY}"),
    *("--proxy-bypass-list=<-loopback>", "--force-webrtc-ip-handling-policy"),
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
)
_WITHOUT_SANDBOX = "--no-sandbox"
_NO_SANDBOX_HERE = (b"No usable sandbox", b"Failed to move to new namespace", b"setuid sandbox")
# Chromium wants its pipes as descriptors 3 and 4; a shell can put them there.
_SHELL = ("/bin/sh", "-c", 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null', "sh")


class CannotStart(Exception):
    """The browser does not start; the message is its own."""


class NeedsMore(Exception):
    """The browser takes more memory than it may."""


@contextmanager
def started(program: str, ends_at: float) -> Iterator[Devtools]:
    """Start a browser and talk with it, until `ends_at`; afterwards none of its processes is left.

    Its sandbox is given up only where it cannot be had: as root, and in containers that allow no
    user namespaces. What it shows has no script of its own then, or a frame without an origin.

    Raises:
        CannotStart, OSError
    """
    with passing_folder(PREFIX) as made:
        home = Path(made)
        try:
            yield _started(program, home, ends_at)
        finally:
            end_descendants()


def _started(program: str, home: Path, ends_at: float) -> Devtools:
    without_sandbox = os.geteuid() == 0
    while True:
        log = home / "log"
        with log.open("wb") as errors:
            process = _start(program, home, errors, without_sandbox=without_sandbox)
        assert process.stdin is not None
        assert process.stdout is not None
        talk = Devtools(process.stdin, process.stdout, _Guard().look, ends_at)
        try:
            talk.call("Browser.getVersion")
        except Ended:
            end_descendants()
            said = log.read_bytes()
            if without_sandbox or not any(sign in said for sign in _NO_SANDBOX_HERE):
                raise CannotStart(_reason(said)) from None
            without_sandbox = True
        else:
            return talk


def _start(
    program: str, home: Path, errors: IO[bytes], *, without_sandbox: bool
) -> "subprocess.Popen[bytes]":
    # Relative to its folder, since the path of a socket is short (unix(7)), and TMPDIR may be long.
    places = dict.fromkeys(
        ("HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"),
        ".",
    )
    kept = {key: os.environ[key] for key in ("PATH", "LANG", "LC_ALL", "TZ") if key in os.environ}
    switches = [*SWITCHES, f"--user-data-dir={home / 'profile'}"]
    if without_sandbox:
        switches.append(_WITHOUT_SANDBOX)
    return subprocess.Popen(
        [*_SHELL, program, *switches],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        bufsize=0,
        cwd=home,
        env={**kept, **places},
        preexec_fn=partial(_begin, os.getpid()),
    )


def _begin(parent: int) -> None:
    hear_signals_again()
    die_with_parent(parent)


class _Guard:
    """Looks at the memory of all processes below this one, now and then."""

    def __init__(self) -> None:
        self._next_look = 0.0

    def look(self) -> None:
        """Raise `NeedsMore` if they hold too much."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_SECONDS
        if _held_below(os.getpid()) > MEMORY_BYTES:
            raise NeedsMore


def _held_below(pid: int) -> int:
    total, pending = 0, children(pid)
    while pending:
        one = pending.pop()
        with suppress(psutil.Error, OSError):  # it has just ended
            total += _held_by(one)
        pending.extend(children(one))
    return total


def _held_by(pid: int) -> int:
    """Return the memory of a process, and its share of what it shares (proc(5), `smaps_rollup`).

    Raises:
        OSError, psutil.Error: it is gone.
    """
    try:
        rolled = Path(f"/proc/{pid}/smaps_rollup").read_bytes()
        found = re.search(rb"^Pss:\s+([0-9]+) kB", rolled, re.M)
    except PermissionError:  # its sandbox keeps this from us
        found = None
    return psutil.Process(pid).memory_info().rss if found is None else int(found[1]) * 1024


def _reason(said: bytes) -> str:
    """Choose the line of a log that says why a browser ended."""
    lines = said.decode("utf-8", "replace").strip().splitlines()
    lines = [line for line in lines if "crashpad" not in line]
    fatal = [line for line in lines if ":FATAL:" in line]
    return (fatal or lines or ["it ended without a word"])[-1][-300:]
