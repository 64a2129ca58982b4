"""Promises of what the page of one job tells, from the record and the report."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from runner.contract.states.status import ErrorType, Status
from runner.gateway.page.job_view import _word, sight_of
from runner.gateway.page.overview import HOURS, SHOWN_WORKERS, cluster_of, day_of, line_of
from runner.state.jobs import Hour, Job, Place, State
from runner.state.pulse import Worker

JOB = Job(
    seq=1,
    job_id="0" * 32,
    name="sales/daily",
    state=State.CLOSED,
    status=Status.FAILED,
    error_type=ErrorType.PAPERMILL_EXECUTION_ERROR,
    message="In cell [2]: ValueError: no",
    attempt=1,
    retries=0,
    cancelled=False,
    refused=False,
    awaits_settings=False,
    request_sha256="a" * 64,
    input_sha256="b" * 64,
    accepted_at="2026-11-24T04:08:38.000+00:00",
    started_at="2026-11-24T04:08:38.250+00:00",
    finished_at="2026-11-24T04:08:40.250+00:00",
    published_at="2026-11-24T04:08:40.300+00:00",
    place=Place.CURRENT,
)
REPORT = {
    "cell_source": "a = 1\nraise ValueError('no')\n",
    "traceback": ["ValueError  Traceback", "Cell In[2], line 2", "ValueError: no"],
    "message": "In cell [2]: ValueError: no",
    "variables": {"a": {"type": "int"}},
    "parameters": {"n": 1, "s": "x"},
    "results": {"reached": 1},
    "files": [{"path": "sales/daily.files/a b#.png", "bytes": 3, "media_type": "image/png"}],
    "output_nb": "sales/daily.ipynb",
    "cells": {"total": 4, "executed": 2},
    "kernel": {"name": "python3"},
    "host": "nas",
    "warnings": ["w"],
}


def test_the_timeline_tells_where_the_time_went() -> None:
    """Accepted, waited, ran, published."""
    steps = sight_of(JOB, REPORT, {}).steps
    assert [(step.label, step.note) for step in steps] == [
        ("Accepted", ""),
        ("Started", "waited 0.25 s"),
        ("Finished", "ran 2.0 s"),
        ("Published", "took 0.05 s"),
    ]


def test_a_job_that_never_started_has_no_start() -> None:
    """Rejected or cancelled before."""
    job = replace(JOB, started_at=None)
    labels = [step.label for step in sight_of(job, REPORT, {}).steps]
    assert labels == ["Accepted", "Finished", "Published"]


def test_the_failing_line_is_marked() -> None:
    """The one that IPython's traceback names first."""
    trouble = sight_of(JOB, REPORT, {}).trouble
    assert trouble is not None
    assert [(one.number, one.failed) for one in trouble.source] == [(1, False), (2, True)]
    assert trouble.traceback.endswith("ValueError: no")
    assert trouble.variables == ("a int",)


def test_the_line_where_a_job_was_cancelled_has_not_failed() -> None:
    """It was only running then."""
    cancelled = replace(JOB, status=Status.CANCELLED, error_type=ErrorType.CANCELLED)
    for job, is_failure in ((JOB, True), (cancelled, False)):
        trouble = sight_of(job, REPORT, {}).trouble
        assert trouble is not None
        assert trouble.is_failure is is_failure


def test_files_have_addresses_of_their_own() -> None:
    """Below the job, with every odd character told."""
    (file,) = sight_of(JOB, REPORT, {}).files
    assert (file.name, file.is_picture) == ("a b#.png", True)
    assert file.url == f"/jobs/{'0' * 32}/files/a%20b%23.png"


def test_a_pruned_job_still_tells_what_became_of_it() -> None:
    """From the record alone: state, times and the error's sentence."""
    found = sight_of(replace(JOB, place=Place.PRUNED), None, None)
    assert (found.has_no_files, found.is_pruned) == (True, True)
    assert not found.can_run_again
    assert found.trouble is not None
    assert found.trouble.message == JOB.message
    assert len(found.steps) == 4


