"""Promises of what health and metrics tell of workers, of a cluster and of one machine."""

import json
import subprocess
from collections.abc import Iterator

import pytest
import requests

from runner.state.pulse import Worker
from tests.conftest import Json, Program, programs, tool
from tests.told import WORKERS, Teller, telling

TOKEN = "s3cret-token"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
TOLD = [
    {"host": "node-1", "slots": 8, "running": 5, "warm": 2, "address": "tcp://10.0.0.7:40001"},
    {"host": "node-1", "slots": 8, "running": 0, "warm": 8, "address": "tcp://10.0.0.7:40002"},
    {"host": "node-2", "slots": 4, "running": 4, "warm": 0, "address": "tcp://10.0.0.8:40001"},
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Program, Teller]]:
    """One gateway for all tests, and who tells it of workers."""
    making = programs(tmp_path_factory.mktemp("workers"))
    program = next(making)({"gateway": {"enabled": True, "port": 0, "token": TOKEN}})
    with telling(program) as teller:
        yield program, teller
        next(making, None)


@pytest.fixture
def program(gateway: tuple[Program, Teller]) -> Program:
    """The gateway, told of the same workers before each test."""
    found, teller = gateway
    teller.tell(*WORKERS)
    return found


@pytest.fixture
def teller(gateway: tuple[Program, Teller]) -> Teller:
    """Who tells it."""
    return gateway[1]


def get(program: Program, path: str, headers: dict[str, str] | None = None) -> requests.Response:
    return requests.get(f"{program.url}{path}", headers=headers or HEADERS, timeout=60)


def figures(program: Program) -> dict[str, float]:
    """Prometheus' samples of workers."""
    lines = get(program, "/metrics?format=prometheus").text.splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
    names = ("inbox_runner_worker", "inbox_runner_slots")
    return {name: float(value) for name, value in pairs if name.startswith(names)}


def test_health_tells_of_each_worker_and_of_all(program: Program) -> None:
    """At both addresses and by `runner health`."""
    for path in ("/", "/healthz"):
        answer = get(program, path)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert (found["status"], found["slots"], found["running"]) == ("healthy", 20, 9)
        assert found["workers"] == TOLD
    told = program.run("health")
    assert told.returncode == 0, told.stdout
    assert json.loads(told.stdout)["workers"] == TOLD


def test_nobody_learns_of_machines_without_the_token(program: Program) -> None:
    """Health is open to all; names and addresses of a network's machines are not."""
    for headers in ({"Accept": "*/*"}, {"Authorization": "Bearer wrong-token"}):
        answer = get(program, "/healthz", headers)
        assert answer.status_code == 200
        found = answer.json()
        assert (found["status"], found["slots"], found["running"]) == ("healthy", 20, 9)
        assert "workers" not in found
        assert "node-1" not in answer.text


def test_metrics_tell_of_each_worker(program: Program) -> None:
    """In JSON and for Prometheus."""
    found = get(program, "/metrics").json()
    assert (found["slots"], found["warm_kernels"]) == (20, 10)
    assert found["workers"] == TOLD
    assert figures(program) == {
        "inbox_runner_workers": 3,
        'inbox_runner_slots{host="node-1",worker="tcp://10.0.0.7:40001"}': 8,
        'inbox_runner_slots{host="node-1",worker="tcp://10.0.0.7:40002"}': 8,
        'inbox_runner_slots{host="node-2",worker="tcp://10.0.0.8:40001"}': 4,
        'inbox_runner_worker_running{host="node-1",worker="tcp://10.0.0.7:40001"}': 5,
        'inbox_runner_worker_running{host="node-1",worker="tcp://10.0.0.7:40002"}': 0,
        'inbox_runner_worker_running{host="node-2",worker="tcp://10.0.0.8:40001"}': 4,
    }


def test_one_machine_is_a_worker_without_an_address(program: Program, teller: Teller) -> None:
    """So that the same panel shows both."""
    teller.tell(Worker("home", 2, 1, 2))
    assert get(program, "/healthz").json()["workers"] == [
        {"host": "home", "slots": 2, "running": 1, "warm": 2, "address": None}
    ]
    assert figures(program) == {
        "inbox_runner_workers": 1,
        'inbox_runner_slots{host="home",worker=""}': 2,
        'inbox_runner_worker_running{host="home",worker=""}': 1,
    }


def test_a_cluster_without_workers_has_no_slots(program: Program, teller: Teller) -> None:
    """Which is something else than not to know."""
    teller.tell()
    found = get(program, "/healthz").json()
    assert (found["slots"], found["running"], found["workers"]) == (0, 0, [])
    assert figures(program) == {"inbox_runner_workers": 0}


def test_of_what_was_told_long_ago_nothing_is_said(program: Program, teller: Teller) -> None:
    """A daemon that hangs knows nothing of its workers any more."""
    teller.tell(*WORKERS, age=60)
    answer = get(program, "/healthz")
    found = answer.json()
    assert answer.status_code == 503
    assert "does not move" in found["reasons"][0]
    assert (found["slots"], found["running"], found["workers"]) == (None, None, [])
    assert figures(program) == {}
    metrics = get(program, "/metrics").json()
    assert (metrics["slots"], metrics["workers"], metrics["warm_kernels"]) == (None, [], None)


def test_prometheus_finds_no_fault_with_workers(program: Program) -> None:
    """`promtool check metrics` lints names, labels and help texts."""
    text = get(program, "/metrics?format=prometheus").text
    checked = subprocess.run(
        [tool("promtool"), "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_answers_are_as_the_openapi_document_says(program: Program, teller: Teller) -> None:
    """Of a cluster, of one that is silent, and to a stranger."""
    import jsonschema

    document: Json = get(program, "/openapi.json").json()
    schemas = {"components": document["components"]}
    told = [(WORKERS, 0.0), ((), 0.0), (WORKERS, 60.0)]
    for workers, age in told:
        teller.tell(*workers, age=age)
        for path, name in (("/healthz", "Health"), ("/metrics", "Figures")):
            schema = {"$ref": f"#/components/schemas/{name}", **schemas}
            jsonschema.validate(get(program, path).json(), schema)
    stranger = get(program, "/healthz", {"Accept": "*/*"}).json()
    jsonschema.validate(stranger, {"$ref": "#/components/schemas/Health", **schemas})
