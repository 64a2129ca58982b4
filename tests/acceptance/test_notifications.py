"""Notifications through the real program: people are told, whatever ends meanwhile."""

import html
import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from runner.config import Settings, load
from runner.contract.text.strict_yaml import loads
from runner.followers.notifications.at_once import SECONDS
from runner.places import ConfigError
from tests.conftest import Program, code, notebook, programs, wait_for
from tests.mail_server import MailServer
from tests.receiver import Receiver

DOCUMENT = Path(__file__).parents[2] / "docs" / "notifications.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
PASSWORD, TOKEN = "s3cr3tpass", "s3cr3ttoken"
FAILS = notebook(code("divisor = 0"), code("a = 1\nresult = 100 / divisor"))
WORKS = notebook(code("open('table.csv', 'w').write('1,2')"), code("1 + 1", "results"))


@pytest.fixture(scope="module")
def mail() -> Iterator[MailServer]:
    with MailServer() as one:
        yield one


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as one:
        yield one


def url_of(receiver: Receiver) -> str:
    return f"json://ops:{PASSWORD}@127.0.0.1:{receiver.port}/{TOKEN}"


@pytest.fixture(scope="module")
def program(
    tmp_path_factory: pytest.TempPathFactory, mail: MailServer, receiver: Receiver
) -> Iterator[Program]:
    folder = tmp_path_factory.mktemp("notifications")
    (folder / "secrets").mkdir()
    (folder / "secrets" / "ops").write_text(f"# the team\n{mail.url()}\n")
    notify: list[dict[str, Any]] = [
        {"to": "ops", "when": ["failed", "recovered"], "names": "mail/*"},
        {"to": "ops", "when": "succeeded", "names": "files/*", "attach": ["files", "html", "pdf"]},
        {"to": url_of(receiver), "names": "json/*"},
        {"to": url_of(receiver), "names": "digest/*", "digest_minutes": 60},
    ]
    for make in programs(folder):
        gateway = {"enabled": True, "port": 0, "public_url": "https://runner.example.com"}
        secrets = str(folder / "secrets")
        yield make({"gateway": gateway, "notify": notify, "secrets": secrets}).start()


@pytest.fixture(autouse=True)
def afresh(receiver: Receiver, mail: MailServer) -> None:
    receiver.status = 200
    receiver.came.clear()
    mail.came.clear()


def ask(program: Program, path: str, method: str = "GET") -> Any:
    return requests.request(method, f"{program.url}{path}", timeout=90).json()


def test_a_mail_tells_of_a_failure_and_of_the_success_after_it(
    program: Program, mail: MailServer
) -> None:
    """With the failing line, the error, and a link to the job's page."""
    program.drop("mail/daily.ipynb", FAILS)
    report = program.await_report("mail/daily")
    wait_for(lambda: mail.came)
    (came,) = mail.came
    assert came.content["Subject"] == "mail/daily failed"
    assert "result = 100 / divisor" in came.text
    assert "ZeroDivisionError: division by zero" in came.text
    assert f"https://runner.example.com/jobs/{report['job_id']}" in came.text
    program.drop("mail/daily.ipynb", WORKS)
    wait_for(lambda: len(mail.came) == 2)
    assert mail.came[1].content["Subject"] == "mail/daily succeeded again"


def test_files_and_the_report_go_along(program: Program, mail: MailServer) -> None:
    """What cannot be made is said."""
    program.drop("files/may.ipynb", WORKS)
    wait_for(lambda: mail.came)
    (came,) = mail.came
    assert came.attachments["table.csv"] == b"1,2"
    assert came.attachments["may.html"].startswith(b"<!doctype html>")
    assert ("may.pdf" in came.attachments) or ("Not attached: may.pdf" in came.text)


