"""What an executed notebook gives back: the scraps it glued, and its cells tagged `results`.

Pure: reads outputs, never raises for what is in them. What cannot be read is named as a problem.
"""

import ast
import base64
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runner.notebook import tags_of
from runner.strict_json import JsonValue, clean

SCRAP_PREFIX = "application/scrapbook.scrap."
RECORD_TYPE = "application/papermill.record+json"
LITERAL_CHARS = 1_000_000
"""Longer text is not tried as a literal."""


@dataclass(frozen=True)
class Problem:
    """A result that cannot be JSON: its name, and why."""

    name: str
    message: str


@dataclass(frozen=True)
class Extraction:
    """Results by name, in the order of the notebook, and what could not be read."""

    results: dict[str, JsonValue]
    problems: tuple[Problem, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Scrap:
    name: str
    encoder: str
    payload: object


class _Unreadable(Exception):
    """A scrap's payload is not what its type says: `reason`."""


def extract(
    notebook: Mapping[str, Any], *, tag: str = "results", scrapbook: bool = True
) -> Extraction:
    """All results of an executed notebook (nbformat 4).

    Scraps by their name, the last of a name; a DataFrame as `{"columns", "index", "data"}` with
    ISO dates. Cells tagged `tag` as `cell_<execution count>`: their MIME bundle, where there is
    none what they printed as `text/plain`, and `application/json` added where that text is a
    Python or JSON literal. Without `scrapbook`, tagged cells only.
    """
    results: dict[str, JsonValue] = {}
    problems: dict[str, Problem] = {}
    warnings: list[str] = []
    cells = [cell for cell in _list(notebook.get("cells")) if isinstance(cell, Mapping)]
    if scrapbook:
        for scrap in _scraps(cells):
            problems.pop(scrap.name, None)
            try:
                results[scrap.name] = clean(_value_of(scrap))
            except _Unreadable as error:
                results.pop(scrap.name, None)
                problems[scrap.name] = Problem(scrap.name, str(error))
    for cell in cells:
        if tag not in tags_of(cell) or not isinstance(cell.get("execution_count"), int):
            continue
        bundle = _bundle_of(cell)
        name = f"cell_{cell['execution_count']}"
        if bundle is None:
            continue
        if name in results:
            warnings.append(f"The scrap {name!r} hides the tagged cell of the same name.")
            continue
        results[name] = clean(bundle)
    return Extraction(results, tuple(problems.values()), tuple(warnings))


def _scraps(cells: list[Mapping[str, Any]]) -> Iterator[_Scrap]:
    """Every scrap in order; one that is only displayed counts where no value has its name."""
    found = [scrap for cell in cells for output in _outputs(cell) for scrap in _of(output)]
    with_value = {scrap.name for scrap in found if scrap.encoder != "display"}
    for scrap in found:
        if scrap.encoder != "display" or scrap.name not in with_value:
            yield scrap


def _of(output: Mapping[str, Any]) -> Iterator[_Scrap]:
    bundle, shown = output.get("data"), output.get("metadata")
    if not isinstance(bundle, Mapping):
        return
    about = shown.get("scrapbook") if isinstance(shown, Mapping) else None
    label = about.get("name") if isinstance(about, Mapping) else None
    for mime, payload in bundle.items():
        if isinstance(mime, str) and mime.startswith(SCRAP_PREFIX):
            inner = payload.get("name") if isinstance(payload, Mapping) else None
            name = inner if isinstance(inner, str) else label
            encoder = mime.removeprefix(SCRAP_PREFIX).removesuffix("+json")
            yield _Scrap(name if isinstance(name, str) else "?", encoder, payload)
        elif mime == RECORD_TYPE and isinstance(payload, Mapping):
            for name, value in payload.items():
                yield _Scrap(str(name), "record", value)
    if isinstance(label, str) and isinstance(about, Mapping) and about.get("data") is False:
        yield _Scrap(label, "display", _joined(bundle))


def _value_of(scrap: _Scrap) -> JsonValue:
    if scrap.encoder in ("display", "record"):
        return scrap.payload
    if not isinstance(scrap.payload, Mapping) or "data" not in scrap.payload:
        raise _Unreadable("its payload has no data")
    value = scrap.payload["data"]
    if scrap.encoder == "pandas":
        return _frame(value)
    if scrap.encoder in ("json", "text"):
        return value
    raise _Unreadable(f"its encoder {scrap.encoder!r} is not known here")


def _frame(encoded: object) -> JsonValue:
    """A DataFrame out of base64 parquet, as pandas' own "split" form."""
    import pandas

    try:
        if not isinstance(encoded, str):
            raise TypeError("the parquet is no text")
        frame = pandas.read_parquet(io.BytesIO(base64.b64decode(encoded, validate=True)))
        split = json.loads(frame.to_json(orient="split", date_format="iso", double_precision=15))
    except Exception as error:
        raise _Unreadable(f"its DataFrame cannot be JSON ({type(error).__name__}: {error})") from (
            error
        )
    return {key: split[key] for key in ("columns", "index", "data")}


def _bundle_of(cell: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a tagged cell showed last, or else printed; with its literal added."""
    bundle: dict[str, Any] | None = None
    printed: list[str] = []
    for output in _outputs(cell):
        kind = output.get("output_type")
        if kind == "stream" and output.get("name") == "stdout":
            printed.append(_text(output.get("text")))
        elif kind in ("execute_result", "display_data") and not _is_scrap(output):
            shown = output.get("data")
            bundle = _joined(shown) if isinstance(shown, Mapping) and shown else bundle
    if bundle is None and printed:
        bundle = {"text/plain": "".join(printed)}
    if bundle is None:
        return None
    text = bundle.get("text/plain")
    if isinstance(text, str) and "application/json" not in bundle:
        literal = _literal(text)
        if literal is not None:
            bundle["application/json"] = literal[0]
    return bundle


def _is_scrap(output: Mapping[str, Any]) -> bool:
    metadata = output.get("metadata")
    if isinstance(metadata, Mapping) and "scrapbook" in metadata:
        return True
    shown = output.get("data")
    return isinstance(shown, Mapping) and any(str(mime).startswith(SCRAP_PREFIX) for mime in shown)


def _literal(text: str) -> tuple[JsonValue] | None:
    """The value of a text that is a JSON or Python literal and can be JSON; in a tuple, or None."""
    text = text.strip()
    if not text or len(text) > LITERAL_CHARS:
        return None
    try:
        return (json.loads(text, parse_constant=_refuse),)
    except (ValueError, RecursionError):
        pass
    try:
        return (_jsonable(ast.literal_eval(text)),)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None


def _refuse(name: str) -> None:
    raise ValueError(name)


def _jsonable(value: object) -> JsonValue:
    """A Python literal as JSON: tuples and sets as lists.

    Raises:
        TypeError: it has bytes, complex numbers or the ellipsis in it.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return {str(_jsonable(k)): _jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, set):
        return [_jsonable(item) for item in sorted(value, key=repr)]
    raise TypeError(type(value).__name__)


def _outputs(cell: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [output for output in _list(cell.get("outputs")) if isinstance(output, Mapping)]


def _joined(bundle: Mapping[Any, Any]) -> dict[str, Any]:
    """A MIME bundle whose texts are whole: nbformat may keep them as lists of lines."""
    return {
        str(mime): _text(value) if _is_lines(mime, value) else value
        for mime, value in bundle.items()
    }


def _is_lines(mime: object, value: object) -> bool:
    return (
        isinstance(value, list)
        and not str(mime).endswith("json")
        and all(isinstance(line, str) for line in value)
    )


def _text(value: object) -> str:
    if isinstance(value, list):
        return "".join(line for line in value if isinstance(line, str))
    return value if isinstance(value, str) else ""


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
