"""Extracts the results of an executed notebook: its glued scraps, and its cells tagged `results`.

Pure. Never raises for a notebook's content: it names the problem.
"""

import base64
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from runner.contract.notebook import tags_of
from runner.contract.text.literals import NoLiteralError, instant_text, value_of
from runner.contract.text.strict_json import JsonValue, clean, dumps, dumps_compact

if TYPE_CHECKING:
    import numpy
    import pandas

SCRAP_PREFIX = "application/scrapbook.scrap."
"""`sb.glue` writes `application/scrapbook.scrap.ENCODER+json`."""
RECORD_PREFIX = "application/papermill.record"
"""`pm.record`, which scrapbook replaced, wrote `{name: value}` under this and `+json`."""
UNNAMED = "(unnamed)"
LEAST_BYTES = 2
"""Least size of a table's element as JSON."""
_MESSAGE_CHARS = 300

Bundle = dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """A scrap that could not be read: its name, and the reason as half a sentence."""

    name: str
    message: str


@dataclass(frozen=True)
class Large:
    """A result that becomes a file: its name, the file's suffix, and its content."""

    name: str
    suffix: str
    content: bytes


@dataclass(frozen=True)
class Extraction:
    """Results by name, scraps before tagged cells; the unreadable ones; warnings."""

    results: dict[str, JsonValue]
    problems: tuple[Problem, ...]
    warnings: tuple[str, ...]
    large: tuple[Large, ...] = ()
    """The results for which there was no room."""


@dataclass(frozen=True)
class _Scrap:
    name: str
    kind: str
    """The encoder as the MIME type names it, or "display" or "record"."""
    payload: object


class _UnreadableError(Exception):
    """A scrap's payload does not fit its type: why."""


def extract(
    notebook: Mapping[str, Any],
    *,
    tag: str = "results",
    scrapbook: bool = True,
    room: int | None = None,
    decodes: bool = True,
) -> Extraction:
    """Return all results of an executed notebook (nbformat 4), as strict JSON.

    A scrap has its own name, and the last glue of a name counts. A DataFrame is `{"columns",
    "index", "data"}` with ISO dates; a displayed scrap is its MIME bundle. A cell tagged `tag` has
    the name `cell_<execution count>`: the last MIME bundle that it showed, else its printed text as
    `text/plain`. `application/json` is added if `literals` reads a value in that text.

    Without `scrapbook`, only tagged cells count. `room` is the size of all results as JSON in
    bytes; a result that does not fit is `large`. Without `decodes`, so is every DataFrame.
    """
    cells = [cell for cell in _mappings(notebook.get("cells")) if cell.get("cell_type") == "code"]
    scraps = _last_of_each_name(cells) if scrapbook else {}
    results: dict[str, JsonValue] = {}
    problems: list[Problem] = []
    warnings = [_unknown_encoder(scrap) for scrap in scraps.values() if not _is_known(scrap)]
    sorter = _Sorter(room, results)
    for name, scrap in scraps.items():
        try:
            table = _parquet(scrap)
            if table is not None and (not decodes or sorter.has_no_room_for(table)):
                sorter.large.append(Large(name, ".parquet", table))
            else:
                sorter.take(name, clean(_value(scrap)), table)
        except _UnreadableError as error:
            problems.append(Problem(name, str(clean(str(error)))))
    for name, bundle in _tagged(cells, tag):
        if name in scraps:
            warnings.append(f"The scrap {name} hides the tagged cell of the same name.")
        else:
            sorter.take(name, clean(bundle))
    return Extraction(results, tuple(problems), tuple(warnings), tuple(sorter.large))


class _Sorter:
    """Collects results while there is room for them, and files for the larger ones."""

    def __init__(self, room: int | None, results: dict[str, JsonValue]) -> None:
        self._room = room
        self._results = results
        self.large: list[Large] = []

    def take(self, name: str, value: JsonValue, table: bytes | None = None) -> None:
        """Take a result, or the `table` that it was made of if it is too large."""
        if self._room is not None:
            size, text = self._size(value)
            if size > self._room:
                kept = Large(name, ".json", text) if table is None else None
                self.large.append(kept or Large(name, ".parquet", table or b""))
                return
            self._room -= size
        self._results[name] = value

    def _size(self, value: JsonValue) -> tuple[int, bytes]:
        """Return a value's size as it is published, or another one above the room; and its text.

        Indented text takes ten times as long to write, and is never shorter.
        """
        compact = dumps_compact(value)
        if self._room is not None and len(compact) > self._room:
            return len(compact), compact
        text = dumps(value)
        return len(text), text

    def has_no_room_for(self, table: bytes) -> bool:
        """Return whether a table has too many elements: then it is not even read."""
        return self._room is not None and _elements(table) * LEAST_BYTES > self._room


# Scraps


