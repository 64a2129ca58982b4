"""Whatever never answers, whoever asks goes on."""

import threading
import time

import pytest

from runner.system.processes.patience import Looks, NoAnswer, ask_apart


def test_a_look_that_hangs_is_left_and_not_begun_again() -> None:
    """Its answer is that of the next who asks."""
    go, begun = threading.Event(), list[int]()

    def look() -> str:
        begun.append(1)
        go.wait(90)
        return "there"

    looks = Looks()
    for _ in range(3):
        with pytest.raises(NoAnswer):
            looks.ask("folder", look, 0.05)
    assert len(begun) == 1
    assert looks.ask("other", lambda: "quick", 90) == "quick"
    go.set()
    assert looks.ask("folder", look, 90) == "there"


def test_looks_apart_are_made_at_once_and_what_hangs_is_left() -> None:
    """In processes of their own; what one raises, whoever asks gets."""

    def hang() -> str:
        time.sleep(10)
        return "late"

    looks = {"quick": lambda: "there", "hangs": hang}
    found = ask_apart(looks, 4.0)
    assert found["quick"] == "there"
    assert isinstance(found["hangs"], NoAnswer)
    with pytest.raises(ZeroDivisionError):
        ask_apart({"fails": lambda: 1 / 0}, 90)
