"""Asks a process beside this one, so that a slow or huge answer holds up nobody else.

The process starts with the first question, and ends after a time without questions. Both sides of
the conversation are here; the module that answers knows the meaning of a question.
"""

import os
import resource
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable

FRAME = struct.Struct("!?Q")
"""Header of each text: whether it is an answer or a refusal, and its bytes."""
IDLE_SECONDS = 60.0
_CHUNK = 1 << 20


class CannotAnswer(Exception):
    """The process refuses this question; the message says why."""


class TookTooMuch(CannotAnswer):
    """This question needs more time or memory than an answer may; it would again."""


class Busy(CannotAnswer):
    """The process answers others."""


class SideProcess:
    """One process that answers one question at a time. Safe for many threads."""

    def __init__(self, module: str, seconds: float) -> None:
        """Set it up. `module` calls `serve` when it is run; `seconds` is the time of one answer."""
        self._module = module
        self._seconds = seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False

    @property
    def pids(self) -> set[int]:
        """The process, if there is one."""
        process = self._process
        return set() if process is None else {process.pid}

    def ask(self, question: bytes) -> bytes:
        """Return the answer of the process.

        Raises:
            CannotAnswer: it refuses the question.
            TookTooMuch: it takes more time or memory than it may.
            Busy: it had no time for this one.
        """
        if not self._lock.acquire(timeout=self._seconds):
            raise Busy("others are being worked on; try again later")
        try:
            return self._ask(question, time.monotonic() + self._seconds)
        except TimeoutError:
            self._end()
            raise TookTooMuch(f"it takes longer than {self._seconds:g} s") from None
        finally:
            self._lock.release()

    def close(self) -> None:
        """End the process, if there is one, also in the middle of an answer; and start no other."""
        self._is_closed = True
        process = self._process
        if process is not None:
            process.kill()
        with self._lock:
            self._end()

    def _ask(self, question: bytes, deadline: float) -> bytes:
        for _ in range(2):  # restart one that has just ended for lack of questions
            if self._is_closed:
                raise Busy("this server ends")
            process = self._running()
            try:
                self._write(process, FRAME.pack(False, len(question)) + question, deadline)
                is_answer, size = FRAME.unpack(self._read(process, FRAME.size, deadline))
                text = self._read(process, size, deadline)
            except (EOFError, BrokenPipeError):
                self._end()
                continue
            if is_answer:
                return text
            raise CannotAnswer(text.decode("utf-8", "replace"))
        raise TookTooMuch("it takes more memory than it may, or ends the process that reads it")

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None or self._process.poll() is not None:
            self._end()
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                process_group=0,  # Ctrl-C in a terminal is for the one that asks
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


def serve(answer: Callable[[bytes], bytes], *, memory_bytes: int | None) -> None:
    """Be the answering process, until questions stop or the other side is gone; then end it.

    It ends though a thread of some answer goes on.

    `memory_bytes` is the address space that it may have; None: any.

    A `ValueError` or `MemoryError` of `answer` goes back as the refusal.
    """
    if memory_bytes is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while select.select([requests], [], [], IDLE_SECONDS)[0]:
        head = requests.read(FRAME.size)
        if len(head) < FRAME.size:
            break
        question = requests.read(FRAME.unpack(head)[1])
        try:
            is_answer, text = True, answer(question)
        except (ValueError, MemoryError) as error:
            is_answer, text = False, (str(error) or type(error).__name__).encode("utf-8", "replace")
        answers.write(FRAME.pack(is_answer, len(text)) + text)
        answers.flush()
    if threading.active_count() > 1:
        os._exit(0)


def _wait(descriptor: int, event: int, deadline: float) -> None:
    """Wait until it can be read or written, or its other end is closed.

    Raises:
        TimeoutError: the deadline has passed.
    """
    poll = select.poll()
    poll.register(descriptor, event)
    if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
        raise TimeoutError
