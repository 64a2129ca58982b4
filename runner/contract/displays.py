"""What a cell displayed, as a MIME bundle: its text for a reader, and where no text is enough.

Pure. Every face tells by these rules what a page without scripts cannot show.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from runner.contract.text.markup import MARKUP_CHARACTERS, html_text, svg_text
from runner.contract.text.plain_text import plain_text

PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_TEXTS = ("text/markdown", "text/plain", "text/latex", "application/json")
_TEXTS_BEFORE_A_NAME = ("text/markdown", "text/latex", "application/json", "text/plain")
_NAMED_ONLY = re.compile(r"<[^<>\n]*>")
"""Matches the text of an object that only names its class; its other forms say more."""
_STORED = re.compile(r"application/(scrapbook\.|papermill\.record\+json$|vnd\.bokehjs_load\.)")
"""Matches what a cell leaves for programs, and nobody is meant to see."""
_VISIBLE = re.compile(r"<(?:img|svg|math|hr|progress|meter|input|button)\b", re.I)
_LOADED = re.compile(r"<(?:iframe|audio|video|object|embed)\b", re.I)
"""Matches what no page of the runner loads, whatever text stands beside it."""
_ODD = re.compile(r"\b(?:nan|inf)\b", re.I)
_DRAWN = re.compile(r"<script\b", re.I)

_LAB = "Open the notebook in JupyterLab"
_WAYS = (
    (
        re.compile(r"application/vnd\.plotly\."),
        re.compile(r"plotly-graph-div"),
        "A Plotly figure, which only a script can draw. "
        "Ask for the job's report with `figures=live`, open the notebook in JupyterLab, save a "
        "page as a file of the run (`fig.write_html('figure.html')`), or show a picture: "
        "`fig.show(renderer='png')` or `'svg'`, with kaleido and Chrome installed.",
    ),
    (
        re.compile(r"application/vnd\.vega(lite)?\."),
        re.compile(r"vega-?[eE]mbed"),
        "A Vega or Altair chart, which only a script can draw. "
        f"{_LAB}, or save a page as a file of the run: `chart.save('chart.html')`.",
    ),
    (
        re.compile(r"application/vnd\.(bokehjs|holoviews)_exec\."),
        re.compile(r"\bBokeh\b"),
        "A Bokeh figure, which only a script can draw. "
        "Ask for the job's report with `figures=live`, open the notebook in JupyterLab, or save a "
        "page as a file of the run: `bokeh.io.save(figure, 'figure.html')`.",
    ),
    (
        re.compile(r"application/vnd\.jupyter\.widget-view\+json"),
        None,
        "A widget, which works only beside its kernel. Run the notebook in JupyterLab to use it.",
    ),
    (
        re.compile(r"application/javascript|text/html"),
        None,
        f"An output that needs a script, a player or another page. {_LAB} to see it.",
    ),
)
"""What to do about an output: by a type that it has, or by words in its HTML."""


def text_of(bundle: Mapping[str, Any]) -> str:
    """Return the text of a bundle that says most to a reader; empty if it has none."""
    media_types = _TEXTS
    if says_nothing(bundle):
        media_types = _TEXTS_BEFORE_A_NAME
        if "image/svg+xml" in bundle:
            return svg_text(_joined(bundle["image/svg+xml"]))
        if "text/html" in bundle and (text := html_text(_joined(bundle["text/html"]))):
            return plain_text(text)
    for media_type in media_types:
        if media_type in bundle:
            value = bundle[media_type]
            is_text = isinstance(value, str | list) and media_type != "application/json"
            return plain_text(_joined(value)) if is_text else json.dumps(value, ensure_ascii=False)
    return ""


def text_of_odd_numbers(bundle: Mapping[str, Any]) -> str | None:
    """Return the text of a value with numbers that JSON lacks (nan, inf); None if it has none."""
    text = bundle.get("text/plain")
    if "application/json" not in bundle or not isinstance(text, str | list):
        return None
    is_odd = _has_null(bundle["application/json"]) and _ODD.search(_joined(text))
    return plain_text(_joined(text)) if is_odd else None


def _has_null(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_has_null, value.values()))
    return any(map(_has_null, value)) if isinstance(value, list) else value is None


def is_drawn(html: str) -> bool:
    """Return whether HTML shows nothing until a script has drawn it."""
    return bool(_DRAWN.search(html)) and not html_text(html) and not _VISIBLE.search(html)


def says_nothing(bundle: Mapping[str, Any]) -> bool:
    """Return whether its plain text is missing, or only names a class."""
    plain = plain_text(_joined(bundle.get("text/plain") or "")).strip()
    return not plain or _NAMED_ONLY.fullmatch(plain) is not None


def is_marked_up(bundle: Mapping[str, Any]) -> bool:
    """Return whether only HTML says what the output is, and its text is read out of that."""
    if not says_nothing(bundle) or any(one in bundle for one in ("text/markdown", "image/svg+xml")):
        return False
    return bool(html_text(_joined(bundle.get("text/html") or "")))


def needed_to_see(bundle: Mapping[str, Any]) -> str | None:
    """Say what an output is, and how to see it, if no page without scripts can show it.

    None where it has a form that can be shown, or where there is nothing to see.
    """
    if not bundle or any(_STORED.match(media_type) for media_type in bundle):
        return None
    if any(media_type in bundle for media_type in (*PICTURES, "image/svg+xml", "text/markdown")):
        return None
    if "text/latex" in bundle or "application/json" in bundle:
        return None
    html = _joined(bundle.get("text/html") or "")[:MARKUP_CHARACTERS]
    if html and not _LOADED.search(html) and not is_drawn(html):
        return None
    for types, words, way in _WAYS:
        if any(map(types.match, bundle)) or (words is not None and words.search(html)):
            return way
    others = sorted(media_type for media_type in bundle if media_type != "text/plain")
    if not others or not says_nothing(bundle):
        return None
    names = ", ".join(others)[:200]
    return f"An output of the type {names}, which a page cannot show. {_LAB} to see it."


def _joined(text: object) -> str:
    """Join a text, which a notebook may hold as a list of lines."""
    if isinstance(text, list):
        return "".join(line for line in text if isinstance(line, str))
    return text if isinstance(text, str) else ""
