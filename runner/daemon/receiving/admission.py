"""Turns a drop into a job: reads its request and decides whether it may run.

A request that will not run is accepted all the same, with its failure. Touches no folder;
`Admission` brings a way to read the library.
"""

import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path, PurePosixPath

from runner.contract.job_ids import id_of_cause
from runner.contract.names import job_name
from runner.contract.outcome import Failure, Refused, refuse
from runner.contract.parameters.sidecar import defaults_of
from runner.contract.report_choices import first_of
from runner.contract.request import (
    Request,
    demand_of,
)
from runner.contract.rules import Rules
from runner.contract.states.status import ErrorType
from runner.contract.states.turn import AT_ONCE, Waiting, written
from runner.contract.waiting import moment_of, start_by
from runner.inbox.claim import refused_place
from runner.inbox.drop import Drop, DropKind, Held
from runner.inbox.library import LibraryReader
from runner.inbox.sidecars import SidecarReader
from runner.state.contents import Acceptance
from runner.state.jobs import Job

OLD_SECONDS = 60.0
"""How long settings may wait for their notebook without a word."""
BY_FILE = "file"
"""The submitter of a dropped file that names no other."""


@dataclass(frozen=True)
class Admission:
    """The conditions for requests: the rules, a file's size, the library and its sidecars."""

    rules: Rules
    notebook_mb: float
    library: LibraryReader
    sidecar: SidecarReader = field(default=lambda _: None)


def digest_of(drop: Drop) -> str:
    """Hash the drop's files with SHA-256, to compare bytes. Empty if one was not read."""
    if any(held.too_large for held in drop.files):
        return ""
    bundle = drop.main.contents.bundle
    if bundle is not None and not drop.settings:
        return bundle.sha256
    if not drop.settings:
        return hashlib.sha256(drop.main.raw).hexdigest()
    total = hashlib.sha256()
    for held in drop.files:
        raw = held.raw if held.contents.bundle is None else held.contents.bundle.sha256.encode()
        total.update(len(raw).to_bytes(8, "big") + raw)
    return total.hexdigest()


def requested_id(drop: Drop) -> str | None:
    """Return the job id that a JSON request brings along, if it is a valid one."""
    return drop.main.contents.wanted_id


def is_same_job(drop: Drop, job: Job) -> bool:
    """Tell whether a request with a job's id asks for that job once more.

    That holds for the same bytes. A request for a cause may have any: one cause is one job, though
    its request may have been edited since.
    """
    request = drop.main.contents.request
    cause = request.submitted_by if request is not None else None
    is_of_cause = cause is not None and id_of_cause(cause) == job.job_id
    return is_of_cause or job.request_sha256 == digest_of(drop)


def names_library(drop: Drop) -> bool:
    """Return whether a drop asks for a notebook of the library."""
    return drop.kind is DropKind.SUBMIT and drop.main.contents.names_library


def admit(drop: Drop, job_id: str, admission: Admission, accepted_at: str) -> Acceptance:
    """Turn the drop claimed as `job_id` into an accepted or refused job."""
    request, notebook, failure = _read(drop, job_id, admission)
    if failure is None:
        request, failure = _with_defaults(request, admission.sidecar, accepted_at)
    raw = notebook if notebook is not None else drop.main.raw
    return Acceptance(
        job_id=job_id,
        name=job_name(drop.path),
        request=request.model_dump_json(exclude_defaults=True),
        notebook=notebook if notebook is not None else drop.main.raw or None,
        request_sha256=digest_of(drop),
        input_sha256="" if drop.main.too_large else hashlib.sha256(raw).hexdigest(),
        accepted_at=accepted_at,
        submitted_by=request.submitted_by or BY_FILE,
        retries=request.retries if request.retry is None else request.retry.times,
        failure=failure,
        awaits_settings=not drop.settings and not drop.main.contents.is_request,
        library=_library_path(request) if notebook is not None else None,
        demand=demand_of(request.resources),
        waiting=AT_ONCE if failure is not None else _waiting(request, accepted_at),
        files=() if drop.main.contents.bundle is None else drop.main.contents.bundle.files,
    )


