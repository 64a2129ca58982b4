"""Which workers serve which needs: laid out by hand, and by hypothesis."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.contract.request import Resources, demand_of
from runner.execution.cluster.placement import (
    PLAIN,
    Patience,
    WorkerCapacity,
    as_dask,
    fits,
    why_never,
)

GPU = WorkerCapacity("tcp://a:1", "a", 2, {"gpus": 1, "memory_mb": 4000, "label:ssd": 2})
BARE = WorkerCapacity("tcp://b:1", "b", 1, {})


def needs(**more: object) -> Resources:
    return Resources.model_validate(more)


def test_needs_have_names_as_dask_resources() -> None:
    """What is not asked for is not there."""
    assert as_dask(PLAIN) == {}
    asked = needs(memory_mb=10, gpus=2, labels=["ssd"])
    assert as_dask(asked) == {"memory_mb": 10, "gpus": 2, "label:ssd": 1}


def test_a_plain_one_takes_the_seat_that_is_worth_least() -> None:
    """So that the GPU is free for who needs it."""
    assert fits([GPU, BARE], [PLAIN], needs(gpus=1))
    assert fits([GPU, BARE], [PLAIN, needs(gpus=1)], PLAIN)
    assert not fits([GPU, BARE], [PLAIN, PLAIN, PLAIN], PLAIN)


@pytest.mark.parametrize(
    ("taken", "wanted", "does"),
    [
        ([needs(gpus=1)], needs(gpus=1), False),
        ([needs(gpus=1)], needs(memory_mb=3000), True),
        ([needs(memory_mb=3000)], needs(memory_mb=3000), False),
        ([needs(labels=["ssd"])], needs(labels=["ssd"]), True),
        ([], needs(labels=["ssd", "fast"]), False),
    ],
)
def test_what_is_taken_is_not_there(taken: list[Resources], wanted: Resources, does: bool) -> None:
    """Amounts add up on one worker; a label serves as many as it says."""
    assert fits([GPU, BARE], taken, wanted) is does


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (needs(gpus=2), "no worker has 2 GPUs (the largest has 1)"),
        (needs(memory_mb=5_000_000), "no worker has 5000000 MB of memory (the largest has 4000)"),
        (needs(memory_mb=9000), "no worker has 9000 MB of memory (the largest has 4000)"),
        (needs(labels=["tape"]), "no worker has the label `tape`"),
        (needs(gpus=1, labels=["ssd"]), None),
        (PLAIN, None),
    ],
)
def test_what_nobody_has_is_named(wanted: Resources, said: str | None) -> None:
    """Nothing is said of what somebody has."""
    assert why_never([GPU, BARE], wanted) == said


def test_what_nobody_has_together_is_said_too() -> None:
    """Each alone is there, on another worker."""
    fast = WorkerCapacity("tcp://c:1", "c", 1, {"label:fast": 1})
    assert (
        why_never([GPU, fast], needs(gpus=1, labels=["fast"])) == "no worker has all of it together"
    )


def test_an_empty_cluster_says_nothing_of_ever() -> None:
    """Workers may come."""
    assert why_never([], needs(gpus=100)) is None
    assert not fits([], [], PLAIN)


class Clock:
    """Goes where it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def waits(patience: Patience, clock: Clock, wanted: Resources, seconds: int) -> bool:
    """Ask twice a second, as the daemon does; whether it was over at some time."""
    over = False
    for _ in range(seconds * 2):
        over = patience.is_over(wanted) or over
        clock.now += 0.5
    return over


def test_patience_is_that_of_one_wait() -> None:
    """It ends, and counts anew whenever there was somebody, or nobody has asked."""
    clock = Clock()
    patience = Patience(60, clock)
    gpu, plain = needs(gpus=1), needs(gpus=2)
    assert not waits(patience, clock, gpu, 60)
    assert not waits(patience, clock, plain, 1), "each need has its own"
    assert patience.is_over(gpu)
    assert not waits(patience, clock, gpu, 60), "whoever comes next waits as long"
    patience.served(gpu)
    assert not waits(patience, clock, gpu, 60)
    clock.now += 3600
    assert not waits(patience, clock, gpu, 60), "who waited an hour ago was cancelled"
    assert waits(patience, clock, gpu, 1)


def test_without_patience_nobody_waits() -> None:
    """`patience_seconds: 0`."""
    assert Patience(0, Clock()).is_over(needs(gpus=1))


SEATS = st.lists(
    st.builds(
        WorkerCapacity,
        address=st.uuids().map(str),
        host=st.just("h"),
        slots=st.integers(1, 3),
        has=st.fixed_dictionaries({}, optional={"gpus": st.integers(1, 3)}),
    ),
    max_size=4,
)
WANTED = st.builds(Resources, gpus=st.integers(0, 3))


@given(SEATS, WANTED)
def test_what_fits_an_idle_cluster_can_be_served(
    seats: list[WorkerCapacity], wanted: Resources
) -> None:
    """And the other way round: the two rules agree."""
    assert fits(seats, [], wanted) is (bool(seats) and why_never(seats, wanted) is None)


@given(SEATS, st.lists(WANTED, max_size=6), WANTED)
def test_never_more_than_there_are_slots(
    seats: list[WorkerCapacity], taken: list[Resources], wanted: Resources
) -> None:
    """Whatever they need."""
    if fits(seats, taken, wanted) and all(
        fits(seats, taken[:n], taken[n]) for n in range(len(taken))
    ):
        assert len(taken) < sum(seat.slots for seat in seats)


def test_equal_needs_have_equal_text() -> None:
    """In whatever order labels stand; none have none."""
    one, other = (demand_of(needs(labels=labels)) for labels in (["b", "a"], ["a", "b", "a"]))
    assert one == other
    assert one is not None
    assert demand_of(PLAIN) is None
