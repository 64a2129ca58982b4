"""All four in containers, by `docker compose up`: the same scenario as without, and what the
containers add.

Needs a Docker Engine with Compose v2; skips with the reason where there is none.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
import yaml

from tests.acceptance.test_fresh_kernel import wheel
from tests.conftest import Json, code, notebook, tool, wait_for
from tests.stack.scenario import PATIENCE_SECONDS, ROOT, Scenario, Stack, folders, free_ports

USER = (1000, 100) if os.getuid() == 0 else (os.getuid(), os.getgid())
IMAGE = "inbox-runner:test"
SMB_PASSWORD = uuid.uuid4().hex


def why_no_engine() -> str | None:
    """What keeps us from Docker here; None if nothing does."""
    if shutil.which("docker") is None:
        return "docker is not installed"
    for command in (["docker", "info"], ["docker", "compose", "version"]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            return f"{' '.join(command)}: {done.stderr.strip().splitlines()[-1:]}"
    return None


def docker(
    *arguments: str, seconds: float = 600, ends_with: Sequence[int] = (0,), **environment: str
) -> str:
    """What a docker command prints, stdout and stderr."""
    done = subprocess.run(
        ["docker", *arguments],
        cwd=ROOT,
        env={**_without_settings(os.environ), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
    )
    assert done.returncode in ends_with, done.stdout
    return done.stdout


def _without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    ours = (
        *("JUPYTER_", "GATEWAY_", "MCP_", "ROOM_", "RUNTIME_", "RUNNER_", "INBOX_RUNNER__"),
        *("COMPOSE_PROFILES", "EXECUTOR", "WORKER", "SCHEDULER_"),
    )
    return {name: value for name, value in environment.items() if not name.startswith(ours)}


class Compose:
    """One project of its own: its volumes, network and ports are nobody else's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folders(folder)
        self.ports = free_ports("jupyter", "gateway", "mcp", "smb")
        name = f"inbox-runner-{uuid.uuid4().hex[:8]}"
        override = {
            "name": name,
            "networks": {"default": {"name": name}},
            "volumes": {
                volume: {"name": f"{name}-{volume}"}
                for volume in ("jupyter-data", "jupyter-home", "state")
            },
        }
        (folder / "override.json").write_text(json.dumps(override))
        for path in (folder, *(folder / one for one in ("inbox", "outbox", "notebooks"))):
            os.chown(path, *USER)
            path.chmod(0o755)
        self.environment = {
            **{f"{one.upper()}_DIR": str(folder / one) for one in ("inbox", "outbox", "notebooks")},
            **{f"{one.upper()}_PORT": str(port) for one, port in self.ports.items()},
            "SMB_PASSWORD": SMB_PASSWORD,
            "IMAGE_TAG": IMAGE.partition(":")[2],
            "NB_UID": str(USER[0]),
            "NB_GID": str(USER[1]),
        }

    def __call__(
        self,
        *arguments: str,
        seconds: float = 600,
        ends_with: Sequence[int] = (0,),
        **environment: str,
    ) -> str:
        files = ("-f", "compose.yaml", "-f", str(self.folder / "override.json"))
        given = {**self.environment, **environment}
        return docker("compose", *files, *arguments, seconds=seconds, ends_with=ends_with, **given)

    def kill_runner(self) -> None:
        """From inside, as a crash: `docker kill` would be taken for a wish.

        The container ends with it, and may take what does the killing along.
        """
        source = (
            "import json, os; lock = '/var/lib/inbox-runner/.runner.lock';"
            "os.kill(json.load(open(lock))['pid'], 9)"
        )
        self("exec", "-T", "runner", "python", "-c", source, ends_with=(0, 137))


def test_every_knob_is_in_the_example() -> None:
    """`.env.example` lists what compose.yaml takes from the environment, and nothing else."""
    asked = set(re.findall(r"\$\{(\w+)", (ROOT / "compose.yaml").read_text()))
    listed = re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted({*asked, "COMPOSE_PROFILES"})


def test_no_comment_stands_beside_an_empty_value() -> None:
    """Compose takes it for the value."""
    text = (ROOT / ".env.example").read_text()
    assert re.findall(r"^\w+=[ \t]*#.*", text, re.MULTILINE) == []


