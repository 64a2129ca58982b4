"""Negotiates the content: a page, JSON, or Prometheus' text.

Pure, over `Accept` and `User-Agent`, the same for every route and every error.
"""

from collections.abc import Mapping

VARY = {"Vary": "Accept, User-Agent, Cookie"}
"""Headers that an answer depends on beside its address (RFC 9110, 12.5.5)."""

_HTML = ("text/html", "application/xhtml+xml")
_JSON = ("application/json", "text/json")
_METRICS = ("text/plain", "application/openmetrics-text")
_BROWSERS = ("mozilla/", "opera/", "lynx/", "w3m/", "links", "elinks")


def wants_page(accept: str | None, user_agent: str | None = None) -> bool:
    """Return whether a browser asks, or a program that wants HTML and nothing else.

    A browser names HTML and never JSON. A program that names both, as n8n does, gets JSON. So does
    one that names HTML beside `*/*` under its own name, as Java's URLConnection and Uptime Kuma do.
    """
    kinds = _accepted(accept)
    if not kinds.keys() & set(_HTML) or _names_json(kinds):
        return False
    return "*/*" not in kinds or not user_agent or is_browser(user_agent)


def wants_metrics_text(accept: str | None) -> bool:
    """Return whether Prometheus' text is named, and JSON is not (axios names both)."""
    kinds = _accepted(accept)
    return bool(kinds.keys() & set(_METRICS)) and not _names_json(kinds)


def is_browser(user_agent: str | None) -> bool:
    """Return whether a browser's name comes first; PowerShell calls itself Mozilla and is none."""
    name = (user_agent or "").strip().lower()
    return name.startswith(_BROWSERS) and "powershell" not in name


def _names_json(kinds: Mapping[str, float]) -> bool:
    return any(kind in _JSON or kind.endswith("+json") for kind in kinds)


def _accepted(accept: str | None) -> dict[str, float]:
    """Return the media types with their quality, without refused ones (`q=0`)."""
    accepted: dict[str, float] = {}
    for part in (accept or "").lower().split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        if kind and (quality := _quality(parameters)) > 0:
            accepted[kind] = quality
    return accepted


def _quality(parameters: list[str]) -> float:
    """Read a quality: 1 if none is named, 0 if it is no number."""
    named = next((text[2:] for text in parameters if text.startswith("q=")), "1")
    try:
        return float(named)
    except ValueError:
        return 0.0
