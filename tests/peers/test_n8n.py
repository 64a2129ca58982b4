"""Promises of `docs/n8n.md`: its workflows run in a real n8n, with a token."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Json, Program, code, notebook, programs
from tests.peers.n8n_service import Execution, N8n, serving_n8n

FOLDER = Path(__file__).parents[2] / "docs" / "n8n"
TOKEN = "s3cret-token"
SETTINGS: Json = {
    "gateway": {"enabled": True, "port": 0, "token": TOKEN},
    "callbacks": {"allowed": ["localhost", "127.0.0.1"]},
}
LIBRARY = {
    "loan": notebook(code("years = 1", "parameters"), code("{'months': years * 12}", "results")),
    "absent": notebook("open('/no/such/file.csv')"),
    "module": notebook("import no_such_module_x"),
    "slow": notebook("import time; time.sleep(8)", code("42", "results")),
}

pytestmark = pytest.mark.timeout(3900)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    making = programs(tmp_path_factory.mktemp("n8n"))
    found = next(making)(SETTINGS).start()
    found.library.mkdir(exist_ok=True)
    for name, content in LIBRARY.items():
        (found.library / f"{name}.ipynb").write_text(json.dumps(content))
    yield found
    next(making, None)


@pytest.fixture(scope="module", params=["n8n1", "n8n2"])
def n8n(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[N8n]:
    with serving_n8n(request.param, tmp_path_factory.mktemp(request.param)) as found:
        yield found


@pytest.fixture(scope="module")
def credential(n8n: N8n) -> Json:
    """The document's Bearer Auth."""
    return n8n.credential("httpBearerAuth", "gateway", {"token": TOKEN})


def adapted(name: str, program: Program, credential: Json | None, **settings: object) -> Json:
    """A workflow as the document says: other Settings, and a credential where a node asks."""
    workflow: Json = json.loads((FOLDER / f"{name}.json").read_text())
    del workflow["id"]  # so that it may be imported again
    for node in workflow["nodes"]:
        if node["name"] == "Settings":
            for one in node["parameters"]["assignments"]["assignments"]:
                value = {"base_url": program.url, **settings}.get(one["name"], one["value"])
                one["value"] = json.dumps(value) if isinstance(value, dict) else value
        elif node["type"] == "n8n-nodes-base.httpRequest" and credential is not None:
            node["credentials"] = credential
            node["parameters"] |= {
                "authentication": "genericCredentialType",
                "genericAuthType": "httpBearerAuth",
            }
    return workflow


def ask_after(workflow: Json, seconds: int) -> Json:
    """The same with a shorter wait in each question, so that a short run is a long one."""
    for node in workflow["nodes"]:
        if node["name"] == "Ask":
            node["parameters"]["queryParameters"]["parameters"][0]["value"] = str(seconds)
    return workflow


def failure(execution: Execution) -> tuple[str, str]:
    assert execution.status == "error", execution
    return execution.error["message"], execution.error["description"]


def test_a_quick_run_gives_its_results(n8n: N8n, program: Program, credential: Json) -> None:
    """The values are in the node Result."""
    settings = {"notebook": "loan.ipynb", "parameters": {"years": 3}}
    done = n8n.run(adapted("quick-run", program, credential, **settings))
    assert done.status == "success", done
    found = done.items("Result")[0]["json"]
    assert found["results"]["cell_3"]["application/json"] == {"months": 36}
    assert found["files"] == []


@pytest.mark.parametrize(
    ("name", "error_type", "said"),
    [
        ("absent", "papermill_execution_error", "FileNotFoundError: [Errno 2] No such file"),
        ("module", "missing_dependencies", "no_such_module_x"),
        ("nothing", "invalid_request", "nothing.ipynb"),
    ],
)
def test_a_failure_ends_the_workflow_with_its_reason(
    n8n: N8n, program: Program, credential: Json, name: str, error_type: str, said: str
) -> None:
    """The type as the message, which n8n rewrites where it looks like a network error; the
    sentence as the description, which it leaves alone."""
    for workflow in ("quick-run", "long-run"):
        done = n8n.run(adapted(workflow, program, credential, notebook=f"{name}.ipynb"))
        message, description = failure(done)
        assert message == error_type
        assert said in description


def test_a_run_longer_than_the_wait_is_told(n8n: N8n, program: Program, credential: Json) -> None:
    """The quick workflow ends with the job's id; the job goes on."""
    workflow = adapted("quick-run", program, credential, notebook="slow.ipynb", wait_seconds=1)
    message, description = failure(n8n.run(workflow))
    assert message in ("queued", "running")
    job_id = description.rpartition("(job ")[2].rstrip(")")
    assert len(job_id) == 32


def test_a_long_run_is_asked_for_until_it_ends(
    n8n: N8n, program: Program, credential: Json
) -> None:
    """It lasts longer than one question waits."""
    workflow = adapted("long-run", program, credential, notebook="slow.ipynb", parameters={})
    done = n8n.run(ask_after(workflow, 1))
    assert done.status == "success", done
    assert done.items("Result")[0]["json"]["results"]["cell_2"]["application/json"] == 42
    assert done.runs("Ask") > 1


@pytest.mark.parametrize("name", ["slow", "loan"])
def test_a_long_run_wakes_its_workflow_when_it_is_over(
    n8n: N8n, program: Program, credential: Json, name: str
) -> None:
    """Also one that is over before the workflow waits: it is told again."""
    workflow = adapted(
        "long-run-by-callback", program, credential, notebook=f"{name}.ipynb", parameters={}
    )
    done = n8n.run(workflow)
    assert done.status == "success", done
    (result,) = done.items("Result")
    expected = {"slow": ("cell_2", 42), "loan": ("cell_2", {"months": 12})}[name]
    assert result["json"]["results"][expected[0]]["application/json"] == expected[1]
    assert len(result["json"]["job_id"]) == 32


def test_a_failure_wakes_its_workflow_too(n8n: N8n, program: Program, credential: Json) -> None:
    """It ends with the reason, as the others do."""
    workflow = adapted("long-run-by-callback", program, credential, notebook="absent.ipynb")
    message, description = failure(n8n.run(workflow))
    assert message == "papermill_execution_error"
    assert "FileNotFoundError: [Errno 2] No such file" in description


def test_without_its_token_a_workflow_says_so(n8n: N8n, program: Program) -> None:
    """JSON, and no login page."""
    for name in ("quick-run", "long-run", "long-run-by-callback"):
        message, description = failure(n8n.run(adapted(name, program, None)))
        assert message == "unauthorized"
        assert "Authorization: Bearer" in description


def test_a_notebook_goes_there_and_its_files_come_back(
    n8n: N8n, program: Program, credential: Json
) -> None:
    """Sent as a file; what it wrote and the executed notebook are fetched by their addresses."""
    done = n8n.run(adapted("notebook-and-files", program, credential))
    assert done.status == "success", done
    (file,) = done.items("Fetch file")
    assert file["binary"]["file"]["fileName"] == "report 1.csv"
    (executed,) = done.items("Fetch notebook")
    assert executed["binary"]["notebook"]["mimeType"] == "application/x-ipynb+json"
