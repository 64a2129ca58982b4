"""A new program goes on with what an earlier one left."""

import gzip
from collections.abc import Callable
from pathlib import Path

from runner.contract.states.status import Status
from runner.state.ledger_reader import LedgerReader
from runner.state.listing import LEDGER_FILE
from runner.state.migrations import copies_of
from tests.conftest import Program, wait_for

VERSION_1 = Path(__file__).parents[1] / "fixtures" / "ledger_v1.sqlite3.gz"


def test_a_daemon_finishes_what_a_ledger_of_version_1_has_open(
    make_program: Callable[..., Program],
) -> None:
    """Queued jobs run, dead ones are interrupted or run again, sealed ones are published."""
    one = make_program()
    state = one.root / "state"
    state.mkdir(parents=True, exist_ok=True)
    (state / LEDGER_FILE).write_bytes(gzip.decompress(VERSION_1.read_bytes()))
    one.start()
    reader = LedgerReader(state)
    wait_for(lambda: not reader.unclosed())
    ended = {job.name: job.status for job in reader.jobs(limit=1_000) if job.name[:5] == "open/"}
    reader.close()
    assert ended == {
        "open/queued192": Status.SUCCEEDED,
        "open/queued193": Status.SUCCEEDED,
        "open/cancelled194": Status.CANCELLED,
        "open/refused195": Status.REJECTED,
        "open/running196": Status.INTERRUPTED,
        "open/retried197": Status.SUCCEEDED,
        "open/sealed198": Status.SUCCEEDED,
        "open/sealed199": Status.SUCCEEDED,
    }
    assert one.await_report("open/queued192")["results"]["cell_1"]["application/json"] == 42
    assert len(copies_of(state / LEDGER_FILE)) == 1
