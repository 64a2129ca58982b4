"""Pictures of the page for the README, taken from the real program with Debian's Chromium.

Starts a program of its own, runs the sample notebooks, and writes PNGs. Measures nothing.
"""

import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import requests
from playwright.sync_api import Browser, Page, sync_playwright
from program import program

from runner.contract.outcome import Failure, Outcome, failed
from runner.contract.states.status import ErrorType, Status
from runner.state.contents import Acceptance, Seal
from runner.state.jobs import State
from runner.state.ledger import Ledger

ROOT = Path(__file__).parents[1]
SWITCHES = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *(
        "--disable-background-networking",
        "--disable-component-update",
        "--font-render-hinting=none",
    ),
]
SLOW = """import time
for step in range(1, 400):
    print(f"step {step}: {step * 25} rows")
    time.sleep(0.5)"""
REPORT = """import pandas as pd
table = pd.DataFrame({"region": ["EU", "US", "APAC"], "orders": [1204, 980, 311],
                      "revenue": [84211.5, 71002.25, 20990.0]})
table"""


SALES = """# Sales in November

Orders grew by **12 %** against October, most of it in the north. A weighted mean of the regions,
$\\bar r = \\frac{\\sum_i w_i r_i}{\\sum_i w_i}$, gives a margin of 23.4 %.

## By region"""
SALES_TABLE = """import pandas as pd
pd.DataFrame({"orders": [1204, 980, 311], "revenue": [84211.50, 71002.25, 20990.00],
              "margin": [0.241, 0.229, 0.218]}, index=["North", "South", "West"])"""
SALES_PLOT = """import matplotlib.pyplot as plt
days, value, values = range(1, 31), 2400.0, []
for day in days:
    value += (day * 7919 % 13 - 4.6) * 45
    values.append(value)
fig, ax = plt.subplots(figsize=(8, 3))
ax.plot(days, values, color="#2f4db4"); ax.fill_between(days, values, alpha=0.12, color="#2f4db4")
ax.set_xlabel("day"); ax.set_ylabel("revenue"); ax.spines[["top", "right"]].set_visible(False)
plt.show()"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's own browser; playwright's is never downloaded."""
    path = shutil.which("chromium")
    if path is None:
        sys.exit("chromium is not installed: apt-get install chromium")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=SWITCHES)
        yield browser
        browser.close()


def fill(state: Path) -> None:
    """A day of jobs, so that the overview shows what it shows after a while."""
    state.mkdir(exist_ok=True)
    chance = random.Random(5)
    ledger = Ledger(state)
    begin = datetime.now(UTC) - timedelta(hours=23)
    names = ["sales/daily", "backup/check", "energy", "loan", "feeds/weather"]
    with ledger.transaction():
        for number in range(160):
            share = (number / 160) ** 0.9
            at = begin + timedelta(hours=22.7 * share + chance.random() / 3)
            job_id = f"{chance.getrandbits(128):032x}"
            started = at + timedelta(seconds=chance.random() / 5)
            ended = started + timedelta(seconds=chance.lognormvariate(0.3, 0.9))
            times = [one.isoformat(timespec="milliseconds") for one in (at, started, ended)]
            name = names[chance.choice([0, 0, 1, 2, 2, 2, 3, 4, 4])]
            ledger.accept(Acceptance(job_id, name, "{}", None, "a" * 64, "b" * 64, times[0]))
            ledger.start(job_id, times[1])
            outcome = Outcome(status=Status.SUCCEEDED)
            if chance.random() < 0.07:
                message = "In cell [4]: ConnectionError: no route to host 10.0.0.7"
                failure = Failure(error_type=ErrorType.PAPERMILL_EXECUTION_ERROR, message=message)
                outcome = failed(failure)
            ledger.seal(Seal(job_id, outcome, None, (), times[2]), from_state=State.RUNNING)
            ledger.published(job_id, times[2])
    ledger.close()


def cells(*sources: str) -> dict[str, Any]:
    return {"cells": [{"cell_type": "code", "source": one} for one in sources]}


def reading() -> dict[str, Any]:
    """A notebook that is meant to be read."""
    text = {"cell_type": "markdown", "source": SALES, "metadata": {}}
    return {"cells": [text, *cells(SALES_TABLE, SALES_PLOT)["cells"]]}


