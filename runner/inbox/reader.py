"""Reads untrusted files, some of them made to be slow or huge, in a process with limits.

Run as a program, this module is that process.
"""

import gc
import pickle

from runner.inbox.contents import Contents, Syntax, read_contents
from runner.system.processes.side_process import SideProcess, serve

READ_SECONDS = 30.0
MEMORY_BYTES = 2 * 1024**3


class Reader:
    """Reads one file at a time, in a process with limits. Safe for many threads."""

    def __init__(self) -> None:
        self._process = SideProcess(__name__, READ_SECONDS)

    @property
    def pids(self) -> set[int]:
        """The process, if there is one."""
        return self._process.pids

    def read(self, raw: bytes, syntax: Syntax) -> Contents:
        """Return the contents of a file.

        Raises:
            CannotAnswer: it takes more time or memory than it may.
        """
        answer = self._process.ask(syntax.encode() + b"\n" + raw)
        contents = pickle.loads(answer)  # noqa: S301 - of our own process
        assert isinstance(contents, Contents)
        return contents

    def close(self) -> None:
        """Read nothing more, and end the process."""
        self._process.close()


def _answer(question: bytes) -> bytes:
    syntax, _, raw = question.partition(b"\n")
    return pickle.dumps(read_contents(raw, Syntax(syntax.decode())))


if __name__ == "__main__":
    gc.disable()  # a document has no circles; to look for them takes most of the time
    serve(_answer, memory_bytes=MEMORY_BYTES)
