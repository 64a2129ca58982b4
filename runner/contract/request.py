"""The schema of requests in every form, and the rules for reading them.

Owns `Request`, and decides whether a document is one. Pure.
"""

import keyword
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from enum import StrEnum
from pathlib import PurePosixPath
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runner.contract.callbacks import Callback, RequestedCallback
from runner.contract.job_ids import JOB_ID
from runner.contract.outcome import refuse
from runner.contract.report_choices import ReportChoices
from runner.contract.states.status import ErrorType
from runner.contract.text.strict_json import JsonValue, StrictJsonError
from runner.contract.text.strict_json import loads as load_json
from runner.contract.text.strict_yaml import StrictYamlError
from runner.contract.text.strict_yaml import loads as load_yaml
from runner.contract.waiting import MOST_PRIORITY, Moment, Retry

MAX_PARAMETER_NODES = 100_000
MAX_PARAMETER_DEPTH = 100
MAX_PATH = 4095
"""Longest path that Linux opens."""
MAX_SHOWN = 200
MAX_INT_BITS = 13_000
"""Python writes and reads integers of up to 4,300 decimal digits."""


class Form(StrEnum):
    """The form of a request; some keys are legal in some forms only."""

    JSON = "json"
    YAML = "yaml"


class Kind(StrEnum):
    """Kinds of documents in the inbox."""

    NOTEBOOK = "notebook"
    REQUEST = "request"
    SETTINGS = "settings"
    FOREIGN = "foreign"


class Resources(BaseModel):
    """Resources that a run needs of its machine."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    memory_mb: int | None = Field(
        None,
        gt=0,
        le=1_000_000_000,
        description="What all processes of the run may hold together, in MB; default and, on one "
        "machine, maximum `limits.memory_mb`.",
    )
    gpus: int = Field(
        0, ge=0, le=1000, description="GPUs of a worker that the run takes; clusters only."
    )
    labels: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]] = Field(
        default_factory=list,
        max_length=20,
        description="Labels that the worker must have, such as `ssd`; clusters only.",
    )


def demand_of(resources: Resources) -> str | None:
    """Write needs as text, equal for equal ones; None if there are none."""
    if resources == Resources():
        return None
    return resources.model_copy(update={"labels": sorted(set(resources.labels))}).model_dump_json()


class Request(BaseModel):
    """A request's keys, the same in YAML, JSON and on the command line."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", defer_build=True, title="Inbox Runner request"
    )

    notebook: str | dict[str, Any] | None = Field(
        None,
        description="Path of a notebook below `notebooks/`, or, in JSON, the notebook itself. "
        "Absent in the settings file that lies beside a notebook.",
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="Values by name for the cell tagged `parameters`, injected by papermill.",
    )
    timeout_seconds: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Limit of the whole run from when its kernel is ready; "
        "default `limits.run_seconds`, at most `limits.max_run_seconds`.",
    )
    kernel: str | None = Field(None, min_length=1, description="Name of a kernelspec.")
    retries: int = Field(
        0,
        ge=0,
        le=10,
        description="Runs again after interrupted, kernel_died or kernel_startup; "
        "never after a cell's own error. `retry` says more.",
    )
    retry: Retry | None = Field(
        None, description="How to run again: after which errors, and with which pauses."
    )
    not_before: Moment | None = Field(
        None, description="Earliest start: a time with its offset from UTC."
    )
    start_within_seconds: float | None = Field(
        None,
        gt=0,
        le=100_000_000,
        allow_inf_nan=False,
        description="A job that has not started by then expires; counted from its acceptance, or "
        "from `not_before`.",
    )
    priority: int = Field(
        0,
        ge=-MOST_PRIORITY,
        le=MOST_PRIORITY,
        description="A job passes those that came up to ten minutes before it, for each point "
        "above theirs.",
    )
    group: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="Name of a group of `groups` in the settings, of which only so many run at "
        "once.",
    )
    resources: Resources = Field(
        default_factory=Resources,
        description="What the run needs of the machine it runs on.",
    )
    callback: RequestedCallback | None = Field(
        None,
        description="Where the result goes by HTTP once the job is over: an address, or a mapping "
        "of `url`, `events` and `headers`.",
    )
    report: ReportChoices | None = Field(None, description="How the job's report looks.")
    id: str | None = Field(
        None,
        pattern=f"^{JOB_ID.pattern}$",
        description="The job's id, in JSON only. The same id with the same bytes is the same job.",
    )
    submitted_by: str | None = Field(
        None,
        pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,200}$",
        description="Who or what made the request, shown beside the job; by default the way it "
        "came: `file`, `http`, `page`, `mcp` or `cli`.",
    )


