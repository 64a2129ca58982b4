"""What a browser keeps instead of the token: a cookie that only who knows the token can make.

Pure rules over values; nothing is stored, so it outlives a restart and ends with the token. Never
holds the token itself.
"""

import hashlib
import hmac

COOKIE = "inbox_runner"
SECONDS = 30 * 86_400
_PURPOSE = b"inbox-runner page session 1 "


def issue(token: str, now: float) -> str:
    """The cookie's value for a browser that has just shown the token; `now` since the epoch."""
    issued = str(int(now))
    return f"{issued}.{_seal(token, issued)}"


def is_valid(token: str, value: str, now: float) -> bool:
    """Whether `issue` made this value for this token, not longer ago than it may last."""
    issued, _, seal = value.partition(".")
    if not (issued.isascii() and issued.isdigit() and len(issued) <= 12):
        return False
    expected = _seal(token, issued).encode()
    is_ours = hmac.compare_digest(seal.encode("utf-8", "surrogateescape"), expected)
    return is_ours and 0 <= now - int(issued) < SECONDS


def _seal(token: str, issued: str) -> str:
    return hmac.new(token.encode(), _PURPOSE + issued.encode(), hashlib.sha256).hexdigest()
