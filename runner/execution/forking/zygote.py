"""A process that stays as it was forked, and forks the kernels of one job process.

Android and Chrome call such a process a zygote. A job process serves many runs and holds what they
left in it; its kernels come from here, where no run has ever been. Executes nothing.
"""

import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable
from typing import NamedTuple

from runner.execution.kernel.forked import KernelTemplate
from runner.system.processes.process_tree import die_with_parent, is_stopped

_FORKED, _ENDED = 0, 1
_MESSAGE = struct.Struct("=iii")
"""What a zygote says: kind, process id, and for `_ENDED` the signal that ended it, or 0."""
_PATH_BYTES = 4096
ANSWER_SECONDS = 60.0
"""Time to fork: on a machine without memory it takes long."""
REPORT_SECONDS = 1.0
"""Time to tell of an end that has just been seen."""

Become = Callable[[], "Become | None"]
"""The next step of a forked child, once it has returned to the top of the program."""


class _Said(NamedTuple):
    kind: int
    pid: int
    signal: int


class Zygote:
    """The job process's side. It ends with its job process."""

    def __init__(self, pid: int, link: socket.socket) -> None:
        self.pid = pid
        self._link = link
        self._ended: dict[int, int] = {}

    def fork(self, connection_file: str, channel: socket.socket) -> int:
        """Fork a kernel that is to be heard over the other end of `channel`; return its pid.

        Raises:
            OSError: it cannot fork, or is gone.
        """
        self._ended.clear()
        socket.send_fds(self._link, [connection_file.encode()], [channel.fileno()])
        while (said := self._hear(ANSWER_SECONDS)) is not None:
            if said.kind == _FORKED:
                if said.pid < 0:
                    raise OSError(-said.pid, os.strerror(-said.pid))
                return said.pid
        raise ConnectionError("the process that kernels are forked from does not answer")

    def is_alive(self) -> bool:
        """Return whether it would fork: a notebook may kill its parent, or stop it."""
        poll = select.poll()
        poll.register(self._link, 0)
        has_ended = any(events & select.POLLHUP for _, events in poll.poll(0))
        return not has_ended and not is_stopped(self.pid)

    def ended_by(self, pid: int) -> int | None:
        """Return the signal that ended a kernel of this zygote, if one did."""
        deadline = time.monotonic() + REPORT_SECONDS
        while pid not in self._ended:
            if self._hear(deadline - time.monotonic()) is None:
                return None
        return self._ended[pid] or None

    def _hear(self, seconds: float) -> _Said | None:
        """Return what it says next; None if that is nothing."""
        if not select.select([self._link], [], [], max(seconds, 0.0))[0]:
            return None
        message = self._link.recv(_MESSAGE.size)
        if len(message) < _MESSAGE.size:
            return None
        said = _Said(*_MESSAGE.unpack(message))
        if said.kind == _ENDED:
            self._ended[said.pid] = said.signal
        return said


def start_zygote(template: KernelTemplate) -> Zygote | Become:
    """Fork a zygote of this process, which has not served anything yet.

    In that child, return its next step.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        ours.close()
        return lambda: _Loop(theirs, template, parent).serve()
    theirs.close()
    return Zygote(pid, ours)


class _Loop:
    """The zygote itself: one thread, which forks kernels and collects them."""

    def __init__(self, link: socket.socket, template: KernelTemplate, parent: int) -> None:
        self._link = link
        self._template = template
        self._parent = parent
        self._kernels: dict[int, int] = {}
        """The pids of kernels, by their descriptors."""

    def serve(self) -> Become | None:
        """Fork until the job process is gone. In a kernel, return its next step; else None."""
        die_with_parent(self._parent)
        self._close_others()
        poll = select.poll()
        poll.register(self._link, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd in self._kernels:
                    poll.unregister(fd)
                    self._collect(fd)
                    continue
                become = self._fork_as_told(poll)
                if become is not None:
                    return become

    def _fork_as_told(self, poll: select.poll) -> Become | None:
        try:
            message, fds, _, _ = socket.recv_fds(self._link, _PATH_BYTES, 1)
        except ConnectionResetError:  # it is gone, and has not read what was said last
            os._exit(0)
        if not fds:  # the job process is gone
            os._exit(0)
        me = os.getpid()
        with socket.socket(fileno=fds[0]) as channel:
            try:
                pid = os.fork()
            except OSError as error:
                self._say(_FORKED, -(error.errno or 1))
                return None
            if pid == 0:
                channel = socket.socket(fileno=channel.detach())
                return lambda: self._template.bring_up(message.decode(), channel, me)
        fd = os.pidfd_open(pid)
        self._kernels[fd] = pid
        poll.register(fd, select.POLLIN)
        self._say(_FORKED, pid)
        return None

    def _collect(self, fd: int) -> None:
        pid = self._kernels.pop(fd)
        os.close(fd)
        _, status = os.waitpid(pid, 0)
        self._say(_ENDED, pid, os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0)

    def _say(self, kind: int, pid: int, number: int = 0) -> None:
        try:
            self._link.send(_MESSAGE.pack(kind, pid, number))
        except OSError:  # the job process is gone
            os._exit(0)

    def _close_others(self) -> None:
        """Close what belongs to the job process, whose connections end with it alone."""
        os.setsid()
        signal.set_wakeup_fd(-1)
        kept = {0, 1, 2, self._link.fileno()}
        for name in os.listdir("/proc/self/fd"):
            if int(name) not in kept:
                try:
                    os.close(int(name))
                except OSError:
                    continue