def test_the_page_shows_what_came_of_it_and_no_secret(program: Program, receiver: Receiver) -> None:
    """A button sends it again; health names a receiver that does not take it."""
    receiver.status = 503
    program.drop("json/a.ipynb", FAILS)
    job_id = program.await_report("json/a")["job_id"]
    path = f"/jobs/{job_id}"
    (row,) = wait_for(
        lambda: [one for one in ask(program, f"{path}/deliveries")["deliveries"] if one["error"]]
    )
    assert (row["kind"], row["state"]) == ("notification", "waiting")
    assert row["url"] == f"json://127.0.0.1:{receiver.port}"
    assert "503" in row["error"]
    wait_for(lambda: "error=503" in program.run("health").stdout)
    health = program.run("health").stdout
    page = requests.get(f"{program.url}{path}", headers={"Accept": "text/html"}, timeout=90).text
    assert ">Notifications<" in page
    assert "Waiting" in page
    receiver.status = 200
    before = len(receiver.came)
    again = f"{path}/deliveries/{row['id']}/again"
    assert ask(program, again, "POST")["deliveries"][0]["state"] == "waiting"
    wait_for(lambda: len(receiver.came) > before)
    wait_for(lambda: ask(program, f"{path}/deliveries")["deliveries"][0]["state"] == "delivered")
    doctor = program.run("doctor").stdout
    assert f"json://127.0.0.1:{receiver.port}" in doctor
    state = b"".join(
        one.read_bytes() for one in (program.root / "state").iterdir() if one.is_file()
    )
    for text in (page, health, doctor, program.log, json.dumps(row), state.decode("latin-1")):
        assert PASSWORD not in text
        assert TOKEN not in text


def test_the_page_says_until_when_a_notification_is_held(program: Program) -> None:
    """And why; so does HTTP."""
    program.drop("digest/a.ipynb", FAILS)
    path = f"/jobs/{program.await_report('digest/a')['job_id']}"
    (row,) = wait_for(lambda: ask(program, f"{path}/deliveries")["deliveries"])
    assert (row["attempts"], row["held"]) == (0, "it goes with the digest then")
    assert datetime.fromisoformat(row["due_at"]) > datetime.now(UTC) + timedelta(minutes=50)
    page = requests.get(f"{program.url}{path}", headers={"Accept": "text/html"}, timeout=90).text
    said = " ".join(re.sub("<[^>]*>", "", page).split())
    assert re.search("not tried yet; held until .{5,40}: it goes with the digest then", said)


def test_a_receiver_that_comes_back_is_told_though_the_runner_was_killed(
    program: Program, receiver: Receiver
) -> None:
    """At least once."""
    receiver.status = 503
    program.drop("json/late.ipynb", FAILS)
    program.await_report("json/late")
    wait_for(lambda: receiver.came)
    program.stop(signal.SIGKILL)
    receiver.came.clear()
    receiver.status = 200
    before = len(program.addresses())
    program.start()
    wait_for(lambda: len(program.addresses()) > before)
    wait_for(lambda: receiver.came)
    assert json.loads(receiver.came[0].body)["title"] == "json/late failed"


def test_a_test_message_goes_to_each_receiver_or_one(
    program: Program, mail: MailServer, receiver: Receiver
) -> None:
    """The exit code tells whether all took it; nothing secret is printed."""
    done = program.run("notify", "test")
    assert done.returncode == 0, done.stderr
    assert mail.came[0].content["Subject"] == "Inbox Runner: a test"
    assert len(receiver.came) == 1
    assert re.search(rf"ops \(mailto://127.0.0.1:{mail.port}\)\s+sent", done.stdout)
    receiver.status = 500
    done = program.run("notify", "test", "--json")
    assert done.returncode == 1
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["result"] for one in rows] == ["sent", "failed"]
    assert "500" in rows[1]["why"]
    assert "1 of 2 did not take it" in done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    assert TOKEN not in done.stdout + done.stderr
    receiver.came.clear()
    done = program.run("notify", "test", "ops")
    assert (done.returncode, len(receiver.came)) == (0, 0)
    done = program.run("notify", "test", "nobody")
    assert done.returncode != 0
    assert "no receiver of the name nobody; there are: json://" in done.stderr


