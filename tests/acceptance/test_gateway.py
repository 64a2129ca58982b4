"""Promises of the HTTP face, through real sockets against the real program."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.clients import CLIENTS, N8N, Client
from tests.conftest import Json, Program, Serving, code, notebook, programs, tool, wait_for

GATEWAY: Json = {"enabled": True, "port": 0}
RESULT = code("6 * 7", "results")
SLOW = notebook("import time\nfor n in range(600):\n    time.sleep(0.1)")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """One program for all tests that leave it as it was."""
    making = programs(tmp_path_factory.mktemp("gateway"))
    make = next(making)
    found = make({"gateway": GATEWAY, "limits": {"notebook_mb": 1}}).start()
    (found.library / "reports").mkdir(parents=True)
    library = notebook(
        code("region = 'EU'\nfactor = 2", "parameters"), code("region, factor", "results")
    )
    (found.library / "reports" / "daily.ipynb").write_text(json.dumps(library))
    yield found
    next(making, None)


def post(program: Program, body: object, query: str = "", **headers: str) -> requests.Response:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Content-Type": "application/json"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.post(f"{program.url}/run{query}", raw, headers=given, timeout=180)


def get(program: Program, path: str, **headers: str) -> requests.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.get(f"{program.url}{path}", headers=given, timeout=180)


def raw_request(program: Program, raw: bytes) -> tuple[int, dict[str, str], bytes]:
    """Bytes as they are, and the answer to them."""
    host, _, port = program.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), 30) as connection:
        connection.sendall(raw)
        answer = http.client.HTTPResponse(connection, method=raw.split(b" ", 1)[0].decode())
        answer.begin()
        return answer.status, dict(answer.getheaders()), answer.read()


def _has(keys: list[str], count: int) -> bool:
    return len(keys) > count


def _is_there(program: Program, gateways: int) -> bool:
    return len(program.addresses()) == gateways


def _runs(program: Program, job: str) -> bool:
    return bool(get(program, job).json()["state"] == "running")


def inbox_files(program: Program) -> list[str]:
    own = (".runner.lock", "README.md")
    return [str(p) for p in program.inbox.rglob("*") if p.is_file() and p.name not in own]


@pytest.mark.parametrize(
    "body",
    [
        {"notebook": notebook(RESULT)},
        notebook(RESULT),
        [{"notebook": notebook(RESULT)}],
        [{"json": {"notebook": notebook(RESULT)}, "pairedItem": {"item": 0}}],
        {"notebook": json.dumps(notebook(RESULT))},
        {
            "cells": [
                {"cell_type": "code", "source": ["6 *", " 7"], "metadata": {"tags": ["results"]}}
            ]
        },
    ],
    ids=["wrapped", "bare", "n8n", "items", "text", "sparse"],
)
def test_every_form_of_body_gives_its_result(program: Program, body: object) -> None:
    """A notebook in a body, however sparse, is run as if it had been dropped."""
    answer = post(program, body)
    assert answer.status_code == 200, answer.text
    report = answer.json()
    assert report["results"]["cell_1"]["application/json"] == 42
    assert report["name"].startswith("http/")
    assert report["name"].endswith(report["job_id"])
    assert (program.outbox / report["output_nb"]).is_file()


def test_a_library_notebook_runs_with_parameters(program: Program) -> None:
    """By its path, as a request in a file would name it; a chosen name is its name."""
    body = {"notebook": "reports/daily.ipynb", "parameters": {"region": "US"}, "name": "daily/us"}
    report = post(program, body).json()
    assert report["results"]["cell_3"]["text/plain"] == "('US', 2)"
    assert program.report("daily/us") == report


@pytest.mark.parametrize(
    ("body", "status", "error_type"),
    [
        (notebook("1/0"), 422, "papermill_execution_error"),
        (notebook("import no_such_module_x"), 422, "missing_dependencies"),
        (notebook("__import__('no_such_module_x')"), 400, "module_not_found"),
        (notebook("import os, signal; os.kill(os.getpid(), signal.SIGKILL)"), 422, "kernel_died"),
        (notebook("input()"), 422, "papermill_execution_error"),
        ({"notebook": {"cells": "x"}}, 400, "invalid_notebook"),
        ({"notebook": "no/such.ipynb"}, 400, "invalid_request"),
        ({"notebook": notebook("1"), "kernel": "ir"}, 400, "kernel_not_allowed"),
        ({"notebook": notebook("1"), "parameters": {"a b": 1}}, 422, "invalid_parameters"),
        ({"notebook": notebook("while True: pass"), "timeout_seconds": 1}, 504, "timeout"),
    ],
)
def test_every_error_has_its_status(
    program: Program, body: object, status: int, error_type: str | None
) -> None:
    """The contract's table, and the error JSON as it is published."""
    answer = post(program, body)
    assert (answer.status_code, answer.json().get("error_type")) == (status, error_type)
    if "job_id" in answer.json():
        assert program.report(answer.json()["name"]) == answer.json()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b'{"notebook": NaN}', "NaN"),
        (b'{"notebook": "a", "notebook": "b"}', "twice"),
        (b"\xff", "UTF-8"),
        (b"[" * 200_000, "deep"),
        (b"[{}, {}]", "one notebook"),
        (b"", "empty"),
    ],
)
def test_a_body_that_is_no_strict_json_is_400(program: Program, raw: bytes, said: str) -> None:
    """Refused with the reason; nothing is queued."""
    answer = post(program, raw)
    assert answer.status_code == 400
    assert said in answer.json()["message"]


def test_a_query_that_a_route_does_not_know_is_refused(program: Program) -> None:
    """Who does not want to wait would wait for minutes, and a list would be of all jobs."""
    answer = post(program, notebook(RESULT), "?wiat=0")
    assert answer.status_code == 400
    assert "did you mean `wait`?" in answer.json()["message"]
    assert post(program, notebook(RESULT), "?wait=0&_=123").status_code == 400
    for path, known in (
        ("/jobs?stauts=failed", "did you mean `status`?"),
        ("/metrics?x=1", "knows `format`."),
        (f"/jobs/{'0' * 32}?wiat=1", "did you mean `wait`?"),
        (f"/jobs/{'0' * 32}/notebook?fromat=html", "did you mean `format`?"),
        *((f"/{one}?x=1", "which has none.") for one in ("schedules", "pauses", "notebooks")),
        ("/inbox?x=1", "which has none."),
    ):
        answer = requests.get(f"{program.url}{path}", timeout=60)
        assert (answer.status_code, known in answer.json()["message"]) == (400, True), path
    assert requests.get(f"{program.url}/healthz?x=1", timeout=60).status_code == 200


