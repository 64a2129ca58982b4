"""Renders notebooks in a process of its own, so that a slow or huge one holds up nobody else.

The process starts with the first notebook that is looked at, and ends when nobody looks any more.
"""

import os
import select
import subprocess
import sys
import threading
import time

from runner.gateway.rendering import FRAME

RENDER_SECONDS = 60.0
_CHUNK = 1 << 20


class CannotRender(Exception):
    """The notebook is no page, and why."""


class RenderProcess:
    """Renders for one gateway, one notebook at a time. Safe for many threads."""

    def __init__(self, seconds: float = RENDER_SECONDS) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def to_html(self, notebook: bytes) -> bytes:
        """A page of HTML in UTF-8.

        Raises:
            CannotRender: it is no notebook, or takes more time or memory than it may.
        """
        deadline = time.monotonic() + self._seconds
        if not self._lock.acquire(timeout=self._seconds):
            raise CannotRender("other notebooks are being rendered; try again later")
        try:
            return self._ask(notebook, deadline)
        except TimeoutError:
            self._end()
            raise CannotRender(f"it takes longer than {self._seconds:g} s") from None
        finally:
            self._lock.release()

    def close(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            self._end()

    def _ask(self, notebook: bytes, deadline: float) -> bytes:
        for _ in range(2):  # one that has just ended, since nobody asked, is started again
            process = self._running()
            try:
                self._write(process, FRAME.pack(False, len(notebook)) + notebook, deadline)
                is_page, size = FRAME.unpack(self._read(process, FRAME.size, deadline))
                text = self._read(process, size, deadline)
            except (EOFError, BrokenPipeError):
                self._end()
                continue
            if is_page:
                return text
            raise CannotRender(text.decode("utf-8", "replace"))
        raise CannotRender("it takes more memory than it may, or ends the process that renders it")

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None or self._process.poll() is not None:
            self._end()
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "runner.gateway.rendering"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
            )
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None
                os.set_blocking(pipe.fileno(), False)
        return self._process

    def _write(self, process: "subprocess.Popen[bytes]", content: bytes, deadline: float) -> None:
        assert process.stdin is not None
        rest = memoryview(content)
        while rest:
            _wait(process.stdin.fileno(), select.POLLOUT, deadline)
            rest = rest[os.write(process.stdin.fileno(), rest[:_CHUNK]) :]

    def _read(self, process: "subprocess.Popen[bytes]", size: int, deadline: float) -> bytes:
        assert process.stdout is not None
        content = bytearray()
        while len(content) < size:
            _wait(process.stdout.fileno(), select.POLLIN, deadline)
            part = os.read(process.stdout.fileno(), min(size - len(content), _CHUNK))
            if not part:
                raise EOFError
            content += part
        return bytes(content)

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()
            process.wait()


def _wait(descriptor: int, event: int, deadline: float) -> None:
    """Wait until it can be read or written, or its other end is closed.

    Raises:
        TimeoutError: the deadline has passed.
    """
    poll = select.poll()
    poll.register(descriptor, event)
    if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
        raise TimeoutError
