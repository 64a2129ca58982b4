"""Web hooks of a running gateway: who may call, what runs then, and each delivery once."""

import hashlib
import hmac
import json
import re
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
import yaml

from tests.conftest import Program, code, notebook, programs, wait_for

DOCUMENT = Path(__file__).parents[2] / "docs" / "hooks.md"
EXAMPLES = {
    re.search(r"notebooks/hooks/(\S+)", one)[1]: one  # type: ignore[index]
    for one in re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
}
SECRET = "a secret of the test"
KEY = {"X-Api-Key": SECRET}
BEARER = {"Authorization": "Bearer the gateway's own"}
ON = {"order": "on", "push": "on", "form": "on"}
FORM = "verify: {type: key, secret_env: ORDER_KEY}\nnotebook: typed.ipynb\nparameters:\n" + "".join(
    f'  {one}: "{{{{ body.{one} }}}}"\n' for one in "abcd"
)
TYPED = code("a: float = 1.0\nb: str = ''\nc = False\nd = 5", "parameters")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    for make in programs(tmp_path_factory.mktemp("hooks")):
        gateway = {"enabled": True, "port": 0, "token": "the gateway's own"}
        one = make({"gateway": gateway}, ORDER_KEY=SECRET, GITHUB_SECRET=SECRET)
        hooks = one.root / "notebooks" / "hooks"
        hooks.mkdir(parents=True)
        shutil.copy(DOCUMENT.parents[1] / "notebooks" / "loan.ipynb", hooks.parent)
        cells = notebook(code("title = ''", "parameters"), code("title", "results"))
        (hooks.parent / "release.ipynb").write_text(json.dumps(cells))
        (hooks / "form.yaml").write_text(FORM)
        (hooks.parent / "typed.ipynb").write_text(json.dumps(notebook(TYPED)))
        for name, text in EXAMPLES.items():
            (hooks / name).write_text(text)
        yield one.start()


def call(program: Program, name: str, **how: Any) -> requests.Response:
    return requests.post(f"{program.url}/hooks/{name}", timeout=90, **how)


def report_of(program: Program, job_id: str) -> dict[str, Any]:
    def look() -> Any:
        url = f"{program.url}/jobs/{job_id}"
        return requests.get(url, headers=BEARER, timeout=90).json().get("result")

    found: dict[str, Any] = wait_for(look)
    return found


def test_the_page_lists_hooks(program: Program) -> None:
    """With what is wrong in a file, and the newest job; never the secret."""
    wrong = program.root / "notebooks" / "hooks" / "broken.yaml"
    wrong.write_text("verify: {type: key}\nnotebook: loan.ipynb\n")
    try:
        page = requests.get(f"{program.url}/ui/hooks", headers=BEARER, timeout=90).text
        listed = program.run("hooks").stdout
    finally:
        wrong.unlink()
    assert "POST /hooks/order" in page
    assert "Wrong" in page
    assert re.search(r"^broken\s+wrong", listed, re.MULTILINE)
    assert SECRET not in page + listed


def signed(body: bytes, delivery: str, event: str = "push") -> dict[str, str]:
    """Headers as GitHub sends them."""
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    return {
        "X-Hub-Signature-256": f"sha256={digest}",
        "X-GitHub-Delivery": delivery,
        "X-GitHub-Event": event,
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/044aadd",
    }


def push(ref: str = "refs/heads/main") -> bytes:
    return json.dumps(
        {"ref": ref, "repository": {"full_name": "a/b"}, "pusher": {"name": "Ü"}}
    ).encode()


def test_the_first_example_takes_a_key(program: Program) -> None:
    """Numbers stay numbers, what is missing keeps its default, each call is a job."""
    answer = call(program, "order?years=3", json={"total": 9000}, headers=KEY)
    assert answer.status_code == 202, answer.text
    report = report_of(program, answer.json()["job_id"])
    assert answer.headers["Location"] == f"/jobs/{report['job_id']}"
    assert report["parameters"] == {"amount": 9000, "years": 3}
    assert (report["status"], report["submitted_by"]) == ("succeeded", "hook:order")
    assert report["warnings"] == []
    again = call(program, "order", json={"total": 9000}, headers=KEY)
    assert report_of(program, again.json()["job_id"])["parameters"] == {"amount": 9000}


