"""`journal: true`: a line for each finished job, exactly one, whoever is killed meanwhile."""

import json
import os
import random
import re
import signal
import time
from collections.abc import Callable

from runner.followers.journal import JOURNAL_FILE
from tests.conftest import Program, code, notebook, wait_for

JOBS = 24


def companion_of(program: Program) -> int | None:
    """The process that tells followers, if the daemon has one now."""
    found = program.children("follow")
    return found[-1].pid if found else None


def ids_in(program: Program) -> list[str]:
    file = program.root / "state" / JOURNAL_FILE
    raw = file.read_bytes() if file.exists() else b""
    whole = raw[: raw.rfind(b"\n") + 1]
    return [json.loads(line)["job_id"] for line in whole.splitlines()]


def test_each_job_has_its_line_whoever_is_killed(make_program: Callable[..., Program]) -> None:
    """The companion, or the daemon and with it the companion, at moments of chance."""
    chance = random.Random(7)
    program = make_program({"journal": True}).start()
    for number in range(JOBS):
        program.drop(f"n{number}.ipynb", notebook(code(str(number))))
    for turn in range(6):
        wait_for(lambda: companion_of(program) is not None)
        time.sleep(chance.uniform(0, 0.7))
        if turn == 3:
            program.stop(signal.SIGKILL)
            program.start()
        elif (companion := companion_of(program)) is not None:
            os.kill(companion, signal.SIGKILL)
    reports = [program.await_report(f"n{number}") for number in range(JOBS)]
    wait_for(lambda: len(ids_in(program)) >= JOBS)
    program.stop()
    assert sorted(ids_in(program)) == sorted(report["job_id"] for report in reports)


def test_a_journal_that_cannot_be_written_is_a_note_of_health(
    make_program: Callable[..., Program],
) -> None:
    """Jobs end as ever; the lines come when there is room again."""
    program = make_program({"journal": True})
    file = program.root / "state" / JOURNAL_FILE
    file.mkdir(parents=True)
    program.start().drop("a.ipynb", notebook(code("1")))
    report = program.await_report("a")

    def note() -> "re.Match[str] | None":
        said = program.run("health").stdout + program.run("health").stderr
        return re.search(r"the journal is 1 jobs behind since .*: .* is no regular file", said)

    wait_for(note)
    file.rmdir()
    wait_for(lambda: ids_in(program) == [report["job_id"]])


def test_without_the_setting_there_is_neither_journal_nor_process(
    make_program: Callable[..., Program],
) -> None:
    program = make_program().start()
    program.drop("a.ipynb", notebook(code("1")))
    program.await_report("a")
    assert companion_of(program) is None
    assert not (program.root / "state" / JOURNAL_FILE).exists()