def test_files_that_somebody_removed_are_not_blamed_on_the_history() -> None:
    """The runner kept them; the page says only that they are gone."""
    found = sight_of(JOB, None, None)
    assert (found.has_no_files, found.is_pruned) == (True, False)


def test_a_sealed_job_is_not_over_for_the_page() -> None:
    """Its report is not there yet, so the page goes on listening."""
    found = sight_of(replace(JOB, state=State.SEALED, published_at=None), None, {})
    assert not found.is_over
    assert not found.has_no_files


@pytest.mark.parametrize("asked", [{"notebook": "loan.ipynb"}, {}, None])
def test_the_librarys_notebook_is_named(asked: dict[str, str] | None) -> None:
    """Where one was asked for and that is still known."""
    assert sight_of(JOB, REPORT, asked).library == (asked or {}).get("notebook")


@pytest.mark.parametrize(
    ("dropped", "is_notebook"),
    [
        (b'{"cells": []}', True),
        (b'{"notebook": "nosuch.ipynb"}', False),
        (b'{"notebook": {"cells": []}, "parametres": {}}', False),
        (b"notebook: loan.ipynb\nparametres: {}\n", False),
        (None, False),
    ],
)
def test_a_request_that_was_wrong_is_not_shown_as_a_notebook(
    dropped: bytes | None, is_notebook: bool
) -> None:
    """It is there to be fetched; a notebook whose settings were wrong is shown."""
    refused = replace(JOB, status=Status.REJECTED, error_type=ErrorType.INVALID_REQUEST)
    sight = sight_of(refused, REPORT, {}, dropped)
    assert (sight.has_notebook, sight.has_bytes) == (is_notebook, not is_notebook)
    assert sight.can_run_again == (is_notebook or dropped is None)
    assert sight.dropped_text == ("" if is_notebook else (dropped or b"").decode())


# The last 24 hours

FIRST = datetime(2026, 11, 24, 5, tzinfo=UTC)


def hour(after: int, status: Status, jobs: int, seconds: float = 0.0) -> Hour:
    return Hour(f"{FIRST + timedelta(hours=after):%Y-%m-%dT%H}", status, jobs, seconds)


def test_the_day_counts_jobs_and_failures_by_the_hour() -> None:
    """What still runs counts when it is over; what is older is left out."""
    day = day_of(
        [
            hour(0, Status.SUCCEEDED, 10, 5.0),
            hour(23, Status.SUCCEEDED, 4, 2.0),
            hour(23, Status.FAILED, 1, 1.0),
            hour(23, Status.RUNNING, 7),
            hour(23, Status.CANCELLED, 2),
            hour(22, Status.REJECTED, 3),
            hour(-1, Status.FAILED, 99),
        ],
        FIRST,
    )
    assert (day.jobs, day.bad, day.other, day.top) == (20, 1, 5, 10)
    assert day.mean == pytest.approx(8 / 15)
    heights = [(bar.x, bar.good, bar.bad, bar.other) for bar in day.bars]
    assert heights == [(0, 100, 0, 0), (HOURS - 2, 0, 0, 30), (HOURS - 1, 40, 10, 20)]
    label = "04:00 UTC: 4 succeeded, 1 failed, 2 cancelled or rejected"
    assert day.bars[-1].label == label
    assert day.text == (
        "In the last 24 hours 20 jobs ended: 1 failed, 5 cancelled or rejected; "
        "the others and the failed took 0.53 s on average."
    )


def test_one_failure_among_thousands_is_seen() -> None:
    """A bar of no height would hide it."""
    day = day_of([hour(3, Status.SUCCEEDED, 4000), hour(3, Status.TIMED_OUT, 1)], FIRST)
    assert day.bars[0].bad > 0


def test_an_empty_day_is_no_trouble() -> None:
    """Nothing is divided by nothing."""
    assert day_of([], FIRST).mean is None