def test_a_misspelt_key_pauses_and_resumes_nothing(program: Program) -> None:
    """`?nme=x` would pause all jobs, and a body that nobody reads as well."""
    for path in ("/pause", "/resume"):
        answer = requests.post(f"{program.url}{path}?nme=x", timeout=60)
        assert (answer.status_code, "did you mean `name`?" in answer.text) == (400, True), path
        answer = requests.post(f"{program.url}{path}", json={"name": "x"}, timeout=60)
        assert (answer.status_code, "its query knows `name`" in answer.text) == (400, True), path
    answer = requests.post(f"{program.url}/jobs/{'0' * 32}/retry", data={"x": 1}, timeout=60)
    assert (answer.status_code, "its query knows `wait`" in answer.text) == (400, True)
    assert requests.get(f"{program.url}/pauses", timeout=60).json() == {"pauses": []}
    assert requests.post(f"{program.url}/resume", json={}, timeout=60).status_code == 404


def test_a_call_names_only_the_type_that_works(program: Program) -> None:
    """A form is no notebook's parameters."""
    address = f"{program.url}/notebooks/reports/daily"
    for answer in (
        requests.post(address, files={"file": b"x"}, timeout=60),
        requests.post(address, data={"region": "US"}, timeout=60),
    ):
        assert (answer.status_code, "JSON object" in answer.text) == (415, True), answer.text
        assert "multipart/form-data with" not in answer.text
        assert answer.headers["Accept-Post"] == "application/json"


def test_a_job_without_a_result_yet_is_not_told_as_rejected(program: Program) -> None:
    """404 with the status of the job."""
    slow = notebook("import time; time.sleep(30)")
    job_id = post(program, slow, "?wait=0").json()["job_id"]
    address = f"{program.url}/jobs/{job_id}"
    wait_for(lambda: requests.get(address, timeout=60).json().get("status") == "running")
    answer = requests.get(f"{address}/result", timeout=60)
    requests.delete(address, timeout=60)
    assert (answer.status_code, answer.json()["status"]) == (404, "running")
    assert answer.json()["error_type"] == "not_found"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_other_content_types_are_415(program: Program, kind: str) -> None:
    """What a form of another site can send is never read; the answer says what would be."""
    answer = post(program, notebook(RESULT), Content_Type=kind)
    assert (answer.status_code, answer.json()["error_type"]) == (415, "unsupported_media_type")
    assert (kind or "without a Content-Type") in answer.json()["message"]
    assert "application/x-ipynb+json" in answer.headers["Accept-Post"]


@pytest.mark.parametrize(
    "kind",
    ["application/x-ipynb+json", "application/octet-stream", "application/json; charset=utf-8"],
)
def test_a_notebook_may_come_as_what_it_is_called(program: Program, kind: str) -> None:
    """The type under which this gateway gives notebooks away, and that of any file."""
    answer = post(program, notebook(RESULT), Content_Type=kind)
    assert answer.json()["results"]["cell_1"]["application/json"] == 42


def test_a_notebook_may_come_as_a_file_in_a_form(program: Program) -> None:
    """As curl -F and n8n's form data send it, with the other keys beside it."""
    raw = json.dumps(notebook(code("x = 1", "parameters"), code("x", "results"))).encode()
    answer = requests.post(
        f"{program.url}/run",
        {"parameters": '{"x": 5}', "timeout_seconds": "60", "name": "form"},
        files={"file": ("report.ipynb", raw, "application/x-ipynb+json")},
        timeout=60,
    )
    report = answer.json()
    assert (report["name"], report["results"]["cell_3"]["application/json"]) == ("form", 5)
    large = {"file": ("x.ipynb", b"x" * (3 << 20))}
    answer = requests.post(f"{program.url}/run", files=large, timeout=60)
    assert (answer.status_code, answer.json()["error_type"]) == (413, "notebook_too_large")


def test_a_notebook_may_come_as_a_text_of_a_form(program: Program) -> None:
    """As .NET and `curl -F 'file=<report.ipynb'` send it; a form that is broken is told so."""
    raw = json.dumps(notebook(RESULT))
    answer = requests.post(f"{program.url}/run", files={"file": (None, raw)}, timeout=60)
    assert answer.json()["results"]["cell_1"]["application/json"] == 42
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = requests.post(f"{program.url}/run", b"--x", headers=kind, timeout=60)
    assert (answer.status_code, answer.json()["message"][:24]) == (400, "The form cannot be read:")


@pytest.mark.parametrize("name", ["@eaDir/x", "a/" * 33 + "x", "x.sync-conflict-20260102-030405-A"])
def test_a_name_that_is_left_alone_is_refused(program: Program, name: str) -> None:
    """The client would wait for what nobody takes."""
    answer = post(program, {"notebook": notebook(RESULT), "name": name})
    assert (answer.status_code, answer.json()["error_type"]) == (400, "invalid_request")
    assert "leaves alone" in answer.json()["message"]


def test_letters_that_are_no_utf8_are_not_left_out_of_an_address(program: Program) -> None:
    """They would make it another one; and a file's name may have a line's end in it."""
    report = post(program, notebook("open('b' + chr(10) + 'c', 'w').write('new')")).json()
    assert get(program, report["files"][0]["url"]).text == "new"
    assert get(program, f"/jobs/{report['job_id']}%ff").status_code == 404
    assert get(program, "/jobs/%ff").status_code == 404
    assert get(program, "/jobs?name=%ff").status_code == 400


def test_an_oversized_body_is_413_for_ordinary_clients(program: Program) -> None:
    """With a length, and in chunks; the client gets to see the answer."""
    large = notebook("x = '" + "a" * (3 << 20) + "'")
    answer = post(program, large)
    assert (answer.status_code, answer.json()["error_type"]) == (413, "notebook_too_large")
    raw = json.dumps(large).encode()
    chunks = (raw[at : at + 65536] for at in range(0, len(raw), 65536))
    headers = {"Content-Type": "application/json"}
    answer = requests.post(f"{program.url}/run", chunks, headers=headers, timeout=60)
    assert (answer.status_code, answer.json()["error_type"]) == (413, "notebook_too_large")


def test_a_body_that_is_not_even_read_is_413_as_well(program: Program) -> None:
    """Far above the limit the server itself refuses: with the same type and the same words."""
    head = "POST /run HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    status, _, body = raw_request(program, f"{head}Content-Length: 999999999\r\n\r\n".encode())
    problem = json.loads(body)
    assert (status, problem["error_type"]) == (413, "notebook_too_large")
    assert "above the limit of 1 MB (limits.notebook_mb)" in problem["message"]


