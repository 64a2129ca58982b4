"""Describes the HTTP interface for programs: OpenAPI 3.1, from the schemas that check requests.

Owns one document. Answers nothing itself, and knows neither folders nor ledger.
"""

from functools import cache
from http import HTTPStatus
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from runner import __version__
from runner.contract.outcome import ErrorResult, ReportedFile, Result
from runner.contract.report_choices import MAX_TITLE, Theme
from runner.contract.request import Request
from runner.contract.states.status import ERROR_RULES, ErrorType, Status
from runner.gateway.http.problems import HttpProblemType
from runner.gateway.sharing.routes import ShareRequest
from runner.inbox.unclaimed import Reason
from runner.jobs.body import MAX_WAIT_SECONDS
from runner.jobs.problem import ProblemType
from runner.jobs.record import MAX_LIMIT
from runner.reports.rendering.options import FORMS
from runner.state.books.callbacks import CallbackState
from runner.state.jobs import State

Json = dict[str, Any]
_ID = "^[0-9a-f]{32}$"
_ANYTHING = {"additionalProperties": True}


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", defer_build=True)


class Problem(_Answer):
    """An answer to a request that never became a job, or that HTTP itself refuses."""

    status: Literal["rejected", "queued", "running"] = Field(
        description="`rejected`; that of the job where only its result is not there yet."
    )
    error_type: ErrorType | ProblemType | HttpProblemType
    message: str


class Worker(_Answer):
    """A place where notebooks run: this machine, or a worker of a cluster."""

    host: str
    address: str | None = Field(description="In a cluster; null on one machine.")
    slots: int = Field(description="Notebooks that it may run at a time.")
    running: int
    warm: int = Field(description="Kernels that wait, ready to run.")


class Health(_Answer):
    """The content of `/` and `/healthz`."""

    status: Literal["healthy", "unhealthy"]
    service: str
    version: str
    slots: int | None = Field(description="Of all workers; null while no daemon tells.")
    running: int | None = Field(description="On all workers; null while no daemon tells.")
    workers: list[Worker] = Field([], description="With the token only, if one is set.")
    reasons: list[str] = []
    notes: list[str] = []


class Waiting(_Answer):
    """A file of the inbox, or a folder with a slash at its end, that is not taken."""

    path: str
    reason: Reason
    text: str = Field(description="The reason as the end of a sentence.")
    advice: str = Field(description="What to do.")
    since: str = Field(description="When it came or changed, UTC in ISO 8601; empty if unknown.")
    needs_care: bool = Field(description="Whether somebody should look at it now.")


class Inbox(_Answer):
    """The files that stay in the inbox, the urgent ones first."""

    since: str = Field(
        description="Since when the list has been as it is; the runner looks all the time. "
        "Empty while no daemon tells."
    )
    count: int = Field(description="How many there are; no more than 1000 are listed.")
    files: list[Waiting]


class Accepted(_Answer):
    """A job that has no result yet, and where to ask again."""

    job_id: str = Field(pattern=_ID)
    name: str
    status: Status
    location: str
    waits_for: str | None = Field(
        None, description="For what it waits, if that is known yet: a time, or the end of a pause."
    )


class Row(_Answer):
    """A job in a list. Times are UTC in ISO 8601."""

    job_id: str = Field(pattern=_ID)
    name: str
    status: Status
    state: State
    cancelled: bool = Field(
        False, description="Whether somebody has cancelled it; until it is over, it is being ended."
    )
    error_type: ErrorType | None
    message: str | None
    attempt: int
    submitted_by: str | None = Field(None, description="Who or what made the request.")
    priority: int = Field(0, description="From -10 to 10.")
    group: str | None = Field(None, description="Of which only so many run at once.")
    held_until: str | None = Field(
        None, description="While it waits: its earliest start, or that of its next attempt."
    )
    start_by: str | None = Field(None, description="When it expires if it has not started.")
    notebook: str | None = Field(None, description="The library path that was run.")
    accepted_at: str
    started_at: str | None
    finished_at: str | None
    seconds: float | None = Field(description="From started to finished, or to now.")


