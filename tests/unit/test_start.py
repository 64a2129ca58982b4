"""What `make stack` tells one service of another."""

from runner.config import Settings
from scripts.start import room_of


def test_the_tools_for_agents_look_where_jupyterlab_is() -> None:
    """At its port, whatever that is; a server that the settings name stays the one."""
    assert room_of(Settings()) == {"ROOM_URL": "http://127.0.0.1:8888"}
    moved = Settings.model_validate({"jupyter": {"port": 8868}})
    assert room_of(moved) == {"ROOM_URL": "http://127.0.0.1:8868"}
    other = Settings.model_validate({"mcp": {"room_url": "http://lab:8888"}})
    assert room_of(other) == {}