PARTS: dict[str, type[BaseModel]] = {
    "resources": Resources,
    "retry": Retry,
    "callback": Callback,
    "report": ReportChoices,
}
"""The keys of a request that are mappings with keys of their own."""
SECRET = frozenset({"callback"})
"""Keys whose values may have a secret in them, and are repeated in no message."""


def keys_with(model: type[BaseModel], *types: type) -> tuple[str, ...]:
    """List the keys of a schema that take a value of one of these types."""
    return tuple(
        name for name, field in model.model_fields.items() if _takes(field.annotation, types)
    )


def _takes(annotation: Any, types: tuple[type, ...]) -> bool:
    """Tell whether an annotation accepts values of one of these types."""
    if get_origin(annotation) in (Union, UnionType):
        return any(_takes(one, types) for one in get_args(annotation))
    if get_origin(annotation) is Annotated:
        return _takes(get_args(annotation)[0], types)
    plain = get_origin(annotation) or annotation
    return isinstance(plain, type) and issubclass(plain, types)


_OTHER_KEYS = {"name": "is not needed; the file's name is the request's name"}
_NO_ID = "is for JSON only; a job made from YAML gets its id from the runner"


def kind_of(document: object) -> Kind:
    """Tell the kind of a document. A mapping that is no notebook and no request is settings."""
    if not isinstance(document, dict):
        return Kind.FOREIGN
    if "notebook" in document:
        return Kind.REQUEST
    if "cells" in document or "worksheets" in document:
        return Kind.NOTEBOOK
    return Kind.REQUEST if _means_notebook(document) else Kind.SETTINGS


def _means_notebook(document: Mapping[Any, object]) -> bool:
    """Tell whether one of the keys is a misspelt `notebook`, and all others are a request's.

    As settings the document would wait for ever for a notebook that nobody drops.
    """
    unknown = [key for key in document if key not in Request.model_fields]
    return len(unknown) == 1 and _is_like_notebook(unknown[0])


def _is_like_notebook(key: object) -> bool:
    is_short = isinstance(key, str) and len(key) <= MAX_SHOWN
    return is_short and bool(get_close_matches(str(key).lower(), ["notebook"], 1, 0.75))


def read_document(raw: bytes, form: Form) -> JsonValue:
    """Parse a request or settings file. YAML without a value in it is an empty mapping.

    Raises:
        Refused: `invalid_request`, with the place where parsing stopped.
    """
    try:
        if form is Form.JSON:
            return load_json(raw)
        document = load_yaml(raw)
    except StrictJsonError as error:
        raise refuse(ErrorType.INVALID_REQUEST, f"This is no valid JSON: {error}.") from error
    except StrictYamlError as error:
        raise refuse(ErrorType.INVALID_REQUEST, f"This is no valid YAML: {error}.") from error
    return {} if document is None else document


def read_request(document: object, form: Form, beside: Collection[str] = ()) -> Request:
    """Check a parsed document against the schema. A key that is null counts as missing.

    `beside` are keys that the caller takes out of the document first: the message about an unknown
    key lists them too.

    Raises:
        Refused: `invalid_request` or `invalid_parameters`, naming the key.
    """
    if not isinstance(document, dict):
        raise refuse(ErrorType.INVALID_REQUEST, "A request is a mapping of keys to values.")
    document = _without_nulls(document)
    if form is Form.YAML and "id" in document:
        raise refuse(ErrorType.INVALID_REQUEST, f"The key `id` {_NO_ID}.")
    if form is Form.YAML and isinstance(document.get("notebook"), dict):
        raise refuse(
            ErrorType.INVALID_REQUEST,
            "In YAML, `notebook` is a path in the library; a notebook itself needs JSON.",
        )
    if "parameters" in document:
        check_parameters(document["parameters"])
    try:
        return Request.model_validate(document, strict=True)
    except ValidationError as error:
        own = [key for key in Request.model_fields if key != "id" or form is Form.JSON]
        raise refuse(ErrorType.INVALID_REQUEST, _sentence(error, [*own, *beside])) from error


def _without_nulls(document: dict[str, Any]) -> dict[str, Any]:
    """Drop known keys that are null, also in the mappings of `PARTS`; keep all unknown ones."""
    said = {k: v for k, v in document.items() if v is not None or k not in Request.model_fields}
    for key, part in PARTS.items():
        values = said.get(key)
        if isinstance(values, dict):
            known = part.model_fields
            said[key] = {k: v for k, v in values.items() if v is not None or k not in known}
    return said


def report_choices(document: object) -> ReportChoices:
    """Check what a document chooses about reports, as a request's `report` is checked.

    Raises:
        Refused: `invalid_request`, naming the key.
    """
    read = read_request({"report": document}, Form.YAML).report
    return ReportChoices() if read is None else read


