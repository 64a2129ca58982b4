"""The scripts that draw figures, as they lie in Python packages beside this program."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

_PLACES = {
    "plotly": ("plotly", "package_data/plotly.min.js"),
    **{
        name: ("bokeh", f"server/static/js/{name}.min.js")
        for name in ("bokeh", "bokeh-widgets", "bokeh-tables", "bokeh-gl", "bokeh-mathjax")
    },
}
"""By name: the package, and the file in it."""


def is_there(name: str) -> bool:
    """Return whether a library is installed."""
    return _file(name) is not None


def script_of(name: str) -> str:
    """Return a library's script; empty if it is not installed."""
    file = _file(name)
    return "" if file is None else file.read_text(encoding="utf-8")


@cache
def _file(name: str) -> Path | None:
    package, inner = _PLACES[name]
    spec = find_spec(package)  # imports nothing
    folders = [] if spec is None else spec.submodule_search_locations or []
    return next((file for one in folders if (file := Path(one) / inner).is_file()), None)