def test_a_body_may_come_in_chunks(program: Program) -> None:
    """As clients send what they make while they send it."""
    raw = json.dumps(notebook(RESULT)).encode()
    headers = {"Content-Type": "application/json"}
    answer = requests.post(
        f"{program.url}/run", iter([raw[:9], raw[9:]]), headers=headers, timeout=60
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/run", 405),
        ("PATCH", "/run", 405),
        ("PUT", "/jobs", 405),
        ("GET", "/jobs/x", 404),
        ("GET", "/jobs/" + "0" * 32, 404),
        ("DELETE", "/jobs/" + "0" * 32, 404),
        ("POST", "/jobs/" + "0" * 32 + "/retry", 404),
        ("GET", "/jobs/..%2f..%2fetc%2fpasswd", 404),
        ("GET", "/jobs/%00", 404),
        ("GET", "/jobs/%0d%0aX:1", 404),
        ("GET", "/jobs/../../etc/passwd", 404),
        ("GET", "/jobs/" + "0" * 32 + "/files/../../../etc/passwd", 404),
        ("GET", "/jobs?limit=0", 400),
        ("GET", "/jobs?limit=x", 400),
        ("GET", "/jobs?status=x", 400),
        ("GET", "/jobs?before=x", 400),
        ("GET", "/metrics?format=xml", 400),
        ("POST", "/run?wait=x", 415),
    ],
)
def test_every_error_is_json(program: Program, method: str, path: str, status: int) -> None:
    """Also those that no route of ours gives."""
    raw = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode()
    found, headers, body = raw_request(program, raw)
    assert (found, headers["Content-Type"]) == (status, "application/json")
    assert json.loads(body)["message"]


def test_an_empty_key_of_a_query_means_no_key(program: Program) -> None:
    """As forms, and expressions of n8n that give nothing, send it."""
    report = post(program, notebook(RESULT), "?wait=").json()
    assert report["status"] == "succeeded"
    jobs = get(program, "/jobs?limit=&status=&name=&before=").json()["jobs"]
    assert report["job_id"] in [job["job_id"] for job in jobs]
    assert get(program, f"/jobs/{report['job_id']}/notebook?format=").status_code == 200
    assert "job_id" in get(program, f"/jobs/{report['job_id']}?wait=").json()


def test_a_wrong_address_or_method_says_what_is_right(program: Program) -> None:
    """Slashes too many do no harm; the rest is told with the way out."""
    assert get(program, "//healthz/").json()["service"] == "papermill-gateway"
    raw = json.dumps(notebook(RESULT)).encode()
    kind = {"Content-Type": "application/json"}
    for path in ("//run", "/run/"):
        assert requests.post(f"{program.url}{path}", raw, headers=kind, timeout=60).ok
    upper = requests.post(f"{program.url}/RUN", raw, headers=kind, timeout=60)
    assert upper.status_code == 404
    assert "/run" in upper.json()["message"]
    wrong = get(program, "/run")
    assert (wrong.status_code, wrong.headers["Allow"]) == (405, "POST")
    assert "POST" in wrong.json()["message"]
    options = requests.options(f"{program.url}/jobs", timeout=60)
    assert (options.status_code, options.content) == (204, b"")
    assert "GET" in options.headers["Allow"]


@pytest.mark.parametrize(
    "head",
    [
        "GET /healthz HTTP/1.1\r\nHost: 10.1.2.3:5005\r\nUser-Agent: kube-probe/1.34\r\n"
        "Accept: */*\r\nConnection: close",
        "GET /healthz HTTP/1.1\r\nHost: 172.31.0.7:5005\r\nUser-Agent: ELB-HealthChecker/2.0",
        "OPTIONS / HTTP/1.0",
        "HEAD /healthz HTTP/1.0",
        "OPTIONS /healthz HTTP/1.1\r\nHost: [fd00::7]:5005",
        "GET / HTTP/1.0\r\nUser-Agent: GoogleHC/1.0",
    ],
    ids=["Kubernetes", "AWS", "HAProxy", "HAProxy HEAD", "HAProxy IPv6", "Google"],
)
def test_probes_are_answered_by_address_and_without_a_name(program: Program, head: str) -> None:
    """Health alone: whatever else they ask for needs a known Host."""
    status, headers, body = raw_request(program, f"{head}\r\n\r\n".encode())
    assert (status, headers["Content-Type"]) == (200, "application/json")
    if not head.startswith("HEAD"):
        assert json.loads(body)["status"] == "healthy"
        assert "workers" not in json.loads(body)
    _, _, rest = head.partition(" HTTP")
    status, _, body = raw_request(program, f"GET /jobs HTTP{rest}\r\n\r\n".encode())
    assert status == 403
    assert "Host" in json.loads(body)["message"]


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_every_client_gets_what_it_reads_everywhere(program: Program, client: Client) -> None:
    """The job, what is not there, what is not allowed: JSON for programs, pages for browsers."""
    names = {"Accept": client.accept, "User-Agent": client.user_agent}
    own = [f"{name}: {value}" for name, value in names.items() if value is not None]
    head = "\r\n".join(["HTTP/1.1", "Host: localhost", *own, "\r\n"])
    expected = "text/html; charset=utf-8" if client.reads == "page" else "application/json"
    for path in ("/", "/jobs/" + "0" * 32, "/nothing", "/jobs/x/notebook", "/jobs?limit=x"):
        _, headers, body = raw_request(program, f"GET {path} {head}".encode())
        assert (path, headers["Content-Type"]) == (path, expected)
        assert "Accept" in headers["Vary"]
        assert body.startswith(b"<!doctype html>" if client.reads == "page" else b"{")
    _, headers, _ = raw_request(program, f"GET /healthz {head}".encode())
    assert headers["Content-Type"] == "application/json"


def test_what_is_no_http_is_json_too(program: Program) -> None:
    """The server itself refuses it."""
    found, headers, body = raw_request(program, b"GET / HTTP/1.1\r\nHost: a\r\n b c\r\nX\r\n\r\n")
    assert (found, headers["Content-Type"]) == (400, "application/json")
    assert json.loads(body)["error_type"] == "bad_http"


@pytest.mark.parametrize(
    "header", ["Accept", "User-Agent", "Cookie", "Authorization", "Prefer", "Content-Type"]
)
def test_a_header_in_latin_1_is_a_header(program: Program, header: str) -> None:
    """Node.js and Python's clients write letters so; cookies of other programs come along, too."""
    for path in ("/jobs?limit=1", "/healthz"):
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}: x=Zo\xeb\r\n\r\n"
        status, headers, _ = raw_request(program, head.encode("latin-1"))
        assert (status, headers["Content-Type"]) == (200, "application/json")


def test_a_key_is_the_same_in_latin_1_and_in_utf_8(program: Program) -> None:
    """`fetch` and Python's http.client write the one, curl what its terminal has."""
    body = json.dumps(notebook(RESULT)).encode()
    jobs = []
    for coding in ("latin-1", "utf-8"):
        head = "POST /run?wait=60 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        length = f"Content-Length: {len(body)}\r\nIdempotency-Key: Zo\xeb\r\n\r\n"
        status, _, answer = raw_request(program, (head + length).encode(coding) + body)
        assert status in (200, 202)
        jobs.append(json.loads(answer)["job_id"])
    assert jobs[0] == jobs[1]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_foreign_pages_are_refused_and_queue_nothing(
    program: Program, headers: dict[str, str]
) -> None:
    """DNS rebinding, forms and fetches of other sites."""

    def newest() -> Any:
        return get(program, "/jobs?limit=1").json()

    # It is closed a moment after its result is there.
    wait_for(lambda: all(job["state"] == "closed" for job in newest()["jobs"]))
    before = newest()
    for path in ("/", "/metrics", "/jobs"):
        assert get(program, path, **headers).status_code == 403
    answer = post(program, notebook(RESULT), **headers)
    assert (answer.status_code, answer.json()["error_type"]) == (403, "forbidden")
    assert inbox_files(program) == []
    assert newest() == before


