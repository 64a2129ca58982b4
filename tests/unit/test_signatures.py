"""Proofs of web hooks: examples of the senders' own documents, and whatever differs from them."""

import base64
import hashlib
import hmac
from typing import Any

import pytest

from runner.contract.triggers.signatures import (
    TOLERANCE_SECONDS,
    Delivery,
    NotProven,
    Verify,
    prove,
    secret_is_usable,
)

NOW = 1_531_420_618
SLACK = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
    b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
    b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554"
    b"%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121"
    b".803a0bc887a14d10d2c447fce8b6703c"
)
"""The example in Slack's document "Verifying requests from Slack"."""

Case = tuple[dict[str, Any], str, dict[str, str], bytes, str | None]


def stripe(body: bytes, secret: str, at: int = NOW) -> str:
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v0=old,v1={'0' * 64},v1={digest}"


def standard(body: bytes, key: bytes, delivery: str, at: int = NOW) -> str:
    digest = hmac.new(key, f"{delivery}.{at}.".encode() + body, hashlib.sha256).digest()
    return (
        f"v1a,xyz v1,{base64.b64encode(b'0' * 32).decode()} v1,{base64.b64encode(digest).decode()}"
    )


EVENT = b'{\n  "id": "evt_1NG8Du2eZvKYlo2CUI79vXWy",\n  "object": "event"}'
CASES: dict[str, Case] = {
    "github": (  # the example in "Validating webhook deliveries"
        {"type": "github"},
        "It's a Secret to Everybody",
        {
            "x-hub-signature-256": "sha256="
            "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
            "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        },
        b"Hello, World!",
        "72d3162e-cc78-11e3-81ab-4c9367dc0958",
    ),
    "slack": (
        {
            "type": "hmac",
            "header": "X-Slack-Signature",
            "prefix": "v0=",
            "signed": "v0:{timestamp}:{body}",
            "timestamp_header": "X-Slack-Request-Timestamp",
        },
        "8f742231b10e8888abcd99yyyzzz85a5",
        {
            "x-slack-signature": "v0="
            "a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
            "x-slack-request-timestamp": str(NOW),
        },
        SLACK,
        None,
    ),
    "stripe": (
        {"type": "stripe"},
        "whsec_test",
        {"stripe-signature": stripe(EVENT, "whsec_test")},
        EVENT,
        "evt_1NG8Du2eZvKYlo2CUI79vXWy",
    ),
    "standard": (
        {"type": "standard"},
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(NOW),
            "webhook-signature": standard(
                b"{}", base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), "msg_1"
            ),
        },
        b"{}",
        "msg_1",
    ),
    "base64 with an id": (
        {
            "type": "hmac",
            "encoding": "base64",
            "algorithm": "sha512",
            "signed": "{id}/{body}",
            "id_header": "X-Id",
        },
        "s",
        {
            "x-id": "7",
            "x-signature": base64.b64encode(hmac.new(b"s", b"7/{id}", "sha512").digest()).decode(),
        },
        b"{id}",
        "7",
    ),
    "key": ({"type": "key"}, "k", {"x-api-key": "k"}, b"x", None),
    "bearer": (
        {"type": "key", "header": "Authorization", "id_header": "Idempotency-Key"},
        "k",
        {"authorization": "Bearer k", "idempotency-key": "a long one with spaces"},
        b"x",
        hashlib.sha256(b"a long one with spaces").hexdigest()[:40],
    ),
}


def proven(case: Case, now: float = NOW, **changes: Any) -> Delivery:
    verify, secret, headers, body, _ = case
    return prove(
        Verify.model_validate({**verify, "secret": "x"}),
        changes.get("secret", secret),
        changes.get("headers", headers),
        changes.get("body", body),
        now,
    )


@pytest.mark.parametrize("name", CASES)
def test_what_the_sender_signs_is_proven(name: str) -> None:
    """With the delivery's id, if it has one."""
    assert proven(CASES[name]) == Delivery(CASES[name][-1])


@pytest.mark.parametrize("name", CASES)
def test_nothing_else_is(name: str) -> None:
    """Another secret, another body, each header missing, changed or with strange bytes."""
    case = CASES[name]
    headers = case[2]
    with pytest.raises(NotProven):
        proven(
            case, secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSx" if name == "standard" else "no"
        )
    if case[0]["type"] != "key":
        with pytest.raises(NotProven):
            proven(case, body=case[3] + b" ")
    proof = next(
        one
        for one in headers
        if one.endswith(("signature", "signature-256", "authorization", "key"))
    )
    for wrong in ("", "x", "sha256=", "t=,v1=", "ÿ" * 64, f"{headers[proof]}0"):
        with pytest.raises(NotProven):
            proven(case, headers={**headers, proof: wrong})
    with pytest.raises(NotProven, match="is missing"):
        proven(case, headers={})


@pytest.mark.parametrize("name", ["slack", "stripe", "standard"])
def test_an_old_call_is_refused(name: str) -> None:
    """And one from the future; a change of the time breaks the signature."""
    assert proven(CASES[name], NOW + TOLERANCE_SECONDS)
    for now in (NOW + TOLERANCE_SECONDS + 1, NOW - TOLERANCE_SECONDS - 1):
        with pytest.raises(NotProven, match="not of the last 5 minutes"):
            proven(CASES[name], now)
    moved = {key: value.replace(str(NOW), str(NOW + 1)) for key, value in CASES[name][2].items()}
    with pytest.raises(NotProven, match="does not fit"):
        proven(CASES[name], headers=moved)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"type": "key"}, "give one of"),
        ({"type": "key", "secret": "a", "secret_env": "b"}, "give one of"),
        ({"type": "hmac", "secret": "a", "signed": "{timestamp}"}, "must have {body}"),
        ({"type": "hmac", "secret": "a", "signed": "{timestamp}{body}"}, "timestamp_header"),
        ({"type": "hmac", "secret": "a", "timestamp_header": "X-T"}, "must have {timestamp}"),
        ({"type": "hmac", "secret": "a", "signed": "{id}{body}"}, "id_header"),
        ({"type": "none"}, "'key', 'github', 'stripe', 'standard' or 'hmac'"),
    ],
)
def test_a_proof_that_proves_nothing_is_refused(keys: dict[str, str], said: str) -> None:
    """When the file is read, not when a call comes."""
    with pytest.raises(ValueError, match=said):
        Verify.model_validate(keys)


def test_a_secret_of_standard_webhooks_is_base64() -> None:
    """Another one would let nobody in, or, empty, everybody."""
    verify = Verify.model_validate({"type": "standard", "secret": "x"})
    assert [secret_is_usable(verify, one) for one in ("whsec_", "äh", "whsec_MTIz")] == [
        False,
        False,
        True,
    ]
