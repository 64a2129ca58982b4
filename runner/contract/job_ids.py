"""Job ids: their form, and their derivation from a client's key or a job's cause.

Ids are derived, never stored beside their source, so the same key or cause gives the same job at
every start.
"""

import hashlib
import re

JOB_ID = re.compile(r"[0-9a-f]{32}")
_OF_KEY = b"inbox-runner idempotency key"
_OF_CAUSE = b"inbox-runner cause"


def id_of_key(key: str) -> str:
    """Derive the job id of an Idempotency-Key."""
    return _digest(key, _OF_KEY)


def id_of_cause(cause: str) -> str:
    """Derive the job id of a cause, such as `schedule:daily@2026-11-26T06:00Z`."""
    return _digest(cause, _OF_CAUSE)


def _digest(text: str, purpose: bytes) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16, key=purpose).hexdigest()
