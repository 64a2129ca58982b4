"""Lists the installed kernels, with the facts that are known before they start.

Reads kernelspecs as jupyter_client finds them. Starts nothing.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager

_LAUNCH = ["-m", "ipykernel_launcher", "-f", "{connection_file}"]


@dataclass(frozen=True)
class InstalledKernel:
    """One kernelspec. `language` is in lower case."""

    name: str
    language: str
    argv: list[str]
    env: dict[str, str]

    @property
    def python(self) -> str | None:
        """The interpreter of a Python kernel; None for this one."""
        first = self.argv[0] if self.argv else ""
        here = ("python", "python3", f"python3.{sys.version_info[1]}", sys.executable)
        return None if first in here else first

    @property
    def prefix(self) -> str | None:
        """The virtual environment of a Python kernel; None if none can be recognised."""
        if self.python is None:
            return None if sys.prefix == sys.base_prefix else sys.prefix
        prefix = Path(self.python).parent.parent
        return str(prefix) if (prefix / "pyvenv.cfg").exists() else None

    @property
    def is_fork(self) -> bool:
        """Whether it is plain ipykernel in this interpreter, so that a fork of us will do."""
        plain = self.argv[1:] in (["-Xfrozen_modules=off", *_LAUNCH], _LAUNCH)
        return plain and not self.env and self.python is None and hasattr(os, "pidfd_open")


Installed = Mapping[str, InstalledKernel]


def installed_kernels() -> Installed:
    """Return every kernelspec by its name."""
    specs = KernelSpecManager().get_all_specs()
    return {
        name: InstalledKernel(
            name,
            str(one["spec"].get("language", "")).lower(),
            list(one["spec"].get("argv", [])),
            dict(one["spec"].get("env") or {}),
        )
        for name, one in specs.items()
    }
