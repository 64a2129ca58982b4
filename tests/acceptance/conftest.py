"""What several of these tests share."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.conftest import tool

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PATIENCE = 60_000
"""Milliseconds for what a browser on a busy machine may take its time with."""
SWITCHES = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """One Chromium for all tests."""
    path = tool("chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        found = play.chromium.launch(executable_path=path, args=SWITCHES)
        yield found
        found.close()