def until(go: Path) -> str:
    """A cell that ends once a file is there."""
    return f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.02)"


def test_a_job_can_be_asked_for_again(program: Program, tmp_path: Path) -> None:
    """202 at once with a place to ask; state, progress and result there."""
    go = tmp_path / "go"
    answer = post(program, notebook(until(go), RESULT), Prefer="respond-async")
    assert answer.status_code == 202
    job = answer.headers["Location"]
    assert job == f"/jobs/{answer.json()['job_id']}"
    assert get(program, job).json()["status"] in ("queued", "running")
    go.touch()
    found = get(program, f"{job}?wait=50").json()
    assert found["status"] == "succeeded"
    assert found["result"]["results"]["cell_2"]["application/json"] == 42
    assert get(program, f"{job}/result").json() == found["result"]
    listed = get(program, "/jobs?status=succeeded&limit=1").json()["jobs"]
    assert listed[0]["job_id"] == found["job_id"]


def test_a_job_is_there_from_its_202_on(program: Program) -> None:
    """However closely it is followed while it moves from the inbox into the ledger."""

    def follow(job: str) -> set[int]:
        codes: set[int] = set()
        with requests.Session() as session:
            while codes <= {200}:
                answer = session.get(f"{program.url}{job}", timeout=60)
                codes.add(answer.status_code)
                if answer.json().get("state") != "submitted":
                    return codes
        return codes

    with ThreadPoolExecutor(16) as pool:
        for _ in range(20):
            job = post(program, notebook(RESULT), "?wait=0").headers["Location"]
            assert set().union(*pool.map(follow, [job] * 16)) == {200}


def test_waiting_runs_out_into_202(program: Program, tmp_path: Path) -> None:
    """The job goes on, and its result is there later."""
    go = tmp_path / "go"
    answer = post(program, notebook(until(go), RESULT), "?wait=0.5")
    assert answer.status_code == 202
    job = answer.headers["Location"]
    missing = get(program, f"{job}/result")
    assert (missing.status_code, missing.json()["error_type"]) == (404, "not_found")
    go.touch()
    assert get(program, f"{job}?wait=50").json()["result"]["status"] == "succeeded"


def test_one_key_fifty_times_at_once_is_one_job(program: Program) -> None:
    """And the same later; with another body it is refused."""
    body = notebook("import time; time.sleep(0.5)", RESULT)
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: post(program, body, Idempotency_Key="k1"), range(50)))
    assert {a.status_code for a in answers} == {200}
    ids = {a.json()["job_id"] for a in answers}
    assert len(ids) == 1
    assert post(program, body, Idempotency_Key="k1").json() == answers[0].json()
    jobs = get(program, "/jobs?limit=500").json()["jobs"]
    assert [j["job_id"] for j in jobs].count(ids.pop()) == 1
    other = post(program, notebook(RESULT), Idempotency_Key="k1")
    assert (other.status_code, other.json()["error_type"]) == (400, "invalid_request")


def test_a_client_that_leaves_does_not_end_its_job(program: Program) -> None:
    """Its thread is free again and the job completes."""
    body = json.dumps({"notebook": notebook("import time; time.sleep(2)", RESULT), "name": "left"})
    host, _, port = program.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST /run HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        wait_for(lambda: get(program, "/jobs?name=left").json()["jobs"])
    assert program.await_report("left")["status"] == "succeeded"


def test_folders_that_were_made_for_a_name_go_when_they_are_empty(program: Program) -> None:
    """Those of days too. A folder that a person made stays, and what somebody put into ours."""
    (program.inbox / "mine").mkdir()
    for name in ("deep/er/one", "mine/made/two"):
        post(program, {"notebook": notebook(RESULT), "name": name})

    def is_used() -> bool:
        """The folder may go between the answer and the person's file."""
        post(program, {"notebook": notebook(RESULT), "name": "used/three"})
        with suppress(FileNotFoundError):
            (program.inbox / "used" / "notes.txt").write_text("of a person")
        return (program.inbox / "used" / "notes.txt").exists()

    wait_for(is_used)
    post(program, {"notebook": notebook(RESULT)})
    asked_to_stop = program.run("cancel", "deep/er/one")
    assert asked_to_stop.returncode == 0
    wait_for(lambda: {p.name for p in program.inbox.iterdir() if p.is_dir()} <= {"mine", "used"})
    wait_for(lambda: not any((program.inbox / "mine").iterdir()))
    assert (program.inbox / "used" / "notes.txt").exists()


def test_a_job_can_be_cancelled(program: Program) -> None:
    """By its id; asking twice changes nothing."""
    job = post(program, SLOW, "?wait=0").headers["Location"]
    wait_for(lambda: get(program, job).json()["status"] == "running")
    assert requests.delete(f"{program.url}{job}", timeout=30).status_code == 202
    found = get(program, f"{job}?wait=50").json()
    assert (found["status"], found["result"]["error_type"]) == ("cancelled", "cancelled")
    assert requests.delete(f"{program.url}{job}", timeout=30).status_code == 200


def test_a_job_can_be_tried_again(program: Program) -> None:
    """The same input as a new job; a library notebook by its path, a chosen name kept."""
    first = post(program, {"notebook": notebook(RESULT), "parameters": {"x": 1}}).json()
    answer = requests.post(f"{program.url}/jobs/{first['job_id']}/retry?wait=50", timeout=60)
    again = answer.json()
    assert answer.status_code == 200
    assert again["job_id"] != first["job_id"]
    assert (again["results"]["cell_2"], again["parameters"]) == (
        first["results"]["cell_2"],
        first["parameters"],
    )
    named = post(program, {"notebook": "reports/daily.ipynb", "name": "daily/again"}).json()
    answer = requests.post(f"{program.url}/jobs/{named['job_id']}/retry", timeout=60)
    assert (answer.status_code, answer.json()["name"]) == (202, "daily/again")
    wait_for(lambda: (program.report("daily/again") or {}).get("job_id") == answer.json()["job_id"])
    old = get(program, f"/jobs/{named['job_id']}/result").json()
    assert old == named


def test_a_retry_never_runs_another_notebook(program: Program) -> None:
    """Where the library's has changed or is gone, it says so, and what to do."""
    path = program.library / "moves.ipynb"
    path.write_text(json.dumps(notebook(RESULT)))
    job = post(program, {"notebook": "moves.ipynb"}).json()["job_id"]
    for change in (partial(path.write_text, json.dumps(notebook("8"))), path.unlink):
        change()
        answer = requests.post(f"{program.url}/jobs/{job}/retry", timeout=60)
        assert answer.status_code == 410
        assert "moves.ipynb" in answer.json()["message"]
    path.write_text(json.dumps(notebook(RESULT)))
    answer = requests.post(f"{program.url}/jobs/{job}/retry?wait=60", timeout=90)
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")