def test_texts_of_a_form_get_the_types_of_the_notebook(program: Program) -> None:
    """A form has no numbers; in JSON a text is meant to be one, and a warning says so."""
    fields = {"a": "1e3", "b": "007", "c": "true", "d": "3"}
    posted = call(program, "form", data=fields, headers=KEY)
    report = report_of(program, posted.json()["job_id"])
    assert (report["status"], report["warnings"]) == ("succeeded", [])
    assert report["parameters"] == {"a": 1000.0, "b": "007", "c": True, "d": 3}
    posted = call(program, "form", json={**fields, "a": 1, "d": "five"}, headers=KEY)
    report = report_of(program, posted.json()["job_id"])
    assert report["parameters"] == {**fields, "a": 1, "d": "five"}
    assert "`five` is no number here." in " ".join(report["warnings"])


def test_the_second_example_takes_what_github_signs(program: Program) -> None:
    """A delivery that comes again, even at once and twenty times, is one job; also after a kill."""
    body = push()
    how = {"data": body, "headers": signed(body, "1-2-3")}
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: call(program, "push", **how), range(20)))
    assert {one.status_code for one in answers} == {202}
    (job_id,) = {one.json()["job_id"] for one in answers}
    report = report_of(program, job_id)
    assert report["parameters"] == {"title": "a/b by Ü"}
    assert report["submitted_by"] == "hook:push@1-2-3"
    before = len(program.addresses())
    program.stop(signal.SIGKILL)
    program.start()
    wait_for(lambda: len(program.addresses()) > before)
    again = call(program, "push", **how)
    assert (again.status_code, again.json()["job_id"]) == (202, job_id)
    assert again.json()["status"] == "succeeded"
    other = call(program, "push", data=body, headers=signed(body, "1-2-4"))
    assert other.json()["job_id"] != job_id
    assert report_of(program, other.json()["job_id"])["status"] == "succeeded"


def test_what_when_does_not_want_is_ignored(program: Program) -> None:
    """With 200: a sender counts anything else as a failure."""
    body = push("refs/heads/mine")
    answer = call(program, "push", data=body, headers=signed(body, "5"))
    assert (answer.status_code, answer.json()["status"]) == (200, "ignored")
    ping = call(program, "push", data=b"{}", headers=signed(b"{}", "6", "ping"))
    assert ping.json()["message"] == "headers.x-github-event is 'ping'."
    form = b"payload=" + quote(push()).encode()
    headers = {**signed(form, "7"), "Content-Type": "application/x-www-form-urlencoded"}
    posted = call(program, "push", data=form, headers=headers)
    assert posted.status_code == 202, posted.text
    assert report_of(program, posted.json()["job_id"])["parameters"] == {"title": "a/b by Ü"}


@pytest.mark.parametrize(
    ("name", "how", "status"),
    [
        ("order", {"json": {"total": 1}}, 401),
        ("order", {"json": {"total": 1}, "headers": {"X-Api-Key": "no"}}, 401),
        ("order", {"json": {"total": 1}, "headers": {"Authorization": "Bearer no"}}, 401),
        ("push", {"data": push(), "headers": signed(push() + b" ", "8")}, 401),
        ("order", {"json": {}, "headers": KEY}, 422),
        ("order", {"json": [], "headers": KEY}, 422),
        ("order", {"data": "{", "headers": {**KEY, "Content-Type": "application/json"}}, 400),
        ("order", {"json": {"total": 1}, "headers": {**KEY, "Origin": "https://x.org"}}, 403),
        ("ordre", {"json": {}, "headers": KEY}, 404),
        ("..%2Forder", {"json": {}, "headers": KEY}, 404),
        ("order", {"data": b"x" * 6_000_000, "headers": KEY}, 413),
    ],
)
def test_other_calls_are_refused(
    program: Program, name: str, how: dict[str, Any], status: int
) -> None:
    """With a reason; the secret is in none."""
    answer = call(program, name, **how)
    assert answer.status_code == status, answer.text
    assert SECRET not in answer.text
    assert answer.json()["message"]