def check_parameters(parameters: object) -> None:
    """Check that names are plain identifiers, because parameters become code in the notebook.

    Papermill writes names into the injected cell as they stand, and knows no types beyond JSON's.

    Raises:
        Refused: `invalid_parameters`, naming the parameter.
    """
    if not isinstance(parameters, Mapping):
        raise refuse(ErrorType.INVALID_PARAMETERS, "`parameters` is a mapping of names to values.")
    budget = [MAX_PARAMETER_NODES]
    for name, value in parameters.items():
        if not isinstance(name, str) or not _is_variable(name):
            raise refuse(
                ErrorType.INVALID_PARAMETERS,
                f"The parameter name {_shown(name)} is no Python identifier.",
            )
        objection = _not_json(value, budget, 0)
        if objection:
            raise refuse(ErrorType.INVALID_PARAMETERS, f"The parameter {name!r} {objection}.")


def library_path(path: str) -> PurePosixPath:
    """Return a notebook's path in the library, relative and without ways out of it.

    Raises:
        Refused: `invalid_request`.
    """
    if len(path) > MAX_PATH:
        raise refuse(
            ErrorType.INVALID_REQUEST,
            f"`notebook` is a text of {len(path)} characters and no path in the library; a "
            "notebook itself goes there as a JSON object.",
        )
    pure = PurePosixPath(path)
    if pure.is_absolute() or "\\" in path or "\0" in path or ".." in pure.parts or not pure.name:
        raise refuse(
            ErrorType.INVALID_REQUEST,
            f"`notebook` is {path!r}; it must be a path below the notebooks folder, without `..`.",
        )
    return pure


def _is_variable(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name) and name != "__debug__"


def _shown(value: object) -> str:
    """Cut a `repr`; Python refuses it for integers of thousands of digits."""
    try:
        text = repr(value)
        return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
    except ValueError:
        return f"a very long {type(value).__name__}"


def _not_json(value: object, budget: list[int], depth: int) -> str | None:
    budget[0] -= 1
    if budget[0] < 0:
        return f"is too large: more than {MAX_PARAMETER_NODES} values in all"
    if depth > MAX_PARAMETER_DEPTH:
        return f"is nested more than {MAX_PARAMETER_DEPTH} deep"
    if isinstance(value, float) and not math.isfinite(value):
        return f"is {value}, which JSON cannot express; pass it as a string or null"
    if isinstance(value, int) and value.bit_length() > MAX_INT_BITS:
        return "is an integer of more than 4,000 digits; pass it as a string"
    if value is None or isinstance(value, bool | int | float | str):
        return None
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            return "has a mapping with a key that is no string"
        return _first(value.values(), budget, depth)
    if isinstance(value, list):
        return _first(value, budget, depth)
    return f"is a {type(value).__name__}, which JSON cannot express"


def _first(values: Any, budget: list[int], depth: int) -> str | None:
    return next((t for v in values if (t := _not_json(v, budget, depth + 1))), None)


def _sentence(error: ValidationError, known: Sequence[str]) -> str:
    """Say what is wrong; `known` are the keys that a document may have."""
    first = error.errors(include_url=False, include_context=False)[0]
    outer, *inner = (str(part) for part in first["loc"][:2])
    part = PARTS.get(outer)
    if part is None:
        inner = []
    key = ".".join([outer, *inner])
    if first["type"] == "extra_forbidden":
        keys, of = known, ""
        if inner and part is not None:
            keys, of = [*part.model_fields], f" of `{outer}`"
        meant = hint((inner or [outer])[0], keys)
        return f"Unknown key `{key}`{meant}. The keys{of} are: {', '.join(keys)}."
    if part is not None and not inner:
        return f"`{outer}` must be a mapping with the keys: {', '.join(part.model_fields)}."
    if key == "notebook":
        return "`notebook` must be a path in the library or, in JSON, a notebook."
    if first["type"] == "missing":
        return f"`{key}` is missing."
    why = first["msg"].removeprefix("Value error, ")
    got = "" if outer in SECRET else f" (got {_shown(first['input'])})"
    return f"`{key}`: {why}{got}."[:500]


def hint_of_key(body: Iterable[str], wanted: str) -> str:
    """Suggest that a key of a body was meant to be `wanted`; empty if none is near."""
    near = get_close_matches(wanted, [key for key in body if len(key) <= MAX_SHOWN], 1, 0.7)
    return f" Did you mean `{wanted}` by `{near[0]}`?" if near else ""


def hint(key: str, known: Collection[str]) -> str:
    """Say what an unknown key probably means; empty if nothing is near."""
    if key in _OTHER_KEYS:
        return f": it {_OTHER_KEYS[key]}"
    near = get_close_matches(key, known, 1) if len(key) <= MAX_SHOWN else []
    return f" (did you mean `{near[0]}`?)" if near else ""
