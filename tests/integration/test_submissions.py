"""What submits for a cause makes one job of it, whoever asks how often, and says so in the job."""

import json
import threading
from pathlib import Path

import pytest

from runner.config import Settings
from runner.contract.job_ids import id_of_cause
from runner.daemon.receiving.reception import take_batch
from runner.jobs.body import JobRequest
from runner.jobs.problem import Problem
from runner.jobs.record import Record
from runner.jobs.submissions import Runs, Submitted
from runner.jobs.waiting import Arrivals
from runner.system.files.disk import Disk
from tests.conftest import code, notebook
from tests.integration.test_reception import Place

CAUSE = "schedule:daily@2026-11-26T06:00Z"


def runs_of(place: Place) -> Runs:
    """A submitter that has just started."""
    folders = {"inbox": place.inbox, "outbox": place.outbox, "state": place.state}
    settings = Settings().model_copy(update={**folders, "notebooks": place.library})
    return Runs(
        settings, Record(settings), Arrivals(settings.outbox, settings.gateway.max_waiting), Disk()
    )


def wanted(number: int, name: str = "daily") -> JobRequest:
    return JobRequest({"notebook": notebook(code(f"{number}"))}, name, None)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_cause_is_one_job_from_the_inbox_to_the_ledger(place: Place) -> None:
    reception, ledger = place.start()
    job = runs_of(place).submit_for(CAUSE, wanted(1))
    assert job == Submitted(id_of_cause(CAUSE), "daily")
    assert runs_of(place).submit_for(CAUSE, wanted(2)) == job
    assert len(list(place.inbox.iterdir())) == 1
    received = take_batch(reception, ledger)
    reception.release(received.batch)
    assert runs_of(place).submit_for(CAUSE, wanted(3, "renamed")) == job
    assert not list(place.inbox.rglob("*.json"))
    [row] = ledger.jobs()
    assert (row.job_id, row.submitted_by) == (job.job_id, CAUSE)


def test_two_submitters_at_the_same_time_make_one_job(place: Place) -> None:
    """They look before either has written, and then each writes a request of its own."""
    reception, ledger = place.start()
    for number, name in enumerate(("one", "two")):
        content = {"id": id_of_cause(CAUSE), "submitted_by": CAUSE, **wanted(number).request}
        (place.inbox / f"{name}.json").write_text(json.dumps(content))
    take_batch(reception, ledger)
    assert len(ledger.jobs()) == 1


def test_another_request_with_the_id_of_a_cause_is_refused(place: Place) -> None:
    """The rule for causes is no way around the rule for ids."""
    reception, ledger = place.start()
    job = runs_of(place).submit_for(CAUSE, wanted(1))
    reception.release(take_batch(reception, ledger).batch)
    content = {"id": job.job_id, "submitted_by": "me", **wanted(2).request}
    (place.inbox / "other.json").write_text(json.dumps(content))
    take_batch(reception, ledger)
    other, _ = ledger.jobs()
    assert (other.name, other.refused) == ("other", True)


def test_many_threads_with_one_cause_get_one_job(place: Place) -> None:
    place.start()
    runs, jobs = runs_of(place), list[Submitted]()
    threads = [
        threading.Thread(target=lambda n=n: jobs.append(runs.submit_for(CAUSE, wanted(n))))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert jobs == [jobs[0]] * 8
    assert len(list(place.inbox.iterdir())) == 1


def test_nothing_is_submitted_while_nobody_knows_what_was_before(place: Place) -> None:
    """Without a ledger a cause may have had its job."""
    with pytest.raises(Problem):
        runs_of(place).submit_for(CAUSE, wanted(1))
    assert not list(place.inbox.iterdir())


@pytest.mark.parametrize("cause", ["", "two\nlines", "x" * 201])
def test_a_cause_is_one_short_line(place: Place, cause: str) -> None:
    place.start()
    with pytest.raises(ValueError, match="submitted_by"):
        runs_of(place).submit_for(cause, wanted(1))


def test_what_says_nothing_was_submitted_as_a_file(place: Place) -> None:
    reception, ledger = place.start()
    (place.inbox / "a.ipynb").write_text(json.dumps(notebook("1")))
    content = {"submitted_by": "the nightly import", "notebook": notebook("1")}
    (place.inbox / "b.json").write_text(json.dumps(content))
    take_batch(reception, ledger)
    assert {job.name: job.submitted_by for job in ledger.jobs()} == {
        "a": "file",
        "b": "the nightly import",
    }
