"""What a process beside a daemon needs of it: the settings, its life, and the place to be alone.

The settings come through a pipe, before anything else. The pipe stays open after that; where it
reads to its end, the daemon is gone.
"""

import fcntl
import json
import os
import select
from pathlib import Path

from runner.config import Settings
from runner.contract.notifications import secrets_in

LOCK_SECONDS = 0.1


class DaemonGone(Exception):
    """The daemon ended before it had told its settings."""


def greeting(settings: Settings) -> bytes:
    """Write what `read_greeting` reads, secrets included."""
    content = settings.model_dump(mode="json")
    content["gateway"] |= {"token": settings.gateway.secret, "token_file": None}
    content["callbacks"] |= {"secret": settings.callbacks.key, "secret_file": None}
    content["notify"] = secrets_in(settings.notify)
    return json.dumps(content).encode() + b"\n"


def read_greeting(owner: int) -> Settings:
    """Read the settings that a daemon writes into the pipe before anything else, on one line.

    Raises:
        DaemonGone
    """
    line = b""
    while not line.endswith(b"\n"):
        chunk = os.read(owner, 65536)
        if not chunk:
            raise DaemonGone("the daemon that started this process is gone")
        line += chunk
    return Settings(**json.loads(line))


def is_over(owner: int, seconds: float) -> bool:
    """Wait; return whether the daemon has gone."""
    ready, _, _ = select.select([owner], [], [], seconds)
    return bool(ready) and not os.read(owner, 65536)


def is_alone(lock: Path, owner: int) -> bool:
    """Wait until the companion of an earlier daemon has ended; False if the own one ends first.

    `lock` is a file that is made. The lock goes with the process (flock(2)).
    """
    fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if is_over(owner, LOCK_SECONDS):
                return False
        else:
            return True