def test_a_job_says_who_submitted_it(program: Program) -> None:
    """The request itself, or else the way it came; the same key asks for the same job still."""
    asked = {"notebook": notebook(RESULT), "submitted_by": "n8n, workflow 12"}
    report = post(program, asked, Idempotency_Key="said").json()
    again = requests.post(f"{program.url}/jobs/{report['job_id']}/retry?wait=60", timeout=90).json()
    assert [report["submitted_by"], again["submitted_by"]] == ["n8n, workflow 12", "http"]
    assert post(program, asked, Idempotency_Key="said").json()["job_id"] == report["job_id"]
    row = get(program, f"/jobs/{report['job_id']}").json()
    assert row["submitted_by"] == "n8n, workflow 12"


def test_notebook_and_files_can_be_downloaded(program: Program) -> None:
    """As attachments, by the names that the result lists; rendered in a sandbox."""
    script = "from IPython.display import HTML; HTML('<script>alert(1)</script>')"
    body = notebook("open('a b.txt', 'w').write('hello')", script)
    report = post(program, {"notebook": body, "name": "files"}).json()
    job = f"/jobs/{report['job_id']}"
    assert [file["path"] for file in report["files"]] == ["files.files/a b.txt"]
    found = get(program, f"{job}/files/a%20b.txt")
    assert (found.text, found.headers["Content-Type"]) == ("hello", "text/plain")
    assert found.headers["Content-Disposition"].startswith("attachment")
    assert found.headers["X-Content-Type-Options"] == "nosniff"
    assert get(program, f"{job}/files").json() == {"files": report["files"]}
    assert get(program, report["files"][0]["url"]).text == "hello"
    assert get(program, f"{job}/files/../files.result.json").status_code == 404
    assert get(program, f"{job}/files/%2e%2e/files.result.json").status_code == 404
    executed = get(program, report["output_nb_url"])
    assert executed.json() == json.loads((program.outbox / "files.ipynb").read_text())
    page = get(program, f"{job}/notebook?format=html")
    assert page.headers["Content-Type"].startswith("text/html")
    assert page.headers["Content-Security-Policy"].startswith("sandbox ")
    assert "write" in page.text


def test_a_job_that_did_not_run_shows_no_outputs_of_another_run(program: Program) -> None:
    """One refused, and one cancelled while it waited; the notebook itself is as it was sent."""
    output = {"output_type": "stream", "name": "stdout", "text": "of yesterday"}
    saved = {**code("print(n)"), "outputs": [output], "execution_count": 17}
    body = notebook(code("n: int = 1", "parameters"), saved)
    refused = post(program, {"notebook": body, "parameters": {"n": "many"}}).json()
    later = {"notebook": body, "not_before": "2999-01-01T00:00:00Z"}
    cancelled = post(program, later, "?wait=0").json()
    requests.delete(f"{program.url}/jobs/{cancelled['job_id']}", timeout=60)
    get(program, f"/jobs/{cancelled['job_id']}?wait=60")
    for job_id in (refused["job_id"], cancelled["job_id"]):
        rendered = get(program, f"/jobs/{job_id}/notebook?format=html").text
        assert "This job did not run. The outputs that were saved" in rendered
        assert "of yesterday" not in rendered
        assert "[17]" not in rendered
        as_sent = get(program, f"/jobs/{job_id}/notebook").json()["cells"][1]
        assert as_sent == {**as_sent, **saved}
        page = get(program, f"/jobs/{job_id}", Accept="text/html")
        assert "Notebook (it did not run)" in page.text
    ran = post(program, notebook("print('of today')")).json()
    rendered = get(program, f"/jobs/{ran['job_id']}/notebook?format=html").text
    assert "of today" in rendered
    assert "did not run" not in rendered


def test_an_earlier_run_is_still_there(program: Program) -> None:
    """After the next run of its name, from the history."""
    first = post(
        program, {"notebook": notebook("open('n', 'w').write('1')"), "name": "twice"}
    ).json()
    post(program, {"notebook": notebook("open('n', 'w').write('2')"), "name": "twice"})
    job = f"/jobs/{first['job_id']}"
    assert get(program, f"{job}/files/n").text == "1"
    assert get(program, f"{job}/notebook").status_code == 200
    assert get(program, job).json()["result"] == first


def test_events_tell_how_a_job_goes(program: Program) -> None:
    """State, progress by cell, and the result at the end."""
    cells = [f"import time; print('cell {n}'); time.sleep(0.8)" for n in range(4)]
    job = post(program, notebook(*cells), "?wait=0").headers["Location"]
    seen: list[tuple[str, Any]] = []
    with requests.get(f"{program.url}{job}/events", stream=True, timeout=60) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        kind = ""
        for line in answer.iter_lines(chunk_size=1):
            if line.startswith(b"event: "):
                kind = line[7:].decode()
            elif line.startswith(b"data: "):
                seen.append((kind, json.loads(line[6:])))
    states = [content["status"] for kind, content in seen if kind == "state"]
    assert states[-2:] == ["running", "succeeded"]
    progress = [content for kind, content in seen if kind == "progress"]
    assert any(content["cells"] == 4 for content in progress if content["status"] == "running")
    assert seen[-1][0] == "result"


def test_jobs_are_listed_page_by_page(program: Program) -> None:
    """The newest first; each page begins where the last one ended."""
    ids = [
        post(program, {"notebook": notebook("1"), "name": "paged"}).json()["job_id"]
        for _ in range(3)
    ]
    page = get(program, "/jobs?name=paged&limit=2").json()
    assert [job["job_id"] for job in page["jobs"]] == [ids[2], ids[1]]
    page = get(program, f"/jobs?name=paged&limit=2&before={page['before']}").json()
    assert [job["job_id"] for job in page["jobs"]] == [ids[0]]
    assert page["before"] is None


def test_health_and_metrics(program: Program) -> None:
    """What n8n, a load balancer and Prometheus look at."""
    for path in ("/", "/healthz"):
        answer = get(program, path)
        assert answer.status_code == 200
        assert answer.json()["status"] == "healthy"
        assert answer.json()["service"] == "papermill-gateway"
    assert post(program, notebook("1")).status_code == 200
    found = get(program, "/metrics").json()
    assert found["service"] == "papermill-gateway"
    assert found["config"] == {
        "max_notebook_size_mb": 1,
        "execution_timeout": 300,
        "use_scrapbook": True,
        "allowed_kernels": ["python3"],
    }
    assert found["jobs"]["succeeded"] > 0
    wait_for(lambda: get(program, "/metrics").json()["warm_kernels"] == 2)
    shown = "inbox_runner_warm_kernels 2.0"
    wait_for(lambda: shown in get(program, "/metrics?format=prometheus").text)
    for accept in ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "text/plain"):
        text = get(program, "/metrics", Accept=accept)
        assert 'inbox_runner_jobs_total{error_type="",status="succeeded"}' in text.text
    assert (
        get(program, "/metrics?format=prometheus").headers["Content-Type"].startswith("text/plain")
    )


