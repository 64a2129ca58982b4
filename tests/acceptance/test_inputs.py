"""Files that go along with a request, in every form that the document has, as it stands there."""

import io
import json
import os
import re
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import Program, code, notebook, programs, wait_for

DOCUMENT = Path(__file__).parents[2] / "docs" / "inputs.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
SHELL = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
DATA = "amount\n1.5\n2.5\n"
COPY, ZIP, FOLDER, FORM, FORM_OF_LIBRARY, JSON, COMMAND = SHELL
TOTAL = notebook(code(PYTHON[0], "parameters"), code(PYTHON[1], "results"))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    for make in programs(tmp_path_factory.mktemp("inputs")):
        one = make({"gateway": {"enabled": True, "port": 0}})
        (one.root / "total.ipynb").write_text(json.dumps(TOTAL))
        (one.root / "data.csv").write_text(DATA)
        one.start()
        shell(one, COPY)
        yield one


def shell(program: Program, example: str) -> str:
    """Run an example where the folders are, with this gateway's port, and this Python."""
    example = example.replace("http://localhost:5005", program.url)
    example = re.sub(r"^runner ", f"{sys.executable} -m runner ", example, flags=re.MULTILINE)
    done = subprocess.run(
        ["sh", "-ec", example],
        cwd=program.root,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def total_of(report: Mapping[str, Any]) -> object:
    (result,) = report["results"].values()
    return result["application/json"]


def packed(files: Mapping[str, str | bytes | int | dict[str, Any]]) -> bytes:
    """An archive of texts, bytes, so many zeros, or JSON."""
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            text = json.dumps(content) if isinstance(content, dict) else content
            archive.writestr(path, bytes(text) if isinstance(text, int) else text)
    return raw.getvalue()


def test_a_zip_file_as_the_document_shows(program: Program) -> None:
    """Its name is the job's, and what came along is listed, and is no output."""
    lines = ZIP.splitlines()
    shell(program, f"{sys.executable} -m zipfile -c total.zip total.ipynb data.csv\n{lines[1]}")
    report = program.await_report("total")
    assert json.loads(shell(program, lines[2])) == report
    assert (report["status"], total_of(report)) == ("succeeded", {"USD": 4.0})
    assert [(one["path"], one["bytes"]) for one in report["inputs"]] == [("data.csv", len(DATA))]
    assert report["files"] == []
    wait_for(lambda: os.listdir(program.root / "state" / "work") == [])


def test_a_folder_as_the_document_shows(program: Program) -> None:
    """It is taken when `.ready` is there, and all of it leaves the inbox."""
    shell(program, FOLDER.replace("total.job", "by-folder.job"))
    report = program.await_report("by-folder")
    assert (report["status"], total_of(report)) == ("succeeded", {"USD": 4.0})
    wait_for(lambda: not (program.inbox / "by-folder.job").exists())


def test_forms_as_the_document_shows(program: Program) -> None:
    """The notebook as a file, and by its path in the library."""
    assert total_of(json.loads(shell(program, FORM))) == {"USD": 4.0}
    report = json.loads(shell(program, FORM_OF_LIBRARY))
    assert total_of(report) == {"EUR": 4.0}
    assert report["notebook"] == "reports/total.ipynb"


def test_json_as_the_document_shows(program: Program) -> None:
    """Texts and bytes; what is neither is refused."""
    report = json.loads(shell(program, JSON))
    assert total_of(report) == {"USD": 4.0}
    assert [(one["path"], one["bytes"]) for one in report["inputs"]][1] == ("logo.png", 8)
    for wrong in ({"a": 1}, {"a": {"base64": "?"}}, {"a": {"base64": "ü"}}, ["a"], {"../a": ""}):
        body = {"notebook": "reports/total.ipynb", "files": wrong}
        answer = requests.post(f"{program.url}/run", json=body, timeout=90)
        assert (answer.status_code, answer.json()["error_type"]) == (400, "invalid_request")


def test_the_command_as_the_document_shows(program: Program) -> None:
    """By the daemon that serves the folders."""
    report = json.loads(shell(program, f"{COMMAND.rstrip()} --name by-command"))
    assert (report["name"], total_of(report)) == ("by-command", {"USD": 4.0})


def test_a_retry_has_the_files_again(program: Program) -> None:
    """And what a run writes over a file that came along is its own file."""
    cell = "text = open('data.csv').read()\nopen('data.csv', 'a').write('3\\n')\ntext"
    files = {
        "nb": ("nb.ipynb", json.dumps(notebook(code(cell, "results")))),
        "data": ("data.csv", DATA),
    }
    posted = requests.post(f"{program.url}/run", files=files, timeout=90).json()
    assert [one["path"] for one in posted["files"]] == [f"{posted['name']}.files/data.csv"]
    url = f"{program.url}/jobs/{posted['job_id']}/retry?wait=60"
    again = requests.post(url, timeout=90).json()
    assert again["job_id"] != posted["job_id"]
    assert (total_of(again), again["inputs"]) == (DATA, posted["inputs"])


def test_the_same_key_is_one_job(program: Program) -> None:
    """With the same files; with others it is refused."""
    headers = {"Idempotency-Key": "files-1"}
    files = {"nb": ("nb.ipynb", json.dumps(TOTAL)), "data": ("data.csv", DATA)}
    first = requests.post(f"{program.url}/run", files=files, headers=headers, timeout=90).json()
    again = requests.post(f"{program.url}/run", files=files, headers=headers, timeout=90).json()
    assert first["job_id"] == again["job_id"]
    other = {**files, "data": ("data.csv", "amount\n9\n")}
    refused = requests.post(f"{program.url}/run", files=other, headers=headers, timeout=90)
    assert (refused.status_code, refused.json()["error_type"]) == (400, "invalid_request")


def test_a_zip_file_with_a_request(program: Program) -> None:
    """One folder around it, what macOS adds, names in its encoding, and modules beside it."""
    cells = notebook(
        code("x = 0", "parameters"),
        code("import helper\n[x, helper.VALUE, open('übung/größe.csv').read()]", "results"),
    )
    content: dict[str, str | bytes | dict[str, Any]] = {
        "My data/request.yaml": "parameters: {x: 5}\n",
        "My data/run me.ipynb": cells,
        "My data/helper.py": "VALUE = 7\n",
        "My data/u\u0308bung/gro\u0308ße.csv": "1",
        "My data/.DS_Store": b"\0",
        "__MACOSX/My data/._helper.py": b"\0",
    }
    program.drop("packed/My data.zip", packed(content))
    report = program.await_report("packed/My data")
    assert total_of(report) == [5, 7, "1"], report.get("message")
    paths = [one["path"] for one in report["inputs"]]
    assert paths == ["helper.py", "übung/größe.csv"]


def test_a_file_that_is_not_found_is_told_where_it_is(program: Program) -> None:
    """In the library's folder it is not, and a wrong name is none that came along."""
    read = program.root / "notebooks" / "reader.ipynb"
    read.write_text(json.dumps(notebook("open('a.csv')")))
    body = {"notebook": "reader.ipynb", "files": {"a.csv": "1"}}
    message = requests.post(f"{program.url}/run", json=body, timeout=90).json()["message"]
    assert "'a.csv' came along and lies in the folder in `RUNNER_INPUT_DIR`" in message
    body = {"notebook": notebook("open('a.csv')"), "files": {"b.csv": "1"}}
    message = requests.post(f"{program.url}/run", json=body, timeout=90).json()["message"]
    assert "'a.csv' is not among the files that came along: 'b.csv'." in message


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("leads-out", {"a.ipynb": TOTAL, "../x": "1"}, "'../x'"),
        ("absolute", {"a.ipynb": TOTAL, "/etc/x": "1"}, "'/etc/x'"),
        ("twins", {"a.ipynb": TOTAL, "x.csv": "1", "X.csv": "2"}, "'X.csv'"),
        ("two", {"a.ipynb": TOTAL, "b.ipynb": TOTAL}, "'b.ipynb'"),
        ("no-notebook", {"request.yaml": "retries: 1\n", "x": "1"}, "names no notebook"),
        ("wrong-key", {"request.yaml": "colour: red\n", "a.ipynb": TOTAL}, "colour"),
        ("bomb", {"a.ipynb": TOTAL, "zeros": 210_000_000}, "limits.inputs_mb"),
    ],
)
def test_what_is_refused_stays(
    program: Program, name: str, content: dict[str, Any], said: str
) -> None:
    """By name, as a job of its own; the archive lies where it can be looked at."""
    raw = packed(content)
    program.drop(f"{name}.zip", raw)
    report = program.await_report(name)
    assert report["status"] == "rejected"
    assert said in report["message"]
    (kept,) = (program.inbox / ".refused").glob(f"{name}-*.zip")
    assert kept.read_bytes() == raw


