"""A daemon that is told to stop before it has its folders."""

import signal
from datetime import datetime
from pathlib import Path

import pytest

from runner.config import Settings
from runner.daemon.loop import Daemon
from runner.daemon.startup import Backing
from runner.state.locks import ONE_RUN, Owned, own
from runner.system.clocks import Clocks, utc_now


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_heard_while_it_looks_who_has_the_folders(
    tmp_path: Path, number: signal.Signals
) -> None:
    """It waits for a `runner run`, and looks again and again."""

    def now() -> datetime:
        """Read the time, as it does just before it looks."""
        if is_told:
            signal.raise_signal(number)
        return utc_now()

    settings = Settings(
        inbox=tmp_path / "inbox",
        outbox=tmp_path / "outbox",
        notebooks=tmp_path / "notebooks",
        state=tmp_path / "state",
    )
    settings.state.mkdir()
    daemon = Daemon(settings, backing=Backing(clocks=Clocks(now=now)))
    owner = own([settings.state], ONE_RUN, "now")
    try:
        is_told = False
        with pytest.raises(Owned):
            daemon.run()
        is_told = True
        daemon.run()
    finally:
        owner.release()
