"""Promises of the gateway's door: exact hosts, no foreign pages, and the token."""

from contextlib import nullcontext

import pytest

from runner.config import Gateway
from runner.gateway.http import session
from runner.gateway.http.access import Access, IncomingRequest, objection_to_binding
from runner.gateway.http.problems import status_of as status_of_problem
from runner.jobs.problem import Problem

NOW = 1_800_000_000.0
LOCKED = Gateway.model_validate({"token": "s3cret"})
OWN = {"host": "localhost:5005", "origin": "http://localhost:5005"}


def status_of(gateway: Gateway, coming: IncomingRequest) -> int | None:
    """The status that a request is refused with; None where it gets in."""
    try:
        Access(gateway, clock=lambda: NOW).check(coming)
    except Problem as problem:
        return status_of_problem(problem)
    return None


def refusal(gateway: Gateway, *, is_open: bool = False, **headers: str) -> int | None:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return status_of(gateway, IncomingRequest(given, is_open=is_open))


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


@pytest.mark.parametrize("host", ["", "10.1.2.3", "10.1.2.3:5005", "[fd00::1]:5005", "172.17.0.2"])
def test_probes_learn_how_we_are_by_address_and_without_a_name(host: str) -> None:
    """Kubernetes and load balancers know no name. Nothing but health is told to them."""
    health = IncomingRequest({"host": host}, is_open=True, is_health=True)
    assert status_of(Gateway(), health) is None
    assert not Access(Gateway()).is_in(health)
    assert refusal(Gateway(), host=host, is_open=True) == 403
    foreign = {"host": host, "origin": "http://evil.example"}
    assert status_of(Gateway(), IncomingRequest(foreign, is_open=True, is_health=True)) == 403


@pytest.mark.parametrize("host", ["evil.example", "10.1.2.3.evil.example", "[::1", "a@10.1.2.3"])
def test_a_rebound_name_learns_nothing(host: str) -> None:
    """A page that reaches us by a name of its own sends that name, for health too."""
    assert (
        status_of(Gateway(), IncomingRequest({"host": host}, is_open=True, is_health=True)) == 403
    )


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"user-agent": "curl/8.0"}, None),
        ({}, None),
        ({"user-agent": "Mozilla/5.0 (X11)"}, 403),
        ({"user-agent": "Mozilla/5.0 (X11)", "sec-fetch-site": "same-site"}, 403),
        ({"user-agent": "Mozilla/5.0 (X11)", "sec-fetch-site": "same-origin"}, None),
        ({"user-agent": "Mozilla/5.0 (X11)", "origin": OWN["origin"]}, None),
    ],
)
def test_a_form_is_taken_from_programs_and_from_own_pages(
    headers: dict[str, str], status: int | None
) -> None:
    """Whatever page can make an old browser send one."""
    coming = IncomingRequest({"host": OWN["host"], **headers}, method="POST")
    assert status_of(Gateway(), coming) is None
    with pytest.raises(Problem) if status else nullcontext():
        Access(Gateway()).check_form(coming)


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


# Pages and their cookie


def test_the_cookie_is_as_good_as_the_token_until_it_is_too_old() -> None:
    """It is made from the token, and ends with it."""
    cookie = session.issue("s3cret", NOW - 100)
    assert status_of(LOCKED, IncomingRequest(OWN, cookie=cookie)) is None
    old = session.issue("s3cret", NOW - session.SECONDS)
    assert status_of(LOCKED, IncomingRequest(OWN, cookie=old)) == 401
    assert status_of(LOCKED, IncomingRequest(OWN, cookie=session.issue("another", NOW))) == 401
    assert "s3cret" not in cookie


@pytest.mark.parametrize(
    "cookie", ["", ".", "1.x", "x.y", f"{int(NOW)}.", "9" * 40 + ".a", f"{int(NOW)}.\udcff", "²."]
)
def test_a_made_up_cookie_does_not_get_in(cookie: str) -> None:
    """Whatever a stranger writes into it."""
    assert status_of(LOCKED, IncomingRequest(OWN, cookie=cookie)) == 401


def test_a_cookie_of_the_future_does_not_get_in() -> None:
    """A clock that was set back does not lengthen anything."""
    assert status_of(LOCKED, IncomingRequest(OWN, cookie=session.issue("s3cret", NOW + 60))) == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://localhost:5005"}, None),
        ({"origin": "https://localhost:5005"}, None),
        ({"sec-fetch-site": "same-origin"}, None),
        ({"origin": "http://localhost:5005", "sec-fetch-site": "same-origin"}, None),
        ({}, 403),
        ({"sec-fetch-site": "none"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "http://localhost:3000"}, 403),
        ({"origin": "http://localhost:3000", "sec-fetch-site": "same-site"}, 403),
        ({"origin": "null"}, 403),
    ],
)
def test_what_changes_something_comes_from_a_page_of_ours(
    headers: dict[str, str], status: int | None
) -> None:
    """A form, with and without a token, and everything that a cookie lets in."""
    given = {"host": "localhost:5005", **headers}
    cookie = session.issue("s3cret", NOW)
    assert status_of(Gateway(), IncomingRequest(given, "POST", is_form=True)) == status
    assert status_of(LOCKED, IncomingRequest(given, "POST", cookie, is_form=True)) == status
    assert status_of(LOCKED, IncomingRequest(given, "DELETE", cookie)) == status
    assert status_of(LOCKED, IncomingRequest(given, "POST", is_open=True, is_form=True)) == status


def test_a_token_needs_no_page() -> None:
    """Programs send neither Origin nor Sec-Fetch-Site."""
    headers = {"host": "localhost:5005", "authorization": "Bearer s3cret"}
    assert status_of(LOCKED, IncomingRequest(headers, "DELETE")) is None
    assert status_of(Gateway(), IncomingRequest({"host": "localhost:5005"}, "DELETE")) is None


@pytest.mark.parametrize(
    ("mode", "dest", "is_page", "status"),
    [
        ("navigate", "document", True, None),
        ("navigate", "document", False, 403),
        ("navigate", "iframe", True, 403),
        ("no-cors", "image", True, 403),
        ("cors", "empty", True, 403),
    ],
)
def test_a_link_on_another_site_may_lead_to_a_page(
    mode: str, dest: str, is_page: bool, status: int | None
) -> None:
    """And to nothing else, and not inside of a frame."""
    headers = {
        "host": "localhost",
        "sec-fetch-site": "cross-site",
        "sec-fetch-mode": mode,
        "sec-fetch-dest": dest,
    }
    assert status_of(Gateway(), IncomingRequest(headers, is_page=is_page)) == status
    assert status_of(Gateway(), IncomingRequest(headers, "POST", is_page=is_page)) == 403