def warning_of_age(drop: Drop) -> str | None:
    """Warn of settings that waited long for the notebook: it may be the next one of that name."""
    came = drop.main.sighting.ctime_ns
    for held in drop.settings:
        seconds = (came - held.sighting.ctime_ns) / 1e9
        if seconds > OLD_SECONDS:
            name = PurePosixPath(held.sighting.path).name
            return (
                f"The settings {name!r} lay in the inbox for {_in_words(seconds)} before "
                f"{PurePosixPath(drop.main.sighting.path).name!r} came, and were used for it."
            )
    return None


def _in_words(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3_600)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 60:.1f} minutes"


def _waiting(request: Request, accepted_at: str) -> Waiting:
    """Return what an accepted job waits for. An earliest start in the past is none."""
    held_until = request.not_before and written(moment_of(request.not_before))
    return Waiting(
        priority=request.priority,
        group=request.group,
        held_until=held_until if held_until and held_until > accepted_at else None,
        start_by=start_by(accepted_at, held_until, request.start_within_seconds),
    )


def unread(drop: Drop, job_id: str, accepted_at: str, failure: Failure) -> Acceptance:
    """Refuse a drop of which only the bytes are known."""
    return Acceptance(
        job_id=job_id,
        name=job_name(drop.path),
        request="{}",
        notebook=drop.main.raw or None,
        request_sha256=digest_of(drop),
        input_sha256="" if drop.main.too_large else hashlib.sha256(drop.main.raw).hexdigest(),
        accepted_at=accepted_at,
        submitted_by=BY_FILE,
        failure=failure,
    )


def refuse_taken_id(acceptance: Acceptance, taken: str) -> Acceptance:
    """Refuse the drop, because its `id` belongs to another request already."""
    message = f"The id {taken} belongs to another request, with other bytes. Use a new id."
    failure = Failure(error_type=ErrorType.INVALID_REQUEST, message=message)
    return replace(acceptance, failure=failure)


def _read(
    drop: Drop, job_id: str, admission: Admission
) -> tuple[Request, bytes | None, Failure | None]:
    """Return the request as far as it is readable, the notebook's bytes, and the failure."""
    request: Request | None = None
    notebook: bytes | None = None
    try:
        _check_size(drop, job_id, admission.notebook_mb)
        _check_bundle(drop, job_id)
        request = _request(drop)
        notebook = _notebook_bytes(drop, request, admission.library)
        admission.rules.check(request)
        _check_notebook(drop, request)
    except Refused as refused:
        failure = refused.failure
        if request is None:
            failure = _with_kept_settings(failure, drop, job_id)
        return request or Request(), notebook, failure
    return request, notebook, None


def _with_kept_settings(failure: Failure, drop: Drop, job_id: str) -> Failure:
    """Say where settings lie that were not read, or not used: nothing else has what they say."""
    kept = [one for one in drop.settings if one.raw and not one.too_large]
    if not kept:
        return failure
    places = " and ".join(repr(_kept_place(drop, job_id, one)) for one in kept)
    what = "The settings lie" if len(kept) == 1 else "Both lie" if len(kept) == 2 else "They lie"
    message = f"{failure.message} {what} in the inbox as {places}."
    return failure.model_copy(update={"message": message})


def _with_defaults(
    request: Request, sidecar: SidecarReader, accepted_at: str
) -> tuple[Request, Failure | None]:
    """Fill in the defaults that the library declares, once and for all runs of the job.

    A moving one counts from the day of `accepted_at` in this machine's time zone.
    """
    if not isinstance(request.notebook, str):
        return request, None
    try:
        declared = sidecar(request.notebook)
    except Refused as refused:
        return request, refused.failure
    if declared is None:
        return request, None
    today = datetime.fromisoformat(accepted_at).astimezone().date()
    parameters = {**defaults_of(declared, today), **request.parameters}
    chosen = [one for one in (request.report, declared.report) if one is not None]
    report = first_of(chosen) if chosen else None
    return request.model_copy(update={"parameters": parameters, "report": report}), None


