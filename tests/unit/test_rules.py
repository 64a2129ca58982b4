"""Promises of the rules: what a runner refuses beside what the schema does, the same for all."""

from dataclasses import replace
from typing import Any

import pytest

from runner.config import Settings
from runner.contract.outcome import Refused
from runner.contract.request import Request, Resources
from runner.contract.rules import Rules
from runner.contract.states.status import ErrorType

RULES = Rules(max_run_seconds=3600, memory_mb=1024, is_cluster=False)


@pytest.mark.parametrize("seconds", [None, 0.1, 3600])
def test_time_limit_up_to_the_maximum_is_accepted(seconds: float | None) -> None:
    """The maximum itself is allowed."""
    RULES.check(Request(timeout_seconds=seconds))


def test_time_limit_above_the_maximum_is_refused() -> None:
    """It is not cut in silence; the message has both numbers."""
    with pytest.raises(Refused, match=r"3601.*3600") as caught:
        RULES.check(Request(timeout_seconds=3601))
    assert caught.value.failure.error_type is ErrorType.INVALID_REQUEST


@pytest.mark.parametrize("memory_mb", [None, 1, 1024])
def test_memory_up_to_the_limit_is_accepted(memory_mb: int | None) -> None:
    """Less than the others have, or the same."""
    request = Request(resources=Resources(memory_mb=memory_mb))
    RULES.check(request)


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ({"memory_mb": 1025}, r"`resources.memory_mb` is 1025, .* 1024 \(limits.memory_mb\)"),
        ({"gpus": 1}, r"`resources.gpus` needs a cluster \(execution.executor: dask\)"),
        ({"labels": ["ssd"]}, r"`resources.labels` needs a cluster \(execution.executor: dask\)"),
    ],
)
def test_what_one_machine_cannot_give_is_refused(resources: dict[str, Any], said: str) -> None:
    """A cluster may have it: there it is the workers that count."""
    request = Request(resources=Resources(**resources))
    with pytest.raises(Refused, match=said) as caught:
        RULES.check(request)
    assert caught.value.failure.error_type is ErrorType.INVALID_REQUEST
    replace(RULES, is_cluster=True).check(request)


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ((), "They name none yet.*line `groups:`.*write `groups: {db: 1}` there, and start"),
        (("web",), "They name 'web'.*line `groups:`.*add `db: 1` there, and start the runner"),
    ],
)
def test_a_group_without_a_name_in_the_settings_is_told_with_the_line_to_change(
    groups: tuple[str, ...], said: str
) -> None:
    """A second line `groups:` would be an error, and a running runner reads none."""
    with pytest.raises(Refused, match=said):
        replace(RULES, groups=frozenset(groups)).check(Request(group="db"))


def test_all_that_is_wrong_is_told_in_order() -> None:
    """Of the needs of one machine the first; `check` stops at the first of all."""
    resources = Resources(memory_mb=2000, gpus=1)
    request = Request(timeout_seconds=4000, resources=resources)
    told = [refusal.failure.message.split("`")[1] for refusal in RULES.refusals(request)]
    assert told == ["timeout_seconds", "resources.memory_mb"]
    with pytest.raises(Refused, match="timeout_seconds"):
        RULES.check(request)


def test_settings_make_the_rules() -> None:
    """Limits by their names, and whether there is a cluster."""
    settings = Settings.model_validate({"limits": {"max_run_seconds": 7000, "memory_mb": 300}})
    assert settings.request_rules == Rules(7000, 300, is_cluster=False)