def test_a_wrong_setting_is_told_before_anything_runs(
    make_program: Callable[..., Program],
) -> None:
    """By every command, without what is secret."""
    program = make_program({"notify": [{"to": f"json://u:{PASSWORD}@h x"}]})
    done = program.run("serve")
    assert "with a space in it; write `%20` for it" in done.stderr
    assert PASSWORD not in done.stderr


@pytest.mark.parametrize(
    ("content", "what", "advice"),
    [
        (None, "is missing", "make it, with a URL of Apprise in it"),
        ("# later\n", "has no URL", "write a URL of Apprise into it, on a line of its own"),
        ("folder", "is a folder", "make a file in its place, with a URL of Apprise in it"),
    ],
)
def test_a_receiver_that_is_missing_stops_nothing(
    make_program: Callable[..., Program],
    receiver: Receiver,
    content: str | None,
    what: str,
    advice: str,
) -> None:
    """Not the runner, and not the other receivers; what waits for it is sent once it is there."""
    gateway = {"enabled": True, "port": 0}
    program = make_program({"gateway": gateway, "notify": [{"to": ["gone", url_of(receiver)]}]})
    file = program.root / "secrets" / "gone"
    file.parent.mkdir()
    if content == "folder":
        file.mkdir()
    elif content is not None:
        file.write_text(content)
    program.start()
    program.drop("a.ipynb", FAILS)
    job_id = program.await_report("a")["job_id"]
    wait_for(lambda: receiver.came)
    said = f"{file} {what}; {advice}"
    wait_for(lambda: "to go to gone:" in program.run("health").stdout)
    health = program.run("health").stdout
    assert re.search(rf"no notification can be sent to gone: .*{re.escape(said)}", health)
    page = requests.get(program.url, headers={"Accept": "text/html"}, timeout=90).text
    assert said in html.unescape(page)
    rows = {one["url"]: one for one in ask(program, f"/jobs/{job_id}/deliveries")["deliveries"]}
    assert (rows["gone"]["state"], rows["gone"]["error"].endswith(said)) == ("waiting", True)
    doctor = " ".join(program.run("doctor").stdout.split())
    assert f"gone: {'' if content == 'folder' else 'the file '}{file} {what}" in doctor
    assert advice[1:] in doctor
    done = program.run("notify", "test", "--json")
    tried = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["receiver"], one["result"]) for one in tried] == [
        ("gone", "failed"),
        (f"json://127.0.0.1:{receiver.port}", "sent"),
    ]
    assert done.returncode == 1
    if content == "folder":
        file.rmdir()
    file.write_text(f"{url_of(receiver)}&format=text\n")
    receiver.came.clear()
    ask(program, f"/jobs/{job_id}/deliveries/{rows['gone']['id']}/again", "POST")
    wait_for(lambda: receiver.came)
    assert json.loads(receiver.came[0].body)["title"] == "a failed"


def test_a_run_without_a_daemon_does_not_wait_for_a_receiver_that_is_missing(
    make_program: Callable[..., Program], receiver: Receiver
) -> None:
    """It says so; so does the check, as a warning."""
    program = make_program({"notify": [{"to": ["gone", url_of(receiver)]}]})
    (program.root / "one.ipynb").write_text(json.dumps(FAILS))
    began = time.monotonic()
    done = program.run("run", "one.ipynb")
    assert time.monotonic() - began < SECONDS
    assert json.loads(done.stdout)["status"] == "failed"
    assert json.loads(receiver.came[0].body)["title"] == "one failed"
    said = f"the file {program.root / 'secrets' / 'gone'} is missing; make it"
    assert said in " ".join(done.stderr.split())
    done = program.run("check", "one.ipynb")
    assert done.returncode == 0
    assert f"warning: no notification can go to gone from here: {said}" in done.stdout


