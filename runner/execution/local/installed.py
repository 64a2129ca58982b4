"""Tells whether the installed Python packages or kernelspecs have changed.

Looks at the times of a few folders and reads no package. Installs and restarts nothing.
"""

import os
import site
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path

from jupyter_core.paths import jupyter_path

Fingerprint = tuple[tuple[str, int], ...]


def fingerprint(environment: Mapping[str, str]) -> Fingerprint:
    """Return (path, mtime in ns) of folders; the value changes with the installed packages.

    An installer makes and removes entries in the folder of packages, which changes its time. That
    also holds for an upgrade that rewrites what lies below. Kernelspecs count too.
    """
    return tuple((place, _time(place)) for place in dict.fromkeys(_places(environment)))


def _places(environment: Mapping[str, str]) -> Iterator[str]:
    for scheme in ("purelib", "platlib"):
        yield sysconfig.get_path(scheme)
    yield from site.getsitepackages()
    if site.ENABLE_USER_SITE:
        yield site.getusersitepackages()
    yield from filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    for folder in jupyter_path("kernels"):
        yield folder
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue
        for name in names:
            yield os.path.join(folder, name, "kernel.json")


def _time(path: str) -> int:
    """Return a path's time of change; 0 if there is nothing."""
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return 0
