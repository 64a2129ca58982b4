"""How long a notebook takes, by every way there is, side by side in one run; and what it costs.

Shows the figures with their goals, and writes them where `--write` says. Takes five minutes at
most.
"""

import re
import statistics
from collections.abc import Callable
from pathlib import Path

import click

from speed import backlog, burst, cells, latencies, ledger_path, phases, standing
from speed.figure import drawn
from speed.report import Sheet, machine
from speed.ways import COMMAND

DOCS = Path(__file__).resolve().parents[2] / "docs"
CLUSTER = re.compile(r"^\| 4 x 50 \| (?P<share>[\d.]+)% \|", re.MULTILINE)
GOAL_CLUSTER = 3
FIGURE = "performance/one-run.svg"
"""Beside the file that is written."""


@click.command(help=__doc__)
@click.option("--runs", default=20, show_default=True, help="Of a quick way; slow ones have fewer.")
@click.option("--burst", "count", default=300, show_default=True, help="Notebooks dropped at once.")
@click.option("--idle", default=10.0, show_default=True, help="Seconds of doing nothing.")
@click.option("--drops", default=2000, show_default=True, help="With a fake execution.")
@click.option("--backlog", "waiting", default=10_000, show_default=True, help="Drops that wait.")
@click.option("--cells", "long", default=3000, show_default=True, help="Of a long notebook.")
@click.option("--write", type=click.Path(path_type=Path), help="A Markdown file to write.")
def main(
    runs: int, count: int, idle: float, drops: int, waiting: int, long: int, write: Path | None
) -> None:
    goals = Sheet("", ("what", "figure", "goal"))
    sheets = [goals]

    def one_by_one() -> None:
        took = latencies.measure(runs)
        sheets.append(latencies.sheet(took))
        latencies.goals(took, goals)
        command_ms = statistics.median(took["tiny"][COMMAND])
        drawing = drawn(phases.measure(command_ms))
        if write is not None:
            (write.parent / FIGURE).parent.mkdir(exist_ok=True)
            (write.parent / FIGURE).write_text(drawing)

    def in_a_burst() -> None:
        found = burst.measure(count)
        sheets.append(burst.sheet(found))
        burst.goals(found, goals)

    def at_rest() -> None:
        found = standing.measure(idle)
        sheets.append(standing.sheet(found))
        standing.goals(found, goals)

    parts: list[Callable[[], None]] = [
        one_by_one,
        in_a_burst,
        at_rest,
        lambda: ledger_path.goals(ledger_path.measure(drops), goals),
        lambda: _cluster(goals),
        lambda: cells.goals(cells.measure(long), goals),
        lambda: backlog.goals(backlog.measure(waiting), goals),
    ]
    for part in parts:
        part()
        if write is not None:
            write.write_text(_markdown(sheets))
    for sheet in sheets:
        sheet.show()


def _cluster(goals: Sheet) -> None:
    """The figure of `make bench-cluster`, which takes ten minutes of its own."""
    known = CLUSTER.search((DOCS / "scale.md").read_text())
    if known is None:
        raise SystemExit("docs/scale.md has no row of 4 x 50 slots: run `make bench-cluster`")
    figure = f"{known['share']} % of a core ([measured apart](scale.md))"
    goals.add("200 slots on Dask, daemon's CPU", figure, f"≤ {GOAL_CLUSTER} %")


def _markdown(sheets: list[Sheet]) -> str:
    head = [
        "# Benchmarks",
        "",
        "Written by `make bench`, which takes five minutes at most. Run it on your own machine:",
        f"figures differ, and ratios less so. This run: {machine()}.",
        "[Performance](performance.md) says why it is so.",
        "",
    ]
    return "\n".join(head) + "\n" + "\n\n".join(sheet.markdown() for sheet in sheets) + "\n"


if __name__ == "__main__":
    main()