class Pause(_Answer):
    """Jobs that do not start. `name` is a name or a pattern; empty for all jobs.

    Or it is `rule:NAME` or `hook:NAME`, for the jobs of one of these.
    """

    name: str
    by: str
    at: str = Field(description="Since when, in UTC, ISO 8601.")


class Pauses(_Answer):
    """All pauses, the one for all jobs first."""

    pauses: list[Pause]


class Jobs(_Answer):
    """The newest jobs first; `before` asks for those that follow, null at the end."""

    jobs: list[Row]
    before: str | None


class Job(Row):
    """A job, how far it is, and its result once there."""

    waits_for: str | None = Field(
        None,
        description="For what it waits, besides its turn: a time, or the end of a pause or of "
        "an older job of its name.",
    )
    progress: dict[str, Any] | None
    result: Result | ErrorResult | None


class Submitted(_Answer):
    """A request that lies in the inbox and that no daemon has accepted yet."""

    job_id: str = Field(pattern=_ID)
    name: str
    status: Literal["queued"]
    state: Literal["submitted"]


class Files(_Answer):
    """The files that a job published."""

    files: list[ReportedFile]


class LibraryNotebook(_Answer):
    """A notebook of the library."""

    path: str = Field(description="Below `notebooks/`.")
    title: str
    description: str = Field(description="Its first Markdown cell.")
    is_tool: bool = Field(description="Whether agents have a tool of its own for it.")


class LibraryRow(LibraryNotebook):
    """A notebook in the list of the library."""

    error: str | None = Field(description="Why it cannot be run.")


class Library(_Answer):
    """The notebooks of the library, by path."""

    notebooks: list[LibraryRow]


class LibraryFunction(LibraryNotebook):
    """A notebook of the library, with the types of its parameters."""

    parameters: dict[str, Any] = Field(description="JSON Schema (2020-12) of all values together.")
    notes: list[str] = Field(description="Why types that it declares are not used.")


class Occurrence(_Answer):
    """What came of a schedule at one time, at several that it skipped, or of a run by hand."""

    scheduled_for: str = Field(description="When it was due or asked for, UTC in ISO 8601.")
    status: Status | Literal["skipped"] | None = Field(
        None, description="How it ended; left out while it runs."
    )
    reason: str | None = Field(None, description="Why it was skipped.")
    through: str | None = Field(None, description="The last of the times that were skipped.")
    times: int | None = Field(None, description="How many were skipped, if more than one.")
    job_id: str | None = Field(None, pattern=_ID)
    job_name: str | None = None
    by: str | None = Field(None, description="By which face somebody started it by hand.")


class Schedule(_Answer):
    """A schedule; what has no value is left out. Times are in its own time zone."""

    name: str
    state: Literal["on", "paused", "disabled", "over", "wrong"]
    error: str | None = Field(None, description="What is wrong with its file.")
    cron: str | None = None
    timezone: str | None = Field(None, description="IANA name.")
    in_words: str | None = None
    notebook: str | None = None
    next: str | None = Field(
        None, description="The next run that starts by itself, also one that would be refused."
    )
    paused_by: str | None = None
    last: Occurrence | None = None


class ScheduleDetails(Schedule):
    """A schedule with its next times and its last ones."""

    parameters: dict[str, Any] = Field(description="With placeholders that are not filled yet.")
    upcoming: list[str] = Field(description="The next five times, paused or not.")
    occurrences: list[Occurrence] = Field(description="The last 50, the newest first.")


class Schedules(_Answer):
    """All schedules by name."""

    schedules: list[Schedule]


class NewestJob(_Answer):
    """The newest job of a rule or a web hook."""

    job_id: str
    status: Status


class Hook(_Answer):
    """A web hook, without its secret. Of a file that is no hook only name and error are there."""

    name: str
    state: Literal["on", "paused", "disabled", "wrong"]
    verify: str | None
    notebook: str | None
    paused_by: str | None
    error: str | None
    last: NewestJob | None