def _last_of_each_name(cells: Sequence[Mapping[str, Any]]) -> dict[str, _Scrap]:
    """Keep the last scrap of each name; a displayed one never replaces a value."""
    latest: dict[str, _Scrap] = {}
    for scrap in (scrap for cell in cells for output in _outputs(cell) for scrap in _in(output)):
        earlier = latest.get(scrap.name)
        if earlier is None or scrap.kind != "display" or earlier.kind == "display":
            latest[scrap.name] = scrap
    return latest


def _in(output: Mapping[str, Any]) -> Iterator[_Scrap]:
    """Return the scraps of one output; usually none or one."""
    label, bundle = _label(output), output.get("data")
    payloads = _payloads(bundle)
    if not payloads and label is not None:
        yield _Scrap(_name(label), "display", bundle)
    for mime, payload in payloads.items():
        if mime.startswith(SCRAP_PREFIX):
            inner = payload.get("name") if isinstance(payload, Mapping) else None
            kind = mime.removeprefix(SCRAP_PREFIX).removesuffix("+json")
            yield _Scrap(_name(inner, label), kind, payload)
        elif isinstance(payload, Mapping):
            yield from (_Scrap(_name(name), "record", value) for name, value in payload.items())
        else:
            yield _Scrap(_name(label), "json", payload)


def scrap_lines(output: Mapping[str, Any]) -> list[str]:
    """Return a line `name = value` for each value that an output has glued, as a reader sees it.

    The value is JSON; a table's is only called that. None for what is shown beside its name.
    """
    return [
        f"{scrap.name} = {_value_text(scrap)}" for scrap in _in(output) if scrap.kind != "display"
    ]


def _value_text(scrap: _Scrap) -> str:
    if scrap.kind == "pandas":
        return "(a DataFrame)"
    try:
        return dumps_compact(_value(scrap)).decode()
    except _UnreadableError as error:
        return f"(unreadable: {error})"


def _label(output: Mapping[str, Any]) -> str | None:
    """Return the scrap's name beside its bundle: scrapbook's, or the old `pm.display`'s."""
    metadata = output.get("metadata")
    if not isinstance(metadata, Mapping):
        return None
    for key in ("scrapbook", "papermill"):
        about = metadata.get(key)
        if isinstance(about, Mapping) and isinstance(about.get("name"), str):
            return str(about["name"])
    return None


def _payloads(bundle: object) -> dict[str, object]:
    if not isinstance(bundle, Mapping):
        return {}
    prefixes = (SCRAP_PREFIX, RECORD_PREFIX)
    return {mime: part for mime, part in bundle.items() if str(mime).startswith(prefixes)}


def _name(*candidates: object) -> str:
    return str(clean(next((name for name in candidates if isinstance(name, str)), UNNAMED)))


def _is_known(scrap: _Scrap) -> bool:
    return scrap.kind in ("json", "text", "pandas", "display", "record")


def _unknown_encoder(scrap: _Scrap) -> str:
    return str(
        clean(
            f"The scrap {scrap.name} was glued with the encoder {scrap.kind}, which is not known "
            "here; its value is given as it was encoded."
        )
    )


def _value(scrap: _Scrap) -> object:
    if scrap.kind == "record":
        return scrap.payload
    if not isinstance(scrap.payload, Mapping):
        raise _UnreadableError("its payload is no mapping")
    if scrap.kind == "display":
        return _joined(scrap.payload)
    if "data" not in scrap.payload:
        raise _UnreadableError("its payload has no `data`")
    value = scrap.payload["data"]
    return _frame(value) if scrap.kind == "pandas" else value


# DataFrames
#
# Not `to_json`: it rounds floats (1.2345678e-12 becomes 1.235e-12, the largest float infinity),
# cuts times to milliseconds, and raises for periods and for bytes that are no UTF-8.


def _parquet(scrap: _Scrap) -> bytes | None:
    """Return the bytes of a glued DataFrame; None for anything else."""
    if scrap.kind != "pandas" or not isinstance(scrap.payload, Mapping):
        return None
    encoded = scrap.payload.get("data")
    if not isinstance(encoded, str):
        return None
    try:
        return base64.b64decode(encoded)
    except ValueError as error:
        raise _unreadable_frame(error) from error


def _elements(parquet: bytes) -> int:
    """Return rows times columns, from the file's own footer.

    Raises:
        _UnreadableError: it is no such file.
    """
    import pyarrow.parquet

    try:
        about = pyarrow.parquet.read_metadata(io.BytesIO(parquet))
    except Exception as error:
        raise _unreadable_frame(error) from error
    return int(about.num_rows * about.num_columns)


def _unreadable_frame(error: Exception) -> _UnreadableError:
    reason = " ".join(str(error).split())[:_MESSAGE_CHARS]
    return _UnreadableError(f"its DataFrame cannot be read ({type(error).__name__}: {reason})")


def _frame(encoded: object) -> JsonValue:
    """Decode a DataFrame from base64 parquet into pandas' "split" form."""
    if not isinstance(encoded, str):
        raise _UnreadableError("its DataFrame is no base64 text")
    try:
        return _split(base64.b64decode(encoded))
    except Exception as error:  # whatever pyarrow raises for untrusted bytes
        raise _unreadable_frame(error) from error