def _library_path(request: Request) -> str | None:
    """Return the path of the library's notebook, always in one spelling."""
    if not isinstance(request.notebook, str):
        return None
    return PurePosixPath(request.notebook).as_posix()


def _check_size(drop: Drop, job_id: str, notebook_mb: float) -> None:
    for held in drop.files:
        if not held.too_large:
            continue
        seen = held.sighting
        limit = "limits.inputs_mb" if seen.is_bundle else f"{notebook_mb:g} MB (limits.notebook_mb)"
        raise refuse(
            ErrorType.NOTEBOOK_TOO_LARGE,
            f"{Path(seen.path).name!r} has {seen.size} bytes, above the limit of "
            f"{limit}; it was not read and lies in the inbox as "
            f"{_kept_place(drop, job_id, held)!r}.",
        )


def _kept_place(drop: Drop, job_id: str, held: Held) -> str:
    """Say where a file that is not taken lies from now on, below the inbox."""
    seen = held.sighting
    return refused_place(drop.claim or seen.path, Path(seen.path).name, job_id)


def _check_bundle(drop: Drop, job_id: str) -> None:
    """Refuse an archive or a folder that could not be taken apart; it stays in sight."""
    contents = drop.main.contents
    if not drop.main.sighting.is_bundle or contents.bundle is not None:
        return
    assert contents.refusal is not None
    place = f"It lies in the inbox as {_kept_place(drop, job_id, drop.main)!r}."
    message = f"{contents.refusal.message} {place}"
    raise Refused(contents.refusal.model_copy(update={"message": message}))


def _request(drop: Drop) -> Request:
    main = drop.main
    if main.sighting.is_bundle and main.contents.is_request and drop.settings:
        name = Path(drop.settings[0].sighting.path).name
        raise refuse(
            ErrorType.INVALID_REQUEST,
            f"{name!r} lies beside {Path(main.sighting.path).name!r}, which has settings of its "
            "own. Keep one of them.",
        )
    if main.sighting.suffix == ".ipynb" or not main.contents.is_request:
        return _settings(drop)
    request = _asked(main)
    if request.notebook is None and main.contents.notebook is None:
        raise refuse(ErrorType.INVALID_REQUEST, "`notebook` is empty; name one of the library.")
    return request


def _asked(held: Held) -> Request:
    """Return a file's request, as it was read during the scan."""
    contents = held.contents
    if contents.request is None:
        failure = contents.refusal or contents.flaw
        assert failure is not None
        raise Refused(failure)
    return contents.request


def _settings(drop: Drop) -> Request:
    """Return the settings beside a dropped notebook."""
    if len(drop.settings) > 1:
        names = " and ".join(repr(Path(h.sighting.path).name) for h in drop.settings)
        raise refuse(
            ErrorType.INVALID_REQUEST,
            f"There is more than one settings file for this notebook: {names}. Keep one.",
        )
    if not drop.settings:
        return Request()
    held = drop.settings[0]
    request = _asked(held) if held.raw.strip() else Request()
    if request.notebook is not None or held.contents.notebook is not None:
        raise refuse(
            ErrorType.INVALID_REQUEST,
            f"{Path(held.sighting.path).name!r} names a notebook of its own, beside "
            f"{Path(drop.main.sighting.path).name!r}. Give them different names.",
        )
    if request.id is not None:
        raise refuse(
            ErrorType.INVALID_REQUEST,
            "The key `id` is for a request that carries or names its notebook, not for settings.",
        )
    return request


def _notebook_bytes(drop: Drop, request: Request, library: LibraryReader) -> bytes:
    if isinstance(request.notebook, str):
        return library(request.notebook)
    carried = drop.main.contents.notebook
    return drop.main.raw if carried is None else carried


def _check_notebook(drop: Drop, request: Request) -> None:
    """Check a dropped notebook; one of the library is checked where it runs."""
    flaw = drop.main.contents.flaw
    if request.notebook is None and flaw is not None:
        raise Refused(flaw)
