"""Says of files that lie in the inbox which ones a daemon would leave there, and why.

For clients while no daemon is up. Takes nothing, keeps nothing, and reads small files only.
"""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from runner.contract.notebook import is_untitled
from runner.contract.outcome import Refused
from runner.contract.request import Kind
from runner.contract.rules import BundleLimits
from runner.inbox.bundles.reading import has_request, nothing_to_run
from runner.inbox.bundles.sources import FolderSource, NotWhole, Source, ZipSource
from runner.inbox.contents import Contents, is_quick, read_contents, syntax_of, unread
from runner.inbox.drop import BUNDLES, JOB_FOLDER, Drop, Group, Held, Sighting, Stays
from runner.inbox.scanning.grouping import drops_of, why_unused
from runner.inbox.unclaimed import Reason

READ_BYTES = 1_000_000
"""A larger file counts by its suffix."""


def left_alone(inbox: Path, paths: Iterable[str], limits: BundleLimits) -> dict[str, Stays]:
    """Return why files stay that a daemon would leave alone, by path; the others are requests.

    `paths` are below the inbox; those that are gone meanwhile are not among the answer.
    """
    stems: dict[str, list[Held]] = {}
    for path in paths:
        try:
            held = _held(inbox, path, limits)
        except OSError:  # it is gone, or the daemon could not read it either
            continue
        stems.setdefault(str(Path(path).with_suffix("")), []).append(held)
    stays: dict[str, Stays] = {}
    for stem, files in stems.items():
        group = Group(stem, None, tuple(held.sighting for held in files))
        used = {
            one.sighting.path
            for drop in drops_of(group, files, lambda *_: None)
            if isinstance(drop, Drop)
            for one in drop.files
        }
        for held in files:
            path = held.sighting.path
            if path not in used:
                stays[path] = why_unused(held)
            elif held.contents.is_blank and is_untitled(Path(path).stem):
                stays[path] = Stays(Reason.UNTITLED)
    return stays


def _held(inbox: Path, path: str, limits: BundleLimits) -> Held:
    """Read one file.

    Raises:
        OSError
    """
    place = inbox / path
    now = place.lstat()
    suffix = place.suffix.lower()
    seen = Sighting(path, None, None, now.st_size, now.st_mtime_ns, now.st_ctime_ns, suffix)
    read = _bundle(place, suffix, limits) if suffix in BUNDLES else _document(place, seen)
    return Held(seen, b"", read, too_large=False, fd=-1, leased=False)


def _document(place: Path, seen: Sighting) -> Contents:
    syntax = syntax_of(seen.suffix)
    if seen.size > READ_BYTES:
        return unread(syntax)
    raw = place.read_bytes()
    return read_contents(raw, syntax) if is_quick(raw, syntax) else unread(syntax)


def _none(source: Source) -> Contents:
    return Contents(what=nothing_to_run(source.files))


def _bundle(place: Path, suffix: str, limits: BundleLimits) -> Contents:
    is_one = Contents(kind=Kind.NOTEBOOK, is_request=True)
    try:
        if suffix == JOB_FOLDER:
            with closing(FolderSource(place, limits)) as folder:
                return is_one if has_request(folder, place.stem) else _none(folder)
        with place.open("rb") as file, closing(ZipSource(file, limits)) as archive:
            return is_one if has_request(archive, place.stem) else _none(archive)
    except (NotWhole, Refused):  # it is answered with an error
        return is_one
