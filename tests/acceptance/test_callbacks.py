"""Callbacks through the real program: whoever asked gets the result, whatever ends meanwhile."""

import base64
import hashlib
import hmac
import json
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from runner.config import Settings
from runner.contract.request import Form, read_request
from runner.contract.text.strict_yaml import loads
from tests.conftest import Program, code, notebook, programs, wait_for
from tests.receiver import Came, Receiver

DOCUMENT = Path(__file__).parents[2] / "docs" / "callbacks.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
SECRET = "whsec_" + base64.b64encode(b"a secret of the test").decode()
ADD = notebook(code("a = 1", "parameters"), code("a + 1", "results"))


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as one:
        yield one


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Program]:
    folder = tmp_path_factory.mktemp("callbacks")
    (folder / "secret").write_text(f"{SECRET}\n")
    callbacks = {
        "allowed": ["127.0.0.1"],
        "secret_file": str(folder / "secret"),
        "send": [{"names": "failing/*", "url": receiver.url("/failures"), "events": ["failed"]}],
    }
    for make in programs(folder):
        one = make({"gateway": {"enabled": True, "port": 0}, "callbacks": callbacks})
        yield one.start()


@pytest.fixture(autouse=True)
def afresh(receiver: Receiver) -> None:
    receiver.status = 200
    receiver.came.clear()


def came_to(receiver: Receiver, path: str) -> Came:
    found: Came = wait_for(lambda: next((one for one in receiver.came if one.path == path), None))
    return found


def ask(program: Program, path: str, method: str = "GET") -> Any:
    return requests.request(method, f"{program.url}{path}", timeout=90).json()


def test_the_result_goes_to_who_asked(program: Program, receiver: Receiver) -> None:
    """By a request in the inbox, as the result JSON that lies in the outbox, and signed."""
    asked = {"url": receiver.url("/resume?key=k3y"), "headers": {"X-Run": "7"}}
    program.drop("told.json", json.dumps({"notebook": ADD, "callback": asked}))
    report = program.await_report("told")
    came = came_to(receiver, "/resume?key=k3y")
    assert json.loads(came.body) == report
    assert came.headers["x-run"] == "7"
    text = f"{came.headers['webhook-id']}.{came.headers['webhook-timestamp']}.".encode()
    digest = hmac.new(b"a secret of the test", text + came.body, hashlib.sha256).digest()
    assert came.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    path = f"/jobs/{report['job_id']}"
    (row,) = wait_for(
        lambda: [
            one
            for one in ask(program, f"{path}/deliveries")["deliveries"]
            if one["state"] == "delivered"
        ]
    )
    assert row["url"] == receiver.url("/resume/…")
    assert (row["attempts"], row["http_status"], row["error"]) == (1, 200, None)
    page = requests.get(f"{program.url}{path}", headers={"Accept": "text/html"}, timeout=90).text
    assert "Delivered" in page
    assert "k3y" not in page + program.log
    receiver.came.clear()
    again = ask(program, f"{path}/deliveries/{row['id']}/again", "POST")["deliveries"]
    assert [one["state"] for one in again] == ["waiting"]
    assert came_to(receiver, "/resume?key=k3y").headers["webhook-id"] == row["id"]
    assert ask(program, f"{path}/deliveries/msg_none/again", "POST")["error_type"] == "not_found"


@pytest.mark.parametrize("how", ["mapping", "form", "body"])
def test_an_address_alone_is_a_callback(program: Program, receiver: Receiver, how: str) -> None:
    """In every way to ask over HTTP."""
    url = receiver.url(f"/{how}")
    if how == "form":
        files = {"notebook": ("a.ipynb", json.dumps(ADD))}
        answer = requests.post(
            f"{program.url}/run", data={"callback": url}, files=files, timeout=90
        )
    elif how == "body":
        answer = requests.post(
            f"{program.url}/run", json={"notebook": ADD, "callback": url}, timeout=90
        )
    else:
        body = {"notebook": ADD, "callback": {"url": url, "events": ["failed", "succeeded"]}}
        answer = requests.post(f"{program.url}/run", json=body, timeout=90)
    assert answer.status_code == 200, answer.text
    assert json.loads(came_to(receiver, f"/{how}").body)["job_id"] == answer.json()["job_id"]


def test_a_host_that_is_not_allowed_is_refused(program: Program) -> None:
    """The message says which are; what was asked is repeated nowhere."""
    url = "https://user-data.example.org/?key=k3y"
    body = {"notebook": ADD, "callback": url}
    answer = requests.post(f"{program.url}/run", json=body, timeout=90)
    assert answer.status_code == 400
    assert "goes to user-data.example.org, which is not allowed" in answer.json()["message"]
    assert "callbacks.allowed" in answer.json()["message"]
    wrong = {"notebook": ADD, "callback": {"url": "http://127.0.0.1/", "headers": {"a": "hi\nden"}}}
    answer = requests.post(f"{program.url}/run", json=wrong, timeout=90)
    assert (answer.status_code, "hi" in answer.json()["message"].split()) == (400, False)


def test_the_settings_tell_of_failures_by_name(program: Program, receiver: Receiver) -> None:
    """Whatever the requests say; other jobs are not told of."""
    failing = notebook(code("1 / 0"))
    program.drop("failing/a.ipynb", failing)
    program.drop("other.ipynb", failing)
    program.await_report("failing/a")
    program.await_report("other")
    assert json.loads(came_to(receiver, "/failures").body)["name"] == "failing/a"
    assert len(receiver.came) == 1


def test_a_receiver_that_comes_back_is_told_though_the_runner_was_killed(
    program: Program, receiver: Receiver
) -> None:
    """Health names the address meanwhile."""
    receiver.status = 503
    asked = {"notebook": ADD, "callback": receiver.url("/late")}
    job_id = requests.post(f"{program.url}/run", json=asked, timeout=90).json()["job_id"]
    came_to(receiver, "/late")
    wait_for(lambda: "/late: the receiver answered 503" in program.run("health").stdout)
    program.stop(signal.SIGKILL)
    receiver.came.clear()
    receiver.status = 200
    before = len(program.addresses())
    program.start()
    wait_for(lambda: len(program.addresses()) > before)
    came = came_to(receiver, "/late")
    assert json.loads(came.body)["job_id"] == job_id
    wait_for(
        lambda: ask(program, f"/jobs/{job_id}/deliveries")["deliveries"][0]["state"] == "delivered"
    )
    wait_for(lambda: "/late" not in program.run("health").stdout)


@pytest.mark.parametrize("status", [200, 503])
def test_a_run_without_a_daemon_tells_before_it_ends(
    make_program: Callable[..., Program], receiver: Receiver, status: int
) -> None:
    """Its folders go with it, so that nobody could later; what did not come through is said."""
    receiver.status = status
    program = make_program({"callbacks": {"allowed": ["127.0.0.1"]}})
    (program.root / "one.ipynb").write_text(json.dumps(ADD))
    done = program.run("run", "one.ipynb", "--callback", receiver.url("/alone"))
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert json.loads(came_to(receiver, "/alone").body)["job_id"] == report["job_id"]
    assert ("/alone: the receiver answered 503" in done.stderr) == (status == 503)


def test_the_examples_of_the_document_are_taken(program: Program) -> None:
    """As they stand there, where no host is left out."""
    examples = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    assert len(examples) == 2
    for one in examples:
        request = read_request(json.loads(one), Form.JSON)
        assert request.callback is not None
        Settings().request_rules.check(request)
    (settings,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    Settings.model_validate(loads(settings.encode()))
