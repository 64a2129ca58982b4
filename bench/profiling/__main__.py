"""Draws where the CPU of a burst goes: a flame and a table for each part.

Python's stacks are sampled from inside, each 4 ms of CPU, in every process from its first moment. A
fork is shown where Python goes on after it, in `logging`.
If perf is there, a second burst shows what the system does meanwhile.
"""

from pathlib import Path

import click
from drops import NOTEBOOKS, notebook
from processes.parts import Cpu
from rich.console import Console
from rich.table import Table

from profiling.flame import flame
from profiling.recording import Recording, native, python, why_no_perf
from profiling.stacks import Stacks, exclusive, inclusive

console = Console(width=120)


@click.command(help=__doc__)
@click.option("--jobs", default=200, show_default=True, help="Notebooks dropped at once.")
@click.option("--notebook", "name", default="tiny", type=click.Choice(list(NOTEBOOKS)))
@click.option("--rows", default=12, show_default=True, help="Rows of each table.")
@click.option("--part", help="Only the tables of this part, such as `drivers`.")
@click.option("--perf/--no-perf", default=True, help="Record a second burst by perf.")
@click.option("--into", default="profile", type=click.Path(path_type=Path), show_default=True)
def main(jobs: int, name: str, rows: int, part: str | None, perf: bool, into: Path) -> None:
    into.mkdir(exist_ok=True)
    raw = notebook(NOTEBOOKS[name])
    recording = python(raw, jobs)
    _overview(recording)
    _show(recording, rows, into, part, "")
    why_not = why_no_perf() if perf else "without perf, as you asked"
    if why_not is not None:
        console.print(f"[dim]{why_not}[/dim]", highlight=False)
    else:
        _show(native(raw, jobs), rows, into, part, "-system")
    console.print(f"Flames lie in {into}/: open the SVG files in a browser.", highlight=False)


def _overview(recording: Recording) -> None:
    table = Table(title=f"CPU, ms a job, {recording.count} jobs", title_justify="left")
    for column in ("part", "user", "system", "both", "of it in Python's code"):
        table.add_column(column, justify="left" if column == "part" else "right")
    whole, sampled = Cpu(), 0.0
    for part, cpu in recording.cpu.items():
        took = sum(recording.stacks[part].values()) / recording.count
        whole, sampled = whole + cpu, sampled + took
        table.add_row(part, *(f"{one:.1f}" for one in (cpu.user, cpu.system, cpu.total, took)))
    figures = (whole.user, whole.system, whole.total, sampled)
    table.add_row("all", *(f"{one:.1f}" for one in figures))
    console.print(table)


def _show(recording: Recording, rows: int, into: Path, only: str | None, suffix: str) -> None:
    for part, stacks in recording.stacks.items():
        if not stacks:
            continue
        file = into / f"{part.replace(' ', '-')}{suffix}.svg"
        file.write_text(flame(f"{part}{suffix}", stacks, recording.count))
        folded = (f"{';'.join(stack)} {took:.0f}" for stack, took in sorted(stacks.items()))
        file.with_suffix(".folded").write_text("\n".join(folded) + "\n")
        if only in (None, part):
            _table(f"{part}{suffix}", stacks, rows, recording.count)


def _table(title: str, stacks: Stacks, rows: int, count: int) -> None:
    """The frames that take most, with what they call and alone, side by side."""
    table = Table(title=f"{title}, ms a job", title_justify="left", show_edge=False)
    for column in ("with all it calls", "", "alone", ""):
        table.add_column(column, justify="left" if column else "right", overflow="fold")
    whole = sum(stacks.values())
    with_all = {name: took for name, took in inclusive(stacks).items() if took < 0.98 * whole}
    columns = [_most(found, rows, count) for found in (with_all, exclusive(stacks))]
    for (name, took), (own_name, own) in zip(*columns, strict=True):
        table.add_row(name, took, own_name, own)
    console.print(table)


def _most(found: dict[str, float], rows: int, count: int) -> list[tuple[str, str]]:
    names = sorted(found, key=lambda name: -found[name])[:rows]
    most = [(name, f"{found[name] / count:.2f}") for name in names]
    return most + [("", "")] * (rows - len(most))


if __name__ == "__main__":
    main()
