"""Reads files without holding up the look at the inbox.

Reads a quick file at once. A process beside this one reads a file that may take seconds or much
memory, within limits of both; the caller asks again.
"""

import hashlib
import logging
from concurrent.futures import Future, ThreadPoolExecutor

from runner.inbox.contents import (
    Contents,
    Syntax,
    is_quick,
    read_contents,
    syntax_of,
    unreadable,
)
from runner.inbox.reader import Reader
from runner.system.processes.side_process import CannotAnswer

log = logging.getLogger(__name__)

MAX_PENDING = 64

Digest = bytes


class Documents:
    """Reads files for one inbox. For one calling thread."""

    def __init__(self) -> None:
        self._reader = Reader()
        self._pool: ThreadPoolExecutor | None = None
        self._pending: dict[str, tuple[Digest, Future[Contents]]] = {}

    def read(self, path: str, suffix: str, raw: bytes) -> Contents | None:
        """Return the contents of the file at `path`; None while its bytes are being read."""
        syntax = syntax_of(suffix)
        if is_quick(raw, syntax):
            try:
                return read_contents(raw, syntax)
            except Exception as error:  # unexpected; the other files go on
                log.exception("%r cannot be read", path)
                return unreadable(syntax, f"{type(error).__name__}: {error}")
        digest = hashlib.sha256(raw).digest()
        known, future = self._pending.get(path, (b"", None))
        if future is None or known != digest:
            self._begin(path, syntax, raw, digest)
            return None
        if not future.done():
            return None
        contents = future.result()
        if not contents.broken:  # a broken file is looked at often: keep its small result
            del self._pending[path]
        return contents

    def is_reading(self, path: str) -> bool:
        """Tell whether the file at `path` is being read, so that its bytes are not needed again."""
        _, future = self._pending.get(path, (b"", None))
        return future is not None and not future.done()

    @property
    def pids(self) -> set[int]:
        """The process beside this one, if there is one."""
        return self._reader.pids

    def close(self) -> None:
        """Read nothing more."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._reader.close()

    def _begin(self, path: str, syntax: Syntax, raw: bytes, digest: Digest) -> None:
        if len(self._pending) >= MAX_PENDING:  # of files that are gone meanwhile, too
            del self._pending[next(iter(self._pending))]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, "reading")
        try:
            self._pending[path] = digest, self._pool.submit(self._ask, syntax, raw)
        except RuntimeError:  # the system gives no thread now; it is tried again at the next look
            self._pool = None

    def _ask(self, syntax: Syntax, raw: bytes) -> Contents:
        try:
            return self._reader.read(raw, syntax)
        except CannotAnswer as why:
            return unreadable(syntax, str(why))