def test_prometheus_finds_no_fault(program: Program) -> None:
    """`promtool check metrics` lints names, types and help texts."""
    promtool = tool("promtool")
    for number in range(2):
        post(program, notebook(f"print({number})"))
    wait_for(lambda: get(program, "/metrics").json()["running"] == 0)
    text = get(program, "/metrics?format=prometheus").text
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[:1] != "#")
    for stage in ("wait", "run", "publish"):
        name = f"inbox_runner_{stage}_seconds"
        count = float(figures[f"{name}_count"])
        assert float(figures[f'{name}_bucket{{le="+Inf"}}']) == count >= 2
        assert 0 < float(figures[f"{name}_sum"]) < 60 * count


def test_slow_clients_hold_nobody_up(program: Program) -> None:
    """A hundred that send their request byte by byte."""
    host, _, port = program.url.removeprefix("http://").partition(":")
    slow = [socket.create_connection((host, int(port))) for _ in range(100)]
    try:
        for connection in slow:
            connection.sendall(
                b"POST /run HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n{"
            )
        assert get(program, "/").status_code == 200
        assert post(program, notebook(RESULT)).status_code == 200
    finally:
        for connection in slow:
            connection.close()


def test_the_token_is_demanded_and_never_logged(serving: Serving) -> None:
    """On everything but health."""
    program = serving({"gateway": {**GATEWAY, "token": "s3cret-token"}})
    assert get(program, "/").status_code == 200
    assert get(program, "/healthz").status_code == 200
    for path in ("/jobs", "/metrics", "/nothing", "/jobs/" + "0" * 32):
        assert get(program, path).status_code == 401
        assert get(program, path, Accept=N8N).json()["error_type"] == "unauthorized"
        assert get(program, path, Authorization="Bearer wrong-token").status_code == 401
    assert get(program, "/jobs", Authorization="Bearer s3cret-token").status_code == 200
    assert post(program, notebook(RESULT)).status_code == 401
    assert inbox_files(program) == []
    assert post(program, notebook(RESULT), Authorization="Bearer s3cret-token").status_code == 200
    assert "s3cret-token" not in program.log
    assert "wrong-token" not in program.log


def test_without_a_token_it_binds_to_loopback_only(make_program: Callable[..., Program]) -> None:
    """`runner serve` and `runner gateway` refuse to start, and say what to do."""
    program = make_program({"gateway": {**GATEWAY, "host": "0.0.0.0"}})
    for command in ("serve", "gateway"):
        done = program.run(command)
        assert done.returncode == 70
        assert "GATEWAY_TOKEN" in done.stderr


@pytest.fixture(scope="module")
def crowded_program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    making = programs(tmp_path_factory.mktemp("crowded"))
    settings = {
        "gateway": {**GATEWAY, "max_waiting": 1},
        "limits": {"queue": 2},
        "execution": {"concurrency": 2},
    }
    yield next(making)(settings).start()
    next(making, None)


@pytest.fixture
def crowded(crowded_program: Program) -> Iterator[Program]:
    """A program where one client may wait, two jobs run, and two are queued."""
    yield crowded_program
    for job in get(crowded_program, "/jobs?status=running").json()["jobs"]:
        requests.delete(f"{crowded_program.url}/jobs/{job['job_id']}", timeout=30)
    wait_for(lambda: _rests(crowded_program))


def _rests(program: Program) -> bool:
    metrics = get(program, "/metrics").json()
    return bool(metrics["running"] == 0 == metrics["queue_depth"])


def test_beyond_its_seats_a_wait_is_202_and_beyond_the_queue_429(crowded: Program) -> None:
    """Others are answered all the same."""
    program = crowded
    post(program, SLOW, "?wait=0")
    waiting = threading.Thread(target=post, args=(program, SLOW))
    waiting.start()
    wait_for(lambda: get(program, "/metrics").json()["running"] == 2)
    first = post(program, notebook("1"))
    assert first.status_code == 202
    post(program, notebook("1"))
    wait_for(lambda: get(program, "/metrics").json()["queue_depth"] == 2)
    full = post(program, notebook("1"))
    assert (full.status_code, full.json()["error_type"]) == (429, "queue_full")
    assert int(full.headers["Retry-After"]) > 0
    for running in get(program, "/jobs?status=running").json()["jobs"]:
        requests.delete(f"{program.url}/jobs/{running['job_id']}", timeout=30)
    waiting.join(60)
    wait_for(lambda: get(program, first.headers["Location"]).json()["status"] == "succeeded")


def test_two_hundred_wait_and_others_are_answered(serving: Serving) -> None:
    """Nobody who waits holds a thread that health, metrics or submits need."""
    program = serving({"gateway": GATEWAY, "execution": {"concurrency": 1}})
    long = notebook("import time; time.sleep(280)")
    blocker = post(program, {"notebook": long, "name": "blocker"}, "?wait=0").json()["job_id"]
    # Names of their own: of one name, each would be written when the one before is taken.
    bodies = [{"notebook": SLOW, "name": f"waits{number}"} for number in range(200)]
    with ThreadPoolExecutor(200) as pool:
        waiting = [pool.submit(post, program, body, "?wait=50") for body in bodies]
        wait_for(lambda: get(program, "/metrics").json()["queue_depth"] == 200, 200)
        assert get(program, "/").status_code == 200
        assert post(program, {"notebook": SLOW, "name": "other"}, "?wait=0").status_code == 202
        for name in {"blocker", "other", *(body["name"] for body in bodies)}:
            (program.inbox / f"{name}.cancel").touch()
        answers = [one.result() for one in waiting]
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.json()["job_id"] for answer in answers} | {blocker}) == 201


@pytest.fixture(scope="module")
def mortal_program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    making = programs(tmp_path_factory.mktemp("mortal"))
    yield next(making)({"gateway": GATEWAY})
    next(making, None)


@pytest.fixture
def mortal(mortal_program: Program) -> Program:
    """A program that tests kill and stop; the next one starts it again."""
    process = mortal_program.process
    if process is None or process.poll() is not None:
        before = len(mortal_program.addresses()) if process is not None else 0
        mortal_program.start()
        wait_for(lambda: len(mortal_program.addresses()) > before)
    return mortal_program


def test_the_gateway_ends_with_its_daemon_however_that_ends(mortal: Program) -> None:
    """Also after `kill -9`; killed alone, it is started again."""
    program, before = mortal, len(mortal.addresses())
    assert get(program, "/").status_code == 200
    assert program.process is not None
    program.children(" gateway")[0].kill()
    wait_for(lambda: len(program.addresses()) == before + 1)
    assert get(program, "/").status_code == 200
    left = program.children(" gateway")[-1]
    program.process.kill()
    program.process.wait()
    wait_for(lambda: not left.is_running())


