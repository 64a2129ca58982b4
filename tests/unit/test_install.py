"""What `make` tells uv: indexes as pip has them, and itself the one that is pinned."""

from pathlib import Path

from scripts.install import pin_of, uv_settings

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
