"""Runs notebooks by the papermill command and by the inbox, and reports what came out otherwise.

What papermill gave is kept by the notebook's hash, so that a second look costs half.
"""

import hashlib
import importlib.metadata
import json
import re
import sys
import tempfile
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from itertools import chain
from pathlib import Path

import click
from both_ways import Bench, by_inbox, by_papermill, environment_in
from cases import Case, Skipped, notebooks_below
from comparison import Difference, Side, compare
from program import Running, program
from rich.console import Console

console = Console(width=110, highlight=False)

BEGIN, END = "<!-- notebooks: by make conform -->", "<!-- end of notebooks -->"


class Kind(StrEnum):
    """What became of a notebook."""

    SAME = "same"
    EARLY = "refused early"
    """The runner named the module before it ran; papermill failed at its import."""
    EXPLAINED = "explained"
    DIFFERENT = "different"
    SKIPPED = "skipped"


AGAIN = frozenset({Kind.DIFFERENT, Kind.SKIPPED})
"""What is looked at again though an earlier run found it."""


@dataclass(frozen=True)
class Finding:
    """What became of a notebook, and why."""

    case: Case
    kind: Kind
    reasons: tuple[str, ...] = ()
    run: str = ""
    """When the run began in which it was looked at."""


@dataclass(frozen=True)
class Explanations:
    """Reasons by a notebook's place, for what is known to come out otherwise."""

    reasons: Mapping[str, str]

    def judge(self, case: Case, differences: Sequence[Difference]) -> Finding:
        """What a comparison comes to."""
        if not differences:
            return Finding(case, Kind.SAME)
        told = tuple(map(str, differences))
        reason = self.reasons.get(case.place)
        if reason is None:
            return Finding(case, Kind.DIFFERENT, told)
        return Finding(case, Kind.EXPLAINED, (reason, *told))


def look_at(case: Case, bench: Bench, running: Running, explanations: Explanations) -> Finding:
    """Compare a notebook; papermill runs it again as long as there are differences."""
    inbox = by_inbox(case, bench, running)
    runs: list[Side] = []
    differences: list[Difference] = []
    for number in range(bench.runs):
        try:
            runs.append(by_papermill(case, bench, number))
        except Skipped as reason:
            if not runs:
                return Finding(case, Kind.SKIPPED, (str(reason),))
            break
        if is_early(runs[0], inbox):
            return Finding(case, Kind.EARLY, (inbox.detail,))
        differences = compare(runs, inbox)
        if not differences:
            break
    return explanations.judge(case, differences)


def is_early(papermill: Side, inbox: Side) -> bool:
    """Whether the runner refused a notebook for the module at which papermill failed."""
    if inbox.outcome != "missing_dependencies" or papermill.ename != "ModuleNotFoundError":
        return False
    named = re.search(r"No module named '(\w+)", papermill.detail)
    return named is not None and re.search(rf"\b{named[1]}\b", inbox.detail) is not None


def papermill_first(cases: Sequence[Case], bench: Bench, workers: int) -> list[Finding | Case]:
    """Run papermill over all of them; those that are skipped are findings already."""

    def run(case: Case) -> Finding | Case:
        try:
            by_papermill(case, bench)
        except Skipped as reason:
            return Finding(case, Kind.SKIPPED, (str(reason),))
        return case

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(run, cases))


def then_inbox(
    cases: Sequence[Case], bench: Bench, workers: int, explanations: Explanations
) -> Iterator[Finding]:
    """One runner for all of them, twice as many in its inbox as it has slots."""
    if not cases:
        return
    with (
        tempfile.TemporaryDirectory(dir=bench.scratch, prefix="inbox-") as folder,
        program(
            Path(folder),
            "serve",
            environment=bench.environment,
            execution={"concurrency": workers},
        ) as running,
        ThreadPoolExecutor(workers * 2) as pool,
    ):
        yield from pool.map(lambda case: look_at(case, bench, running, explanations), cases)


def packages() -> str:
    """A word for what is installed beside the runner: it decides what papermill gives."""
    installed = {(d.metadata["Name"], d.version) for d in importlib.metadata.distributions()}
    listed = sorted(f"{name} {version}" for name, version in installed if name != "inbox-runner")
    return hashlib.sha256("\n".join([sys.version, *listed]).encode()).hexdigest()[:12]


# What earlier runs found


def kept_findings(path: Path | None, root: Path) -> list[Finding]:
    """What stands in a file of findings; the last of a notebook counts."""
    if path is None or not path.exists():
        return []
    by_label = {}
    for line in path.read_text().splitlines():
        fields = json.loads(line)
        case = Case(root, root / fields["label"])
        kind, reasons = Kind(fields["kind"]), tuple(fields["reasons"])
        by_label[case.label] = Finding(case, kind, reasons, fields["run"])
    return list(by_label.values())


def keep(path: Path, finding: Finding) -> None:
    """Add a finding to a file of findings, as soon as it is there."""
    fields = {
        "label": finding.case.label,
        "kind": finding.kind,
        "reasons": finding.reasons,
        "run": finding.run,
    }
    with path.open("a") as lines:
        lines.write(json.dumps(fields) + "\n")


# The report