def test_the_gateway_shares_the_memory_of_its_daemon(
    make_program: Callable[..., Program],
) -> None:
    """One that is started again holds all of its own, and does the same."""
    program = make_program({"gateway": GATEWAY, "kernels": {"warm": 0, "preload": []}})
    program.start(("-m", "runner", "serve"))  # by itself: the tests' own share theirs as well
    held = []
    for start in range(1, 3):
        wait_for(partial(_is_there, program, start))
        assert get(program, "/").status_code == 200
        (gateway,) = program.children(" gateway")
        held.append(gateway.memory_full_info().uss)
        gateway.kill()
        wait_for(lambda gateway=gateway: not gateway.is_running())  # type: ignore[misc]
    assert held[0] < 0.7 * held[1], held


def test_a_gateway_alone_tells_that_nobody_runs_anything(
    make_program: Callable[..., Program],
) -> None:
    """503 with the reason; a request is kept, and is run when a daemon comes."""
    program = make_program({"gateway": {"port": 0}})
    program.inbox.mkdir()
    program.outbox.mkdir()
    with (program.root / "serve.log").open("ab") as log:  # at its end, as the daemon's own lines
        alone = subprocess.Popen(
            [sys.executable, "-m", "runner", "gateway"], cwd=program.root, stderr=log
        )
    try:
        health = get(program, "/")
        assert health.status_code == 503
        assert "runner serve" in health.json()["reasons"][0]
        answer = post(program, notebook(RESULT), "?wait=0")
        job = answer.headers["Location"]
        assert get(program, job).json()["status"] == "queued"
        program.start()
        assert get(program, f"{job}?wait=50").json()["status"] == "succeeded"
        assert get(program, "/").status_code == 200
    finally:
        alone.terminate()
        assert alone.wait(60) == 0


def test_killing_the_gateway_leaves_nothing_partial(mortal: Program) -> None:
    """Whatever it was doing; a client that asks again with its key gets its one result."""
    program, before, addresses = mortal, _count_jobs(mortal), len(mortal.addresses())
    stop = threading.Event()
    keys: list[str] = []

    def submit() -> None:
        while not stop.is_set():
            keys.append(f"key-{len(keys)}")
            with suppress(requests.RequestException):
                post(program, notebook(RESULT), "?wait=0", Idempotency_Key=keys[-1])
            stop.wait(0.3)

    posting = threading.Thread(target=submit)
    posting.start()
    try:
        for kill in range(1, 3):
            wait_for(partial(_has, keys, 3 * kill))
            for child in program.children(" gateway"):
                child.kill()
            wait_for(partial(_is_there, program, addresses + kill))
    finally:
        stop.set()
        posting.join(60)
    for key in keys:
        answer = post(program, notebook(RESULT), Idempotency_Key=key)
        assert answer.status_code == 200
    assert _count_jobs(program) == before + len(set(keys))
    assert list(program.inbox.rglob("*.tmp")) == []
    assert inbox_files(program) == []


def _count_jobs(program: Program) -> int:
    return len(get(program, "/jobs?limit=500").json()["jobs"])


def test_made_names_are_pruned(mortal: Program) -> None:
    """Nobody named them, so nobody's next run would ever move them."""
    program, before = mortal, len(mortal.addresses())
    report = post(program, notebook(RESULT)).json()
    kept = post(program, {"notebook": notebook(RESULT), "name": "kept"}).json()
    program.stop()
    import sqlite3

    with sqlite3.connect(program.root / "state" / "ledger.sqlite3") as db:
        db.execute("UPDATE jobs SET finished_at = '2020-01-01T00:00:00.000+00:00'")
    program.start()
    wait_for(lambda: len(program.addresses()) == before + 1)
    wait_for(lambda: not (program.outbox / "http").exists())
    assert not list((program.outbox / ".history").rglob(report["job_id"]))
    gone = get(program, f"/jobs/{report['job_id']}/result")
    assert (gone.status_code, gone.json()["error_type"]) == (410, "gone")
    retry = requests.post(f"{program.url}/jobs/{report['job_id']}/retry", timeout=30)
    assert retry.status_code == 410
    assert get(program, f"/jobs/{kept['job_id']}/result").status_code == 200


def test_a_full_or_lost_outbox_turns_health_red(serving: Serving) -> None:
    """With the reason in words."""
    program = serving({"gateway": GATEWAY, "limits": {"free_mb": 1e12}})
    assert "nearly full" in get(program, "/").json()["reasons"][0]
    away = program.outbox.rename(program.root / "away")
    reasons = get(program, "/").json()["reasons"]
    assert any("outbox is not there" in reason for reason in reasons)
    Path(away).rename(program.outbox)


def test_a_cancel_right_after_the_start_counts(program: Program) -> None:
    """Also while the process that runs it does not know yet what to run."""
    for _ in range(3):
        job = post(program, SLOW, "?wait=0").headers["Location"]
        wait_for(partial(_runs, program, job))
        requests.delete(f"{program.url}{job}", timeout=30)
        found = get(program, f"{job}?wait=50").json()
        assert found["status"] == "cancelled"


def test_killing_the_daemon_leaves_nothing_partial(mortal: Program) -> None:
    """At any moment of a submit; asked again by its key, each job has its one result."""
    program, jobs = mortal, _count_jobs(mortal)
    body = notebook(code("6 * 7", "results"))
    asked: list[str] = []
    for round_ in range(3):
        url = program.url

        def ask(key: str, url: str = url) -> None:
            headers = {"Idempotency-Key": key}
            with suppress(requests.RequestException):
                requests.post(f"{url}/run?wait=5", json=body, headers=headers, timeout=30)

        keys = [f"{round_}-{number}" for number in range(4)]
        asked += keys
        clients = [threading.Thread(target=ask, args=(key,)) for key in keys]
        for client in clients:
            client.start()
        time.sleep(0.02 + 0.15 * round_)  # another moment of the same submits
        assert program.process is not None
        program.process.kill()
        program.process.wait()
        for client in clients:
            client.join(30)
        left = [Path(path) for path in inbox_files(program)]
        assert all(path.suffix == ".json" and json.loads(path.read_bytes()) for path in left)
        before = len(program.addresses())
        program.start()
        wait_for(partial(_has_more, program, before))
    ids = set()
    for key in asked:
        answer = post(program, body, "?wait=60", Idempotency_Key=key)
        ids.add(answer.json()["job_id"])
        if answer.json()["status"] != "succeeded":  # it ran when the daemon was killed
            assert (answer.status_code, answer.json()["error_type"]) == (503, "interrupted")
    assert len(ids) == len(asked)
    assert _count_jobs(program) == jobs + len(asked)
    assert inbox_files(program) == []


def _has_more(program: Program, gateways: int) -> bool:
    return len(program.addresses()) > gateways


