"""What users do while disks fail: short stories, each with what must come of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from runner.jobs.body import Asked
from runner.jobs.record import Record
from runner.jobs.submissions import Runs
from runner.jobs.submit import cancel, encode, submit
from runner.jobs.waiting import Arrivals
from tests.conftest import code, notebook
from tests.faults.simulated import Tree
from tests.faults.world import Act, Expected, Life, Scenario


def given(text: str) -> bytes:
    """A notebook's bytes; words in `text` say what becomes of it (`FakeProcesses`)."""
    return json.dumps(notebook(code(text))).encode()


def drop(name: str, text: str, *, settings: dict[str, Any] | None = None, **more: Any) -> Act:
    """A notebook, after its settings if there are any."""
    raw = given(text)

    def do(life: Life) -> None:
        if (life.root / f"inbox/{name}.ipynb").exists():
            raise FileExistsError(name)
        if settings is not None:
            life.put(f"inbox/{name}.yaml", json.dumps({"parameters": settings}).encode())
        life.put(f"inbox/{name}.ipynb", raw)

    at_once = more.pop("at_once", False)
    return Act(do, (Expected(name, raw, parameters=settings or {}, **more),), at_once)


def together(*acts: Act) -> Act:
    """Several at one moment."""

    def do(life: Life) -> None:
        for act in acts:
            act.do(life)

    expects = tuple(one for act in acts for one in act.expects)
    return Act(do, expects, kept=tuple(one for act in acts for one in act.kept))


def request(name: str, content: dict[str, Any], expected: Expected) -> Act:
    """A request file."""
    raw = json.dumps(content).encode()
    return Act(lambda life: life.put(f"inbox/{name}.json", raw), (expected,))


def _retried() -> Act:
    raw = json.dumps(notebook(code("'SECOND time lucky'")), ensure_ascii=False).encode()
    content = {"notebook": json.loads(raw), "retries": 2}
    return request("again", content, Expected("again", raw, runs=3))


def _large() -> Act:
    raw = b'{"cells": "' + b"x" * 9000 + b'"}'
    expected = Expected("large", None, ("rejected",))
    return Act(lambda life: life.put("inbox/large.ipynb", raw), (expected,), kept=(raw,))


def _client() -> Act:
    name = f"http/2026-01-02/{'c' * 32}"
    asked = notebook(code("'from a client'"))
    raw = json.dumps(asked).encode()
    content = encode("c" * 32, {"notebook": asked, "parameters": {"y": 2}})

    def do(life: Life) -> None:
        submit(life.root / "inbox", name, content, life.disk)

    return Act(do, (Expected(name, raw, parameters={"y": 2}),))


CAUSE = "schedule:daily@2026-01-02T06:00Z"


def _caused() -> tuple[Act, ...]:
    """A submitter that starts again says the same cause, of which its request was edited since."""
    asked = notebook(code("'of a cause'"))
    raw = json.dumps(asked).encode()

    def submitted(number: int) -> Callable[[Life], None]:
        wanted = Asked({"notebook": asked, "parameters": {"y": number}}, "daily", None)
        return lambda life: submit_for(life, wanted)

    return (
        Act(submitted(1), (Expected("daily", raw, parameters={"y": 1}),)),
        Act(submitted(2), at_once=True),
        Act(submitted(3)),
    )


def submit_for(life: Life, asked: Asked) -> None:
    """As a submitter does that knows nothing of what it did before."""
    settings = life.settings
    arrivals = Arrivals(settings.outbox)
    Runs(settings, Record(settings), arrivals, life.disk).submit_for(CAUSE, asked)


def _cancelled() -> tuple[Act, ...]:
    may = ("succeeded", "cancelled")
    return (
        drop("first", "'first'"),
        drop("second", "'second'", statuses=may, at_once=True),
        Act(lambda life: cancel(life.root / "inbox", "second", None, life.disk), at_once=True),
    )


