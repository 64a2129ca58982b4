"""How long the page takes to open when the ledger is long: the answer, and in a browser.

Prints figures with their goals. Starts a gateway of its own; runs nothing.
"""

import http.client
import statistics
import tempfile
import time
from pathlib import Path

import click
from gateway import fill
from program import program
from rich.console import Console
from rich.table import Table
from screenshots import chromium

PAGES = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "User-Agent": "Mozilla/5.0"}
GOAL_MS = 300
console = Console()


def answers(port: int, path: str, count: int) -> list[float]:
    """Milliseconds until an answer was there as a whole, over a connection that stays open."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    found = []
    for _ in range(count):
        began = time.perf_counter()
        connection.request("GET", path, headers=PAGES)
        answer = connection.getresponse()
        answer.read()
        found.append(1000 * (time.perf_counter() - began))
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status}")
    return found


def loads(port: int, path: str, count: int) -> list[float]:
    """Milliseconds from a navigation to its `load`, each in a browser that knows nothing yet."""
    found = []
    with chromium() as browser:
        for _ in range(count):
            context = browser.new_context()
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{port}{path}", wait_until="load")
            found.append(
                float(page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd"))
            )
            context.close()
    return found


@click.command(help=__doc__)
@click.option("--jobs", default=100_000, show_default=True, help="Finished jobs in the ledger.")
@click.option("--count", default=30, show_default=True, help="How often each page is opened.")
def main(jobs: int, count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "state").mkdir()
        fill(root / "state", jobs)
        middle = f"{jobs // 2:032x}"
        table = Table(title=f"{jobs:,} finished jobs", title_justify="left")
        for name in ("page", "", "first ms", "p50 ms", "max ms", "goal"):
            table.add_column(name, justify="right" if "ms" in name else "left")
        with program(root, "gateway") as running:
            for path in (
                "/",
                f"/?before={middle}",
                "/?status=failed",
                "/?name=daily/77",
                "/?name=nothing-of-this-name",
                f"/jobs/{middle}",
                "/ui/library",
            ):
                for how, measure in (("answer", answers), ("in Chromium", loads)):
                    if how == "in Chromium" and path != "/":
                        continue
                    first, *others = measure(running.port, path, count)
                    figures = (first, statistics.median(others), max(others))
                    shown = path.replace(middle, "MIDDLE")
                    goal = f"< {GOAL_MS} ms" if path == "/" else ""
                    table.add_row(shown, how, *(f"{one:.1f}" for one in figures), goal)
        console.print(table)


if __name__ == "__main__":
    main()