def directory_of(entries: int) -> bytes:
    """An archive that is nothing but a list of members."""
    head = struct.pack("<BBHHHHHIIIHHHHHII", 20, 3, 20, 0, 0, 0, 33, *(0,) * 3, 1, *(0,) * 6)
    member = b"PK\1\2" + head + b"a"
    size = len(member) * entries
    end = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, entries, entries, size, 0)
    end += struct.pack("<4sIQI", b"PK\6\7", 0, size, 1)
    most = 2**16 - 1
    end += struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, most, most, 2**32 - 1, 2**32 - 1, 0)
    return member * entries + end


def test_what_archives_do_is_bounded(program: Program) -> None:
    """Damage, lists without end, bombs by other methods: each has its result, and others go on."""
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.ipynb", json.dumps(TOTAL))
        archive.writestr("d.csv", os.urandom(3000))
    damaged = bytearray(raw.getvalue())
    start = damaged.find(b"d.csv") + 65
    damaged[start : start + 1900] = b"\x55" * 1900
    program.drop("damaged.zip", bytes(damaged))
    program.drop("directory.zip", directory_of(1_000_000))
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.ipynb", json.dumps(notebook("1")))
        archive.writestr("zeros", bytes(150 * 2**20))
    program.drop("small.zip", raw.getvalue())
    for number in range(300):
        program.drop(f"data{number}.zip", packed({"x.bin": os.urandom(20_000)}))
    program.drop("plain.ipynb", notebook(code("1", "results")))
    program.drop("good.zip", packed({"good.ipynb": TOTAL, "data.csv": DATA, "r": os.urandom(9**5)}))
    assert program.await_report("plain")["status"] == "succeeded"
    assert total_of(program.await_report("good")) == {"USD": 4.0}
    assert program.await_report("damaged")["error_type"] == "invalid_request"
    assert "limits.inputs" in program.await_report("directory")["message"]
    assert program.await_report("small")["status"] == "succeeded"


