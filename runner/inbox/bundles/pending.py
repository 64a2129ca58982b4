"""Reads requests with files without holding up the look at the inbox.

Reads a small one at once, and a large one in a thread; the caller asks again.
"""

import logging
from collections.abc import Callable, Set
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from runner.contract.outcome import Failure, Refused
from runner.contract.rules import BundleLimits
from runner.contract.states.status import ErrorType
from runner.inbox.bundles.reading import read_source, refused
from runner.inbox.bundles.sources import (
    FolderSource,
    NotWhole,
    Source,
    ZipSource,
)
from runner.inbox.bundles.store import InputStore
from runner.inbox.contents import Contents, Syntax, is_quick, read_contents, unreadable
from runner.inbox.drop import JOB_FOLDER, Sighting
from runner.inbox.reader import Reader
from runner.system.processes.side_process import CannotAnswer

log = logging.getLogger(__name__)

QUICK_BYTES = 16 * 1024
"""An archive up to this size may be read at once, if it says that there is not much in it."""
THREADS = 2
MOST_PENDING = 64
"""How many wait to be read at the most; the others wait for their next look."""


@dataclass(frozen=True)
class _Read:
    """What was read of one sighting."""

    sighting: Sighting
    future: "Future[Contents]"


class Bundles:
    """Reads the requests with files of one inbox. For one calling thread."""

    def __init__(
        self,
        folder: Path,
        limits: BundleLimits,
        store: InputStore,
        executor: Callable[[], Executor] = lambda: ThreadPoolExecutor(THREADS, "inputs"),
    ) -> None:
        """`executor` is asked for where the slow ones are read, when the first comes."""
        self._folder = folder
        self._limits = limits
        self._store = store
        self._reader = Reader()
        self._executor = executor
        self._pool: Executor | None = None
        self._reads: dict[str, _Read] = {}

    @property
    def most_bytes(self) -> int:
        """Size above which an archive is not read at all."""
        return self._limits.bytes + self._limits.notebook_bytes

    @property
    def pids(self) -> set[int]:
        """The process that reads slow documents, if there is one."""
        return self._reader.pids

    def read(self, seen: Sighting) -> Contents | None:
        """Return the contents of a request with files; None while it is being read.

        The same sighting gives the same contents, as long as its files are kept.

        Raises:
            OSError: it cannot be read, or its files cannot be kept now.
        """
        known = self._reads.get(seen.path)
        if known is None or not known.sighting.is_same(seen) or not self._is_good(known.future):
            self._drop(seen.path)
            if sum(not one.future.done() for one in self._reads.values()) >= MOST_PENDING:
                return None
            known = self._reads[seen.path] = _Read(seen, self._begin(seen))
        if not known.future.done():
            return None
        contents = known.future.result()
        if contents.bundle is None:  # the caller remembers what is no request
            del self._reads[seen.path]
        return contents

    def _begin(self, seen: Sighting) -> "Future[Contents]":
        if self._is_quick(seen):
            future: Future[Contents] = Future()
            _settle(future, lambda: self._look(seen))
            return future
        if self._pool is None:
            self._pool = self._executor()
        return self._pool.submit(self._look, seen)

    def keep(self, present: Set[str]) -> None:
        """Forget all paths except these, and remove their files if no job has them."""
        for path in self._reads.keys() - present:
            self._drop(path)

    def close(self) -> None:
        """Read nothing more."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._reader.close()

    def _is_good(self, future: "Future[Contents]") -> bool:
        if not future.done():
            return True
        if future.exception() is not None:
            return False
        bundle = future.result().bundle
        return bundle is None or self._store.is_new(bundle.token)

    def _drop(self, path: str) -> None:
        known = self._reads.pop(path, None)
        if known is not None:
            known.future.cancel()
            known.future.add_done_callback(self._discard)

    def _discard(self, future: "Future[Contents]") -> None:
        if future.cancelled() or future.exception() is not None:
            return
        bundle = future.result().bundle
        if bundle is not None:
            self._store.discard(bundle.token)

    def _is_quick(self, seen: Sighting) -> bool:
        """Tell whether it is read in milliseconds, by what it says of itself."""
        if seen.suffix == JOB_FOLDER or seen.size > QUICK_BYTES:
            return False
        try:
            file = (self._folder / seen.path).open("rb")
            with file, closing(ZipSource(file, self._limits)) as archive:
                return archive.is_quick
        except (NotWhole, Refused, OSError):  # the same as its result, at once
            return True

    def _look(self, seen: Sighting) -> Contents:
        """Read it; all errors but those of disks are part of the result.

        Raises:
            OSError: as `read`.
        """
        place, name = self._folder / seen.path, Path(seen.path).stem
        try:
            if seen.suffix == JOB_FOLDER:
                with closing(FolderSource(place, self._limits)) as folder:
                    return self._read_source(folder, name)
            with place.open("rb") as file, closing(ZipSource(file, self._limits)) as archive:
                return self._read_source(archive, name)
        except NotWhole as error:
            message = f"It cannot be taken apart: {error}."
            failure = Failure(error_type=ErrorType.INVALID_REQUEST, message=message)
            return replace(refused(failure), broken=str(error))
        except Refused as error:
            return refused(error.failure)
        except OSError:
            raise
        except Exception as error:  # unexpected; the other files go on
            log.exception("%r cannot be read", seen.path)
            return refused(
                Failure(
                    error_type=ErrorType.GATEWAY_ERROR,
                    message=f"It could not be read: {type(error).__name__}: {error}."[:500],
                )
            )

    def _read_source(self, source: Source, name: str) -> Contents:
        try:
            return read_source(source, name, self._limits, self._document, self._store)
        except NotWhole as error:  # its list is whole; somebody may still write the rest
            message = f"The archive is damaged: {error}."
            failure = Failure(error_type=ErrorType.INVALID_REQUEST, message=message)
            return replace(refused(failure), broken=str(error))

    def _document(self, raw: bytes, syntax: Syntax) -> Contents:
        if is_quick(raw, syntax):
            return read_contents(raw, syntax)
        try:
            return self._reader.read(raw, syntax)
        except CannotAnswer as why:
            return unreadable(syntax, str(why))


def _settle(future: "Future[Contents]", step: Callable[[], Contents]) -> None:
    try:
        future.set_result(step())
    except OSError as error:
        future.set_exception(error)
