"""The guard over unit tests: what belongs into `tests/integration` fails here."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.conftest import Impure

HERE = Path(__file__)
DEEDS: dict[str, Callable[[], object]] = {
    "writing a file": lambda: HERE.with_suffix(".made").write_text("x"),
    "opening one to write": lambda: os.open(HERE, os.O_WRONLY | os.O_APPEND),
    "making a folder": lambda: HERE.with_suffix(".made").mkdir(),
    "removing a file": lambda: HERE.with_suffix(".made").unlink(),
    "a process": lambda: subprocess.run([sys.executable, "--version"], check=True),
    "a fork": os.fork,
    "a socket": socket.socket,
    "a pause": lambda: time.sleep(0),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_a_unit_test_can_do_nothing_to_the_world(deed: str) -> None:
    """Neither to a disk, nor by a process or a socket; and it does not wait."""
    with pytest.raises(Impure):
        DEEDS[deed]()


def test_a_unit_test_may_read_this_checkout() -> None:
    """As those of the architecture and of the documents do."""
    assert HERE.read_text("utf-8").startswith('"""The guard')
