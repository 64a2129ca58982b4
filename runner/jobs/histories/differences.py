"""What differs between a failure and the last success of its name: the first thing to look at.

Compares what the ledger has of both: parameters, the notebook, the files that came along, and where
they ran.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from runner.contract.outcome import InputFile
from runner.contract.text.plain_text import excerpt
from runner.contract.text.strict_json import dumps_compact
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


def _value(value: Any) -> str:
    return f"`{excerpt(dumps_compact(value).decode(), VALUE_CHARS)}`"