def test_a_line_tells_how_long_it_ran() -> None:
    """Never below nothing, though clocks may be set back."""
    assert line_of(JOB).seconds == 2.0
    assert line_of(replace(JOB, finished_at=JOB.accepted_at)).seconds == 0.0
    assert line_of(replace(JOB, started_at=None)).seconds is None


def test_a_list_among_parameters_stands_on_one_line() -> None:
    """A long one has a line for each of its items."""
    assert _word(["north", "south"]) == '["north", "south"]'
    assert _word(["north"] * 40).count("\n") == 41
    assert _word(0.1 + 0.2) == "0.3"


def test_a_job_in_a_list_says_its_notebook_where_its_name_does_not() -> None:
    """A run without a name is called by its day and id, which say nothing."""
    unnamed = replace(JOB, name="http/2026-11-27/3866cd9e")
    assert line_of(unnamed, "sales/loan.ipynb").notebook == "sales/loan.ipynb"
    assert line_of(replace(JOB, name="sales/loan"), "sales/loan.ipynb").notebook is None
    assert line_of(unnamed).notebook is None


def test_where_it_ran_stands_beside_its_kernel() -> None:
    """And nothing does where it never came to that."""
    assert sight_of(JOB, REPORT, {}).host == "nas"
    assert sight_of(JOB, {**REPORT, "host": None}, {}).host == ""


def worker(number: int, address: str | None = "tcp://10.0.0.7:40001") -> Worker:
    return Worker(f"node-{number:03}", 2, 1, 1, address)


@pytest.mark.parametrize("workers", [[], [worker(1, None)]])
def test_one_machine_is_no_cluster(workers: list[Worker]) -> None:
    """Nor is one whose daemon says nothing of workers."""
    assert cluster_of(workers) is None


@pytest.mark.parametrize("workers", [[worker(1)], [worker(1, None), worker(2, None)]])
def test_an_address_or_a_second_worker_makes_a_cluster(workers: list[Worker]) -> None:
    """A cluster of one worker has an address too."""
    found = cluster_of(workers)
    assert found is not None
    assert found.workers == tuple(workers)


def test_of_many_workers_the_first_are_shown_and_all_are_counted() -> None:
    """By name, in whatever order the scheduler has them: a row stays where it is."""
    found = cluster_of([worker(number) for number in reversed(range(SHOWN_WORKERS + 7))])
    assert found is not None
    assert (found.in_all, found.slots, found.running) == (57, 114, 57)
    assert [one.host for one in found.workers] == [f"node-{n:03}" for n in range(SHOWN_WORKERS)]


def test_a_notebook_without_outputs_of_the_run_is_not_taken_for_an_executed_one() -> None:
    """Such as of a run that was lost with its kernel, or that got none."""
    lost = {**REPORT, "kernel": {"name": None}}
    unbegun = {**REPORT, "cells": {"total": 4, "executed": 0}, "status": "failed"}
    for report in (lost, unbegun):
        view = sight_of(replace(JOB, status=Status.INTERRUPTED), report, {})
        assert view.notebook_title == "Notebook, as it was submitted"


@pytest.mark.parametrize(
    ("status", "titles"),
    [
        (Status.FAILED, ("What went wrong", "Notebook, as far as it ran")),
        (Status.TIMED_OUT, ("What went wrong", "Notebook, as far as it ran")),
        (Status.CANCELLED, ("Why it ended", "Notebook, as far as it ran")),
        (Status.REJECTED, ("Why it was not run", "Notebook (it did not run)")),
        (Status.SUCCEEDED, ("What went wrong", "Executed notebook")),
    ],
)
def test_headings_fit_what_became_of_it(status: Status, titles: tuple[str, str]) -> None:
    """A job that was refused in its process has been started, and was not run all the same."""
    view = sight_of(replace(JOB, status=status), REPORT, {})
    assert (view.trouble_title, view.notebook_title) == titles
