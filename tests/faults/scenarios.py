"""What users do while disks fail: short stories, each with what must come of it."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from runner.inbox.bundles.uploads import upload_of
from runner.jobs.body import JobRequest
from runner.jobs.record import Record
from runner.jobs.submissions import Runs, Submitted
from runner.jobs.submit import cancel, encode, submit, submit_with_files
from runner.jobs.waiting import Arrivals
from runner.submitters.hooks.calling import Call
from runner.system.files.packing import pack
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


def request(
    name: str, content: dict[str, Any], expected: Expected, *, at_once: bool = False
) -> Act:
    """A request file."""
    raw = json.dumps(content).encode()
    return Act(lambda life: life.put(f"inbox/{name}.json", raw), (expected,), at_once)


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


def _packed(files: dict[str, bytes]) -> bytes:
    raw = io.BytesIO()
    pack(raw, [(path, io.BytesIO(content)) for path, content in files.items()])
    return raw.getvalue()


def _with_files() -> tuple[Act, ...]:
    """A client sends a request with a file, for later; an archive and a folder come meanwhile."""
    raw = given("'of an archive FILES'")
    archive = _packed({"any.ipynb": raw, "data.csv": b"1,2\n"})
    of_folder = given("'of a folder'")

    def drop_folder(life: Life) -> None:
        life.put("inbox/folder.job", None)
        life.put("inbox/folder.job/data.csv", b"3,4\n")
        life.put("inbox/folder.job/run.ipynb", of_folder)
        life.put("inbox/folder.job/.ready", b"")

    asked = notebook(code("'from a client with a file'"))
    sent = json.dumps(asked).encode()
    later = {"parameters": {"y": 2}, "not_before": "2026-01-02T00:04:00Z"}
    content = encode("d" * 32, {"notebook": asked, **later})

    def send(life: Life) -> None:
        uploads = [upload_of("sent.csv", b"5,6\n")]
        submit_with_files(life.root / "inbox", "sent", content, uploads, life.disk)

    return (
        Act(send, (Expected("sent", sent, parameters={"y": 2}, inputs=("sent.csv",)),)),
        Act(
            lambda life: life.put("inbox/archive.zip", archive),
            (Expected("archive", raw, inputs=("data.csv",)),),
            at_once=True,
        ),
        Act(drop_folder, (Expected("folder", of_folder, inputs=("data.csv",)),), at_once=True),
    )


def _of_a_rule() -> tuple[Act, ...]:
    """Two files come after each other, and each starts a notebook of the library."""
    raw = given("'of the library'")

    def comes(name: str) -> Act:
        path, content = f"data/{name}.csv", f"{name},2\n".encode()
        expected = Expected(f"rules/all/{name}", raw, parameters={"path": path}, inputs=(path,))
        return Act(lambda life: life.put(f"inbox/{path}", content), (expected,), kept=(content,))

    return comes("a"), replace(comes("b"), at_once=True)


RULE: Tree = {
    "inbox/data": None,
    "notebooks/lib.ipynb": given("'of the library'"),
    "notebooks/rules": None,
    "notebooks/rules/all.yaml": (
        b"pattern: 'data/*.csv'\nnotebook: lib.ipynb\nparameters: {path: '{{ file }}'}\n"
    ),
}


def _telling() -> tuple[Act, ...]:
    """Two jobs are told of, and one is not."""
    acts = []
    for name, keys in {"a": {"callback": "https://example.com/a"}, "b": {}}.items():
        asked = notebook(code(f"'{name} FAILS'"))
        raw = json.dumps(asked, ensure_ascii=False).encode()
        expected = Expected(name, raw, ("failed",), is_told=bool(keys))
        acts.append(request(name, {"notebook": json.loads(raw), **keys}, expected, at_once=True))
    return (acts[0], acts[1])


def _notifying() -> tuple[Act, ...]:
    """Somebody is notified of two jobs that fail, and not of a third one."""
    names = {"told-a": True, "quiet": False, "told-b": True}
    acts = [
        drop(name, f"'{name} FAILS'", statuses=("failed",), is_notified=is_told, at_once=True)
        for name, is_told in names.items()
    ]
    return (*acts,)


def _scheduled() -> Act:
    """Two schedules come due once each, a minute apart; nobody does anything."""
    raw = given("'of the library'")
    times = {"schedules/a": "00:02:00", "schedules/b": "00:03:00"}
    expects = [Expected(name, raw, parameters={"at": time}) for name, time in times.items()]
    return Act(lambda _life: None, tuple(expects))


def _schedule(minute: int) -> bytes:
    return (
        f"cron: '{minute} * * * *'\ntimezone: UTC\nuntil: 2026-01-02T00:{minute:02}:30Z\n"
        "missed: all\nnotebook: lib.ipynb\nparameters: {at: '{{ scheduled_for | time }}'}\n"
    ).encode()


SCHEDULES: Tree = {
    "notebooks/lib.ipynb": given("'of the library'"),
    "notebooks/schedules": None,
    "notebooks/schedules/a.yaml": _schedule(2),
    "notebooks/schedules/b.yaml": _schedule(3),
}


def _called() -> tuple[Act, ...]:
    """A sender that gets no answer delivers once more, and what came twice is one job."""
    raw = given("'of the library'")

    def delivered(number: int) -> Callable[[Life], None]:
        headers = {"x-api-key": "a secret", "x-delivery": f"d{number}"}
        call = Call({**headers, "content-type": "application/json"}, {}, b'{"n": %d}' % number)
        return lambda life: _accepted(life.hooks.call("push", call))

    return (
        Act(delivered(1), (Expected("pushed-1", raw, parameters={"n": 1}),)),
        Act(delivered(1)),
        Act(delivered(2), (Expected("pushed-2", raw, parameters={"n": 2}),)),
        Act(delivered(1)),
    )


def _accepted(outcome: object) -> None:
    assert isinstance(outcome, Submitted), outcome


HOOK: Tree = {
    "notebooks/lib.ipynb": given("'of the library'"),
    "notebooks/hooks": None,
    "notebooks/hooks/push.yaml": (
        b"verify: {type: key, secret: a secret, id_header: X-Delivery}\n"
        b"name: 'pushed-{{ body.n }}'\n"
        b"notebook: lib.ipynb\nparameters: {n: '{{ body.n }}'}\n"
    ),
}


def _caused() -> tuple[Act, ...]:
    """A submitter that starts again says the same cause, of which its request was edited since."""
    asked = notebook(code("'of a cause'"))
    raw = json.dumps(asked).encode()

    def submitted(number: int) -> Callable[[Life], None]:
        wanted = JobRequest({"notebook": asked, "parameters": {"y": number}}, "daily", None)
        return lambda life: submit_for(life, wanted)

    return (
        Act(submitted(1), (Expected("daily", raw, parameters={"y": 1}),)),
        Act(submitted(2), at_once=True),
        Act(submitted(3)),
    )


def submit_for(life: Life, asked: JobRequest) -> None:
    """As a submitter does that knows nothing of what it did before."""
    settings = life.settings
    arrivals = Arrivals(settings.outbox, settings.gateway.max_waiting)
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
        take_away(life, "outbox/.history", "stray", STRAY)

    return (
        drop("stray", "'one'"),
        together(drop("stray", "'two'"), drop("beside", "'not kept from anything'")),
        Act(mend, at_once=True),
    )


def take_away(life: Life, folder: str, name: str, before: Tree) -> None:
    """Somebody moves a file that lay there from the beginning into the library."""
    file = life.root / folder / name
    if file.is_file():
        file.unlink()
        place = life.disk.model.find(folder)
        assert place is not None
        for names in (place.live, place.kept):
            names.pop(name, None)
        life.put(f"notebooks/{name}", before[f"{folder}/{name}"])


def _later() -> tuple[Act, ...]:
    """The first starts after three minutes; nobody waits for it."""
    asked = notebook(code("'later FILES'"))
    raw = json.dumps(asked).encode()
    later = {"notebook": asked, "not_before": "2026-01-02T00:03:00Z", "priority": 3}
    return (
        request("later", later, Expected("later", raw)),
        drop("other", "'other'", at_once=True),
    )


def _again_later() -> tuple[Act, ...]:
    """It fails once, and runs again after a minute; another of its name waits for its end."""
    asked, after = notebook(code("'SECOND time lucky, later'")), notebook(code("'after it'"))
    later = json.dumps(after).encode()
    raw = json.dumps(asked).encode()
    retry = {"times": 2, "delay_seconds": 60, "on": ["kernel_died", "interrupted"]}
    return (
        request("flaky", {"notebook": asked, "retry": retry}, Expected("flaky", raw, runs=3)),
        request("flaky", {"notebook": after}, Expected("flaky", later), at_once=True),
    )


def _paused() -> tuple[Act, ...]:
    """What is paused waits until somebody ends that; what waits too long expires."""
    asked = notebook(code("'of use for a minute'"))
    raw = json.dumps(asked).encode()
    late = Expected("held/late", raw, ("succeeded", "failed"))
    return (
        together(
            drop("held/one", "'one'"),
            request("held/late", {"notebook": asked, "start_within_seconds": 60}, late),
            drop("free", "'free'"),
        ),
        *(Act(lambda life: None, at_once=True) for _ in range(4)),
        Act(lambda life: take_away(life, "state/paused", "held.json", PAUSED), at_once=True),
    )


PAUSED: Tree = {
    "inbox/held": None,
    "state/paused": None,
    "state/paused/held.json": json.dumps(
        {"name": "held/*", "by": "test", "at": "2026-01-02T00:00:00.000+00:00"}
    ).encode(),
}
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
    "dropped again once it is there": Scenario(
        (
            drop("a", "'one'"),
            Act(lambda life: None, at_once=True),
            drop("a", "'two'", at_once=True),
        )
    ),
    "cancel": Scenario(_cancelled()),
    "cancel of another job": Scenario(_cancelled_another()),
    "too large": Scenario((_large(),)),
    "files": Scenario((drop("sub/f", "'FILES'"),), LIBRARY),
    "fails": Scenario((drop("f", "'FAILS FILES'", statuses=("failed",)),)),
    "retries": Scenario((_retried(),)),
    "not before a time": Scenario(_later()),
    "again after a pause": Scenario(_again_later()),
    "paused": Scenario(_paused(), PAUSED),
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
    "with files": Scenario(_with_files()),
    "a rule": Scenario(_of_a_rule(), RULE, submitters=True),
    "a callback": Scenario(_telling()),
    "a notification": Scenario(_notifying(), notify=True),
    "a schedule": Scenario((_scheduled(),), SCHEDULES, submitters=True),
    "a web hook": Scenario(_called(), HOOK),
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
