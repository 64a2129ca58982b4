"""Makes pages of their own of figures that scripts draw (Plotly, Bokeh), for frames in a report.

A frame's page has an origin of its own, which no other page shares, and no network: what it needs
of a library is in it. A figure whose library is not beside this program has no page.
"""

import html
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.contract.displays import is_drawn
from runner.reports.rendering import libraries

if TYPE_CHECKING:
    from nbformat import NotebookNode

POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; base-uri 'none'; "
    "form-action 'none'; require-trusted-types-for 'script'; trusted-types default"
)
"""Content-Security-Policy of a frame: scripts, but no network and no origin."""
PRELUDE = """<script>
if (window === top) stop(); // it is for a frame only
for (const name of ["RTCPeerConnection", "webkitRTCPeerConnection", "XSLTProcessor"])
  delete window[name];
const parse = DOMParser.prototype.parseFromString;
DOMParser.prototype.parseFromString = function (...given) {
  const found = parse.apply(this, given);
  for (const name of ["iframe", "frame", "object", "embed", "fencedframe"])
    for (const one of [...found.getElementsByTagNameNS("*", name)]) one.remove();
  return found;
};
if (window.trustedTypes) trustedTypes.createPolicy("default", {
  createHTML: (text, type, sink) =>
    /srcdoc/i.test(sink) ? null : text.replace(/<(?=i?frame|object|embed|fencedframe)/gi, "<x-"),
  createScript: (text) => text,
});
</script>"""
"""Takes WebRTC away, which no policy does, and the frames in which it would be there again."""
SHOWN_HEIGHT = 450
MAX_HEIGHT = 4_000
_PLOTLY = "application/vnd.plotly.v1+json"
_BOKEH = re.compile(r"application/vnd\.bokehjs_exec\.")
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light">
<title>{title}</title>
<style>html, body {{ margin: 0; background: #fff; color: #000;
  font-family: system-ui, "DejaVu Sans", sans-serif; }}
@media print {{ .modebar, .bk-toolbar {{ display: none !important; }} }}</style>
{prelude}
{scripts}
</head>
<body>
{body}
</body>
</html>
"""
_DRAW_PLOTLY = """<div id="figure" style="width: 100%; height: {height}"></div>
<script>
{{
  const figure = {figure};
  figure.config = {{...figure.config, responsive: true, displaylogo: false}};
  Plotly.newPlot("figure", figure);
}}
</script>"""
_REQUIRE_PLOTLY = """<script>
window.require = window.requirejs = (names, use) => use && use(window.Plotly);
require.undef = require.config = () => undefined;
</script>
"""
"""For pages of Plotly 5, which ask RequireJS for it."""
_FRAMES = re.compile(r"<(?=i?frame|object|embed|fencedframe)", re.I)
_SCRIPTS = re.compile(r"<(script|style)\b.*?</\1\s*>|<!--.*?-->", re.I | re.S)
_LOADS = re.compile(r"<script\b[^>]*?\bsrc\s*=\s*[\"']?([^\"'\s>]+)[^>]*>\s*</script\s*>", re.I)
_PLOTLY_ADDRESS = re.compile(r"plotly|mathjax|require", re.I)
_BOKEH_ADDRESS = re.compile(r"/(bokeh(?:-[a-z]+)?)-[0-9][^/]*\.js$")
_HEIGHT = re.compile(r"height\s*[:=]\s*[\"']?(\d{2,4})px")


@dataclass(frozen=True)
class Figure:
    """A figure: what is in its page's body, the names of its libraries, and its height in px."""

    title: str
    body: str
    libraries: tuple[str, ...]
    height: int

    def page(self) -> str:
        """Write its page."""
        scripts = [f"<script>{libraries.script_of(name)}</script>" for name in self.libraries]
        return _PAGE.format(
            title=html.escape(self.title),
            prelude=PRELUDE,
            scripts="\n".join(scripts),
            body=_FRAMES.sub("<x-", self.body),
        )


def figures_of(
    cells: "Sequence[NotebookNode]", is_there: Callable[[str], bool] = libraries.is_there
) -> "Iterator[tuple[NotebookNode, Figure]]":
    """List the outputs that have a page, in their order, which numbers them from 0."""
    for cell in cells:
        roots: list[str] = []
        for output in cell.get("outputs", ()):
            bundle = output.get("data") or {}
            if "data-root-id" in (text := _text(bundle, "text/html")):
                roots.append(text)
            figure = _figure_of(bundle, roots)
            if figure is not None and all(map(is_there, figure.libraries)):
                yield output, figure


def is_loader(bundle: Mapping[str, Any]) -> bool:
    """Return whether an output has scripts and nothing else: it loads a library for others."""
    text = _text(bundle, "text/html")
    return bool(text) and is_drawn(text) and not re.search("<[a-z]", _SCRIPTS.sub("", text), re.I)


def _figure_of(bundle: Mapping[str, Any], roots: Sequence[str]) -> Figure | None:
    data = bundle.get(_PLOTLY)
    if isinstance(data, dict):
        return _of_plotly(data)
    if any(map(_BOKEH.match, bundle)) and (script := _text(bundle, "application/javascript")):
        body = f"{''.join(roots)}<script>{script}</script>"
        return _of_bokeh(body, ("bokeh", "bokeh-widgets", "bokeh-tables"))
    text = _text(bundle, "text/html")
    if not text or not is_drawn(text) or is_loader(bundle):
        return None
    return _of_html(text)


def _of_plotly(data: Mapping[str, Any]) -> Figure:
    layout = data.get("layout")
    height = layout.get("height") if isinstance(layout, dict) else None
    is_set = isinstance(height, int | float) and 0 < height <= MAX_HEIGHT
    known = ("data", "layout", "config", "frames")
    coded = json.dumps({key: data[key] for key in known if key in data}).replace("<", "\\u003c")
    body = _DRAW_PLOTLY.format(height="auto" if is_set else "100vh", figure=coded)
    shown = int(height) if is_set and height is not None else SHOWN_HEIGHT
    return Figure("Plotly figure", body, ("plotly",), shown)


def _of_bokeh(body: str, names: tuple[str, ...]) -> Figure:
    heights = [int(one) for one in re.findall(r'"height":\s*(\d{2,4})', body)]
    is_column = '"name":"Column"' in body  # other parts of it, such as sliders, tell no height
    height = sum(heights) + 120 if is_column else max(heights, default=600)
    return Figure("Bokeh figure", body, names, min(height + 20, MAX_HEIGHT))


def _of_html(text: str) -> Figure | None:
    """Take the figure of an output whose HTML draws it; None if it loads what is not here."""
    addresses = _LOADS.findall(text)
    bare = _LOADS.sub("", text)
    found = _HEIGHT.search(bare)
    height = min(int(found[1]), MAX_HEIGHT) if found else SHOWN_HEIGHT
    if "plotly-graph-div" in bare and all(map(_PLOTLY_ADDRESS.search, addresses)):
        shim = _REQUIRE_PLOTLY if "require" in bare else ""
        return Figure("Plotly figure", shim + bare, ("plotly",), height)
    names = [_BOKEH_ADDRESS.search(one) for one in addresses]
    if names and all(names) and "Bokeh" in bare:
        return _of_bokeh(bare, tuple(one[1] for one in names if one is not None))
    if addresses or "https://" in "".join(re.findall(r"<link\b[^>]*>", bare, re.I)):
        return None
    return Figure("Figure", bare, (), height)


def _text(bundle: Mapping[str, Any], media_type: str) -> str:
    text = bundle.get(media_type)
    return text if isinstance(text, str) else ""