def test_a_wrong_or_switched_off_hook_is_told_and_stops_no_other(program: Program) -> None:
    """Files are read when they change; `runner check` and the list say what is wrong."""
    hooks = program.root / "notebooks" / "hooks"
    order = yaml.safe_load(EXAMPLES["order.yaml"])
    (hooks / "off.yaml").write_text(yaml.safe_dump({**order, "enabled": False}))
    (hooks / "wrong.yaml").write_text(EXAMPLES["order.yaml"] + "cron: 1\n")
    unset = {"type": "key", "secret_env": "NOT_SET_ANYWHERE"}
    (hooks / "unset.yaml").write_text(yaml.safe_dump({**order, "verify": unset}))
    lost = {"type": "key", "secret_file": "none"}
    (hooks / "lost.yaml").write_text(yaml.safe_dump({**order, "verify": lost}))
    assert call(program, "off", json={"total": 1}, headers=KEY).status_code == 503
    assert call(program, "off", json={"total": 1}).status_code == 401
    wrong, no_secret = (call(program, one, json={"total": 1}) for one in ("wrong", "unset"))
    assert (wrong.status_code, no_secret.status_code) == (503, 503)
    assert "The hook is not set up" in wrong.json()["message"]
    assert "The hook has no secret here yet; `runner health`" in no_secret.json()["message"]
    assert "NOT_SET" not in no_secret.text
    listing = program.run("hooks").stderr
    assert "unset: whether the gateway has NOT_SET_ANYWHERE is in GET /hooks" in listing
    assert call(program, "order", json={"total": 1}, headers=KEY).status_code == 202
    url = f"{program.url}/hooks"
    assert requests.get(url, timeout=90).status_code == 401
    listed = requests.get(url, headers=BEARER, timeout=90)
    assert SECRET not in listed.text
    states = {one["name"]: one["state"] for one in listed.json()["hooks"]}
    assert states == {**dict.fromkeys(("lost", "unset", "wrong"), "wrong"), "off": "disabled", **ON}
    checked = program.run("check", "notebooks/hooks/wrong.yaml")
    assert checked.returncode == 3
    assert "Unknown key `cron`" in checked.stdout
    assert "(line 7)" in checked.stdout
    assert program.run("check", "notebooks/hooks/lost.yaml").returncode == 3
    for key, here in ((SECRET, "has it"), ("", "does not have it")):
        other = replace(program, environment={**program.environment, "ORDER_KEY": key})
        checked = other.run("check", "notebooks/hooks/order.yaml")
        assert (checked.returncode, "nothing to refuse" in checked.stderr) == (0, True)
        assert "note: the secret is ORDER_KEY in the environment of the gateway" in checked.stdout
        assert f"that of this command {here}." in checked.stdout
    note = "the hook lost takes no calls: `secret_file`"
    wait_for(lambda: note in program.run("health").stdout)
    assert note in " ".join(program.run("doctor").stdout.split())
    (hooks / "none").write_text(f"{SECRET}\n")
    (hooks / "lost.yaml").touch()
    assert call(program, "lost", json={"total": 1}, headers=KEY).status_code == 202
    assert call(program, "order", json={"total": 1}, headers=KEY).status_code == 202


def test_a_hook_whose_notebook_is_missing_is_told_before_a_call(program: Program) -> None:
    """In the list, with what to do; it is on again as soon as the notebook is there."""
    file = program.root / "notebooks" / "hooks" / "ahead.yaml"
    order = yaml.safe_load(EXAMPLES["order.yaml"])
    values = {"kind": "x", "late": "{{ body.late }}"}
    file.write_text(yaml.safe_dump({**order, "notebook": "ahead.ipynb", "parameters": values}))
    shelf = program.root / "notebooks" / "ahead.ipynb"

    def listed() -> Any:
        rows = requests.get(f"{program.url}/hooks", headers=BEARER, timeout=90).json()["hooks"]
        return next(one for one in rows if one["name"] == "ahead")

    try:
        one = listed()
        assert (one["state"], one["notebook"]) == ("wrong", "ahead.ipynb")
        assert "There is no notebook 'ahead.ipynb' in the library" in one["error"]
        cell = code("kind: int = 1\nlate: int = 1", "parameters")
        shelf.write_text(json.dumps(notebook(cell)))
        assert '`kind` is "x"; it must be a whole number' in listed()["error"]
        checked = program.run("check", "notebooks/hooks/ahead.yaml")
        assert (checked.returncode, '`kind` is "x"' in checked.stdout) == (3, True)
        cell = code("kind: str = ''\nlate: int = 1", "parameters")
        shelf.write_text(json.dumps(notebook(cell)))
        assert (listed()["state"], listed()["error"]) == ("on", None)
        assert program.run("check", "notebooks/hooks/ahead.yaml").returncode == 0
    finally:
        file.unlink()
        shelf.unlink(missing_ok=True)
