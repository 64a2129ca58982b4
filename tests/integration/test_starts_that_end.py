"""Starts of a daemon that end before it serves."""

import signal
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest

from runner.config import Settings
from runner.daemon.loop import Daemon
from runner.daemon.startup import Backing
from runner.execution.interface import Execution, Incarnation
from runner.state.ledger_reader import LedgerReader
from runner.state.locks import ONE_RUN, Owned, own
from runner.system.clocks import Clocks, utc_now


def settings_in(folder: Path) -> Settings:
    """All folders below one."""
    settings = Settings(
        inbox=folder / "inbox",
        outbox=folder / "outbox",
        notebooks=folder / "notebooks",
        state=folder / "state",
    )
    settings.state.mkdir()
    return settings


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

    settings = settings_in(tmp_path)
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


class Killed(BaseException):
    """What a kill is to a process."""


def test_the_folder_for_sockets_is_recorded_before_it_is_made(tmp_path: Path) -> None:
    """So the next start removes it, whenever this one is killed."""
    settings, made = settings_in(tmp_path), list[str]()

    def start(own_settings: Settings, own: Incarnation, *_: object) -> Execution:
        with closing(LedgerReader(own_settings.state)) as ledger:
            made.append(str(ledger.fact("runtime_folder")))
        assert own.runtime_folder == made[-1]
        assert not Path(made[-1]).exists()
        Path(made[-1]).mkdir()
        raise Killed

    for _ in range(2):
        with pytest.raises(Killed):
            Daemon(settings, backing=Backing(start_execution=start)).run()
    assert made[0] != made[1]
    assert not Path(made[0]).exists()
    Path(made[1]).rmdir()
