"""Random drops, cancels, drops again, and kills of daemon, gateway, preload server and kernels.

At the end every accepted request must have exactly one result. Prints counts; exits with 1 if not.
"""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import psutil
from processes.parts import child_named
from rich.console import Console

from runner.system.processes.process_tree import INSTANCE

console = Console()

NOTEBOOKS = {
    "quick": "print(6 * 7)",
    "slow": "import time\ntime.sleep({seconds})",
    "fails": "1 / 0",
    "dies": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "leaves": "import subprocess\nsubprocess.Popen(['sleep', '1000'], start_new_session=True)",
    "files": "open('made.txt', 'w').write('x' * 100_000)",
    "prints": "for i in range(2000): print(i)",
}
QUIET_SECONDS = 120.0


class Soak:
    """One runner on folders of its own, and what is done to it."""

    def __init__(self, root: Path, seed: int) -> None:
        self._root = root
        self._random = random.Random(seed)
        self._process: subprocess.Popen[bytes] | None = None
        self._dropped: list[str] = []
        self.done: Counter[str] = Counter()
        settings = {"gateway": {"port": 0}, "shutdown_seconds": 2}
        (root / "config.yaml").write_text(json.dumps(settings))
        for name in ("inbox", "outbox", "notebooks", "state", "ran", "tmp"):
            (root / name).mkdir()

    def start(self) -> None:
        """Start the daemon, as a supervisor would."""
        with (self._root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "runner", "serve"],
                cwd=self._root,
                env={**os.environ, "TMPDIR": str(self._root / "tmp")},
                stdout=log,
                stderr=log,
            )

    def keep_running(self) -> None:
        """Start it again if it is gone."""
        if self._process is None or self._process.poll() is not None:
            self.done["daemon starts"] += 1
            self.start()

    def act(self) -> None:
        """One random thing."""
        actions = {
            self._drop: 50,
            self._drop_with_id: 15,
            self._drop_again: 10,
            self._cancel: 8,
            self._kill_kernel: 4,
            self._kill_server: 1,
            self._kill_gateway: 1,
            self._kill_daemon: 1,
            self._stop_daemon: 1,
        }
        chosen = self._random.choices(list(actions), list(actions.values()))[0]
        # What is to be killed may be gone already.
        with suppress(psutil.NoSuchProcess, LookupError):
            chosen()

    def settle(self) -> None:
        """Start it if it is gone, and wait until nothing is left to do."""
        deadline = time.monotonic() + QUIET_SECONDS
        while time.monotonic() < deadline:
            self.keep_running()
            if not any(self._root.glob("inbox/[!.]*")) and self._count("state != 'closed'") == 0:
                return
            time.sleep(0.5)
        console.print("[red]not settled in time[/red]")

    def stop(self) -> None:
        """End the runner in peace."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(60)

    def problems(self) -> list[str]:
        """Every broken promise, as a sentence."""
        found = []
        reports = Counter(self._report_ids())
        jobs = self._jobs()
        found += [
            f"job {job_id} has {count} reports" for job_id, count in reports.items() if count > 1
        ]
        found += [
            f"job {job_id} of {name!r} has no report"
            for job_id, name, _ in jobs
            if not reports[job_id]
        ]
        found += [
            f"report of {one}, which nobody knows"
            for one in reports
            if one not in {j[0] for j in jobs}
        ]
        known = {name for _, name, _ in jobs}
        found += [f"{name!r} was dropped and is lost" for name in set(self._dropped) - known]
        for job_id, name, attempts in jobs:
            marks = self._root / "ran" / job_id
            ran = len(marks.read_text().splitlines()) if marks.exists() else 0
            if ran > max(attempts, 1):
                found.append(f"job {job_id} of {name!r} ran {ran} times in {attempts} attempts")
            if ran > 1:
                found.append(f"job {job_id} of {name!r} ran {ran} times and asked for no retries")
        found += [f"{path} is left" for path in self._root.glob("inbox/.claim-*")]
        found += [f"{path} is left" for path in self._root.glob("outbox/.staging/*")]
        found += [f"{path} is left" for path in self._root.glob("state/work/*")]
        found += [f"process {process} is left" for process in self._processes()]
        found += [f"{path} is left" for path in self._root.glob("tmp/ir-*")]
        self.done["jobs"] = len(jobs)
        self.done["reports"] = reports.total()
        return found

    # What is done

    def _drop(self) -> None:
        name = f"n{len(self._dropped)}"
        self._put(f"{name}.ipynb", self._notebook())
        self._dropped.append(name)
        self.done["drops"] += 1

    def _drop_with_id(self) -> None:
        name, job_id = f"i{len(self._dropped)}", self._random.randbytes(16).hex()
        self._put(f"{name}.json", {"notebook": self._notebook(), "id": job_id})
        self._dropped.append(name)
        self.done["drops with an id"] += 1

    def _drop_again(self) -> None:
        name = self._random.choice(self._dropped[-30:])
        self._put(f"{name}.ipynb", self._notebook())
        self.done["drops of a name again"] += 1

    def _cancel(self) -> None:
        name = self._random.choice(self._dropped[-10:])
        (self._root / "inbox" / f"{name}.cancel").touch()
        self.done["cancels"] += 1

    def _kill_kernel(self) -> None:
        jobs = self._server().children()
        target = self._random.choice(
            [*jobs, *(kernel for job in jobs for kernel in job.children())]
        )
        target.kill()
        self.done["kills of kernels and job processes"] += 1

    def _kill_server(self) -> None:
        self._server().kill()
        self.done["kills of the preload server"] += 1

    def _kill_gateway(self) -> None:
        self._child("gateway").kill()
        self.done["kills of the gateway"] += 1

    def _kill_daemon(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self.done["kills of the daemon"] += 1

    def _stop_daemon(self) -> None:
        assert self._process is not None
        self._process.send_signal(self._random.choice([signal.SIGTERM, signal.SIGINT]))
        self._process.wait(60)
        self.done["stops of the daemon"] += 1

    def _notebook(self) -> dict[str, Any]:
        kind = self._random.choice(list(NOTEBOOKS))
        source = NOTEBOOKS[kind].replace("{seconds}", f"{self._random.uniform(0.5, 4):.1f}")
        ran = str(self._root / "ran") + "/"
        mark = f"import os\nopen({ran!r} + os.environ['RUNNER_JOB_ID'], 'a').write('ran\\n')"
        cells = [{"cell_type": "code", "source": one} for one in (mark, source)]
        return {"cells": cells, "metadata": {"language_info": {"name": "python"}}}

    def _put(self, name: str, content: dict[str, Any]) -> None:
        raw = json.dumps(content)
        target = self._root / "inbox" / name
        if self._random.random() < 0.5:
            target.write_text(raw)
            return
        temp = target.with_name(f".{name}.tmp")
        temp.write_text(raw)
        temp.rename(target)

    # What is there

    def _server(self) -> psutil.Process:
        return self._child("runner.execution.forking.preload")

    def _child(self, word: str) -> psutil.Process:
        """Find one by its name or command line.

        Raises:
            LookupError: there is none now.
        """
        assert self._process is not None
        found = child_named(psutil.Process(self._process.pid), word)
        if found is None:
            raise LookupError(word)
        return found

    def _query(self, query: str) -> list[Any]:
        ledger = self._root / "state" / "ledger.sqlite3"
        if not ledger.exists():
            return []
        connection = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, timeout=10)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def _count(self, where: str) -> int:
        found = self._query(f"SELECT count(*) FROM jobs WHERE {where}")
        return int(found[0][0]) if found else 0

    def _jobs(self) -> list[tuple[str, str, int]]:
        return [tuple(row) for row in self._query("SELECT job_id, name, attempt FROM jobs")]

    def _report_ids(self) -> list[str]:
        return [
            json.loads(path.read_bytes())["job_id"]
            for pattern in ("*.result.json", "*.error.json")
            for path in (self._root / "outbox").rglob(pattern)
        ]

    def _processes(self) -> list[int]:
        row = self._query("SELECT value FROM facts WHERE key = 'instance'")
        return [
            process.pid for process in psutil.process_iter() if row and _mark(process) == row[0][0]
        ]


def _mark(process: psutil.Process) -> str | None:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.environ().get(INSTANCE)
    except (psutil.Error, OSError):
        return None


@click.command()
@click.option("--minutes", default=20.0, show_default=True)
@click.option("--rate", default=3.0, show_default=True, help="Things done a second.")
@click.option("--seed", type=int, help="To repeat a run; printed.")
@click.option("--keep", is_flag=True, help="Leave the folders there.")
def main(minutes: float, rate: float, seed: int | None, keep: bool) -> None:
    """Do random things to a runner, and count its results."""
    seed = int.from_bytes(os.urandom(4)) if seed is None else seed
    root = Path(tempfile.mkdtemp(prefix="soak-"))
    console.print(f"seed {seed}, {minutes:g} minutes, in {root}")
    soak = Soak(root, seed)
    end = time.monotonic() + minutes * 60
    try:
        while time.monotonic() < end:
            soak.keep_running()
            soak.act()
            time.sleep(1 / rate)
        soak.settle()
    finally:
        soak.stop()
    problems = soak.problems()
    for what, count in sorted(soak.done.items()):
        console.print(f"{count:6} {what}", highlight=False)
    for problem in problems[:50]:
        console.print(f"[red]{problem}[/red]", highlight=False)
    console.print(f"{len(problems)} broken promises", style="red" if problems else "green")
    if problems or keep:
        console.print(f"the folders are still in {root}")
    else:
        shutil.rmtree(root)
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
