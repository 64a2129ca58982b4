"""The gateway for Python callers: submits, waits as long as it takes, and returns typed results.

Speaks HTTP only; it needs no folder, and imports nothing of the runner but its values.
"""

import json
import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import requests

from runner.contract.outcome import ErrorResult, Result
from runner.contract.states.status import ErrorType

WAIT_SECONDS = 25.0
"""How long one request waits before the next continues. Proxies cut off longer ones."""
AGAIN_SECONDS = 0.5
LAST_AGAIN_SECONDS = 10.0


class JobFailed(Exception):
    """A job ended without success; `report` is its error as it was published."""

    hint = ""
    """What may have been meant, for the message."""

    def __init__(self, report: ErrorResult) -> None:
        super().__init__(report)
        self.report = report

    def __str__(self) -> str:
        return f"{self.report.error_type}: {self.report.message}{self.hint}"


class RequestRefused(Exception):
    """The gateway made no job of a request: `status, error_type, message`."""

    hint = ""
    """What may have been meant, for the message."""

    def __init__(self, status: int, error_type: str, message: str) -> None:
        super().__init__(status, error_type, message)
        self.status = status
        self.error_type = error_type
        self.message = message

    def __str__(self) -> str:
        return f"{self.error_type} ({self.status}): {self.message}{self.hint}"


class GatewayUnreachable(requests.ConnectionError, requests.Timeout):
    """No gateway answered in the time to try it; the message says where it was looked for."""


