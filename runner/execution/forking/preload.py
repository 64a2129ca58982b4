"""The preload server: a process that has everything imported, and forks job processes.

It ends its whole tree when the daemon's socket closes, and ends any child that it did not fork.
Reads no requests.
"""

import contextlib
import gc
import importlib
import logging
import os
import selectors
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

from runner.execution.forking.first_uses import modules_of_first_uses
from runner.execution.forking.zygote import Become
from runner.execution.kernel.forked import INLINE_BACKEND, KernelTemplate
from runner.execution.local.preload_server import FORK, PREPARED, Preload
from runner.system.files.disk import Disk
from runner.system.lazy_grammar import forget
from runner.system.processes.process_tree import adopt_orphans, children, end_descendants

log = logging.getLogger(__name__)

GLUES = "scrapbook"
REHEARSAL_NEEDS = ("ipykernel.debugger", GLUES)
"""What its kernel imports. After the fork, each side would import that for itself."""


class _Server:
    """The server itself: one thread, one loop."""

    def __init__(self, requests: socket.socket, preload: Preload, template: KernelTemplate) -> None:
        self._requests = requests
        self._preload = preload
        self._template = template
        self._children: set[int] = set()
        self._wake, self._waker = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._waker, False)

    def serve(self) -> Become | None:
        """Fork until the daemon is gone. In a child, return its next step; else None."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._requests, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is not self._requests:
                        self._reap()
                        continue
                    fd = self._receive()
                    if fd is None:
                        return None
                    pid = os.fork()
                    if pid == 0:
                        return self._become_job(fd)
                    self._children.add(pid)
                    os.close(fd)

    def _receive(self) -> int | None:
        """Receive the connection of the next job process; None if the daemon is gone."""
        try:
            message, fds, _, _ = socket.recv_fds(self._requests, 64, 1)
        except OSError:
            return None
        return fds[0] if message == FORK and fds else None

    def _become_job(self, fd: int) -> Become:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._requests.close()
        os.close(self._wake)
        os.close(self._waker)
        return lambda: _run_job(fd, self._preload, self._template)

    def _reap(self) -> None:
        """Collect dead children, and end the orphans of a dead job process."""
        while _drain(self._wake):
            pass
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            self._children.discard(pid)
        orphans = set(children(os.getpid())) - self._children
        if orphans:
            log.info("ending what a job left behind: process %d", min(orphans))
            end_descendants(spare=self._children)


def _drain(fd: int) -> bool:
    try:
        return bool(os.read(fd, 512))
    except BlockingIOError:
        return False


def _run_job(fd: int, preload: Preload, template: KernelTemplate) -> Become | None:
    """Be the job process, which ends here; in a child of it, return the next step.

    If the daemon is gone meanwhile, it needs no outcome any more.
    """
    from runner.execution.forking.serve import serve

    try:
        with Connection(fd) as connection:
            become = serve(connection, preload, template)
    except (EOFError, OSError) as error:
        if not isinstance(error, EOFError | ConnectionError):
            log.warning("a job process ends: %s", error)
        end_descendants()
        os._exit(1)
    if become is None:
        end_descendants()
        os._exit(0)
    return become


def _prepare(preload: Preload) -> KernelTemplate | Become:
    """Import the modules of every kernel and job process, and those that the settings name.

    The kernel's own modules come first, so that the template knows them. Garbage collection stays
    off until a child turns it on, because it would copy every page; imports leave little of it. In
    the kernel of the rehearsal, return its next step.
    """
    gc.disable()
    with _environment("PYDEVD_DISABLE_FILE_VALIDATION", "1"):  # else four lines of warning
        template = KernelTemplate()
        from runner.execution.forking.rehearsal import rehearse

        glues = GLUES in preload.modules
        with template.as_in_a_cell():
            for name in REHEARSAL_NEEDS if glues else REHEARSAL_NEEDS[:1]:
                _import(name)
        gc.freeze()  # a kernel would look through all of it at its start and at its end
        folder = Path(preload.runtime_folder) / "0"
        rehearsed = rehearse(folder, template, preload.kernel_start_seconds, glues=glues)
        if not isinstance(rehearsed, list):
            return rehearsed
        with template.as_in_a_cell():
            for name in rehearsed:
                _import(name)
    # matplotlib takes its default from the environment when it is imported.
    with _environment("MPLBACKEND", INLINE_BACKEND), template.as_in_a_cell():
        for name in preload.modules:
            failure = _import(name)
            if failure is not None:
                log.warning("not preloaded: %s (%s)", name, failure)
        loaded = [name for name in preload.modules if name in sys.modules]
        for name in modules_of_first_uses(loaded, preload.kernel_start_seconds):
            _import(name)
    forget()  # so that a kernel sees the real module
    template.settle()
    gc.freeze()
    return template


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set a variable, unless it has a value already."""
    if os.environ.get(name):
        yield
        return
    os.environ[name] = value
    yield
    del os.environ[name]


def _import(module: str) -> Exception | None:
    """Import a module if it is missing; return the reason if that fails."""
    if module not in sys.modules:
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - somebody else's module
            return error
    return None


def _log_to_stderr() -> None:
    """Log the runner's own lines only: a kernel's root logger belongs to the notebook."""
    runner = logging.getLogger("runner")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    runner.addHandler(handler)
    runner.setLevel(logging.INFO)
    runner.propagate = False


def main(arguments: Sequence[str]) -> None:
    """Serve the daemon over SOCKET, as PRELOAD says. Only `PreloadServer` calls it."""
    _log_to_stderr()
    preload = Preload.model_validate_json(arguments[1])
    sys.path[:] = [entry for entry in sys.path if entry not in ("", "/")]
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: _end(preload))
    requests = socket.socket(fileno=int(arguments[0]))
    template = _prepare(preload)
    if not isinstance(template, KernelTemplate):
        requests.close()
        _be(template)
        return
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # a daemon that is gone is seen at once
        requests.send(PREPARED)
    become = _Server(requests, preload, template).serve()
    if become is not None:
        _be(become)
        return
    _end(preload)


def _be(become: Become) -> None:
    """Go through the steps of a child, each from here, so that it holds nothing of the one before.

    A job process becomes its zygote in a child, and that one its kernels in children of its own.
    """
    step: Become | None = become
    while step is not None:
        step = step()


def _end(preload: Preload) -> NoReturn:
    """End everything that was started, and remove its folder."""
    end_descendants()
    Disk().discard_tree(Path(preload.runtime_folder))
    with contextlib.suppress(OSError):
        Path(preload.runtime_folder).parent.rmdir()
    os._exit(0)
