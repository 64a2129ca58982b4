"""Makes a folder for the packages that a notebook installs, which goes with its run.

It is a user base (PEP 370): Python looks there first, and `pip` resolves as usual. Installs
nothing.
"""

import os
import sysconfig
from collections.abc import Mapping
from pathlib import Path

_HOOK = """\
import os, sys; \
"install" in sys.orig_argv \
and any(os.path.basename(a).startswith("pip") for a in sys.orig_argv[1:4]) \
and not any(a[:2] == "-t" for a in sys.orig_argv) \
and not {"--target", "--prefix", "--root", "--no-user", "--python"} & {a.partition("=")[0] \
for a in sys.orig_argv} \
and os.environ.setdefault("PIP_USER", "1")
"""
"""Each Python that looks there runs this: `pip install` then installs for the user, unless it
names a place. An environment variable instead would break `--target`, and every virtual
environment below.
"""
_UV = """\
# uv has no --user
[pip]
target = "{packages}"
"""


def folder_for_packages(base: str) -> str:
    """Return the folder for packages below a user base."""
    return sysconfig.get_path("purelib", "posix_user", vars={"userbase": base})


def make_packages(base: str) -> str:
    """Make the folder for packages below a user base; Python looks only if it exists."""
    packages = folder_for_packages(base)
    Path(packages).mkdir(parents=True, exist_ok=True)
    Path(packages, "pip-of-this-run.pth").write_text(_HOOK)
    Path(base, "uv.toml").write_text(_UV.format(packages=packages))
    return packages


def with_packages(environment: Mapping[str, str], base: str, packages: str) -> dict[str, str]:
    """Add a run's own packages to its environment; their scripts come first."""
    scripts = (os.path.join(base, "bin"), os.path.join(packages, "bin"))
    path = os.pathsep.join((*scripts, environment.get("PATH", os.defpath)))
    own = {"UV_CONFIG_FILE": os.path.join(base, "uv.toml"), **environment}
    return {**own, "PYTHONUSERBASE": base, "PATH": path}