def _split(parquet: bytes) -> JsonValue:
    import pandas

    frame = pandas.read_parquet(io.BytesIO(parquet), engine="pyarrow")
    columns = [_series(frame.iloc[:, place]) for place in range(frame.shape[1])]
    rows: Iterable[tuple[JsonValue, ...]] = zip(*columns, strict=True)
    return {
        "columns": _series(pandas.Series(frame.columns.to_flat_index())),
        "index": _series(pandas.Series(frame.index.to_flat_index())),
        "data": [list(row) for row in rows] if columns else [[] for _ in range(len(frame))],
    }


def _series(series: "pandas.Series[Any]") -> list[JsonValue]:
    import numpy
    import pandas

    if isinstance(series.dtype, pandas.DatetimeTZDtype):
        naive = series.dt.tz_convert(None).to_numpy()
        return [None if text is None else f"{text}Z" for text in _array(naive)]
    if isinstance(series.dtype, numpy.dtype) and series.dtype.kind in "iubfM":
        return _array(series.to_numpy())
    missing = series.isna().tolist()
    values = series.astype(object).tolist()
    return [None if gone else _plain(value) for value, gone in zip(values, missing, strict=True)]


def _array(array: "numpy.ndarray[Any, Any]") -> list[JsonValue]:
    """Return the elements of a column, or of an array inside one."""
    kind = array.dtype.kind
    if kind == "M":
        return [*_instants(array)]
    elements: list[Any] = array.tolist() if kind in "iubf" else list(array)
    return elements if kind in "iub" else [_plain(element) for element in elements]


def _instants(array: "numpy.ndarray[Any, Any]") -> list[str | None]:
    """Write ISO dates in milliseconds, as `to_json` does, or as fine as one of them needs."""
    import numpy

    coarse = array.astype("datetime64[ms]")
    gone = numpy.isnat(array)
    fine = bool(((coarse != array) & ~gone).any())
    texts = numpy.datetime_as_string(array if fine else coarse).tolist()
    return [None if missing else text for text, missing in zip(texts, gone, strict=True)]


def _plain(value: Any) -> JsonValue:
    """Convert one element of a column of objects."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, datetime):
        return instant_text(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if hasattr(value, "isoformat"):  # dates, times, pandas' Timedelta
        return str(value.isoformat())
    if hasattr(value, "dtype"):
        return _array(value) if value.ndim else _array(value.reshape(1))[0]
    return str(value)  # Decimal, Period, Interval, …


# Tagged cells


def _tagged(cells: Sequence[Mapping[str, Any]], tag: str) -> Iterator[tuple[str, Bundle]]:
    for cell in cells:
        count = cell.get("execution_count")
        if tag not in tags_of(cell) or not isinstance(count, int) or isinstance(count, bool):
            continue
        bundle = _shown(cell) or _printed(cell)
        if bundle:
            yield f"cell_{count}", _with_literal(bundle)


def _shown(cell: Mapping[str, Any]) -> Bundle:
    """Return the last bundle that the cell showed, except scraps; empty if there is none."""
    for output in reversed(_outputs(cell)):
        bundle = output.get("data")
        if output.get("output_type") not in ("execute_result", "display_data"):
            continue
        if isinstance(bundle, Mapping) and bundle and next(_in(output), None) is None:
            return _joined(bundle)
    return {}


def _printed(cell: Mapping[str, Any]) -> Bundle:
    streams = [output for output in _outputs(cell) if output.get("output_type") == "stream"]
    text = "".join(_text(part.get("text")) for part in streams if part.get("name") == "stdout")
    return {"text/plain": text} if text else {}


def _with_literal(bundle: Bundle) -> Bundle:
    text = bundle.get("text/plain")
    if not isinstance(text, str) or "application/json" in bundle:
        return bundle
    try:
        return {**bundle, "application/json": value_of(text)}
    except NoLiteralError:
        return bundle


# Parts of a notebook


def _outputs(cell: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return _mappings(cell.get("outputs"))


def _mappings(parts: object) -> list[Mapping[str, Any]]:
    return [part for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []


def _joined(bundle: Mapping[str, Any]) -> Bundle:
    """Join the texts of a MIME bundle, which nbformat may keep as lists of lines."""
    return {mime: part if _is_json(mime) else _whole(part) for mime, part in bundle.items()}


def _is_json(mime: str) -> bool:
    """Return whether nbformat leaves data of this type as they are."""
    return mime == "application/json" or (
        mime.startswith("application/") and mime.endswith("+json")
    )


def _whole(part: Any) -> Any:
    if isinstance(part, list) and all(isinstance(line, str) for line in part):
        return "".join(part)
    return part


def _text(part: object) -> str:
    whole = _whole(part)
    return whole if isinstance(whole, str) else ""
