"""Compares two executed notebooks, output by output, and says where they differ.

Takes addresses, ids, folders and measured times out of texts, and pictures by their pixels. What
papermill itself does not repeat from run to run counts only as far as it does. Pure.
"""

import base64
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

Json = dict[str, Any]

MARKERS = frozenset({"papermill-error-cell-tag"})
"""Cells that papermill adds to a notebook that failed."""
EXCERPT = 160

_CODES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_NUMBER = re.compile(r"[\d.+-]+(e[+-]?\d+)?|[\u2588-\u258f]+")
"""Also the blocks of a progress bar."""
_BLURS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"ipykernel_\d+/\d+\.py"), "ipykernel_N/N.py"),
    (re.compile(r"\b0x[0-9a-fA-F]{4,}\b"), "0x…"),
    (re.compile(r"\b[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"\b[0-9a-f]{32,64}\b"), "ID"),
    (re.compile(r"(?m)^.*(?:CPU times:|Wall time:|per loop|peak memory:).*$"), "MEASURED"),
    (re.compile(r"/tmp/[\w./-]+"), "TEMP"),
)


@dataclass(frozen=True)
class Side:
    """One execution: how it ended, and the notebook as far as it got."""

    outcome: str
    """`succeeded`, `failed`, or a word for what hindered it, such as `kernel_died`."""
    ename: str | None
    notebook: Json | None
    folders: tuple[str, ...] = ()
    """Absolute paths that stand in outputs, of this side only."""
    detail: str = ""


@dataclass(frozen=True)
class Difference:
    """What the inbox gave otherwise than papermill, and where."""

    where: str
    papermill: str
    inbox: str

    def __str__(self) -> str:
        return f"{self.where}: papermill {self.papermill}, inbox {self.inbox}"


@dataclass(frozen=True)
class Part:
    """Something to be compared: a cell's place, and its value from exact to coarse."""

    where: str
    levels: tuple[str, ...]


def compare(papermill: Sequence[Side], inbox: Side) -> list[Difference]:
    """What the inbox did otherwise than all runs of papermill do alike; empty where nothing.

    Each part is compared as finely as papermill's own runs agree on it: by its text, by its text
    without numbers, by the kinds of its outputs, or not at all.
    """
    runs, ours = [parts(side) for side in papermill], parts(inbox)
    for key in ("outcome", "ename"):
        wanted = {str(getattr(side, key)) for side in papermill}
        if len(wanted) == 1 and str(getattr(inbox, key)) not in wanted:
            first = papermill[0]
            return [
                Difference(
                    key,
                    f"{first.outcome} {first.ename or first.detail}",
                    f"{inbox.outcome} {inbox.ename or ''} {inbox.detail}".strip(),
                )
            ]
    if any(len(run) != len(runs[0]) for run in runs):
        return []
    if len(ours) != len(runs[0]):
        return [Difference("cells", str(len(runs[0])), str(len(ours)))]
    return [d for *same, mine in zip(*runs, ours, strict=True) if (d := _differ(same, mine))]


def _differ(runs: Sequence[Part], mine: Part) -> Difference | None:
    for level, text in enumerate(runs[0].levels):
        if any(run.levels[level] != text for run in runs):
            continue
        if any(run.levels[: level + 1] == mine.levels[: level + 1] for run in runs):
            return None
        if mine.levels[level] == text:
            return None
        return Difference(mine.where, *_excerpts(text, mine.levels[level]))
    return None


def _excerpts(one: str, other: str) -> tuple[str, str]:
    """Both texts from shortly before the place where they part."""
    at = next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )
    begin = max(at - EXCERPT // 4, 0)
    return repr(one[begin : begin + EXCERPT]), repr(other[begin : begin + EXCERPT])


def parts(side: Side) -> list[Part]:
    """An executed notebook as a list of what is to be compared."""
    if side.notebook is None:
        return []
    plain = _plainer(side.folders)
    cells = [c for c in side.notebook["cells"] if not MARKERS & set(c["metadata"].get("tags", ()))]
    listed = []
    for number, cell in enumerate(cells):
        where = f"cell {number}"
        source = f"{cell['cell_type']}\n{_text(cell['source'])}"
        listed.append(Part(f"{where}, source", (source,)))
        if cell["cell_type"] == "code":
            listed.append(Part(f"{where}, count", (str(cell["execution_count"]),)))
            listed.append(Part(f"{where}, outputs", _levels(cell["outputs"], plain)))
    listed.append(Part("widgets", (_widgets(side.notebook),)))
    return listed


def _plainer(folders: Iterable[str]) -> Callable[[str], str]:
    """What takes out of a text whatever no two runs have alike."""
    ordered = sorted(folders, key=len, reverse=True)

    def plain(text: str) -> str:
        text = _CODES.sub("", text)
        for folder in ordered:
            text = text.replace(folder, "FOLDER")
        for pattern, blurred in _BLURS:
            text = pattern.sub(blurred, text)
        return text

    return plain


def _levels(outputs: Sequence[Json], plain: Callable[[str], str]) -> tuple[str, ...]:
    """Outputs as text, as text without numbers, and as kinds and MIME types."""
    exact = list(_joined(_one(output, plain) for output in outputs))
    texts = [f"[{kind}]\n{text}" for kind, text in exact]
    return (
        "\n".join(texts),
        "\n".join(re.sub(r"\s+", " ", _NUMBER.sub("#", t)) for t in texts),
        " ".join(sorted({kind for kind, _ in exact})),
    )


def _joined(outputs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Streams between two other outputs as one text each: in which pieces they come is chance."""
    streams: dict[str, str] = {}
    for kind, text in outputs:
        if kind.startswith("stream "):
            streams[kind] = streams.get(kind, "") + text
            continue
        yield from _folded(streams)
        streams = {}
        yield kind, text
    yield from _folded(streams)


def _folded(streams: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for kind, text in sorted(streams.items()):
        yield kind, "\n".join(_overwritten(line) for line in text.split("\n")).rstrip("\n")


def _overwritten(line: str) -> str:
    r"""A line with `\r` as a terminal shows it."""
    shown = ""
    for piece in line.split("\r"):
        shown = piece + shown[len(piece) :]
    return shown.rstrip()


def _one(output: Json, plain: Callable[[str], str]) -> tuple[str, str]:
    kind = output["output_type"]
    if kind == "stream":
        return f"stream {output['name']}", plain(_text(output["text"]))
    if kind == "error":
        trace = plain("\n".join(output.get("traceback", ())))
        return f"error {output['ename']}", f"{plain(output['evalue'])}\n{trace}"
    bundle = {mime: _value(mime, value, plain) for mime, value in sorted(output["data"].items())}
    count = output.get("execution_count") if kind == "execute_result" else ""
    text = "\n".join(f"{mime}: {value}" for mime, value in bundle.items())
    return f"{kind} {' '.join(bundle)}", f"{count}\n{text}"


def _value(mime: str, value: Any, plain: Callable[[str], str]) -> str:
    if mime.startswith("image/") and mime != "image/svg+xml":
        return _picture(_text(value))
    if isinstance(value, str | list) and not mime.endswith("json"):
        return plain(_text(value))
    return plain(json.dumps(value, sort_keys=True))


def _picture(text: str) -> str:
    """A picture's size and pixels, whatever compressed them; else its bytes."""
    raw = base64.b64decode(text)
    try:
        with Image.open(io.BytesIO(raw)) as picture:
            pixels = picture.convert("RGBA").tobytes()
            return f"{picture.width}x{picture.height} pixels {hashlib.md5(pixels).hexdigest()}"
    except OSError:
        return f"{hashlib.md5(raw).hexdigest()}"


def _widgets(notebook: Json) -> str:
    state = notebook["metadata"].get("widgets", {})
    models = state.get("application/vnd.jupyter.widget-state+json", {}).get("state", {})
    return str(sorted(Counter(model.get("model_name") for model in models.values()).items()))


def _text(value: str | list[str]) -> str:
    return value if isinstance(value, str) else "".join(value)
