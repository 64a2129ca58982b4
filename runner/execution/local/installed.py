"""Tells whether the Python packages or kernelspecs that are installed have changed.

Looks at a few folders' times and reads no package. Installs and restarts nothing.
"""

import os
import site
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path

from jupyter_core.paths import jupyter_path

Fingerprint = tuple[tuple[str, int], ...]


def fingerprint(environment: Mapping[str, str]) -> Fingerprint:
    """Changes when a package or kernelspec is added, removed or replaced; (path, mtime in ns).

    An installer makes and removes entries of the folder that holds the packages, so that its time
    changes, also where an upgrade rewrites what lies below.
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
    """0 where there is nothing."""
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return 0
