"""Promises of outcomes: every error type has its rule, as in the contract's table."""

import json
import pickle
from typing import Any

import pytest
from pydantic import ValidationError

from runner.contract.outcome import (
    CellCount,
    ErrorResult,
    Failure,
    KernelUsed,
    Outcome,
    Refused,
    Result,
    failed,
    interrupted,
    refuse,
)
from runner.contract.states.status import ERROR_RULES, FINAL, RETRIED, ErrorType, Status, exit_code
from runner.contract.states.words import cell_in_words, cells_in_words, without_cell

CONTRACT = {
    "invalid_request": 400,
    "invalid_notebook": 400,
    "kernel_not_allowed": 400,
    "language_not_allowed": 400,
    "notebook_too_large": 413,
    "missing_dependencies": 422,
    "invalid_parameters": 422,
    "module_not_found": 400,
    "papermill_execution_error": 422,
    "timeout": 504,
    "kernel_startup": 500,
    "kernel_died": 422,
    "out_of_memory": 422,
    "output_limit": 422,
    "result_extraction_error": 500,
    "cancelled": 409,
    "expired": 503,
    "interrupted": 503,
    "gateway_error": 500,
}
"""The design's table, word for word."""

SEEN_BEFORE_IT_RAN = {
    "invalid_request",
    "invalid_notebook",
    "kernel_not_allowed",
    "language_not_allowed",
    "notebook_too_large",
    "missing_dependencies",
    "invalid_parameters",
}


def test_http_statuses_are_those_of_the_contract() -> None:
    """No error type is missing, none is too many."""
    assert {kind.value: rule.http for kind, rule in ERROR_RULES.items()} == CONTRACT


def test_every_error_type_has_a_rule() -> None:
    """A new error type without one is found here."""
    assert set(ERROR_RULES) == set(ErrorType)


def test_statuses_are_those_of_the_contract() -> None:
    """Readers switch on them."""
    assert " ".join(Status) == (
        "queued running succeeded failed timed_out cancelled interrupted rejected"
    )


@pytest.mark.parametrize("kind", ErrorType)
def test_status_follows_from_the_error_type(kind: ErrorType) -> None:
    """Refused before it ran is `rejected`; three types have a status of their own."""
    own = {"timeout": "timed_out", "cancelled": "cancelled", "interrupted": "interrupted"}
    expected = "rejected" if kind in SEEN_BEFORE_IT_RAN else own.get(kind, "failed")
    assert ERROR_RULES[kind].status == expected
    assert ERROR_RULES[kind].status in FINAL - {Status.SUCCEEDED}
    assert failed(Failure(error_type=kind, message="m")).status == expected


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("cancelled", "m"),
        ("interrupted", "m"),
        ("timeout", "timeout: m"),
        ("output_limit", "output_limit: m"),
    ],
)
def test_a_log_line_says_no_status_twice(kind: str, said: str) -> None:
    """The status stands in the line already; a type of the same word tells nothing more."""
    assert Failure(error_type=ErrorType(kind), message="m").in_short == said


def test_final_statuses_are_all_but_two() -> None:
    """What is queued or running is not at its end."""
    assert set(Status) - FINAL == {Status.QUEUED, Status.RUNNING}


def test_only_machinery_is_retried() -> None:
    """A cell's own error would come again."""
    assert {"interrupted", "kernel_died", "kernel_startup"} == RETRIED


def test_exit_codes_tell_the_final_statuses_apart() -> None:
    """Scripts decide by them; two means wrong usage."""
    codes = {status: exit_code(status) for status in FINAL}
    assert codes[Status.SUCCEEDED] == 0
    assert len(set(codes.values())) == len(FINAL)
    assert 2 not in codes.values()
    assert all(0 <= code < 126 for code in codes.values())


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (Status.SUCCEEDED, 0),
        (Status.FAILED, 1),
        (Status.REJECTED, 3),
        (Status.TIMED_OUT, 4),
        (Status.CANCELLED, 5),
        (Status.INTERRUPTED, 6),
        (Status.QUEUED, 70),
        (Status.RUNNING, 70),
    ],
)
def test_exit_codes_stay_what_they_are(status: Status, code: int) -> None:
    """They are part of the contract; a status that is not final is our fault."""
    assert exit_code(status) == code


def test_refused_carries_its_failure() -> None:
    """One sentence for a person, and the type for a program."""
    refused = refuse(ErrorType.TIMEOUT, "Too slow.")
    assert isinstance(refused, Refused)
    assert refused.failure == Failure(error_type=ErrorType.TIMEOUT, message="Too slow.")
    assert "Too slow." in str(refused)


