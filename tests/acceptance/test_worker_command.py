"""Promises of `runner worker`, as the scheduler sees it."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from distributed import Client

from tests.cluster import cluster
from tests.conftest import Json, Program, wait_for
from tests.stack.scenario import free_ports


def test_a_worker_offers_what_it_was_told_to_and_where(
    tmp_path: Path, make_program: Callable[..., Program]
) -> None:
    """Each process has a port of the range, for firewalls, and what its options say.

    One that leaves the cluster comes again, whatever the others do.
    """
    program = make_program()
    (tmp_path / "cluster").mkdir()
    first = free_ports("worker")["worker"]
    options = (
        *("--processes", "2", "--slots", "3", "--memory-mb", "500", "--gpus", "1"),
        *("--label", "ssd", "--port", f"{first}:{first + 9}", "--name", "node"),
    )
    with cluster(tmp_path / "cluster") as made, (tmp_path / "worker.log").open("wb") as log:
        command = [program.python, "-m", "runner", "worker", "--scheduler", made.address, *options]
        worker = subprocess.Popen(command, cwd=program.root, stdout=log, stderr=log)
        try:
            with Client(made.address, timeout=30) as client:

                def workers() -> dict[str, Json]:
                    found: dict[str, Json] = client.scheduler_info(n_workers=-1)["workers"]
                    return found

                wait_for(lambda: len(workers()) == 2)
                there = workers()
                gone = next(iter(there))
                client.retire_workers([gone])
                left = there[gone]["nanny"]
                wait_for(lambda: left not in {one["nanny"] for one in workers().values()})
                wait_for(lambda: len(workers()) == 2)
        finally:
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(60) == 0, (tmp_path / "worker.log").read_text()
    ports = {int(address.rpartition(":")[2]) for address in there}
    assert len(ports) == 2
    assert ports <= set(range(first, first + 10))
    assert {one["name"] for one in there.values()} == {"node-0", "node-1"}
    for one in there.values():
        assert one["nthreads"] == 3
        assert one["resources"] == {"gpus": 1, "memory_mb": 500, "label:ssd": 3}


def test_a_port_that_is_none_is_wrong_usage(make_program: Callable[..., Program]) -> None:
    """Said at once, and not by Dask again and again."""
    program = make_program()
    ended = program.run("worker", "--scheduler", "tcp://127.0.0.1:1", "--port", "many")
    assert ended.returncode == 2
    assert "9000:9003" in ended.stderr
