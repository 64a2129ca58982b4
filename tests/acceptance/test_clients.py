"""Real HTTP clients against the real program: each gets what it reads, or what it did wrong."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import Program, code, notebook, programs

NOTEBOOK = notebook(code("x = 1", "parameters"), code("x * 42", "results"))
JAVA = """
import java.net.*;
import java.net.http.*;
class Get {
    public static void main(String[] a) throws Exception {
        var ask = HttpRequest.newBuilder(URI.create(a[0])).build();
        var client = HttpClient.newHttpClient();
        System.out.println(client.send(ask, HttpResponse.BodyHandlers.ofString()).body());
        var stream = new URL(a[0]).openConnection().getInputStream();
        System.out.println("and" + new String(stream.readAllBytes()));
    }
}
"""
NODE = "fetch(process.argv[1]).then(a => a.text()).then(t => console.log(t))"
URLLIB = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"
CHROMIUM = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    making = programs(tmp_path_factory.mktemp("clients"))
    yield next(making)({"gateway": {"enabled": True, "port": 0}}).start()
    next(making, None)


@pytest.fixture(scope="module")
def job(program: Program) -> str:
    """The address of a job that succeeded."""
    answer = requests.post(f"{program.url}/run", json=NOTEBOOK, timeout=90)
    return f"{program.url}/jobs/{answer.json()['job_id']}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "report.ipynb"
    path.write_text(json.dumps(NOTEBOOK))
    return path


def client(name: str) -> str:
    """Where a client is, or a skip: none of them is needed to build or run the program."""
    return shutil.which(name) or pytest.skip(f"{name} is not installed")


def said(command: Sequence[str | Path], seconds: float = 120) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    return done.stdout or done.stderr


def result(text: str) -> Any:
    (found,) = json.loads(text)["results"].values()
    return found["application/json"]


def test_every_program_gets_json_at_a_job(job: str, tmp_path: Path) -> None:
    """Those that this machine has, without a word about what they want."""
    (tmp_path / "Get.java").write_text(JAVA)
    commands = {
        "curl": ["-s", job],
        "wget": ["-qO-", job],
        "node": ["-e", NODE, job],
        "http": ["--ignore-stdin", "GET", job],
        sys.executable: ["-c", URLLIB, job],
        "java": [str(tmp_path / "Get.java"), job],
    }
    for name, arguments in commands.items():
        path = shutil.which(name)
        if path is not None:
            for text in said([path, *arguments]).split("\nand"):
                assert (name, json.loads(text)["status"]) == (name, "succeeded")


def test_a_browser_gets_the_page_of_a_job(job: str, tmp_path: Path) -> None:
    """Chromium's own headers, without a driver."""
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    text = said([client("chromium"), *CHROMIUM, profile, "--dump-dom", job])
    assert "<main" in text
    assert "Succeeded" in text


def test_curl_sends_a_notebook_in_each_of_its_ways(program: Program, file: Path) -> None:
    """As a file in a form, as bytes, as JSON; a large one asks first (Expect: 100-continue)."""
    curl, url = client("curl"), f"{program.url}/run"
    kind = ["-H", "Content-Type: application/x-ipynb+json"]
    forms: list[list[str]] = [
        ["-F", f"file=@{file}"],
        ["-F", f"notebook=<{file}"],
        ["--data-binary", f"@{file}", "-H", "Content-Type: application/octet-stream"],
        ["-d", f"@{file}", *kind],
        ["-T", str(file), "-X", "POST", *kind],
        ["--http1.0", "-d", f"@{file}", *kind],
        ["-d", f"@{file}", *kind, "-H", "Expect: 100-continue"],
        ["-d", f"@{file}", *kind, "-H", "Transfer-Encoding: chunked"],
    ]
    for form in forms:
        assert (form, result(said([curl, "-s", *form, url]))) == (form, 42)
    form = ["-F", f"file=@{file}", "-F", 'parameters={"x": 2}', "-F", "name=curl"]
    assert result(said([curl, "-s", *form, url])) == 84


def test_what_a_client_does_wrong_is_told_with_the_way_out(program: Program, file: Path) -> None:
    """`curl -d`, `wget --post-file`, an upload by PUT, a compressed body."""
    curl, url = client("curl"), f"{program.url}/run"
    told = json.loads(said([curl, "-s", "-d", f"@{file}", url]))["message"]
    assert "application/x-www-form-urlencoded" in told
    assert "-H 'Content-Type: application/json'" in told
    told = json.loads(said([curl, "-s", "-T", str(file), url]))["message"]
    assert "POST" in told
    kind = ["-H", "Content-Type: application/json", "-H", "Content-Encoding: gzip"]
    told = json.loads(said([curl, "-s", *kind, "-d", f"@{file}", url]))["message"]
    assert "gzip" in told
    if wget := shutil.which("wget"):
        ask = [wget, "-qO-", "--content-on-error", f"--post-file={file}"]
        assert "Content-Type" in json.loads(said([*ask, url]))["message"]
        kind = ["--header=Content-Type: application/json"]
        assert result(said([*ask, *kind, url])) == 42


def test_curl_fetches_files_by_their_addresses(program: Program) -> None:
    """A result's `url` and `output_nb_url`, put behind the gateway's address as they stand."""
    body = notebook("open('Größe #1 100%.csv', 'w').write('a,b')")
    report = requests.post(f"{program.url}/run", json=body, timeout=90).json()
    (published,) = report["files"]
    curl = client("curl")
    assert said([curl, "-s", f"{program.url}{published['url']}"]) == "a,b"
    executed = json.loads(said([curl, "-s", f"{program.url}{report['output_nb_url']}"]))
    assert executed["nbformat"] == 4