def test_refused_crosses_processes_intact() -> None:
    """Exceptions take positional arguments, so pickle can rebuild them."""
    copy = pickle.loads(pickle.dumps(refuse(ErrorType.TIMEOUT, "Too slow.")))
    assert copy.failure.message == "Too slow."


def test_failed_takes_further_fields() -> None:
    """What is known besides stays beside the failure."""
    failure = Failure(error_type=ErrorType.OUT_OF_MEMORY, message="m")
    kernel = KernelUsed(name="python3", requested=None)
    found = failed(failure, kernel=kernel, cells=CellCount(total=3, executed=1), results='{"a": 1}')
    assert found == Outcome(
        status=Status.FAILED,
        failure=failure,
        kernel=kernel,
        cells=CellCount(total=3, executed=1),
        results='{"a": 1}',
    )


def test_interrupted_is_a_failure_with_its_status() -> None:
    """Runner or machine went down in the middle."""
    found = interrupted("The runner stopped.")
    assert found.status is Status.INTERRUPTED
    assert found.failure == Failure(error_type=ErrorType.INTERRUPTED, message="The runner stopped.")


def test_outcome_survives_being_written_down() -> None:
    """The ledger keeps it as JSON."""
    failure = Failure(
        error_type=ErrorType.PAPERMILL_EXECUTION_ERROR,
        message="m",
        cell=2,
        cell_index=3,
        cell_source="1/0",
        ename="ZeroDivisionError",
        evalue="é☃",
        traceback=["a", "b"],
    )
    found = failed(failure, results='{"x": [1, null, {"é": 0.1}]}', warnings=["w"])
    assert Outcome.model_validate_json(found.model_dump_json()) == found


def test_an_outcome_of_an_earlier_version_is_read() -> None:
    """Its results were an object; they are the text of one now."""
    found = Outcome.model_validate_json('{"status": "succeeded", "results": {"a": [1, "é"]}}')
    assert json.loads(found.results) == {"a": [1, "é"]}


def test_values_are_frozen_and_closed() -> None:
    """Change is a new value; a key that nobody declared is an error."""
    failure = Failure(error_type=ErrorType.TIMEOUT, message="m")
    with pytest.raises(ValidationError, match="frozen"):
        failure.message = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="extra"):
        Failure.model_validate({"error_type": "timeout", "message": "m", "other": 1})


def test_defaults_are_not_shared() -> None:
    """Two outcomes never have one list."""
    one, other = Outcome(status=Status.SUCCEEDED), Outcome(status=Status.SUCCEEDED)
    one.warnings.append("w")
    assert other == Outcome(status=Status.SUCCEEDED)


def test_error_has_a_results_fields_and_a_failures() -> None:
    """An error's readers find everything that a result's readers find."""
    assert set(ErrorResult.model_fields) == set(Result.model_fields) | set(Failure.model_fields)


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ({"status": "succeeded"}, "2 of 3 cells begun"),
        (
            {"status": "failed", "error_type": "x", "cell_index": 4},
            "cell 2 of 3 was running",
        ),
        (
            {"status": "failed", "error_type": "x", "cell_index": 4, "ename": "E"},
            "cell 2 of 3 failed",
        ),
        ({"status": "timed_out", "error_type": "timeout"}, "2 of 3 cells begun"),
        (
            {"status": "timed_out", "error_type": "timeout", "cell_source": "x = 1"},
            "2 of 3 cells begun",
        ),
        ({"status": "succeeded", "cells": {"total": 0, "executed": 0}}, "no code cells"),
        ({"status": "rejected", "error_type": "x", "cells": {"total": 0, "executed": 0}}, ""),
    ],
)
def test_a_cell_that_was_begun_is_not_called_complete(report: dict[str, Any], said: str) -> None:
    """Where a cell ended the run, it is named; that of injected parameters counts as none."""
    assert cells_in_words({"cells": {"total": 3, "executed": 2}, **report}) == said


def test_all_cells_of_a_job_are_not_told_as_begun() -> None:
    """Where each was, whatever became of the last."""
    assert cells_in_words({"cells": {"total": 3, "executed": 3}, "status": "failed"}) == (
        "3 of 3 cells"
    )


@pytest.mark.parametrize("index", [0, 12, None])
def test_a_message_begins_with_a_cell_that_can_be_taken_away(index: int | None) -> None:
    """For readers that name it themselves; also in reports of earlier versions."""
    assert without_cell(f"{cell_in_words(4, index)}: KeyError: 'c'") == "KeyError: 'c'"
    assert without_cell("In cell [4]: KeyError: 'c'") == "KeyError: 'c'"
    assert without_cell("Code cell 4 of 5 was running.") == "Code cell 4 of 5 was running."
