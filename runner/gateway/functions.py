"""The library's notebooks over HTTP: their list, the types of each, and calls by their path.

Reads the library through `jobs.functions`; submits nothing itself.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from bottle import HTTPResponse

from runner.config import Settings
from runner.contract.outcome import Refused, refuse
from runner.contract.request import Form, read_document
from runner.contract.states.status import ErrorType
from runner.contract.text.strict_json import JsonValue
from runner.gateway.function_paths import MAX_DESCRIBED, paths_of
from runner.gateway.http.answers import json_answer
from runner.jobs.body import JobRequest, read_request_document
from runner.jobs.functions import Function, Functions
from runner.jobs.problem import not_found, unavailable

SUFFIX = ".ipynb"


class FunctionRoutes:
    """Answers below `/notebooks` for one gateway."""

    def __init__(self, settings: Settings, functions: Functions) -> None:
        self._settings = settings
        self._functions = functions

    def show_all(self) -> HTTPResponse:
        """Answer with all notebooks, and with why one of them cannot be run."""
        rows: list[dict[str, Any]] = []
        for one in self._all():
            if isinstance(one, Function):
                rows.append({**_summary(one), "error": None})
            else:
                path, refused = one
                empty = {"title": "", "description": "", "is_tool": False}
                rows.append({"path": path, **empty, "error": refused.failure.message})
        return json_answer(200, {"notebooks": rows})

    def show(self, path: str) -> HTTPResponse:
        """Answer with the JSON Schema of a notebook's parameters."""
        function = self._function(path)
        content = {**_summary(function), "parameters": function.signature.schema()}
        return json_answer(200, {**content, "notes": list(function.signature.notes)})

    def read_call(self, path: str, raw: bytes) -> JobRequest:
        """Turn the parameters of a call into a request.

        Raises:
            Refused: they do not fit, or the notebook cannot be run.
            Problem: `not_found`.
        """
        function = self._function(path)
        values = read_document(raw, Form.JSON)
        if not isinstance(values, dict):
            raise refuse(
                ErrorType.INVALID_PARAMETERS,
                "The body must be a JSON object with a value for each parameter; {} for none.",
            )
        request: JsonValue = {"notebook": function.path, "parameters": values}
        asked = read_request_document(request, self._settings)
        function.check(values)
        return asked

    def described(self, *, with_token: bool) -> dict[str, Any]:
        """Return the OpenAPI document, with an operation for each notebook of the library."""
        from runner.gateway.openapi import document  # it is large, and seldom asked for

        whole = document(with_token=with_token)
        functions = []
        with suppress(OSError):  # the other routes are described without a library too
            functions = [one for one in self._functions.all() if isinstance(one, Function)]
        is_closed = self._settings.execution.unknown_parameters == "refuse"
        own = paths_of(functions[:MAX_DESCRIBED], whole, is_closed=is_closed)
        return {**whole, "paths": {**whole["paths"], **own}}

    def _all(self) -> Iterator[Function | tuple[str, Refused]]:
        try:
            yield from self._functions.all()
        except OSError as error:
            raise unavailable(f"The notebooks folder cannot be read: {error.strerror}.") from error

    def _function(self, path: str) -> Function:
        """Return the notebook at a path, which needs no suffix."""
        try:
            return self._functions.of(path if path.endswith(SUFFIX) else f"{path}{SUFFIX}")
        except Refused as refused:
            if refused.failure.error_type is ErrorType.INVALID_REQUEST:
                raise not_found(refused.failure.message) from refused
            raise


def _without_title(function: Function) -> str:
    """Return the description without the heading that is the title."""
    first, _, rest = function.description.partition("\n")
    is_title = first.startswith("#") and first.endswith(function.title) and function.title
    return rest.strip() if is_title else function.description


def _summary(function: Function) -> dict[str, Any]:
    return {
        "path": function.path,
        "title": function.title,
        "description": _without_title(function),
        "is_tool": function.is_tool,
    }
