"""Content negotiation: who gets a page, who gets JSON, and who gets Prometheus' text.

Pure rules over `Accept` and `User-Agent`, the same for every route and every error.
"""

from collections.abc import Mapping

VARY = {"Vary": "Accept, User-Agent, Cookie"}
"""What an answer depends on beside its address (RFC 9110, 12.5.5)."""

_HTML = ("text/html", "application/xhtml+xml")
_JSON = ("application/json", "text/json")
_METRICS = ("text/plain", "application/openmetrics-text")
_BROWSERS = ("mozilla/", "opera/", "lynx/", "w3m/", "links", "elinks")


def wants_page(accept: str | None, user_agent: str | None = None) -> bool:
    """Whether a browser asks, or a program that wants HTML and nothing else.

    A browser names HTML and never JSON. A program that names both, as n8n does, or that names HTML
    beside `*/*` under a name of its own, as Java's URLConnection and Uptime Kuma do, gets JSON.
    """
    kinds = _accepted(accept)
    if not kinds.keys() & set(_HTML) or _names_json(kinds):
        return False
    return "*/*" not in kinds or not user_agent or is_browser(user_agent)


def wants_metrics_text(accept: str | None) -> bool:
    """Whether Prometheus' text is named, and JSON is not (axios names JSON and plain text)."""
    kinds = _accepted(accept)
    return bool(kinds.keys() & set(_METRICS)) and not _names_json(kinds)


def is_browser(user_agent: str | None) -> bool:
    """Whether a browser's name stands first; PowerShell calls itself Mozilla and is none."""
    name = (user_agent or "").strip().lower()
    return name.startswith(_BROWSERS) and "powershell" not in name


def _names_json(kinds: Mapping[str, float]) -> bool:
    return any(kind in _JSON or kind.endswith("+json") for kind in kinds)


def _accepted(accept: str | None) -> dict[str, float]:
    """The media types with their quality, without those that are refused (`q=0`)."""
    accepted: dict[str, float] = {}
    for part in (accept or "").lower().split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        if kind and (quality := _quality(parameters)) > 0:
            accepted[kind] = quality
    return accepted


def _quality(parameters: list[str]) -> float:
    """1 where none is named, 0 where it is no number."""
    named = next((text[2:] for text in parameters if text.startswith("q=")), "1")
    try:
        return float(named)
    except ValueError:
        return 0.0
