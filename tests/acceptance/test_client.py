"""Promises of the Python client, against the real program."""

import json
import pickle
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from runner.client import Client, GatewayUnreachable, JobFailed, RequestRefused
from runner.contract.states.status import ErrorType, Status
from tests.conftest import Program, code, free_port, notebook, programs, wait_for


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """One for all, with a token, and a notebook in its library."""
    gateway = {"enabled": True, "port": free_port(), "token": "t0ken"}
    with contextmanager(programs)(tmp_path_factory.mktemp("client")) as make:
        made = make({"gateway": gateway}).start()
        daily = notebook(code("region = 'EU'", "parameters"), code("region", "results"))
        (made.library / "daily.ipynb").write_text(json.dumps(daily))
        yield made


def test_a_notebook_is_run_and_its_result_typed(program: Program) -> None:
    """Of the library, of a file here, and as JSON; keyword arguments are its parameters."""
    client = Client(program.url, "t0ken")
    result = client.run("daily.ipynb", region="US")
    assert result.status is Status.SUCCEEDED
    assert result.results["cell_3"] == {"text/plain": "'US'"} | {"application/json": "US"}
    file = program.root / "here.ipynb"
    file.write_text(json.dumps(notebook(code("1 + 1", "results"))))
    assert client.run(file).results["cell_1"]["application/json"] == 2  # type: ignore[call-overload,index]
    assert client.run(str(file)).results["cell_1"]["application/json"] == 2  # type: ignore[call-overload,index]
    named = client.having(name="by/name", timeout_seconds=30).run(notebook("1"))
    assert named.name == "by/name"
    assert named.host == socket.gethostname()
    (program.root / "data.csv").write_text("1,2")
    with_data = client.with_files(program.root / "data.csv")
    read = with_data.run(notebook(code("open('data.csv').read()", "results")))
    assert read.results["cell_1"] == {"text/plain": "'1,2'", "application/json": "1,2"}
    small = client.having(resources={"memory_mb": 200})
    with pytest.raises(JobFailed, match=r"200 MB \(resources.memory_mb\)"):
        small.run(notebook("kept = b'x' * (400 * 2**20)"))


def test_what_goes_wrong_is_an_exception_of_its_kind(program: Program) -> None:
    """A failed job with its report; a refusal; a wrong token."""
    client = Client(program.url, "t0ken")
    with pytest.raises(JobFailed) as failed:
        client.run(notebook("1/0"))
    assert failed.value.report.error_type is ErrorType.PAPERMILL_EXECUTION_ERROR
    assert failed.value.report.ename == "ZeroDivisionError"
    with pytest.raises(RequestRefused, match="colour"):
        client.having(colour="red").run("daily.ipynb")
    with pytest.raises(RequestRefused) as refused:
        Client(program.url, "wrong").run("daily.ipynb")
    assert refused.value.status == 401
    with pytest.raises(ValueError, match="begins with http://"):
        Client("localhost:5005")


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], object()])
def test_what_json_cannot_express_is_an_error_of_the_value(value: object) -> None:
    """It names the parameter, and nothing is sent."""
    with pytest.raises(ValueError, match="JSON cannot express `amount`") as wrong:
        Client("http://127.0.0.1:9").run("daily.ipynb", amount=value)
    assert not isinstance(wrong.value, OSError)


def test_a_file_here_is_not_taken_for_one_of_the_library(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path is the library's; what sends the file instead is said."""
    monkeypatch.chdir(program.root)
    Path("here.ipynb").write_text(json.dumps(notebook("1")))
    client = Client(program.url, "t0ken")
    with pytest.raises((JobFailed, RequestRefused)) as failed:
        client.run("here.ipynb")
    assert "run(Path('here.ipynb'))" in str(failed.value)
    wrong = client.having(retries=99)
    for sender, path in (
        (client, "nowhere.ipynb"),
        (client, json.dumps(notebook("x" * 5000))),
        (wrong, str(program.root / "here.ipynb")),
    ):
        with pytest.raises((JobFailed, RequestRefused)) as failed:
            sender.run(path)
        assert "Path(" not in str(failed.value)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.ipynb"):
        client.run(str(program.root / "nowhere.ipynb"))


def test_without_a_gateway_the_client_says_where_it_looked() -> None:
    """Callers that know `requests` catch it as before."""
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(requests.ConnectionError) as failed:
        Client(url, give_up_seconds=0).run("daily.ipynb")
    assert isinstance(failed.value, GatewayUnreachable)
    assert f"no gateway answered at {url} for 0 s (ConnectionError)" in str(failed.value)
    assert str(pickle.loads(pickle.dumps(failed.value))) == str(failed.value)


def test_a_job_can_be_cancelled(program: Program) -> None:
    """By the id that `submit` gave."""
    client = Client(program.url, "t0ken")
    job_id = client.submit(notebook("import time; time.sleep(60)"))
    wait_for(lambda: client.job(job_id)["status"] == "running")
    client.cancel(job_id)
    with pytest.raises(JobFailed) as failed:
        client.result(job_id)
    assert failed.value.report.status is Status.CANCELLED


def test_a_gateway_that_restarts_costs_time_only(program: Program) -> None:
    """The job goes on, and the client waits on."""
    client = Client(program.url, "t0ken")
    job_id = client.submit(notebook("import time; time.sleep(3)", code("7", "results")))
    program.children(" gateway")[-1].kill()
    assert client.result(job_id).results["cell_2"]