class Hooks(_Answer):
    """All web hooks by name."""

    hooks: list[Hook]


class FileRule(_Answer):
    """A rule over files. Of a file that is no rule only name and error are there."""

    name: str
    state: Literal["on", "paused", "disabled", "wrong"]
    pattern: str | None
    group: Literal["single", "batch"] | None
    notebook: str | None
    paused_by: str | None
    error: str | None
    last: NewestJob | None


class FileRules(_Answer):
    """All rules by name."""

    rules: list[FileRule]


class Delivery(_Answer):
    """A callback or notification: to whom, how far it is, what came of the last attempt."""

    id: str = Field(description="Of a callback the `webhook-id`, the same at each attempt.")
    kind: Literal["callback", "notification"]
    url: str = Field(
        description="Where it goes: host, and first part of the path; of a notification the name "
        "of its secret, the scheme, and a server's host."
    )
    state: CallbackState
    attempts: int
    created_at: str
    last_at: str | None
    http_status: int | None = Field(description="The answer to a callback.")
    error: str | None = Field(
        description="Why it did not go; of a notification that went, what was left out."
    )
    due_at: str | None = Field(description="When it is sent next; null unless it waits.")
    held: str | None = Field(description="Why a notification is held until then, if it is.")


class Deliveries(_Answer):
    """The callbacks and notifications of a job."""

    deliveries: list[Delivery]


class Origin(_Answer):
    """In what a job ran; what is null is not known, or there is none."""

    python: str | None
    image: str | None
    runner: str | None
    host: str | None
    library_commit: str | None
    packages_sha256: str | None
    packages: dict[str, str] | None = Field(
        description="Versions by name; null if the list is not kept."
    )


class Share(_Answer):
    """A link that shows one report, or one file, to who has no token."""

    id: str = Field(description="What names it; opens nothing.")
    what: str = Field(description="`report`, or `files/` and the path of a file.")
    report: dict[str, str] | None = Field(description="How its report looks, as chosen for it.")
    url: str = Field(
        description="Its address: whole where the settings have `gateway.public_url`, else below "
        "the gateway's."
    )
    created_at: str
    ends_at: str


class Shares(_Answer):
    """The links of a job that have not ended."""

    shares: list[Share]


class Ignored(_Answer):
    """A call that the hook's `when` does not want."""

    status: Literal["ignored"]
    message: str


class Duration(_Answer):
    """How long one of the last jobs took."""

    job_id: str
    name: str
    status: Status
    seconds: float | None


class MetricsConfig(_Answer):
    """Settings that clients ask for."""

    max_notebook_size_mb: float
    execution_timeout: float
    use_scrapbook: bool
    allowed_kernels: list[str]


class Figures(_Answer):
    """Figures of the gateway and of the jobs behind it; null where the ledger cannot be read."""

    service: str
    uptime: float
    memory_usage_mb: float
    cpu_percent: float
    config: MetricsConfig
    warm_kernels: int | None
    slots: int | None = Field(description="Of all workers; null while no daemon tells.")
    workers: list[Worker]
    jobs: dict[Status, int] | None
    queue_depth: int | None
    running: int | None
    oldest_waiting_seconds: float | None
    last_durations: list[Duration]


class Notebook(BaseModel):
    """A notebook, which may be as sparse as cells with `cell_type` and `source`.

    It is checked when its job is accepted: after a 202, a wrong one ends as `rejected`.
    """

    model_config = ConfigDict(defer_build=True)

    cells: Any


class RunRequest(Request):
    """A `POST /run`: the request's keys, and the name that the job is to have."""

    name: str | None = None