def test_the_cluster_is_open_to_nobody() -> None:
    """Who reaches a Dask scheduler can run code: only the runner and the workers do."""
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    inside = {name for name, one in services.items() if "cluster" in one.get("networks", [])}
    assert inside == {"runner", "scheduler", "worker"}
    for name in ("scheduler", "worker"):
        assert services[name]["networks"] == ["cluster"]
        assert services[name]["profiles"] == ["cluster"]
        assert "ports" not in services[name]


def shown_by_compose(*options: str) -> Json:
    """The compose file as Compose reads it; no engine is needed for that."""
    if shutil.which("docker") is None:
        pytest.skip("docker is not installed")
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode != 0:
        pytest.skip("docker has no Compose v2")
    command = ("compose", "-f", "compose.yaml", *options, "config", "--format", "json")
    shown: Json = json.loads(docker(*command))
    return shown


def test_the_example_as_it_is_changes_nothing() -> None:
    """Copied to `.env`, it gives what there is without one."""
    assert shown_by_compose("--env-file", ".env.example") == shown_by_compose()


def test_the_compose_file_is_valid_without_an_env_file() -> None:
    """It has the four services, and publishes them on this machine only."""
    shown = shown_by_compose()
    assert set(shown["services"]) == {
        *("jupyter", "runner", "papermill-gateway", "jupyter-mcp-server"),
    }
    published = {
        (name, port["host_ip"], port["published"])
        for name, service in shown["services"].items()
        for port in service.get("ports", [])
    }
    assert published == {
        ("jupyter", "127.0.0.1", "8888"),
        ("papermill-gateway", "127.0.0.1", "5005"),
        ("jupyter-mcp-server", "127.0.0.1", "4040"),
    }


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    """Built and up."""
    reason = why_no_engine()
    if reason is not None:
        pytest.skip(f"no Docker Engine: {reason}")
    folder = tmp_path_factory.mktemp("compose")
    for parent in [folder, *folder.parents]:
        if os.getuid() == 0 and parent.owner() == "root" and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)  # the containers' user passes through it
    project = Compose(folder)
    project("build", "runner", seconds=1500)
    try:
        project("up", "-d", "--no-build")
        yield project
    except AssertionError:
        sys.stderr.write(project("logs", "--no-color"))
        raise
    finally:
        profiles = ("--profile", "smb", "--profile", "cluster")
        project(*profiles, "down", "-v", "--timeout", "20")


@pytest.fixture
def stack(compose: Compose) -> Stack:
    return Stack(compose.folder, compose.ports, compose.kill_runner)