def table(findings: Sequence[Finding]) -> Iterator[str]:
    """A row for each repository, as Markdown."""
    rows: dict[tuple[str, str], Counter[Kind]] = defaultdict(Counter)
    for finding in findings:
        rows[finding.case.repository][finding.kind] += 1
    yield f"| repository | commit | compared | {' | '.join(Kind)} |"
    yield "|---|---|" + "---:|" * (len(Kind) + 1)
    for (name, commit), counts in sorted(rows.items()):
        yield f"| {name} | {commit and f'`{commit}`'} | {_figures(counts)} |"
    yield f"| **all** | | {_figures(Counter(f.kind for f in findings))} |"


def _figures(counts: Counter[Kind]) -> str:
    compared = counts.total() - counts[Kind.SKIPPED]
    return " | ".join(str(n) for n in (compared, *(counts[kind] for kind in Kind)))


def summary(findings: Sequence[Finding]) -> str:
    """How many are the same, of those that were compared."""
    compared = [f for f in findings if f.kind is not Kind.SKIPPED]
    alike = sum(f.kind in (Kind.SAME, Kind.EARLY) for f in compared)
    share = alike / len(compared) if compared else 1.0
    return f"{alike} of {len(compared)} notebooks came out the same ({share:.1%})"


def report(findings: Sequence[Finding]) -> str:
    """The whole of what was found, as Markdown."""
    runs = sorted({finding.run for finding in findings})
    days = sorted({run[:10] for run in runs})
    lines = [
        f"Looked at on {', '.join(days)} in {len(runs)} {'run' if len(runs) == 1 else 'runs'}: "
        f"{summary(findings)}.",
        "",
        *table(findings),
    ]
    for kind in (Kind.DIFFERENT, Kind.EXPLAINED):
        chosen = [f for f in findings if f.kind is kind]
        if chosen:
            lines += ["", f"**{kind.capitalize()}**", ""]
            lines += [f"- `{f.case.place}`: {f.reasons[0]}" for f in chosen]
    skipped = Counter(f.reasons[0] for f in findings if f.kind is Kind.SKIPPED)
    if skipped:
        lines += ["", "**Skipped**: " + "; ".join(f"{why} ({n})" for why, n in skipped.items())]
    return "\n".join(lines)


def write(path: Path, text: str) -> None:
    """Put the report between its two marks in a file."""
    before, _, rest = path.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def _chosen(folder: Path, only: str | None, listed: Path | None) -> list[Case]:
    cases = notebooks_below(folder.resolve(), only)
    if listed is None:
        return cases
    order = {label: n for n, label in enumerate(listed.read_text().splitlines())}
    return sorted((c for c in cases if c.label in order), key=lambda c: order[c.label])


def _show(findings: Iterable[Finding], run: str, kept: Path | None) -> list[Finding]:
    """Print and keep each as it comes, for the whole takes long."""
    shown = []
    for finding in (replace(one, run=run) for one in findings):
        shown.append(finding)
        if kept is not None:
            keep(kept, finding)
        if finding.kind is not Kind.SAME:
            lines = [f"{finding.kind}: {finding.case.label}", *finding.reasons]
            console.print("\n    ".join(lines), markup=False)
    return shown


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--seconds", default=60.0, show_default=True, help="A notebook's time by papermill.")
@click.option("--workers", default=2, show_default=True, help="Notebooks at a time.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    default=Path.home() / ".cache" / "inbox-runner-conform",
    help="Where papermill's side is kept.",
)
@click.option(
    "--runs",
    default=3,
    show_default=True,
    help="Of papermill at most, to see what it does not repeat itself.",
)
@click.option("--only", help="A regular expression for the paths to look at.")
@click.option(
    "--list",
    "listed",
    type=click.Path(exists=True, path_type=Path),
    help="A file of paths below FOLDER, one a line: only these, in this order.",
)
@click.option(
    "--findings",
    "kept",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file that keeps them: what came out the same or is explained there is not looked at "
    "again, and the report is of all.",
)
@click.option("--papermill-only", is_flag=True, help="Fill the cache, and compare nothing.")
@click.option("--write", "target", type=click.Path(exists=True, path_type=Path), help="A report.")
def main(
    folder: Path,
    seconds: float,
    workers: int,
    cache: Path,
    runs: int,
    only: str | None,
    listed: Path | None,
    kept: Path | None,
    papermill_only: bool,
    target: Path | None,
) -> None:
    """Compare papermill and the inbox over the notebooks below FOLDER."""
    scratch = cache.resolve() / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    environment = environment_in(scratch.parent / "home")
    bench = Bench(cache.resolve() / packages(), scratch, seconds, runs, environment)
    run = f"{datetime.now(UTC):%Y-%m-%d %H:%M}"
    earlier = {finding.case.label: finding for finding in kept_findings(kept, folder.resolve())}
    done = {label for label, finding in earlier.items() if finding.kind not in AGAIN}
    chosen = [case for case in _chosen(folder, only, listed) if case.label not in done]
    first = papermill_first(chosen, bench, workers)
    if not papermill_only:
        reasons = tomllib.loads(Path(__file__).with_name("conformance.toml").read_text())
        explanations = Explanations(reasons)
        rest = [one for one in first if isinstance(one, Case)]
        skipped = [one for one in first if isinstance(one, Finding)]
        found = chain(skipped, then_inbox(rest, bench, workers, explanations))
        earlier |= {finding.case.label: finding for finding in _show(found, run, kept)}
    findings = list(earlier.values())
    console.print(summary(findings))
    if target is not None:
        write(target, report(findings))
    sys.exit(any(finding.kind is Kind.DIFFERENT for finding in findings))


if __name__ == "__main__":
    main()
