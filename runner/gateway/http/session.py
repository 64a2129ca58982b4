"""The cookie that a browser keeps instead of the token; making one needs the token.

Pure. Nothing is stored, so it outlives a restart and ends with the token.
"""

import hashlib
import hmac

COOKIE = "inbox_runner"
SECONDS = 30 * 86_400
_PURPOSE = b"inbox-runner page session 1 "


def issue(token: str, now: float) -> str:
    """Make the cookie's value for a browser that has shown the token; `now` since the epoch."""
    issued = str(int(now))
    return f"{issued}.{_seal(token, issued)}"


def is_valid(token: str, value: str, now: float) -> bool:
    """Return whether `issue` made this value for this token, not too long ago."""
    issued, _, seal = value.partition(".")
    if not (issued.isascii() and issued.isdigit() and len(issued) <= 12):
        return False
    expected = _seal(token, issued).encode()
    is_ours = hmac.compare_digest(seal.encode("utf-8", "surrogateescape"), expected)
    return is_ours and 0 <= now - int(issued) < SECONDS


def _seal(token: str, issued: str) -> str:
    return hmac.new(token.encode(), _PURPOSE + issued.encode(), hashlib.sha256).hexdigest()
