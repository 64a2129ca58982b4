"""Proves that a web hook's request comes from who knows its secret, and was not sent before.

Each sender signs in its own way; the usual ones have a name:

- GitHub: docs.github.com, "Validating webhook deliveries".
- Stripe: docs.stripe.com/webhooks, "Verify webhook signatures manually".
- Standard Webhooks: github.com/standard-webhooks/standard-webhooks, its specification.

Pure, over header values and bytes.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

TOLERANCE_SECONDS = 300
"""By so much a signature's time may differ from the time here; both sources name five minutes."""
_ID = re.compile(r"[\x21-\x3f\x41-\x7e]{1,60}")
_STANDARD_SECRET = "whsec_"  # noqa: S105 - the beginning of one


class Scheme(StrEnum):
    """The ways to prove who sends."""

    KEY = "key"
    GITHUB = "github"
    STRIPE = "stripe"
    STANDARD = "standard"
    HMAC = "hmac"


class Verify(BaseModel):
    """How a hook's requests are verified. The keys from `header` on are for `key` and `hmac`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Scheme = Field(description="The way in which the sender proves itself.")
    secret: str | None = Field(None, min_length=1, description="The secret itself.")
    secret_env: str | None = Field(
        None, min_length=1, description="Name of an environment variable of the gateway with it."
    )
    secret_file: str | None = Field(
        None, min_length=1, description="A file with it; a relative path counts from this file."
    )
    header: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9-]{1,100}$",
        description="Header with the key or the signature; default X-Api-Key and X-Signature.",
    )
    algorithm: Literal["sha256", "sha1", "sha512"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = Field("", max_length=50, description="Text before the signature, as `sha256=`.")
    signed: str = Field(
        "{body}",
        max_length=200,
        description="The text that is signed, with {body}, {timestamp} and {id} in it.",
    )
    id_header: str | None = Field(
        None, pattern=r"^[A-Za-z0-9-]{1,100}$", description="Header with the delivery's id."
    )
    timestamp_header: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9-]{1,100}$",
        description="Header with the time, in seconds since 1970; `signed` must have it.",
    )

    @model_validator(mode="after")
    def _is_whole(self) -> "Verify":
        secrets = [self.secret, self.secret_env, self.secret_file]
        if sum(one is not None for one in secrets) != 1:
            raise ValueError("give one of `secret`, `secret_env` and `secret_file`")
        if "{body}" not in self.signed:
            raise ValueError("`signed` must have {body}: else anybody may change it")
        for name, header in (("id", self.id_header), ("timestamp", self.timestamp_header)):
            if header is None and f"{{{name}}}" in self.signed:
                raise ValueError(f"`signed` has {{{name}}}: name its header by `{name}_header`")
        if self.timestamp_header is not None and "{timestamp}" not in self.signed:
            raise ValueError("`signed` must have {timestamp}: else anybody may change it")
        return self


class NotProven(Exception):
    """A request is not the sender's, or too old; the message says why and gives nothing away."""


@dataclass(frozen=True)
class Delivery:
    """A proven request. `id` is the sender's; None if it gives none."""

    id: str | None


def prove(
    verify: Verify, secret: str, headers: Mapping[str, str], body: bytes, now: float
) -> Delivery:
    """Check a request. `headers` have lower-case names; `now` is in seconds since 1970.

    Raises:
        NotProven
    """
    match verify.type:
        case Scheme.KEY:
            return _by_key(verify, secret, headers)
        case Scheme.STRIPE:
            return _by_stripe(secret, headers, body, now)
        case Scheme.STANDARD:
            return _by_standard(secret, headers, body, now)
        case Scheme.GITHUB:
            github = verify.model_copy(
                update={
                    "header": "x-hub-signature-256",
                    "prefix": "sha256=",
                    "id_header": "x-github-delivery",
                }
            )
            return _by_hmac(github, secret, headers, body, now)
        case Scheme.HMAC:
            return _by_hmac(verify, secret, headers, body, now)


def secret_is_usable(verify: Verify, secret: str) -> bool:
    """Return whether a secret can be one: those of Standard Webhooks are base64."""
    return bool(standard_key(secret)) if verify.type is Scheme.STANDARD else bool(secret)


def _by_key(verify: Verify, secret: str, headers: Mapping[str, str]) -> Delivery:
    name = (verify.header or "X-Api-Key").lower()
    key = _header(headers, name)
    if name == "authorization":
        key = re.sub(r"(?i)^bearer +", "", key)
    if not hmac.compare_digest(key.encode(), secret.encode()):
        raise NotProven(f"The key in the header {name} is not this hook's.")
    return Delivery(_id(headers.get((verify.id_header or "").lower())))


