"""Promises of the gateway's door: exact hosts, no foreign pages, and the token."""

import pytest

from runner.config import Gateway
from runner.gateway.access import Access, objection_to_binding
from runner.gateway.problem import Problem


def refusal(gateway: Gateway, *, is_open: bool = False, **headers: str) -> int | None:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        Access(gateway).check(given, is_open=is_open)
    except Problem as problem:
        return problem.status
    return None


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "localhost:5005", "LOCALHOST:1", "127.0.0.1", "127.8.8.8:80", "[::1]:5005"),
        *("host.docker.internal:5005", "papermill-gateway:5005", "gateway"),
    ],
)
def test_known_hosts_get_in(host: str) -> None:
    """Loopback and the names that a Compose network gives us, with any port."""
    assert refusal(Gateway(), host=host) is None


@pytest.mark.parametrize(
    "host",
    [
        *("", "evil.example", "localhost.evil.example", "evil.example:5005", "127.0.0.1.evil"),
        *("user@localhost", "localhost/x", "localhost:port", "10.0.0.1", "[::1", "localhost#"),
    ],
)
def test_other_hosts_do_not(host: str) -> None:
    """A name that was rebound to this address is no name of ours."""
    assert refusal(Gateway(), host=host) == 403
    assert refusal(Gateway(), host=host, is_open=True) == 403


def test_hosts_are_what_the_settings_say() -> None:
    """A name of one's own, and the address that the gateway is bound to."""
    gateway = Gateway(host="192.168.1.5", allowed_hosts=("nas.local",), insecure=True)
    assert refusal(gateway, host="nas.local:5005") is None
    assert refusal(gateway, host="192.168.1.5:5005") is None
    assert refusal(gateway, host="gateway") == 403


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:5005", None),
        ("https://localhost:5005", None),
        ("http://localhost:3000", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_pages_of_other_origins_are_refused(origin: str, status: int | None) -> None:
    """Another port is another origin; a sandboxed frame says `null`."""
    assert refusal(Gateway(), host="localhost:5005", origin=origin) == status


def test_cross_site_requests_are_refused() -> None:
    """What a browser itself says about where a request comes from."""
    assert refusal(Gateway(), host="localhost", sec_fetch_site="cross-site") == 403
    assert refusal(Gateway(), host="localhost", sec_fetch_site="same-origin") is None


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("Bearer s3cret", None),
        ("bearer s3cret", None),
        ("Bearer s3cre", 401),
        ("Bearer ", 401),
        ("", 401),
        ("Basic s3cret", 401),
        ("Bearer s3cret\udcff", 401),
    ],
)
def test_the_token_is_demanded(given: str, status: int | None) -> None:
    """On everything but health."""
    gateway = Gateway.model_validate({"token": "s3cret"})
    assert refusal(gateway, host="localhost", authorization=given) == status
    assert refusal(gateway, host="localhost", authorization=given, is_open=True) is None


def test_the_token_is_never_shown() -> None:
    """Not in a representation that may end in a log."""
    gateway = Gateway.model_validate({"token": "s3cret"})
    assert "s3cret" not in repr(gateway)
    assert gateway.secret == "s3cret"


@pytest.mark.parametrize(
    ("settings", "in_container", "is_refused"),
    [
        ({}, False, False),
        ({"host": "localhost"}, False, False),
        ({"host": "::1"}, False, False),
        ({"host": "0.0.0.0"}, False, True),
        ({"host": "192.168.1.5"}, False, True),
        ({"host": "0.0.0.0", "token": "s"}, False, False),
        ({"host": "0.0.0.0", "insecure": True}, False, False),
        ({"host": "0.0.0.0", "bind_address": "127.0.0.1"}, False, True),
        ({"host": "0.0.0.0", "bind_address": "127.0.0.1"}, True, False),
        ({"host": "0.0.0.0", "bind_address": "0.0.0.0"}, True, True),
        ({"host": "0.0.0.0"}, True, True),
    ],
)
def test_nothing_is_open_by_chance(
    settings: dict[str, object], in_container: bool, is_refused: bool
) -> None:
    """Others reach it only with a token, or when the owner says so in as many words."""
    objection = objection_to_binding(Gateway.model_validate(settings), in_container=in_container)
    assert (objection is not None) == is_refused
