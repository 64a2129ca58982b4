"""Signs the message of a callback, as Standard Webhooks has it. Pure."""

from collections.abc import Mapping
from datetime import datetime

from runner import __version__
from runner.contract.triggers.signatures import standard_signature


def message_of(
    delivery: str, body: bytes, asked: Mapping[str, str], secret: str | None, now: datetime
) -> dict[str, str]:
    """Return the headers of a delivery; signed if there is a `secret`."""
    timestamp = str(int(now.timestamp()))
    headers = {
        "User-Agent": f"inbox-runner/{__version__}",
        **asked,
        "Content-Type": "application/json",
        "webhook-id": delivery,
        "webhook-timestamp": timestamp,
    }
    if secret is not None:
        signature = standard_signature(secret, delivery, timestamp, body)
        headers["webhook-signature"] = f"v1,{signature}"
    return headers