@pytest.mark.parametrize("parts", ["charset=nope", "charset=base64"])
def test_a_form_in_no_charset_is_refused(program: Program, parts: str) -> None:
    """As a wrong request, not as our fault."""
    body = b'--b\r\nContent-Disposition: form-data; name="a\xff"\r\n\r\n1\r\n--b--\r\n'
    headers = {"Content-Type": f"multipart/form-data; boundary=b; {parts}"}
    answer = requests.post(f"{program.url}/run", body, headers=headers, timeout=90)
    assert (answer.status_code, answer.json()["error_type"]) == (400, "invalid_request")


def test_an_archive_that_is_no_request_stays(program: Program) -> None:
    """As data does; one that is still being written is waited for."""
    program.drop("numbers.zip", packed({"a.csv": "1"}))
    whole = packed({"slow.ipynb": TOTAL, "data.csv": DATA})
    (program.inbox / "slow.zip").write_bytes(whole[:-30])
    program.drop("none.zip", b"PK nonsense")

    def listed() -> dict[str, str]:
        files = json.loads(shell(program, "runner inbox --json"))["files"]
        return {one["path"]: one["reason"] for one in files}

    stay = {"numbers.zip": "data", "slow.zip": "incomplete"}
    wait_for(lambda: stay.items() <= listed().items())
    (program.inbox / "slow.zip").write_bytes(whole)
    assert total_of(program.await_report("slow")) == {"USD": 4.0}
    never = program.await_report("none")
    assert (never["status"], never["error_type"]) == ("rejected", "invalid_request")
    assert "It cannot be taken apart: it is no whole ZIP file" in never["message"]
