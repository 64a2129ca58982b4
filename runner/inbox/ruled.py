"""What rules say of files that stay in the inbox, in a small file of the state folder.

The process that works rules off writes it, beside the daemon's own list. Looks at no inbox.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

RULED_FILE = "inbox-rules.json"


@dataclass(frozen=True)
class Ruled:
    """Reason and detail of each file that a rule matches, by path, and rules that hinder others.

    `rules` says of such a rule what is wrong, by its name.
    """

    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    rules: Mapping[str, str] = field(default_factory=dict)


def write(state: Path, ruled: Ruled) -> None:
    """Replace the file, or remove it if there is nothing to say.

    It is not synced, because the next start writes it anew.

    Raises:
        OSError
    """
    temp, file = state / f".{RULED_FILE}", state / RULED_FILE
    if ruled == Ruled():
        file.unlink(missing_ok=True)
        return
    temp.write_bytes(json.dumps(asdict(ruled)).encode())
    temp.replace(file)


def read(state: Path) -> Ruled:
    """Read what was said last; nothing if there is no such file, or it may not be read."""
    try:
        content = json.loads((state / RULED_FILE).read_bytes())
        files = {
            str(path): (str(reason), str(detail))
            for path, (reason, detail) in content["files"].items()
        }
        return Ruled(files, {str(name): str(why) for name, why in content["rules"].items()})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Ruled()
