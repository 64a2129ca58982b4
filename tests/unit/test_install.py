"""What `make` tells uv: indexes as pip has them, and itself the one that is pinned."""

import os
from pathlib import Path

from scripts.install import pin_of, sign_of_life, uv_settings, written_mb

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_uv_that_installs_is_pinned_by_its_hashes() -> None:
    """Its lines of the lock file and nothing after them."""
    pin = pin_of("uv", (ROOT / "requirements-dev.lock").read_text())
    first, *hashes = pin.splitlines()
    assert first.startswith("uv==")
    assert hashes
    assert all(line.startswith("    --hash=sha256:") for line in hashes)


def test_uv_looks_where_pip_looks() -> None:
    """An index of one's own, in pip's files or variables, is where packages come from."""
    pip = {
        "index-url": "https://wheels.example/simple",
        "extra-index-url": "https://a.example/simple https://b.example/simple",
        "find-links": "/wheels /more",
        "cert": "/etc/ca.pem",
        "disable-pip-version-check": "1",
    }
    assert uv_settings(pip) == {
        "UV_DEFAULT_INDEX": "https://wheels.example/simple",
        "UV_INDEX": "https://a.example/simple https://b.example/simple",
        "UV_FIND_LINKS": "/wheels,/more",
        "SSL_CERT_FILE": "/etc/ca.pem",
    }


def test_nothing_is_told_that_is_not_known() -> None:
    """A process that has written nothing yet, or that is gone, is at work."""
    assert sign_of_life(0, 15.2) == "… at work after 15 s"
    assert sign_of_life(120, 30) == "… 120 MB written after 30 s"
    assert written_mb(os.getpid()) >= 0
    assert written_mb(2**30) == 0