def test_a_url_that_apprise_does_not_know_is_told_by_health_and_doctor(
    make_program: Callable[..., Program],
) -> None:
    """It is not ignored, and stops nothing else."""
    program = make_program({"notify": [{"to": f"nosuch://{TOKEN}"}]}).start()
    wait_for(lambda: "Apprise cannot use this URL (nosuch://" in program.run("health").stdout)
    program.drop("a.ipynb", WORKS)
    assert program.await_report("a")["status"] == "succeeded"
    done = program.run("doctor")
    assert "Apprise cannot use this URL (nosuch://…)" in done.stdout
    assert TOKEN not in done.stdout + program.log


def test_without_apprise_the_runner_works_and_says_how_to_install_it(
    make_program: Callable[..., Program], tmp_path: Path
) -> None:
    """What waits is sent once it is there."""
    with Receiver() as receiver:
        hidden = tmp_path / "hidden"
        hidden.mkdir()
        (hidden / "sitecustomize.py").write_text("import sys\nsys.modules['apprise'] = None\n")
        program = make_program({"notify": [{"to": url_of(receiver)}]})
        program.environment = {"PYTHONPATH": str(hidden)}
        program.start()
        program.drop("a.ipynb", FAILS)
        program.await_report("a")
        wait_for(lambda: "notifications are not sent: Apprise" in program.run("health").stdout)
        assert "this installs it" in program.run("health").stdout
        done = program.run("notify", "test")
        assert done.returncode != 0
        assert "Apprise is not installed; this installs it" in done.stderr
        assert receiver.came == []
        program.stop()
        program.environment = {}
        program.start()
        wait_for(lambda: receiver.came)


@pytest.mark.parametrize("status", [200, 503])
def test_a_run_without_a_daemon_tells_before_it_ends(
    make_program: Callable[..., Program], receiver: Receiver, status: int
) -> None:
    """Without waiting for a window; what did not come through is said.

    There is a link only to a page that will be there.
    """
    receiver.status = status
    notify = [{"to": url_of(receiver), "digest_minutes": 60}]
    gateway = {"public_url": "https://runner.example.com"}
    program = make_program({"notify": notify, "gateway": gateway})
    (program.root / "one.ipynb").write_text(json.dumps(FAILS))
    done = program.run("run", "one.ipynb")
    assert json.loads(done.stdout)["status"] == "failed"
    assert json.loads(receiver.came[0].body)["title"] == "one failed"
    assert "https://" not in json.loads(receiver.came[0].body)["message"]
    assert ("error=503" in done.stderr) == (status == 503)
    assert PASSWORD not in done.stderr
    receiver.came.clear()
    report = json.loads(program.run("run", "one.ipynb", "--keep").stdout)
    link = f"https://runner.example.com/jobs/{report['job_id']}"
    assert link in json.loads(receiver.came[0].body)["message"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            {"to": "ops", "when": ["first_falure"]},
            "setting `notify.0.when.0`: did you mean `first_failure`? Input should be 'failed'",
        ),
        (
            {"to": "ops", "attach": "htm"},
            "setting `notify.0.attach.0`: did you mean `html`? Input should be 'html'",
        ),
        (
            {"to": "ops", "when": []},
            "setting `notify.0.when` has too few entries: at least 1 is needed",
        ),
        ({"to": []}, "setting `notify.0.to` has too few entries: at least 1 is needed"),
    ],
)
def test_a_word_that_is_none_is_told_with_the_one_that_was_meant(
    tmp_path: Path, line: dict[str, Any], said: str
) -> None:
    """And an empty list in words for people."""
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps({"notify": [line]}))
    with pytest.raises(ConfigError) as error:
        load(file)
    assert str(error.value).startswith(said)


def test_the_examples_of_the_document_are_taken(tmp_path: Path) -> None:
    """As they stand there."""
    examples = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert len(examples) == 3
    for one in examples:
        assert Settings.model_validate(loads(one.encode()))
