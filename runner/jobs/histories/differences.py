"""What differs between a failure and the last success of its name: the first thing to look at.

Compares what is known of both: parameters, the notebook, the files that came along, the library's
commit, and the environment with its packages.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from runner.contract.outcome import InputFile
from runner.contract.text.plain_text import excerpt
from runner.contract.text.strict_json import dumps_compact
from runner.jobs.histories.origins import Origin, origin_of
from runner.jobs.record import Record
from runner.state.jobs import Job

MOST = 12
VALUE_CHARS = 60


@dataclass(frozen=True)
class Differences:
    """What is not as it was: one sentence each; none if all that is known is the same."""

    success: Job
    sentences: tuple[str, ...]


def since_last_success(record: Record, job: Job) -> Differences | None:
    """Compare a job with the last success of its name before it; None if there is none.

    Raises:
        Problem: `unavailable`.
    """
    with record.ledger() as ledger:
        success = ledger.latest_ended(job.name, succeeded=True, before=job.seq)
    if success is None:
        return None
    requests = record.requests_of([success.job_id, job.job_id])
    then, now = requests.get(success.job_id), requests.get(job.job_id)
    sentences: list[str] = []
    if then is not None and now is not None:
        sentences += _of_parameters(then.get("parameters") or {}, now.get("parameters") or {})
        sentences += _of_notebook(then, now, is_same=success.input_sha256 == job.input_sha256)
        sentences += _of_files(record.files_of(success), record.files_of(job))
    origins = [origin_of(record, one.job_id) for one in (success, job)]
    if origins[0] is not None and origins[1] is not None:
        sentences += _of_origin(origins[0], origins[1])
    return Differences(success, tuple(islice(sentences, MOST)))


def _of_parameters(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys([*now, *then]):
        if name not in then:
            yield f"`{name}` is {_value(now[name])}; it was not given then"
        elif name not in now:
            yield f"`{name}` is not given; it was {_value(then[name])}"
        elif then[name] != now[name]:
            yield f"`{name}` is {_value(now[name])}; it was {_value(then[name])}"


def _of_notebook(
    then: Mapping[str, Any], now: Mapping[str, Any], *, is_same: bool
) -> Iterator[str]:
    paths = [one.get("notebook") for one in (then, now)]
    if all(isinstance(path, str) for path in paths) and paths[0] != paths[1]:
        yield f"it is another notebook: `{paths[1]}` in place of `{paths[0]}`"
    elif not is_same:
        yield "the notebook has changed"


def _of_files(then: tuple[InputFile, ...], now: tuple[InputFile, ...]) -> Iterator[str]:
    before, after = ({one.path: one.sha256 for one in files} for files in (then, now))
    for path in dict.fromkeys([*after, *before]):
        if path not in before:
            yield f"the file `{path}` came along; it did not then"
        elif path not in after:
            yield f"the file `{path}` did not come along; it did then"
        elif before[path] != after[path]:
            yield f"the file `{path}` has other content"


def _of_origin(then: Origin, now: Origin) -> Iterator[str]:
    if None not in (then.commit, now.commit) and then.commit != now.commit:
        yield f"the library is at commit `{_short(now.commit)}`; it was at `{_short(then.commit)}`"
    for words, before, after in (
        ("Python is", then.python, now.python),
        ("the image is", then.image, now.image),
        ("the runner is", then.runner, now.runner),
        ("it ran on", then.host, now.host),
    ):
        if None not in (before, after) and before != after:
            yield f"{words} `{after}`; it was `{before}`"
    if then.packages is not None and now.packages is not None:
        yield from _of_packages(then.packages, now.packages)


def _of_packages(then: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for name in sorted({*then, *now}):
        before, after = then.get(name), now.get(name)
        if before is None:
            yield f"the package `{name}` {after} is there; it was not then"
        elif after is None:
            yield f"the package `{name}` is not there; it was then ({before})"
        elif before != after:
            yield f"the package `{name}` is {after}; it was {before}"


def _short(commit: str | None) -> str:
    return (commit or "")[:10]


def _value(value: Any) -> str:
    return f"`{excerpt(dumps_compact(value).decode(), VALUE_CHARS)}`"