@dataclass(frozen=True)
class Client:
    """One gateway. `options` are the keys of a request beside `notebook` and `parameters`.

    `files` go along with each request.
    """

    url: str = "http://127.0.0.1:5005"
    token: str | None = None
    options: Mapping[str, Any] | None = None
    give_up_seconds: float = 60.0
    """How long to try a gateway that cannot be reached."""
    files: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        """Check the address before it is used.

        Raises:
            ValueError: it has no scheme.
        """
        if not self.url.lower().startswith(("http://", "https://")):
            raise ValueError(
                f"{self.url!r} is no address of a gateway; it begins with http:// or https://, "
                "such as http://127.0.0.1:5005"
            )

    def having(self, **options: Any) -> "Client":
        """Return the same gateway with other options.

        They are `timeout_seconds`, `kernel`, `retries`, `resources`, `name`, and those that say
        when it starts: `not_before`, `start_within_seconds`, `priority`, `group`, `retry`. With
        `callback` the result goes to an address too; `report` says how the job's report looks.
        """
        return replace(self, options={**(self.options or {}), **options})

    def with_files(self, *files: str | Path) -> "Client":
        """Return the same gateway; these files go along, and the notebook finds them beside it."""
        return replace(self, files=(*self.files, *map(Path, files)))

    def run(self, notebook: str | Path | Mapping[str, Any], /, **parameters: Any) -> Result:
        """Run a notebook and wait for its result.

        `notebook` is one of these: a text, the path of a notebook in the gateway's library; a
        `Path` or an absolute path as text, a file here, which is sent; a notebook's JSON. A
        gateway that goes away and comes back costs time; the job is still run once.

        Raises:
            JobFailed: it ran, or was refused by the runner.
            RequestRefused: the gateway refused it.
            GatewayUnreachable: no gateway for `give_up_seconds`; a `requests.ConnectionError`.
            OSError: the file cannot be read.
            ValueError: the file is no JSON, or JSON cannot express a parameter.
        """
        try:
            return self.result(self.submit(notebook, **parameters))
        except (JobFailed, RequestRefused) as error:
            if isinstance(notebook, str) and _is_unknown(error) and _is_here_too(notebook):
                error.hint = (
                    f" {notebook!r} was looked for in the gateway's library. To send the file of "
                    f"this folder: run(Path({notebook!r}))"
                )
            raise

    def submit(self, notebook: str | Path | Mapping[str, Any], /, **parameters: Any) -> str:
        """Submit a notebook and return its job's id.

        Raises:
            RequestRefused, GatewayUnreachable, OSError, ValueError: see `run`.
        """
        content: Any = notebook
        if isinstance(notebook, str | Path) and _is_file_here(notebook):
            content = json.loads(Path(notebook).read_bytes())
        _check_values({**(self.options or {}), **parameters})
        body = {**(self.options or {}), "notebook": content}
        if parameters:
            body["parameters"] = parameters
        key = {"Idempotency-Key": uuid.uuid4().hex}
        form: dict[str, Any] = {"json": body}
        if self.files:
            sent = [("file", (path.name, path.read_bytes())) for path in self.files]
            form = {"data": {"request": json.dumps(body)}, "files": sent}
        answer = self._ask("POST", "/run?wait=0", headers=key, **form)
        return str(answer["job_id"])

    def result(self, job_id: str) -> Result:
        """Wait for a job's result.

        Raises:
            JobFailed, RequestRefused, GatewayUnreachable: see `run`.
        """
        while True:
            report = self.job(job_id, wait_seconds=WAIT_SECONDS).get("result")
            if report is None:
                continue
            if "error_type" in report:
                raise JobFailed(ErrorResult.model_validate(report))
            return Result.model_validate(report)

    def job(self, job_id: str, wait_seconds: float = 0) -> dict[str, Any]:
        """Return a job's state, progress and result; wait for the result up to `wait_seconds`.

        Raises:
            RequestRefused, GatewayUnreachable: see `run`.
        """
        return self._ask("GET", f"/jobs/{job_id}?wait={wait_seconds:g}")

    def cancel(self, job_id: str) -> None:
        """Cancel a job; one that is over stays as it is.

        Raises:
            RequestRefused, GatewayUnreachable: see `run`.
        """
        self._ask("DELETE", f"/jobs/{job_id}")

    def _ask(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        """Repeat a request until there is an answer; every request here may be repeated."""
        headers = dict(more.pop("headers", {}))
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        deadline, pause = time.monotonic() + self.give_up_seconds, AGAIN_SECONDS
        while True:
            try:
                answer = requests.request(
                    method,
                    self.url.rstrip("/") + path,
                    headers=headers,
                    timeout=WAIT_SECONDS + 30,
                    **more,
                )
            except (requests.ConnectionError, requests.Timeout) as error:
                if time.monotonic() > deadline:
                    raise self._unreachable(error) from error
            else:
                if answer.status_code not in (429, 502, 503) or time.monotonic() > deadline:
                    return _content(answer)
            time.sleep(pause)
            pause = min(pause * 2, LAST_AGAIN_SECONDS)

    def _unreachable(self, error: Exception) -> GatewayUnreachable:
        return GatewayUnreachable(
            f"no gateway answered at {self.url} for {self.give_up_seconds:g} s "
            f"({type(error).__name__}); is it running (`runner serve`, with "
            "gateway.enabled), and is this its address: Client(url)?"
        )


def _check_values(values: Mapping[str, Any]) -> None:
    """Check that JSON can carry each value.

    Raises:
        ValueError: naming the first that it cannot.
    """
    for name, value in values.items():
        try:
            json.dumps(value, allow_nan=False)
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(
                f"JSON cannot express `{name}`, which is {repr(value)[:80]} ({error}); send None, "
                "a text, a plain number, or lists and mappings of them"
            ) from error


def _is_file_here(notebook: str | Path) -> bool:
    """Return whether it names a file here; no path in a library is absolute."""
    return isinstance(notebook, Path) or Path(notebook).is_absolute()


def _is_here_too(notebook: str) -> bool:
    """Return whether a path of the library exists here as well; a text may be no path at all."""
    return not _is_file_here(notebook) and os.path.isfile(notebook)  # noqa: PTH113 - never raises


def _is_unknown(error: JobFailed | RequestRefused) -> bool:
    """Return whether a request may have named a notebook that is not in the library."""
    kind = error.report.error_type if isinstance(error, JobFailed) else error.error_type
    return kind == ErrorType.INVALID_REQUEST


def _content(answer: requests.Response) -> dict[str, Any]:
    try:
        content = answer.json()
    except requests.JSONDecodeError:
        content = {}
    if isinstance(content, dict) and ("job_id" in content or answer.ok):
        return content
    error = content if isinstance(content, dict) else {}
    raise RequestRefused(
        answer.status_code,
        str(error.get("error_type", "bad_http")),
        str(error.get("message", answer.text[:200])),
    )
