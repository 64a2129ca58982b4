"""Promises of the page of an executed notebook where it cannot be rendered."""

from pathlib import Path

import pytest

from runner.gateway.http.problems import headers_of, status_of
from runner.gateway.notebook_pages import REMEMBERED_SECONDS, NotebookPages, framed
from runner.jobs.problem import Problem
from runner.reports.printing.printer import Printer
from runner.reports.rendering.notebook import POLICY
from runner.system.processes.side_process import Busy, CannotAnswer, TookTooMuch


class Renderer:
    """Fails as it is told to, and counts."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.count = 0

    def ask(self, question: bytes) -> bytes:
        self.count += 1
        if self.errors:
            raise self.errors.pop(0)
        return b"page of " + question


class World:
    def __init__(self, folder: Path, *errors: Exception) -> None:
        self.file = folder / "a.ipynb"
        self.file.write_bytes(b"{}")
        self.renderer = Renderer(*errors)
        self.now = 0.0
        self.pages = NotebookPages(self.renderer, Printer(), Path.read_bytes, lambda: self.now)

    def problem(self) -> Problem:
        with pytest.raises(Problem) as raised:
            self.pages.show(self.file)
        return raised.value


def test_what_takes_too_long_is_slow_and_not_invalid_and_is_not_tried_at_each_look(
    tmp_path: Path,
) -> None:
    """503 with the time after which it is tried again; a changed file is tried at once."""
    world = World(tmp_path, TookTooMuch("it takes longer than 60 s"), TookTooMuch("it does so"))
    first = world.problem()
    assert (status_of(first), headers_of(first)["Retry-After"]) == (503, "600")
    assert "longer than 60 s" in first.message
    world.now = 60
    again = world.problem()
    assert (again.message, headers_of(again)["Retry-After"]) == (first.message, "541")
    assert world.renderer.count == 1
    world.now += REMEMBERED_SECONDS
    world.problem()
    world.file.write_bytes(b"{ }")
    assert world.pages.show(world.file).body == b"page of { }"


@pytest.mark.parametrize(
    ("error", "status"), [(Busy("others are there"), 503), (CannotAnswer("it is no JSON"), 422)]
)
def test_other_troubles_are_not_remembered(tmp_path: Path, error: Exception, status: int) -> None:
    """The next look asks again."""
    world = World(tmp_path, error)
    assert status_of(world.problem()) == status
    assert world.pages.show(world.file).status_code == 200


def test_the_frame_says_why_and_offers_the_file(tmp_path: Path) -> None:
    """A page may show it in a frame, and nothing in it is taken for HTML."""
    answer = framed(Problem("unavailable", "Too <long>.", 9), "/jobs/1/n")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "9")
    assert b"Too &lt;long&gt;." in answer.body
    assert b'href="/jobs/1/n"' in answer.body
    policy = answer.headers["Content-Security-Policy"]
    assert "frame-ancestors 'self'" in policy
    assert "script-src" not in policy
    assert policy != POLICY
    assert "allow-downloads" in policy


def test_what_is_gone_offers_nothing(tmp_path: Path) -> None:
    """Removed from the outbox since."""
    world = World(tmp_path)
    world.file.unlink()
    gone = world.problem()
    assert status_of(gone) == 410
    assert b"href" not in framed(gone, "/jobs/1/n").body