def post(url: str, wait: float, **body: Any) -> str:
    """Submits, and gives the job's id."""
    answer = requests.post(f"{url}/run", json=body, params={"wait": wait}, timeout=120)
    found: dict[str, Any] = answer.json()
    return str(found["job_id"])


def take(page: Page, url: str, to: Path, *, full: bool = False) -> None:
    page.goto(url)
    page.wait_for_load_state("load")
    page.wait_for_timeout(1500)
    page.screenshot(path=to, full_page=full)
    click.echo(f"{to}  {to.stat().st_size // 1000} kB")


def pictures(
    browser: Browser, url: str, ids: dict[str, str], folder: Path, everything: bool
) -> None:
    views: dict[str, str] = {
        "overview": "/",
        "job": f"/jobs/{ids['loan']}",
        "failed": f"/jobs/{ids['failing']}",
        "run": "/ui/run?notebook=loan.ipynb",
        "library": "/ui/library",
        "name": "/ui/names/energy",
        "reading": f"/jobs/{ids['reading']}/report",
    }
    if everything:
        views |= {
            "running": f"/jobs/{ids['slow']}",
            "report": f"/jobs/{ids['report']}",
            "files": f"/jobs/{ids['files']}",
            "choose": "/ui/run",
            "again": f"/ui/run?job={ids['loan']}",
            "problem": "/jobs/abc",
        }
    for scheme in ("light", "dark"):
        for width, height in ((1280, 800), (360, 780)):
            page = browser.new_page(
                viewport={"width": width, "height": height},
                color_scheme="light" if scheme == "light" else "dark",
            )
            for name, path in views.items():
                if everything or f"{name}-{scheme}-{width}" in _SHOWN:
                    to = folder / f"{name}-{scheme}-{width}.png"
                    take(page, url + path, to, full=everything)
            page.close()


_SHOWN = {
    *("overview-light-1280", "failed-light-1280", "job-dark-360", "job-light-360"),
    *("name-light-1280", "name-dark-1280", "reading-light-1280", "reading-dark-1280"),
}
"""What the README and the documents show."""


@click.command(help=__doc__)
@click.option("--to", type=Path, default=ROOT / "docs" / "page", show_default=True)
@click.option("--everything", is_flag=True, help="All pages, both schemes, both widths.")
def main(to: Path, everything: bool) -> None:
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        fill(root / "state")
        shutil.copytree(ROOT / "notebooks", root / "notebooks")
        with program(root, "serve", execution={"concurrency": 2}) as running:
            url = f"http://127.0.0.1:{running.port}"
            _await(lambda: requests.get(url, timeout=9).json()["status"] == "healthy")
            report = cells("import pandas", REPORT)
            report["cells"][1]["metadata"] = {"tags": ["results"]}
            ids = {
                "files": post(
                    url,
                    60,
                    notebook="disk_usage.ipynb",
                    parameters={"folder": str(root)},
                    name="disk_usage",
                ),
                "failing": post(url, 60, notebook="failing.ipynb", name="failing"),
                "report": post(url, 60, notebook=report, name="sales/regions"),
                "reading": post(url, 60, notebook=reading(), name="sales/november"),
                "loan": post(
                    url,
                    60,
                    notebook="loan.ipynb",
                    parameters={"amount": 35000, "years": 10},
                    name="loan",
                ),
            }
            slow = cells("import pandas", "1", SLOW, "2", "3")
            ids["slow"] = post(url, 0, notebook=slow, name="import/orders")
            post(url, 0, notebook=slow, name="sales/monthly")
            for name in ("energy", "feeds/weather"):
                post(url, 0, notebook=cells("1"), name=name)
            said = root / "outbox" / "import" / "orders.status.json"
            _await(lambda: said.exists() and json.loads(said.read_text()).get("cell") == 3)
            with chromium() as browser:
                pictures(browser, url, ids, to, everything)
            for job_id in (ids["slow"],):
                requests.delete(f"{url}/jobs/{job_id}", timeout=30)


def _await(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        if time.monotonic() > deadline:
            sys.exit("the program did not come so far in a minute")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
