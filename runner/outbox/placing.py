"""Brings publications to their places, several at a time: they share the waits for the disk.

Each is made in one order, and a failure of one holds up no other.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from runner.contract.names import FILES
from runner.contract.outcome import PublishedFile
from runner.outbox import staging
from runner.outbox.history_folders import HistoryFolders
from runner.outbox.layout import ERROR, NOTEBOOK, RESULT, STATUS, Layout, beside, present
from runner.outbox.staging import Staging
from runner.system.files.disk import Disk, same_file


@dataclass(frozen=True)
class Publication:
    """Everything that becomes visible under one name."""

    job_id: str
    name: str
    succeeded: bool
    report: bytes
    executed: bytes | None
    files: tuple[PublishedFile, ...]

    def are_below(self, place: Path) -> bool:
        """Tell whether every file of it lies below a folder.

        A staging may have been of fewer, since the outbox refused some.
        """
        return all(
            (place / file.path.removeprefix(f"{self.name}{FILES}/")).is_file()
            for file in self.files
        )


@dataclass
class Placed:
    """How it went with one publication: its warnings, and the error if it must be repeated."""

    job_id: str
    warnings: list[str] = field(default_factory=list)
    error: Exception | None = None


SideBySide = Callable[[Callable[["_Writing"], None], Iterable["_Writing"]], Iterable[None]]
"""Applies a function to many values, like `map`, perhaps in threads."""


@dataclass
class _Way:
    """One publication on its way to its place."""

    new: Publication
    base: Path
    placed: Placed
    is_there: bool = False
    """Whether its report was there already, and so all that it names."""
    has_notebook: bool = False
    """Whether a notebook is still to be placed."""

    @property
    def report(self) -> Path:
        return beside(self.base, RESULT if self.new.succeeded else ERROR)


@dataclass(frozen=True)
class _Writing:
    """A file that is written before it is renamed to its place."""

    way: _Way
    what: str
    content: bytes


class Placing:
    """Publishes into one outbox."""

    def __init__(
        self,
        layout: Layout,
        disk: Disk,
        staging_folder: Staging,
        history: HistoryFolders,
        side_by_side: SideBySide,
    ) -> None:
        self._layout = layout
        self._disk = disk
        self._staging = staging_folder
        self._history = history
        self._side_by_side = side_by_side

    def publish(self, group: Sequence[Publication]) -> list[Placed]:
        """Make sealed outcomes visible, each report last. May be repeated after a crash.

        Other files at those places move to the history; warnings say so. What is not published, or
        in part without its report, has an error.
        """
        ways = [_Way(new, self._layout.base(new.name), Placed(new.job_id)) for new in group]
        self._each(ways, self._make_way)
        coming = [way for way in ways if not way.is_there]
        self._write(coming)
        self._each(coming, self._place_what_it_names)
        self._sync(coming, "published: what the report names")
        self._each(coming, self._place_report)
        # An earlier start may have put one there and been killed before this.
        self._sync(ways, "published: report")
        self._each(ways, lambda way: self._staging.remove(way.new.job_id))
        return [way.placed for way in ways]

    def files_are_in_place(self, new: Publication) -> bool:
        """Tell whether the staged folder was renamed already: then staging lacks it."""
        if self._layout.staged_files(new.job_id).exists():
            return False
        return new.are_below(beside(self._layout.base(new.name), FILES))

    def _each(self, ways: Iterable[_Way], step: Callable[[_Way], None]) -> None:
        """Do a step for each that has not failed; an exception belongs to one alone."""
        for way in _going(ways):
            try:
                step(way)
            except Exception as error:  # noqa: BLE001 - it is the caller's to look at
                way.placed.error = error

    def _make_way(self, way: _Way) -> None:
        new, base = way.new, way.base
        self._disk.make_folders(self._layout.folder, base.parent, "published: folder")
        self._disk.unlink(beside(base, STATUS))
        way.is_there = same_file(way.report, new.report)
        if way.is_there:
            return
        way.placed.warnings = self._clear_the_way(new, base)
        if new.files and not self.files_are_in_place(new):
            self._disk.rename(self._layout.staged_files(new.job_id), beside(base, FILES))
        notebook = beside(base, NOTEBOOK)
        way.has_notebook = new.executed is not None and not same_file(notebook, new.executed)

    def _write(self, ways: Sequence[_Way]) -> None:
        """Write notebooks and reports, synced, under hidden names."""
        for _ in self._side_by_side(self._write_one, list(_writings(_going(ways)))):
            pass

    def _write_one(self, one: _Writing) -> None:
        try:
            self._staging.write(one.way.new.job_id, one.what, one.content)
        except Exception as error:  # noqa: BLE001 - as above
            one.way.placed.error = error

    def _place_what_it_names(self, way: _Way) -> None:
        if way.has_notebook:
            self._staging.place(way.new.job_id, staging.NOTEBOOK, beside(way.base, NOTEBOOK))

    def _place_report(self, way: _Way) -> None:
        self._staging.place(way.new.job_id, staging.REPORT, way.report)

    def _sync(self, ways: Sequence[_Way], why: str) -> None:
        """Make the names durable: a sync of each folder serves all that lie in it."""
        for folder in {way.base.parent for way in _going(ways)}:
            try:
                self._disk.sync_folder(folder, why)
            except OSError as error:
                for way in ways:
                    if way.base.parent == folder:
                        way.placed.error = way.placed.error or error

    def _clear_the_way(self, new: Publication, base: Path) -> list[str]:
        """Move everything away that is not this very publication, begun before a crash."""
        foreign = [path for end, path in present(base) if not self._is_of(new, end, path)]
        if not foreign:
            self._history.sync(new.name, None)
            return []
        self._history.retire_unknown(new.name, foreign, datetime.now(UTC))
        names = ", ".join(path.name for path in foreign)
        return [f"Files that were not the runner's lay under this name and moved away: {names}."]

    def _is_of(self, new: Publication, suffix: str, path: Path) -> bool:
        """Tell whether a notebook or files are in place already."""
        if suffix == NOTEBOOK:
            return new.executed is not None and same_file(path, new.executed)
        return suffix == FILES and bool(new.files) and self.files_are_in_place(new)


def _going(ways: Iterable[_Way]) -> Iterator[_Way]:
    return (way for way in ways if way.placed.error is None)


def _writings(ways: Iterable[_Way]) -> Iterator[_Writing]:
    for way in ways:
        if way.has_notebook:
            assert way.new.executed is not None
            yield _Writing(way, staging.NOTEBOOK, way.new.executed)
        yield _Writing(way, staging.REPORT, way.new.report)