@pytest.mark.timeout(1800)
class TestCompose(Scenario):
    """With Docker."""

    def test_the_runner_can_write_nothing_but_its_folders(self, stack: Stack) -> None:
        """Its root is read-only; what a notebook leaves elsewhere is gone with the container."""
        source = (
            "import os\nfound = {}\n"
            "for place in ['/etc', '/opt/venv', '/usr/local', os.getcwd(), '/tmp']:\n"
            "    found[place[:9]] = os.access(place, os.W_OK)\n"
            "[os.getuid(), list(found.values())]"
        )
        answer = stack.post({"notebook": notebook(code(source, "results"))})
        found = answer.json()["results"]["cell_1"]["application/json"]
        assert found == [USER[0], [False, False, False, True, True]]

    def test_results_belong_to_the_user_of_the_settings(self, stack: Stack) -> None:
        """So that the owner of the folders may move and delete them."""
        stack.drop("owned", notebook(code("1", "results")))
        stack.await_report("owned")
        for path in (stack.folder / "outbox").glob("owned*"):
            assert (path.stat().st_uid, path.stat().st_gid) == USER

    def test_what_a_notebook_installs_goes_with_its_run(self, stack: Stack) -> None:
        """Though the image may not be written: pip puts it where the run alone looks."""
        path = wheel(stack.folder / "notebooks")
        path.chmod(0o644)
        installs = f"%pip install --quiet --no-index /home/jovyan/notebooks/{path.name}"
        uses = code("import gift\ngift.VALUE", "results")
        first = stack.post({"notebook": notebook(installs, uses)})
        assert first.status_code == 200, first.text
        assert first.json()["results"]["cell_2"]["application/json"] == 42
        look = "import importlib.util\n[importlib.util.find_spec('gift') is None]"
        second = stack.post({"notebook": notebook(code(look, "results"))})
        assert second.json()["results"]["cell_1"]["application/json"] == [True]

    def test_a_notebook_that_takes_all_memory_of_the_container_is_told_so(
        self, compose: Compose
    ) -> None:
        """The system ends it and nothing else, though our own limit is above the container's."""
        greedy = notebook("held = [bytearray(50_000_000) for _ in range(100)]")
        path = compose.folder / "notebooks" / "greedy.ipynb"
        path.write_text(json.dumps(greedy))
        path.chmod(0o644)
        done = subprocess.run(
            [
                *("docker", "run", "--rm", "--init", "-m", "700m", "--memory-swap", "700m"),
                *("-v", f"{path.parent}:/home/jovyan/notebooks:ro"),
                *("-e", "INBOX_RUNNER__LIMITS__MEMORY_MB=20000"),
                *(IMAGE, "runner", "run", "/home/jovyan/notebooks/greedy.ipynb"),
            ],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 1, done.stderr
        report = json.loads(done.stdout)
        assert report["error_type"] == "out_of_memory", report

    def test_a_client_of_the_share_gets_its_result(self, compose: Compose, stack: Stack) -> None:
        """The profile `smb`: from a Windows or Mac folder to the runner, and back."""
        client = tool("smbclient")
        compose("--profile", "smb", "up", "-d", "--build", "--no-deps", "smb")

        def share(name: str, command: str, password: str = SMB_PASSWORD) -> str:
            where = (f"//127.0.0.1/{name}", "-p", str(compose.ports["smb"]))
            done = subprocess.run(
                [client, *where, "-U", f"jovyan%{password}", "-c", command],
                cwd=compose.folder,
                capture_output=True,
                text=True,
                timeout=60,
            )
            return done.stdout + done.stderr

        wait_for(lambda: "blocks available" in share("inbox", "ls"))
        assert "LOGON_FAILURE" in share("inbox", "ls", "wrong")
        (compose.folder / "shared.ipynb").write_text(json.dumps(notebook(code("1", "results"))))
        share("inbox", "put shared.ipynb shared.ipynb")
        assert stack.await_report("shared")["status"] == "succeeded"
        assert "shared.result.json" in share("outbox", "ls")

    def test_nothing_is_open_to_the_network_without_a_token(self, compose: Compose) -> None:
        """It refuses to start, and says which one to set."""
        tokens = {
            "jupyter": "JUPYTER_TOKEN",
            "papermill-gateway": "GATEWAY_TOKEN",
            "jupyter-mcp-server": "MCP_TOKEN",
        }

        def refusal(service: str) -> str:
            with pytest.raises(AssertionError) as refused:
                compose("run", "--rm", "--no-deps", "-T", service, BIND_ADDRESS="0.0.0.0")
            return str(refused.value)

        with ThreadPoolExecutor() as threads:
            said = dict(zip(tokens, threads.map(refusal, tokens), strict=True))
        assert [name for name, token in tokens.items() if token not in said[name]] == [], said

    def test_every_container_is_healthy(self, compose: Compose) -> None:
        """As Compose sees it, after its first look: half a minute, so that this comes late."""
        names = ("jupyter", "runner", "papermill-gateway", "jupyter-mcp-server")
        containers = compose("ps", "-q", *names).split()
        assert len(containers) == 4
        look = ("inspect", "--format", "{{.State.Health.Status}}", *containers)
        wait_for(lambda: docker(*look).split() == ["healthy"] * 4, PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def clustered(compose: Compose) -> Compose:
    """The same stack, with two workers beside its runner."""
    services = ("runner", "papermill-gateway", "scheduler", "worker")
    up = ("--profile", "cluster", "up", "-d", "--no-build", *services)
    compose(*up, EXECUTOR="dask", WORKERS="2")
    return compose


def workers_of(stack: Stack) -> list[Json]:
    """As the gateway tells of them; none while it does not answer."""
    try:
        answer = requests.get(f"{stack.url('gateway')}/healthz", timeout=10)
    except requests.RequestException:
        return []
    found: list[Json] = answer.json().get("workers") or []
    return [worker for worker in found if worker["address"]]


@pytest.mark.timeout(600)
class TestCluster:
    """The profile `cluster`. The last of this module: it leaves the runner without its workers."""

    def test_notebooks_run_in_the_containers_of_the_workers(
        self, clustered: Compose, stack: Stack
    ) -> None:
        """Each takes as many as its processors, and the result tells which one it was."""
        wait_for(lambda: len(workers_of(stack)) == 2, PATIENCE_SECONDS)
        containers = clustered("--profile", "cluster", "ps", "-q", "worker").split()
        assert {one[:12] for one in containers} == {w["host"] for w in workers_of(stack)}
        assert [worker["slots"] for worker in workers_of(stack)] == [1, 1]
        source = "import os, time\ntime.sleep(2)\n[os.getuid(), os.access('/opt/venv', os.W_OK)]"
        for number in range(4):
            stack.drop(f"spread{number}", notebook(code(source, "results")))
        reports = [stack.await_report(f"spread{number}") for number in range(4)]
        assert {report["host"] for report in reports} == {one[:12] for one in containers}
        for report in reports:
            assert report["results"]["cell_1"]["application/json"] == [USER[0], False], report

    def test_a_folder_of_the_library_and_what_it_writes_travel(
        self, clustered: Compose, stack: Stack
    ) -> None:
        """Workers have none of the folders; what pip installs goes with the run there too."""
        wait_for(lambda: workers_of(stack), PATIENCE_SECONDS)
        library = stack.folder / "notebooks" / "travels"
        library.mkdir()
        path = wheel(library)
        (library / "beside.py").write_text("VALUE = 5\n")
        writes = (
            "import beside, gift, os, pathlib\n"
            "pathlib.Path(os.environ['RUNNER_OUTPUT_DIR'], 'out.txt').write_text('made there')\n"
            "[beside.VALUE, gift.VALUE]"
        )
        installs = f"%pip install --quiet --no-index ./{path.name}"
        asked = notebook(installs, code(writes, "results"))
        (library / "one.ipynb").write_text(json.dumps(asked))
        for one in (library, *library.iterdir()):
            one.chmod(0o755)
        answer = stack.post({"notebook": "travels/one.ipynb", "name": "travelled"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["results"]["cell_2"]["application/json"] == [5, 42]
        assert (stack.folder / "outbox/travelled.files/out.txt").read_text() == "made there"

    def test_scheduler_and_workers_are_healthy(self, clustered: Compose) -> None:
        """As their own checks see it."""
        names = ("--profile", "cluster", "ps", "-q", "scheduler", "worker")
        containers = clustered(*names).split()
        assert len(containers) == 3
        look = ("inspect", "--format", "{{.State.Health.Status}}", *containers)
        wait_for(lambda: docker(*look).split() == ["healthy"] * 3, PATIENCE_SECONDS)

    def test_a_worker_that_is_killed_takes_its_run_along_and_no_other(
        self, clustered: Compose, stack: Stack
    ) -> None:
        """One result each: what ran there is interrupted, the rest runs on the one that is left."""
        idle = [0, 0]
        wait_for(lambda: [w["running"] for w in workers_of(stack)] == idle, PATIENCE_SECONDS)
        stack.drop("lost", notebook("import time; time.sleep(600)"))
        busy = wait_for(lambda: [w for w in workers_of(stack) if w["running"]], PATIENCE_SECONDS)
        for number in range(4):
            stack.drop(f"left{number}", notebook(code("1", "results")))
        docker("kill", busy[0]["host"])
        lost = stack.await_report("lost")
        assert (lost["error_type"], lost["attempt"]) == ("interrupted", 1), lost
        assert busy[0]["address"] in lost["message"]
        reports = [stack.await_report(f"left{number}") for number in range(4)]
        assert {report["status"] for report in reports} == {"succeeded"}, reports
        wait_for(lambda: len(workers_of(stack)) == 1, PATIENCE_SECONDS)
        assert busy[0]["host"] != workers_of(stack)[0]["host"]
        history = stack.folder / "outbox" / ".history"
        assert not list(history.glob("l*/*")), "nothing ran a second time"
