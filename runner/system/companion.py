"""A daemon's messages to a process that it starts beside itself: the settings, through a pipe.

The process reads them before anything else. The pipe stays open after that; where it reads to its
end, the daemon is gone.
"""

import json
import os

from runner.config import Settings


class DaemonGone(Exception):
    """The daemon ended before it had told its settings."""


def greeting(settings: Settings) -> bytes:
    """Write what `read_greeting` reads, secrets included."""
    content = settings.model_dump(mode="json")
    content["gateway"] |= {"token": settings.gateway.secret, "token_file": None}
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
