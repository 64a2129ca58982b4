"""A burst of tiny notebooks: how many a second, and the CPU of each by part."""

from collections.abc import Mapping
from dataclasses import dataclass

from drops import TINY, burst, notebook, own_folder, until_warm
from processes.parts import PARTS, WATCHED, Cpu, Watch, watching
from program import program

from speed.report import Sheet

GOAL_MS, GOAL_RATE = 60, 30
LOST = 0.03
"""A larger share of CPU that belongs to no part is an error of this bench."""


@dataclass(frozen=True)
class Burst:
    """What it took."""

    count: int
    seconds: float
    cpu: Mapping[str, Cpu]
    """Milliseconds a job, by part."""

    @property
    def each(self) -> Cpu:
        """Milliseconds a job, of all parts."""
        return sum(self.cpu.values(), Cpu())


def measure(count: int) -> Burst:
    """Drop so many at once.

    Raises:
        SystemExit: the parts do not sum to what the system says of the whole tree.
    """
    raw = notebook(TINY)
    with own_folder() as root:
        notes = root / "reaped"
        with program(root, "serve", environment=watching(notes), **WATCHED) as running:
            until_warm(running)
            watch = Watch(running.process.pid, notes)
            before, whole = watch.settled(), watch.whole()
            seconds = burst(running, raw, count)
            after, whole = watch.settled(), watch.whole() - whole
    cpu = {part: (after[part] - before[part]).each(count) for part in PARTS}
    found = Burst(count, seconds, cpu)
    expected = whole.each(count).total
    if abs(found.each.total - expected) > LOST * expected:
        raise SystemExit(
            f"the parts spent {found.each.total:.1f} ms a job, the whole tree {expected:.1f} ms: "
            "somebody reaps a process in another way than processes/injected watches"
        )
    return found


def sheet(found: Burst) -> Sheet:
    """A row for each part."""
    made = Sheet(
        f"CPU of a tiny job, by part, in a burst of {found.count}",
        ("part", "user", "system", "both"),
        "Milliseconds a job. Nothing is lost of processes that live for a tenth of a second: what "
        "they have spent is taken when they are reaped. A driver is a job process: it drives "
        "papermill. Kernels run the notebooks; a zygote beside each driver forks them.",
    )
    for part, cpu in [*found.cpu.items(), ("all", found.each)]:
        made.add(part, *(f"{one:.1f}" for one in (cpu.user, cpu.system, cpu.total)))
    return made


def goals(found: Burst, goals_sheet: Sheet) -> None:
    """The rows of those figures that have a goal."""
    cpu, rate = f"{found.each.total:.0f} ms", f"{found.count / found.seconds:.1f} a second"
    goals_sheet.add("CPU of a tiny job, all processes", cpu, f"≤ {GOAL_MS} ms")
    goal = f"≥ {GOAL_RATE} a second, on 2 cores"
    goals_sheet.add(f"burst of {found.count} tiny notebooks", rate, goal)