def _cancelled_another() -> tuple[Act, ...]:
    """Only the job whose id the file holds."""

    def do(life: Life) -> None:
        cancel(life.root / "inbox", "second", "f" * 32, life.disk)

    return drop("first", "'first'"), drop("second", "'second'", at_once=True), Act(do, at_once=True)


def _late() -> tuple[Act, ...]:
    raw = b'{"parameters": {"late": true}}'
    late = Act(lambda life: life.put("inbox/late.yaml", raw), kept=(raw,))
    return drop("late", "'early'"), late


def _in_the_way() -> tuple[Act, ...]:
    """A file where the history of a name belongs; somebody takes it away in the end."""

    def mend(life: Life) -> None:
        stray = life.root / "outbox/.history/stray"
        if stray.is_file():
            stray.unlink()
            history = life.disk.model.find("outbox/.history")
            assert history is not None
            for names in (history.live, history.kept):
                names.pop("stray", None)
            life.put("notebooks/stray", STRAY["outbox/.history/stray"])

    return (
        drop("stray", "'one'"),
        together(drop("stray", "'two'"), drop("beside", "'not kept from anything'")),
        Act(mend, at_once=True),
    )


STRAY: Tree = {"outbox/.history": None, "outbox/.history/stray": b"somebody's"}
LIBRARY: Tree = {
    "inbox/sub": None,
    "notebooks/lib.ipynb": given("'of the library'"),
    "outbox/some.result.json": b'{"of": "somebody"}',
}

SCENARIOS: dict[str, Scenario] = {
    "a drop": Scenario((drop("a", "'a'"),)),
    "settings": Scenario((drop("sub/a", "'a'", settings={"x": 1}),), LIBRARY),
    "library": Scenario(
        (
            request(
                "lib",
                {"notebook": "lib.ipynb", "parameters": {"x": 1}},
                Expected("lib", given("'of the library'"), parameters={"x": 1}),
            ),
        ),
        LIBRARY,
    ),
    "dropped again": Scenario(
        (
            drop("a", "'one FILES'"),
            drop("a", "'two FAILS'", statuses=("failed",)),
            drop("a", "'three'"),
        )
    ),
    "dropped again while it runs": Scenario(
        (drop("a", "'one'"), drop("a", "'two'", at_once=True), drop("a", "'three'", at_once=True))
    ),
    "cancel": Scenario(_cancelled()),
    "cancel of another job": Scenario(_cancelled_another()),
    "too large": Scenario((_large(),)),
    "files": Scenario((drop("sub/f", "'FILES'"),), LIBRARY),
    "fails": Scenario((drop("f", "'FAILS FILES'", statuses=("failed",)),)),
    "retries": Scenario((_retried(),)),
    "several": Scenario(
        (
            together(
                drop("some", "'some'"),
                drop("sub/b", "'b FILES'"),
                drop("sub/c", "'c'", settings={"z": 3}),
                Act(
                    lambda life: life.put("inbox/broken.ipynb", b'{"cells": ['),
                    (Expected("broken", b'{"cells": [', ("rejected",)),),
                ),
            ),
        ),
        LIBRARY,
        concurrency=2,
    ),
    "client": Scenario((_client(),)),
    "a cause": Scenario(_caused()),
    "a journal": Scenario(
        (drop("a", "'one'"), drop("b", "'two FAILS'", statuses=("failed",))),
        journal=True,
    ),
    "late settings": Scenario(_late()),
    "litter": Scenario(
        (
            replace(drop("l", "'LITTER FILES'"), kept=(b"litter",)),
            drop("l", "'again'"),
        )
    ),
    "outbox away": Scenario((drop("g", "'GONE FILES'"),)),
    "a history in the way": Scenario(_in_the_way(), STRAY),
    "a refused rename": Scenario(
        (
            drop("refused", "'one'"),
            together(drop("refused", "'two'"), drop("beside", "'at once'")),
        )
    ),
    "a folder that stays": Scenario((drop("s", "'STUCK FILES'"), drop("t", "'next'"))),
    "a file that is refused": Scenario((drop("o", "'ODD FILES'"),)),
}
