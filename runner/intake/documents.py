"""What a file's bytes say, without holding up whoever looks at the inbox.

A small file is parsed at once. A large YAML file, which may take seconds, is parsed in a thread
beside it and asked for again; YAML is read event by event, so that others get their turn.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from runner.notebook import parse
from runner.outcome import Refused
from runner.request import Form, read_document

AT_ONCE_BYTES = 16 * 1024
"""YAML of this size takes 20 ms at the most."""
MAX_PENDING = 64

Parsed = tuple[object, str | None]
"""The document, or why it is none."""


@dataclass
class Documents:
    """Parses files for one inbox. For one thread that asks."""

    _pool: ThreadPoolExecutor | None = None
    _pending: dict[str, tuple[bytes, Future[Parsed]]] = field(default_factory=dict)

    def parse(self, path: str, suffix: str, raw: bytes) -> Parsed | None:
        """What the bytes of the file at `path` say; None while they are being read."""
        if suffix not in (".yaml", ".yml") or len(raw) <= AT_ONCE_BYTES:
            return parsed(raw, suffix)
        asked, future = self._pending.get(path, (b"", None))
        if future is None or asked != raw:
            self._begin(path, suffix, raw)
            return None
        if not future.done():
            return None
        del self._pending[path]
        return future.result()

    def _begin(self, path: str, suffix: str, raw: bytes) -> None:
        if len(self._pending) >= MAX_PENDING:  # of files that are gone meanwhile, too
            del self._pending[next(iter(self._pending))]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, "yaml")
        try:
            self._pending[path] = raw, self._pool.submit(parsed, raw, suffix)
        except RuntimeError:  # the system gives no thread now; it is tried again at the next look
            self._pool = None


def parsed(raw: bytes, suffix: str) -> Parsed:
    """The document of a file, or why it is none."""
    if suffix == ".cancel":
        return raw.decode("ascii", "replace").strip(), None
    if suffix in (".yaml", ".yml"):
        try:
            return read_document(raw, Form.YAML), None
        except Refused as refused:
            return None, refused.failure.message
    try:
        return parse(raw), None
    except ValueError as error:
        return None, str(error)
