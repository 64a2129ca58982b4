"""Turns a call of a web hook into a job: proves it, looks whether it is wanted, submits it once.

Knows nothing of HTTP beyond headers, query and body as values.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from runner.config import Settings
from runner.contract.outcome import Refused
from runner.contract.states.status import ErrorType
from runner.contract.text.strict_json import JsonValue, StrictJsonError
from runner.contract.text.strict_json import loads as load_json
from runner.contract.triggers.causes import cause_of_hook
from runner.contract.triggers.documents import TriggerError
from runner.contract.triggers.placeholders import PlaceholderError
from runner.contract.triggers.signatures import Delivery, prove
from runner.jobs import submit
from runner.jobs.body import JobRequest, read_request_document
from runner.jobs.functions import Functions
from runner.jobs.problem import Problem, ProblemType, not_found, refused, unavailable
from runner.jobs.submissions import Runs, Submitted
from runner.submitters.hooks.files import Hooked, HookFiles

BUSY_SECONDS = 5.0
"""How long a call waits until the request before it has left the inbox, if both have one name."""
AGAIN_SECONDS = 0.05
SOURCES_OF_TEXTS = {True: ("headers", "query"), False: ("headers", "query", "body")}
"""Parts of a call that have nothing but texts, by whether its body is JSON."""


@dataclass(frozen=True)
class Call:
    """One call, as it came. Names of headers are in lower case."""

    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Ignored:
    """A call that `when` does not want: `why`."""

    why: str


class Hooks:
    """The hooks behind one gateway. Safe for many threads."""

    def __init__(
        self,
        settings: Settings,
        runs: Runs,
        functions: Functions,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._runs = runs
        self._functions = functions
        self._now = now
        self._files = HookFiles(settings.hooks_folder, settings.request_rules)
        self._reading = threading.Lock()

    def call(self, name: str, call: Call) -> Submitted | Ignored:
        """Submit the request of a call; the same delivery again is the same job.

        Raises:
            NotProven: it does not come from who knows the secret, or is too old.
            Problem: `not_found`; `unavailable`, the hook is off or wrong; `invalid_parameters`, the
                call lacks what a placeholder names; those of a submission.
            OSError: the inbox cannot be written.
        """
        hooked = next((one for one in self._all() if one.name == name), None)
        if hooked is None:
            raise not_found(f"There is no hook {name[:200]!r}.")
        hook, secret = hooked.hook, self._secret_of(hooked)
        if hook is None or secret is None:  # whoever asks has proven nothing, and learns no more
            what = "has no secret here yet" if hooked.has_no_secret else "is not set up"
            raise unavailable(f"The hook {what}; `runner health` of its runner says why.")
        delivery = prove(hook.calls.verify, secret, call.headers, call.body, self._now())
        if not hook.calls.enabled:
            raise unavailable("The hook is off (enabled: false).")
        body, is_json = _content(call)
        parts: dict[str, JsonValue] = {
            "headers": dict(call.headers),
            "query": dict(call.query),
            "body": body,
        }
        why = hook.why_ignored(parts)
        if why is not None:
            return Ignored(why)
        try:
            texts = hook.parameters_from(SOURCES_OF_TEXTS[is_json])
            request = self._functions.typed(hook.request_of(parts), texts)
            wanted = read_request_document(request, self._settings)
        except PlaceholderError as error:
            raise Problem(ErrorType.INVALID_PARAMETERS, f"{error}.") from error
        except Refused as refusal:
            raise refused(refusal) from refusal
        return self._submit(name, delivery, wanted)

    def _all(self) -> list[Hooked]:
        try:
            with self._reading:
                return self._files.all()
        except OSError as error:
            folder = self._settings.hooks_folder
            raise unavailable(f"{folder} cannot be read ({error.strerror or error}).") from error

    def _secret_of(self, hooked: Hooked) -> str | None:
        try:
            return None if hooked.hook is None else self._files.secret_of(hooked)
        except TriggerError:
            return None

    def _submit(self, name: str, delivery: Delivery, wanted: JobRequest) -> Submitted:
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                if delivery.id is not None:
                    return self._runs.submit_for(cause_of_hook(name, delivery.id), wanted)
                return self._runs.submit(wanted.submitted_by(f"hook:{name}"), submit.new_job_id())
            except Problem as problem:
                if problem.error_type != ProblemType.NAME_BUSY:
                    raise
                if time.monotonic() > deadline:
                    raise unavailable(problem.message) from problem
            time.sleep(AGAIN_SECONDS)


def _content(call: Call) -> tuple[JsonValue, bool]:
    """Read the body: JSON, the fields of a form, or a text; return whether it was JSON.

    A form's `payload` may be the JSON.
    """
    kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        fields = dict(parse_qsl(call.body.decode("utf-8", "replace"), keep_blank_values=True))
        if fields.keys() == {"payload"}:
            return _json(fields["payload"].encode()), True
        return dict(fields), False
    if kind == "application/json" or kind.endswith("+json"):
        return _json(call.body), True
    return call.body.decode("utf-8", "replace"), False


def _json(raw: bytes) -> JsonValue:
    try:
        return load_json(raw)
    except StrictJsonError as error:
        message = f"The body is no valid JSON: {error}."
        raise Problem(ErrorType.INVALID_REQUEST, message) from error
