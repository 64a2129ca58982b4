"""Renders pages from templates and serves their files: all escaped, under one strict policy.

Owns Jinja, the policy and the static files. Knows no job and no route.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bottle import HTTPResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from runner import __version__
from runner.contract.names import shown_name
from runner.gateway.http.answers import HEADERS
from runner.gateway.http.negotiation import VARY
from runner.gateway.page import format as words

FOLDER = Path(__file__).parent
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; frame-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'"
)
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_KEPT = "public, max-age=31536000, immutable"
"""Caching header: a static file's address changes with its content."""


@dataclass(frozen=True)
class Static:
    """A file that pages load."""

    content: bytes
    media_type: str
    url: str


@cache
def statics() -> Mapping[str, Static]:
    """Return all static files by name, read once."""
    files = {}
    for path in sorted((FOLDER / "static").iterdir()):
        content = path.read_bytes()
        url = f"/ui/static/{path.name}?v={hashlib.sha256(content).hexdigest()[:12]}"
        if path.suffix in _TYPES:
            files[path.name] = Static(content, _TYPES[path.suffix], url)
    return files


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "duration": words.duration,
        "age": words.age,
        "ahead": words.ahead,
        "when": words.when,
        "in_zone": words.in_zone,
        "stamp_in": words.stamp_in,
        "schedule_url": words.schedule_url,
        "name_url": words.name_url,
        "size": words.size,
        "with_code": words.with_code,
        "with_inbox_link": words.with_inbox_link,
        "word": words.status_word,
        "plural": words.plural,
        "shown_name": shown_name,
    }
    environment.globals |= {
        "version": __version__,
        "static": lambda name: statics()[name].url,
    }
    return environment


def fragment(template: str, **values: Any) -> str:
    """Render a part of a page."""
    return _environment().get_template(template).render(**values)


def page(
    template: str, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any
) -> HTTPResponse:
    """Render a whole page. A stricter referrer policy would hide the origin of its forms."""
    own = {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": POLICY,
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        **VARY,
    }
    body = fragment(template, **values).encode()
    return HTTPResponse(body, status, {**HEADERS, **own, **(headers or {})})


def static_file(name: str) -> HTTPResponse | None:
    """Answer with a static file; None if there is no such."""
    file = statics().get(name)
    if file is None:
        return None
    headers = {
        **HEADERS,
        "Content-Type": f"{file.media_type}; charset=utf-8",
        "Cache-Control": _KEPT,
        "Content-Security-Policy": "default-src 'none'",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    return HTTPResponse(file.content, 200, headers)
