"""The rules by which files make a drop: their groups, and their requests.

Pure, over files that were listed and read.
"""

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence

from runner.contract.job_ids import JOB_ID
from runner.contract.request import Kind
from runner.inbox.drop import (
    ARCHIVE,
    JOB_FOLDER,
    Drop,
    DropKind,
    Group,
    Held,
    Sighting,
    Stays,
    Wait,
)
from runner.inbox.unclaimed import Reason

LINGER = "if none comes, they go to the history of the run before them, as too late for it"

Key = tuple[str, str | None]
"""A request's path, and the claim folder in which it lies already."""
Files = dict[Key, list[Sighting]]
NotebookWait = Callable[[str, Held], float | None]
"""By a request's path and its settings: for how many seconds they wait for a notebook."""


def groups_of(
    entries: Iterable[tuple[str, str | None, Sighting | None]], only: frozenset[str] | None
) -> list[Group]:
    """Bring the files of each stem together; claimed ones first, then the first to come.

    `only` are the paths of the requests that are wanted; None for all.
    """
    files: Files = {}
    for path, claim, sighting in entries:
        same = files.setdefault((path, claim), [])
        if sighting is not None:
            same.append(sighting)
    _pair_spellings(files)
    groups = []
    while files:  # what is read is freed as it goes: there may be 100,000
        (path, claim), same = files.popitem()
        if only is None or path in only:
            groups.append(Group(path, claim, tuple(sorted(same, key=lambda s: s.suffix))))
    groups.sort(
        key=lambda g: (
            g.claim is None,
            max((s.ctime_ns for s in g.files), default=0),
            g.path,
        )
    )
    return groups


def drops_of(
    group: Group, held: Sequence[Held], settings_wait: NotebookWait
) -> Iterator[Drop | Wait]:
    """Decide which of a stem's files make which request. The other files stay where they are.

    A `.cancel` takes effect in the order of arrival: before a request that came later.
    """
    cancels = [h for h in held if h.sighting.suffix == ".cancel" and _is_cancel(h)]
    submits = list(_submits(group, held, settings_wait))
    arrival = min((d.main.sighting.ctime_ns for d in submits if isinstance(d, Drop)), default=0)
    for one in cancels:
        if one.sighting.ctime_ns < arrival:
            yield Drop(DropKind.CANCEL, group.path, group.claim, one)
    yield from submits
    for one in cancels:
        if one.sighting.ctime_ns >= arrival:
            yield Drop(DropKind.CANCEL, group.path, group.claim, one)


def _submits(
    group: Group, held: Sequence[Held], settings_wait: NotebookWait
) -> Iterator[Drop | Wait]:
    held = [h for h in held if h.sighting.suffix != ".cancel"]
    main = _first(held, ".ipynb") or next(
        (h for h in held if h.contents.kind is Kind.NOTEBOOK and not h.is_yaml), None
    )
    if main is not None:
        beside = [h for h in held if h is not main and h.contents.kind is not Kind.NOTEBOOK]
        beside = [h for h in beside if not h.sighting.is_bundle]
        beside = [h for h in beside if h.is_yaml or h.contents.kind is not Kind.FOREIGN]
        yield Drop(DropKind.SUBMIT, group.path, group.claim, main, tuple(beside))
        return
    for one in held:
        if one.contents.kind is Kind.REQUEST:
            yield Drop(DropKind.SUBMIT, group.path, group.claim, one)
        elif one.contents.kind is Kind.SETTINGS:
            left = settings_wait(group.path, one)
            if left is not None and left > 0:
                yield Wait(left, one.sighting.path, Reason.SETTINGS, LINGER)
            elif left is not None:
                yield Drop(DropKind.LATE_SETTINGS, group.path, group.claim, one)


def _is_cancel(held: Held) -> bool:
    """Tell whether it is an empty file, or one job id; anything else is somebody's document."""
    text = held.contents.text
    return text == "" or (text is not None and JOB_ID.fullmatch(text) is not None)


def _name_to_have(seen: Sighting) -> str:
    """Say what settings for `a.ipynb` are called, if they are called `a.ipynb.yaml`."""
    name = seen.path.rpartition("/")[2].removesuffix(seen.suffix)
    stem, dot, suffix = name.rpartition(".")
    if not stem or f"{dot}{suffix}".lower() != ".ipynb":
        return ""
    return f"those of {name!r} are called {stem + seen.suffix!r}"


def why_unused(held: Held) -> Stays:
    """Say why a whole file makes no request."""
    contents = held.contents
    if held.sighting.suffix == ".cancel":
        return Stays(Reason.NO_CANCEL)
    if held.sighting.suffix == ARCHIVE:
        return Stays(Reason.DATA, contents.what)
    if held.sighting.suffix == JOB_FOLDER:
        return Stays(Reason.NO_NOTEBOOK)
    if contents.kind is Kind.SETTINGS:
        if contents.refusal is not None:
            return Stays(Reason.SETTINGS, contents.refusal.message)
        return Stays(Reason.SETTINGS, _name_to_have(held.sighting))
    return Stays(Reason.NO_REQUEST, contents.what)


def _pair_spellings(files: Files) -> None:
    """Bring a notebook and its settings together if their names differ only in encoding.

    An accented letter is one character or two: macOS writes two (Unicode's NFD), most others one.
    Two such notebooks stay two, and one that has settings keeps its own.
    """
    spellings: dict[Key, list[Key]] = {}
    for path, claim in files:
        if not path.isascii():
            letters = unicodedata.normalize("NFC", path)
            spellings.setdefault((letters, claim), []).append((path, claim))
    for keys in spellings.values():
        main = _only_main(files, keys)
        if main is not None:
            for key in keys:
                files[main] += files.pop(key) if key != main else []


def _only_main(files: Files, keys: Sequence[Key]) -> Key | None:
    """Give the one of them that holds a notebook without settings beside it."""
    for suffix in (".ipynb", ".json"):
        mains = [key for key in keys if any(seen.suffix == suffix for seen in files[key])]
        if mains:
            settings = {".yaml", ".yml", ".json"} - {suffix}
            has_own = any(seen.suffix in settings for seen in files[mains[0]])
            return mains[0] if len(mains) == 1 and not has_own else None
    return None


def _first(held: Iterable[Held], suffix: str) -> Held | None:
    return next((h for h in held if h.sighting.suffix == suffix), None)
