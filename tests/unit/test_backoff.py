"""Promises of delays: each thing waits for itself, longer each time, and is told."""

from runner.system.backoff import Backoff


def test_pauses_grow_up_to_the_longest_and_begin_anew_once_it_went() -> None:
    """One that fails is not tried again at once, and others are."""
    now = [0.0]
    delays = Backoff(lambda: now[0], 1.0, 4.0)
    pauses = []
    for _ in range(4):
        delays.hold("a", "full")
        pauses.append(delays.next_due())
        assert delays.why_held("a") == "full"
        assert delays.why_held("b") is None
        now[0] += pauses[-1] or 0
        assert delays.due() == ["a"]
    assert pauses == [1.0, 2.0, 4.0, 4.0]
    delays.release("a")
    assert delays.next_due() is None
    delays.hold("a", "full")
    assert delays.next_due() == 1.0


def test_only_another_reason_is_news() -> None:
    """So that each is logged once."""
    delays = Backoff(lambda: 0.0)
    assert delays.hold("a", "full")
    assert not delays.hold("a", "full")
    assert delays.hold("a", "gone")
    assert delays.reasons == {"a": "gone"}
    delays.keep([])
    assert delays.reasons == {}
