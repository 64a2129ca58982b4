"""Says how to install an extra of this program, by a command that works here.

The command depends on where the program came from: a checkout, or an installed file. Installs
nothing.
"""

import json
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

DISTRIBUTION = "inbox-runner"


def advice_on(extra: str) -> str:
    """Return the command that installs an extra of this program."""
    return command_for(extra, _origin(), Path(sys.prefix), sys.executable)


def command_for(extra: str, origin: str | None, prefix: Path, python: str) -> str:
    """Return it for a program installed from `origin`, a URL, into `prefix`.

    Never by the name alone: on a public index it may be somebody else's.
    """
    pip = f"{python} -m pip install"
    place = Path(unquote(urlsplit(origin or "").path))
    if origin is None or (origin.startswith("file:") and not place.exists()):
        return f"{pip} 'FILE[{extra}]', where FILE is the wheel that you installed"
    if not origin.startswith("file:"):
        return f"{pip} '{DISTRIBUTION}[{extra}] @ {origin}'"
    if (place / "Makefile").is_file() and prefix == place / ".venv":
        return f"make -C {place} setup-stack"
    if place.is_dir():
        return f"{pip} -e '{place}[{extra}]'"
    return f"{pip} '{place}[{extra}]'"


def _origin() -> str | None:
    """Find where pip or uv got this program (PEP 610); None if from an index, or unknown."""
    try:
        written = distribution(DISTRIBUTION).read_text("direct_url.json")
    except PackageNotFoundError:
        return None
    if written is None:
        return None
    origin = json.loads(written)
    vcs = origin.get("vcs_info")
    return str(f"{vcs['vcs']}+{origin['url']}@{vcs['commit_id']}" if vcs else origin["url"])
