"""Where the sockets between a runner's own processes lie. Makes nothing."""

import secrets
import tempfile


def runtime_base() -> str:
    """Return the parent of the socket folder; short, because a socket's path has 107 bytes."""
    base = tempfile.gettempdir()
    return base if len(base) < 40 else "/tmp"  # noqa: S108


def new_runtime_folder() -> str:
    """Choose a private folder with a short path, for sockets, that is still to be made."""
    return f"{runtime_base()}/ir-{secrets.token_hex(4)}"
