"""Promises about who gets a page, who gets JSON, and who gets Prometheus' text."""

import pytest

from runner.gateway.http.negotiation import is_browser, wants_metrics_text, wants_page
from tests.clients import CLIENTS, Client


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_each_client_gets_what_it_reads(client: Client) -> None:
    """By the headers that it really sends."""
    assert wants_page(client.accept, client.user_agent) is (client.reads == "page")


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_only_who_scrapes_gets_text_at_metrics(client: Client) -> None:
    """Lynx names plain text as well, and can read it."""
    is_text = client.reads == "metrics" or client.name == "Lynx"
    assert wants_metrics_text(client.accept) is is_text


def test_powershell_is_no_browser() -> None:
    """It says so only in the middle of its name."""
    assert is_browser("Mozilla/5.0 (X11; Linux x86_64) Chrome/142.0.0.0")
    assert not is_browser("Mozilla/5.0 (Windows NT; Windows NT 10.0; de-DE) WindowsPowerShell/5.1")
    assert not is_browser(None)