def _by_hmac(
    verify: Verify, secret: str, headers: Mapping[str, str], body: bytes, now: float
) -> Delivery:
    name = (verify.header or "X-Signature").lower()
    signature = _header(headers, name)
    if not signature.startswith(verify.prefix):
        raise NotProven(f"The header {name} does not begin with {verify.prefix!r}.")
    values = {"body": body}
    if verify.timestamp_header is not None:
        timestamp = _header(headers, verify.timestamp_header.lower())
        _check_time(timestamp, now)
        values["timestamp"] = timestamp.encode()
    if verify.id_header is not None and "{id}" in verify.signed:
        values["id"] = _header(headers, verify.id_header.lower()).encode()
    digest = hmac.new(secret.encode(), _signed(verify.signed, values), verify.algorithm).digest()
    written = _written(digest, verify.encoding)
    if not hmac.compare_digest(_plain(signature.removeprefix(verify.prefix), verify), written):
        raise _wrong(name)
    return Delivery(_id(headers.get((verify.id_header or "").lower())))


def _plain(signature: str, verify: Verify) -> bytes:
    text = signature.lower() if verify.encoding == "hex" else signature
    return text.encode()


def _written(digest: bytes, encoding: str) -> bytes:
    return digest.hex().encode() if encoding == "hex" else base64.b64encode(digest)


def _signed(pattern: str, values: Mapping[str, bytes]) -> bytes:
    """Put the values into the text; what they contain is never filled again."""
    parts = re.split(r"\{(body|timestamp|id)\}", pattern)  # every second one is a name
    return b"".join(
        values.get(part, b"") if number % 2 else part.encode() for number, part in enumerate(parts)
    )


def _by_stripe(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> Delivery:
    name = "stripe-signature"
    pairs = [part.strip().partition("=") for part in _header(headers, name).split(",")]
    timestamp = next((value for key, _, value in pairs if key == "t"), "")
    _check_time(timestamp, now)
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    _check_any([value for key, _, value in pairs if key == "v1"], digest.hexdigest(), name)
    event = re.match(rb'\s*\{\s*"id"\s*:\s*"(evt_[A-Za-z0-9_]{1,50})"', body)
    return Delivery(event[1].decode() if event is not None else _digest_of(body))


def _by_standard(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> Delivery:
    delivery, timestamp = _header(headers, "webhook-id"), _header(headers, "webhook-timestamp")
    name = "webhook-signature"
    signatures = _header(headers, name).split(" ")
    _check_time(timestamp, now)
    right = standard_signature(secret, delivery, timestamp, body)
    _check_any([one.removeprefix("v1,") for one in signatures if one[:3] == "v1,"], right, name)
    return Delivery(_id(delivery))


def standard_signature(secret: str, delivery: str, timestamp: str, body: bytes) -> str:
    """Sign a delivery as Standard Webhooks has it, without the `v1,` before it."""
    text = delivery.encode() + b"." + timestamp.encode() + b"." + body
    digest = hmac.new(standard_key(secret), text, hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def standard_key(secret: str) -> bytes:
    """Return the key in a secret of Standard Webhooks; empty if it is none."""
    try:
        return base64.b64decode(secret.removeprefix(_STANDARD_SECRET), validate=True)
    except ValueError:
        return b""


def _check_any(signatures: Sequence[str], right: str, name: str) -> None:
    checked = [hmac.compare_digest(one.encode(), right.encode()) for one in signatures[:20]]
    if not any(checked):
        raise _wrong(name)


def _check_time(timestamp: str, now: float) -> None:
    if not re.fullmatch(r"[0-9]{1,12}", timestamp):
        raise NotProven("The time of the signature is no number of seconds since 1970.")
    if abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        raise NotProven(
            f"The signature is not of the last {TOLERANCE_SECONDS // 60} minutes: it was sent "
            "before, or a clock is wrong."
        )


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise NotProven(f"The header {name} is missing.")
    return value


def _id(text: str | None) -> str | None:
    """Return an id that fits into a cause; a longer or stranger one as its digest."""
    if not text:
        return None
    return text if _ID.fullmatch(text) else _digest_of(text.encode())


def _digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:40]


def _wrong(name: str) -> NotProven:
    return NotProven(f"The signature in the header {name} does not fit the body and the secret.")
