"""Addresses of callbacks: which are taken, which are allowed, and what is shown of them."""

import pytest

from runner.contract.callbacks import Callback, ForAll, callbacks_of, may_go, shown


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://hooks.slack.com/services/T0/B0/secret", "https://hooks.slack.com/services/…"),
        ("http://n8n:5678/webhook-waiting/12?signature=s", "http://n8n:5678/webhook-waiting/…"),
        ("https://example.com/done", "https://example.com/done"),
        ("https://example.com", "https://example.com/"),
        ("https://example.com/?key=s", "https://example.com/…"),
        ("http://[::1]:80/a#b", "http://[::1]:80/a/…"),
    ],
)
def test_of_an_address_its_beginning_is_shown(url: str, expected: str) -> None:
    """What follows is often a key."""
    assert shown(url) == expected


@pytest.mark.parametrize(
    ("url", "allowed", "may"),
    [
        ("https://example.com/", ["*"], True),
        ("https://example.com/", [], False),
        ("https://a.example.com/", ["*.example.com"], True),
        ("https://example.com.evil.org/", ["*.example.com", "example.com"], False),
        ("http://n8n:5678/", ["n8n"], True),
        ("http://n8n:5678/", ["n8n:5678"], True),
        ("http://n8n:80/", ["n8n:5678"], False),
        ("http://N8N/", ["n8n:80"], True),
        ("http://n8n./", ["n8n"], True),
        ("http://n8n@evil.org/", ["n8n"], None),
        ("http://[::1]/", ["::1"], True),
        ("http://[::1]/", ["*"], False),
        ("http://127.0.0.1:9/", ["*"], False),
        ("http://192.168.1.1/", ["*"], False),
        ("http://192.168.1.1/", ["*", "192.168.1.1"], True),
        ("http://localhost:9/", ["*"], False),
        ("http://a.localhost/", ["*"], False),
        ("http://8.8.8.8/", ["*"], True),
        ("http://n8n/", ["*"], True),
    ],
)
def test_the_host_decides_where_it_may_go(url: str, allowed: list[str], may: bool | None) -> None:
    """Whatever its letters, its port, or a name before it."""
    if may is None:
        with pytest.raises(ValueError, match="without a name before"):
            Callback(url=url)
    else:
        assert may_go(url, allowed) is may


def test_one_address_is_told_once() -> None:
    """The request's own callback comes first, and settings match names and statuses."""
    asked = Callback(url="https://a.org/x", headers={"A": "1"})
    for_all = (
        ForAll("sales/*", Callback(url="https://a.org/x")),
        ForAll("*", Callback(url="https://b.org/", events=["failed"])),
    )
    assert callbacks_of("sales/1", "succeeded", asked, for_all) == [asked]
    failed = callbacks_of("sales/1", "failed", None, for_all)
    assert [one.url for one in failed] == ["https://a.org/x", "https://b.org/"]
    assert callbacks_of("other", "succeeded", None, for_all) == []