_EVENT: Json = {
    "type": "object",
    "properties": {
        "event": {"enum": ["state", "progress", "result"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}
_RESULTS = (Result, ErrorResult)
_ANSWERS: tuple[type[BaseModel], ...] = (
    *(Problem, Health, Inbox, Accepted, Jobs, Job, Submitted, Files, Figures),
    *(Library, LibraryFunction, Schedules, Schedule, ScheduleDetails),
    *(Pauses, Pause, Hooks, Ignored, FileRules, Deliveries, Origin, Shares, Share, ShareRequest),
)
_SHOWN: tuple[type[BaseModel], ...] = (*_RESULTS, *_ANSWERS)


@cache
def document(*, with_token: bool) -> Json:
    """Return the OpenAPI document; `with_token`: whether this gateway demands one."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Inbox Runner gateway",
            "version": __version__,
            "summary": "Runs Jupyter notebooks; another client of the inbox and the outbox.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": {
            path: {method: _operation(one, with_token=with_token) for method, one in ways.items()}
            for path, ways in _paths().items()
        },
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}] if with_token else [],
    }


def _paths() -> dict[str, dict[str, Json]]:
    job = [_in_path("job_id", {"type": "string", "pattern": _ID}, "The job's id.")]
    report = _json("Its result, or the error that it ended with.", *_RESULTS)
    come_again = _json("No result yet.", Accepted)
    come_again["headers"] = {
        "Location": {"schema": {"type": "string"}, "required": True},
        "Retry-After": {"schema": {"type": "string"}, "required": True},
    }
    submitted = {"200": _linked(report), "202": _linked(come_again), **_job_errors()}
    return {
        **_service_paths(),
        **_run_paths(submitted),
        **_notebook_paths(submitted),
        **_schedule_paths(submitted),
        **_pause_paths(),
        **_hook_paths(),
        **_job_paths(job, submitted, come_again),
        **_report_paths(job, report),
        **_delivery_paths(job),
        **_origin_paths(job),
        **_share_paths(job),
        **_figure_paths(job),
        **_file_paths(job),
    }


def _service_paths() -> dict[str, dict[str, Json]]:
    health = {"200": _json("Healthy.", Health), "503": _json("Not, and why.", Health)}
    return {
        "/": {"get": {"id": "health", "answers": health, "is_open": True}},
        "/healthz": {"get": {"id": "healthz", "answers": health, "is_open": True}},
        "/inbox": {
            "get": {
                "id": "inbox",
                "answers": {"200": _json("The files that are not taken, and why.", Inbox)},
            }
        },
        "/openapi.json": {
            "get": {
                "id": "openapi",
                "answers": {"200": _content("This document.", "application/json", {})},
            }
        },
        "/metrics": {
            "get": {
                "id": "metrics",
                "parameters": [
                    _in_query("format", {"enum": ["json", "prometheus"]}, "By default as Accept.")
                ],
                "answers": {"200": _metrics()},
                "errors": (400,),
            }
        },
    }


def _run_paths(submitted: Json) -> dict[str, dict[str, Json]]:
    return {
        "/run": {
            "post": {
                "id": "run",
                "parameters": _waiting(),
                "requestBody": {
                    "required": True,
                    "description": "JSON may be named application/x-ipynb+json or "
                    "application/octet-stream too; multipart/form-data has the notebook "
                    "and what goes along as files.",
                    "content": {"application/json": {"schema": _run_body()}},
                },
                "answers": submitted,
                "errors": (409, 410, 415, 429),
            }
        },
    }


def _waiting() -> list[Json]:
    """Describe how a client waits for its result, and posts a request once."""
    return [
        _wait("Seconds to wait for the result; by default gateway.wait_seconds."),
        _in_header("Prefer", "`respond-async` or `wait=SECONDS` (RFC 7240)."),
        _in_header("Idempotency-Key", "Posts with the same one are the same job.", maxLength=255),
    ]


def _notebook_paths(submitted: Json) -> dict[str, dict[str, Json]]:
    path = _in_path("path", {"type": "string", "minLength": 1}, "As the list names it.")
    body = {"type": "object", "description": "A value for each parameter.", **_ANYTHING}
    return {
        "/notebooks": {
            "get": {
                "id": "listNotebooks",
                "answers": {"200": _json("The library.", Library)},
                "errors": (503,),
            }
        },
        "/notebooks/{path}": {
            "get": {
                "id": "showNotebook",
                "parameters": [path],
                "answers": {"200": _json("Its parameters.", LibraryFunction)},
                "errors": (400, 404, 413),
            },
            "post": {
                "id": "runNotebook",
                "parameters": [path, *_waiting()],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": body}},
                },
                "answers": submitted,
                "errors": (404, 409, 410, 415, 429),
            },
        },
    }


def _schedule_paths(submitted: Json) -> dict[str, dict[str, Json]]:
    name = [_in_path("name", {"type": "string", "minLength": 1}, "As the list names it.")]
    changed = {"200": _json("The schedule as it is now.", Schedule)}
    return {
        "/schedules": {
            "get": {
                "id": "listSchedules",
                "answers": {"200": _json("The schedules.", Schedules)},
                "errors": (503,),
            }
        },
        "/schedules/{name}": {
            "get": {
                "id": "showSchedule",
                "parameters": name,
                "answers": {"200": _json("The schedule.", ScheduleDetails)},
                "errors": (404, 503),
            }
        },
        "/schedules/{name}/run": {
            "post": {
                "id": "runSchedule",
                "parameters": [*name, _wait("Seconds to wait for the result; by default none.")],
                "answers": submitted,
                "errors": (404, 409, 429),
            }
        },
        **{
            f"/schedules/{{name}}/{word}": {
                "post": {
                    "id": f"{word}Schedule",
                    "parameters": name,
                    "answers": changed,
                    "errors": (404, 503),
                }
            }
            for word in ("pause", "resume")
        },
    }


def _pause_paths() -> dict[str, dict[str, Json]]:
    name = [_in_query("name", {"type": "string"}, "A name or a pattern; without it, all jobs.")]
    left = {"200": _json("The pauses that there are now.", Pauses)}
    return {
        "/pauses": {"get": {"id": "listPauses", "answers": left, "errors": (503,)}},
        "/pause": {
            "post": {
                "id": "pauseJobs",
                "parameters": name,
                "answers": {"200": _json("The pause.", Pause)},
                "errors": (400, 503),
            }
        },
        "/resume": {
            "post": {
                "id": "resumeJobs",
                "parameters": name,
                "answers": left,
                "errors": (404, 503),
            }
        },
    }


def _hook_paths() -> dict[str, dict[str, Json]]:
    name = [_in_path("name", {"type": "string", "minLength": 1}, "As the list names it.")]
    anything = {"schema": {"description": "What the sender sends; the hook's file takes parts."}}
    return {
        "/rules": {
            "get": {
                "id": "listRules",
                "answers": {"200": _json("The rules over files.", FileRules)},
                "errors": (503,),
            }
        },
        "/hooks": {
            "get": {
                "id": "listHooks",
                "answers": {"200": _json("The web hooks.", Hooks)},
                "errors": (503,),
            }
        },
        "/hooks/{name}": {
            "post": {
                "id": "callHook",
                "parameters": name,
                "requestBody": {"content": {"application/json": anything}},
                "answers": {
                    "200": _json("The hook does not want it.", Ignored),
                    "202": _json("The job.", Accepted),
                },
                "errors": (400, 401, 404, 409, 413, 422, 429, 503),
                "is_open": True,
            }
        },
    }


def _job_paths(job: list[Json], submitted: Json, come_again: Json) -> dict[str, dict[str, Json]]:
    return {
        "/jobs": {
            "get": {
                "id": "listJobs",
                "parameters": [
                    _in_query("status", {"enum": list(Status)}, "Only such jobs."),
                    _in_query("name", {"type": "string"}, "Only jobs of this name."),
                    _in_query(
                        "limit",
                        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 50},
                        "How many.",
                    ),
                    _in_query(
                        "before",
                        {"type": "string", "pattern": "^([0-9a-f]{32})?$"},
                        "Those that follow this job: the `before` of the last answer. Empty: all.",
                    ),
                ],
                "answers": {"200": _json("The newest first.", Jobs)},
                "errors": (400, 503),
            }
        },
        "/jobs/{job_id}": {
            "get": {
                "id": "showJob",
                "parameters": [*job, _wait("Seconds to wait for its end; by default none.")],
                "answers": {"200": _json("The job.", Job, Submitted)},
                "errors": (400, 404, 503),
            },
            "delete": {
                "id": "cancelJob",
                "parameters": job,
                "answers": {
                    "200": _json("It was over already.", Job, Submitted),
                    "202": come_again,
                },
                "errors": (404, 503),
            },
        },
        "/jobs/{job_id}/retry": {
            "post": {
                "id": "retryJob",
                "parameters": [*job, _wait("Seconds to wait for the result; by default none.")],
                "answers": submitted,
                "errors": (404, 409, 410, 429),
            }
        },
    }


def _shown_report() -> Json:
    content: Json = {
        "text/html": {"schema": {"type": "string"}},
        "text/markdown": {"schema": {"type": "string"}},
        "application/pdf": {"schema": {"type": "string", "format": "binary"}},
    }
    return {"description": "The report.", "content": content}


def _looks_of_report() -> list[Json]:
    return [
        _in_query("format", {"enum": list(FORMS), "default": FORMS[0]}, "As what."),
        _in_query("code", {"enum": ["hide", "show"]}, "Whether code is shown."),
        _in_query("theme", {"enum": list(get_args(Theme))}, "Light or dark."),
        _in_query("title", {"type": "string", "maxLength": MAX_TITLE}, "Its title."),
        _in_query("figures", {"enum": ["still", "live"]}, "Whether scripts may draw figures."),
    ]


def _figure_paths(job: list[Json]) -> dict[str, dict[str, Json]]:
    token = _in_path("token", {"type": "string"}, "The text of a link, or of a report's frames.")
    number = _in_path("number", {"type": "integer", "minimum": 0}, "Its number in the report.")
    content: Json = {"text/html": {"schema": {"type": "string"}}}
    page: Json = {"description": "A page for a frame.", "content": content}
    return {
        "/jobs/{job_id}/report/figures/{number}": {
            "get": {
                "id": "figure",
                "parameters": [*job, number],
                "answers": {"200": page},
                "errors": (404, 410, 422, 503),
            }
        },
        "/shared/{token}/figures/{number}": {
            "get": {
                "id": "openFigure",
                "parameters": [token, number],
                "answers": {"200": page, "404": {"description": "There is no such figure."}},
                "errors": (),
                "is_open": True,
            }
        },
    }


def _share_paths(job: list[Json]) -> dict[str, dict[str, Json]]:
    share = _in_path("share", {"type": "string"}, "The id of a link.")
    body = {"content": {"application/json": {"schema": _ref(ShareRequest)}}}
    token = _in_path("token", {"type": "string"}, "The text of a link.")
    return {
        "/jobs/{job_id}/report": {
            "get": {
                "id": "report",
                "parameters": [*job, *_looks_of_report()],
                "answers": {"200": _shown_report()},
                "errors": (400, 404, 410, 422, 501, 503),
            }
        },
        "/jobs/{job_id}/shares": {
            "get": {
                "id": "listShares",
                "parameters": job,
                "answers": {"200": _json("Its links.", Shares)},
                "errors": (404, 503),
            },
            "post": {
                "id": "share",
                "parameters": job,
                "requestBody": body,
                "answers": {"201": _json("The link.", Share)},
                "errors": (400, 404, 410, 503),
            },
        },
        "/jobs/{job_id}/shares/{share}": {
            "delete": {
                "id": "revokeShare",
                "parameters": [*job, share],
                "answers": {"200": _json("The links that are left.", Shares)},
                "errors": (404, 503),
            }
        },
        "/shared/{token}": {
            "get": {
                "id": "openShare",
                "parameters": [token],
                "answers": {
                    "200": _shown_report(),
                    "404": {"description": "There is no such link."},
                },
                "errors": (),
                "is_open": True,
            }
        },
    }


def _delivery_paths(job: list[Json]) -> dict[str, dict[str, Json]]:
    delivery = _in_path("delivery", {"type": "string"}, "The id of one of the job's deliveries.")
    return {
        "/jobs/{job_id}/deliveries": {
            "get": {
                "id": "listDeliveries",
                "parameters": job,
                "answers": {
                    "200": _json("What came of each callback and notification.", Deliveries)
                },
                "errors": (404, 503),
            }
        },
        "/jobs/{job_id}/deliveries/{delivery}/again": {
            "post": {
                "id": "deliverAgain",
                "parameters": [*job, delivery],
                "answers": {"202": _json("It is sent now; all deliveries of the job.", Deliveries)},
                "errors": (404, 503),
            }
        },
    }


def _origin_paths(job: list[Json]) -> dict[str, dict[str, Json]]:
    return {
        "/jobs/{job_id}/environment": {
            "get": {
                "id": "environment",
                "parameters": job,
                "answers": {"200": _json("In what it ran, with the packages.", Origin)},
                "errors": (404, 410, 503),
            }
        },
    }


def _report_paths(job: list[Json], report: Json) -> dict[str, dict[str, Json]]:
    return {
        "/jobs/{job_id}/result": {
            "get": {
                "id": "result",
                "parameters": job,
                "answers": {"200": report},
                "errors": (404, 410, 503),
            }
        },
        "/jobs/{job_id}/notebook": {
            "get": {
                "id": "notebook",
                "parameters": [
                    *job,
                    _in_query(
                        "format", {"enum": ["ipynb", "html"], "default": "ipynb"}, "As what."
                    ),
                ],
                "answers": {
                    "200": {
                        "description": "The executed notebook, as a download or rendered.",
                        "content": {
                            "application/x-ipynb+json": {"schema": {"type": "object"}},
                            "text/html": {"schema": {"type": "string"}},
                        },
                    }
                },
                "errors": (400, 404, 410, 422, 503),
            }
        },
    }


def _file_paths(job: list[Json]) -> dict[str, dict[str, Json]]:
    return {
        "/jobs/{job_id}/files": {
            "get": {
                "id": "listFiles",
                "parameters": job,
                "answers": {"200": _json("What it published.", Files)},
                "errors": (404, 410, 503),
            }
        },
        "/jobs/{job_id}/files/{path}": {
            "get": {
                "id": "file",
                "parameters": [
                    *job,
                    _in_path("path", {"type": "string", "minLength": 1}, "As the list names it."),
                ],
                "answers": {"200": _content("The file's bytes.", "*/*", {})},
                "errors": (404, 410, 503),
            }
        },
        "/jobs/{job_id}/events": {
            "get": {
                "id": "events",
                "parameters": job,
                "answers": {
                    "200": _content(
                        "Server-sent events: state, progress and, at last, result.",
                        "text/event-stream",
                        _EVENT,
                    )
                },
                "errors": (404, 503),
            }
        },
    }


def _operation(way: Json, *, with_token: bool) -> Json:
    """Describe one way in as OpenAPI does; errors that every way may have are added."""
    own = dict(way)
    name, answers = own.pop("id"), own.pop("answers")
    parameters, is_open = own.pop("parameters", ()), own.pop("is_open", False)
    token = {401} if with_token and not is_open else set()
    refusals = {*own.pop("errors", ()), 400, 403, 500, *token}
    known = {str(status): _json(HTTPStatus(status).phrase, Problem) for status in sorted(refusals)}
    described = known | answers
    return {
        "operationId": name,
        "parameters": list(parameters),
        **own,
        "responses": {status: described[status] for status in sorted(described)},
        **({"security": []} if is_open else {}),
    }


def _job_errors() -> Json:
    """Describe the answers of a job's own errors, by the contract's table."""
    statuses = sorted({rule.http for rule in ERROR_RULES.values()})
    return {
        str(status): _json(
            ", ".join(kind for kind, rule in ERROR_RULES.items() if rule.http == status),
            ErrorResult,
            Problem,
        )
        for status in statuses
    }


_FILES: Json = {
    "description": "Files that go along, by name: a text, or bytes as base64.",
    "type": "object",
    "additionalProperties": {
        "anyOf": [
            {"type": "string"},
            {
                "type": "object",
                "properties": {"base64": {"type": "string", "contentEncoding": "base64"}},
                "required": ["base64"],
                "additionalProperties": False,
            },
        ]
    },
}


def _run_body() -> Json:
    one = {"anyOf": [_ref(RunRequest), _ref(Notebook)]}
    return {"anyOf": [*one["anyOf"], {"type": "array", "items": one, "minItems": 1, "maxItems": 1}]}


def _schemas() -> Json:
    models: list[tuple[type[BaseModel], Literal["validation", "serialization"]]] = [
        (RunRequest, "validation"),
        (Notebook, "validation"),
        *((model, "serialization") for model in _SHOWN),
    ]
    _, described = models_json_schema(models, ref_template="#/components/schemas/{model}")
    schemas: Json = described["$defs"]
    run = schemas["RunRequest"]
    run["required"] = ["notebook"]
    run["properties"]["files"] = _FILES
    run["properties"]["notebook"] = {
        "description": "Path of a notebook below `notebooks/`, or the notebook itself.",
        "anyOf": [{"type": "string", "minLength": 1}, {"type": "object", **_ANYTHING}],
    }
    schemas["Notebook"] |= _ANYTHING
    for name in ("RunRequest", "Resources", "Retry", "Callback"):
        _leave_defaults_to_words(schemas[name]["properties"])
    for key in ("id", "kernel"):
        run["properties"][key]["anyOf"].append({"type": "string", "maxLength": 0})  # as null
    return schemas


def _leave_defaults_to_words(properties: Json) -> None:
    """Remove each `default`: openapi-typescript would demand its key of every caller."""
    for schema in properties.values():
        default = schema.pop("default", None)
        if default is not None:
            schema["description"] += f" Default: {default}."


def _metrics() -> Json:
    answer = _json("Figures, as JSON or for Prometheus.", Figures)
    for kind in ("text/plain", "application/openmetrics-text"):
        answer["content"][kind] = {"schema": {"type": "string"}}
    return answer


def _linked(answer: Json) -> Json:
    """Describe where a client continues with the `job_id` of an answer."""
    parameters = {"parameters": {"job_id": "$response.body#/job_id"}}
    following = ("showJob", "result", "notebook", "listFiles", "events", "cancelJob", "retryJob")
    return {**answer, "links": {name: {"operationId": name, **parameters} for name in following}}


def _json(description: str, *models: type[BaseModel]) -> Json:
    schema = _ref(models[0]) if len(models) == 1 else {"anyOf": [_ref(one) for one in models]}
    return _content(description, "application/json", schema)


def _content(description: str, media_type: str, schema: Json) -> Json:
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _ref(model: type[BaseModel]) -> Json:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _wait(description: str) -> Json:
    limits = {"type": "number", "minimum": 0, "maximum": MAX_WAIT_SECONDS}
    return _in_query("wait", limits, description)


def _in_query(name: str, schema: Json, description: str) -> Json:
    """Describe a key of the query, which means the default where it has no value."""
    if schema.get("type") != "string":
        default = {key: value for key, value in schema.items() if key == "default"}
        wanted = {key: value for key, value in schema.items() if key != "default"}
        schema = {"anyOf": [wanted, {"type": "string", "maxLength": 0}], **default}
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _in_path(name: str, schema: Json, description: str) -> Json:
    parameter = {"name": name, "in": "path", "required": True, "schema": schema}
    return {**parameter, "description": description}


def _in_header(name: str, description: str, **limits: int) -> Json:
    parameter = {"name": name, "in": "header", "schema": {"type": "string", **limits}}
    return {**parameter, "description": description}