def test_a_daemon_that_hangs_turns_health_red(program: Program) -> None:
    """It holds its lock, and does nothing."""
    assert get(program, "/").status_code == 200
    assert program.process is not None
    program.process.send_signal(signal.SIGSTOP)
    try:
        wait_for(lambda: "does not move" in str(get(program, "/").json().get("reasons")))
        assert get(program, "/").status_code == 503
    finally:
        program.process.send_signal(signal.SIGCONT)
    wait_for(lambda: get(program, "/").status_code == 200)


def test_an_outbox_that_cannot_be_written_turns_health_red(program: Program) -> None:
    """Mounted read-only, as a share may be."""
    assert get(program, "/").status_code == 200
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "none", str(program.outbox)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    try:
        answer = get(program, "/")
        assert answer.status_code == 503
        assert "the outbox cannot be written" in answer.json()["reasons"]
    finally:
        subprocess.run(["umount", str(program.outbox)], check=True)
    wait_for(lambda: get(program, "/").status_code == 200)


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_who_closes_its_own_half_after_the_request_is_answered(
    program: Program, version: str
) -> None:
    """As `nc -N` does: with the result, where it can be told from one who has left."""
    body = json.dumps({"notebook": notebook("import time; time.sleep(1)", RESULT)}).encode()
    head = f"POST /run HTTP/{version}\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    for raw, status in (
        (f"GET /healthz HTTP/{version}\r\nHost: localhost\r\n\r\n".encode(), 200),
        (f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body, 200),
    ):
        host, _, port = program.url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), 60) as connection:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            said = b""
            while chunk := connection.recv(65536):
                said += chunk
        answer = said.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
        wanted = 202 if version == "1.0" and b"/run" in raw else status
        assert answer.startswith(f"HTTP/{version} {wanted} ".encode()), said


def test_idle_connections_shut_nobody_out(crowded: Program) -> None:
    """Those that are idle for longest go first; who waits for a result stays."""
    program = crowded
    host, _, port = program.url.removeprefix("http://").partition(":")
    waiter = http.client.HTTPConnection(host, int(port), 90)
    slow = {"notebook": notebook("import time; time.sleep(3)", RESULT)}
    waiter.request("POST", "/run", json.dumps(slow), {"Content-Type": "application/json"})
    idle = [socket.create_connection((host, int(port)), 30) for _ in range(600)]
    try:
        for _ in range(3):
            assert requests.get(f"{program.url}/healthz", timeout=30).status_code == 200
        assert waiter.getresponse().status == 200
    finally:
        waiter.close()
        for one in idle:
            one.close()


def test_a_client_that_leaves_frees_its_seat(crowded: Program) -> None:
    """While its job still runs, another client can wait in its place."""
    program = crowded
    body = json.dumps(SLOW)
    host, _, port = program.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST /run HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        wait_for(lambda: get(program, "/jobs?status=running").json()["jobs"])
        assert post(program, notebook(RESULT), "?wait=20").status_code == 202
    wait_for(lambda: _has_seat(program))
    assert get(program, "/jobs?status=running").json()["jobs"]


def _has_seat(program: Program) -> bool:
    """Whether a client may wait. Each try leaves a job in the queue, so they are far apart."""
    time.sleep(0.5)
    return post(program, notebook(RESULT), "?wait=20").status_code == 200


HOSTILE_HEADERS = [
    ("GET", "/jobs?limit=" + "0" * 5_000, {}, 400),
    ("GET", "/jobs?limit=" + "0" * 8 + "1", {}, 200),
    ("GET", "/jobs?limit=000000001999999", {}, 400),
    ("GET", "/jobs?limit=%D9%A1", {}, 400),
    ("GET", "/jobs?before=" + "0" * 5_000, {}, 400),
    ("GET", "/jobs?before=%00", {}, 400),
    ("GET", "/jobs?status=%FF", {}, 400),
    ("GET", "/jobs?name=%FF%00", {}, 400),
    ("GET", "/jobs?name=%00" + "%25" * 5_000, {}, 200),
    ("GET", "/?name=" + "%25" * 50_000, {"Accept": "text/html", "User-Agent": "Mozilla/5.0"}, 200),
    ("GET", f"/jobs/{'0' * 32}?wait=" + "9" * 5_000, {}, 400),
    ("GET", f"/jobs/{'0' * 32}?wait=nan", {}, 400),
    ("GET", "/jobs", {"Host": "[::1]evil.com"}, 403),
    ("GET", "/jobs", {"Host": "127.0.0.1:99999"}, 403),
    ("GET", "/jobs", {"Host": "localhost:" + "1" * 5_000}, 403),
    ("GET", "/jobs", {"Host": "localhost@evil.com"}, 403),
    ("GET", "/jobs", {"Host": "localhost/"}, 403),
    ("GET", "/jobs", {"Host": "[::1]:80"}, 200),
    ("GET", "/jobs", {"Cookie": 'a="' + "\\" * 7_000}, 200),
    ("GET", "/jobs", {"Cookie": "a=" + "b;" * 50_000}, 200),
    ("GET", "/jobs", {"Accept": "a/b;q=" * 20_000}, 200),
    ("POST", "/run", {"Prefer": "wait=" + " " * 100_000 + '"""'}, 400),
    ("POST", "/run", {"Prefer": "wait=" * 20_000}, 400),
    ("POST", "/run", {"Content-Type": "application/json" + ";" * 100_000}, 400),
]


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    HOSTILE_HEADERS,
    ids=[f"{path[:30]}{str(headers)[:30]}" for _, path, headers, _ in HOSTILE_HEADERS],
)
def test_what_was_made_to_confuse_gets_a_clear_answer(
    program: Program, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    """Neither a fault of ours, nor an answer that others have to wait for."""
    body = b"{}" if method == "POST" else b""
    host, _, port = program.url.removeprefix("http://").partition(":")
    lines = {"Host": f"{host}:{port}", "Connection": "close", **headers}
    if method == "POST":
        lines = {"Content-Type": "application/json", **lines, "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    raw = f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body
    answer, _, content = raw_request(program, raw)
    assert answer == status, content[:500]
    assert b"gateway itself failed" not in content


def test_markup_that_no_parser_takes_is_shown_as_far_as_it_goes(program: Program) -> None:
    """Python's HTML parser raises for it; the page of the job and its notebook are there."""
    shows = notebook(code("from IPython.display import HTML\nHTML('<table><![foo[ x')", "results"))
    report = post(program, {"notebook": shows}).json()
    assert report["status"] == "succeeded"
    browser = {"Accept": "text/html", "User_Agent": "Mozilla/5.0"}
    page = get(program, f"/jobs/{report['job_id']}", **browser)
    assert (page.status_code, "text/html" in page.headers["Content-Type"]) == (200, True)
    rendered = get(program, f"/jobs/{report['job_id']}/notebook?format=html")
    assert rendered.status_code == 200, rendered.text[:300]
