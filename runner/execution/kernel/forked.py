"""The kernel's own side of a fork: prepared once in the preload server, brought up in a child.

It learns whose run it is at the last moment, before its first cell. Drives no notebook, and knows
no client.
"""

import _io
import array
import asyncio
import atexit
import codecs
import contextlib
import fcntl
import functools
import gc
import importlib.util
import json
import multiprocessing.process
import os
import random
import select
import signal
import site
import socket
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ipykernel.ipkernel
import ipykernel.kernelapp
import zmq
from ipykernel.compiler import XCachingCompiler
from ipykernel.iostream import IOPubThread, OutStream
from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp
from ipykernel.zmqshell import ZMQInteractiveShell
from IPython.core.application import BaseIPythonApplication
from jupyter_client.session import new_id
from tornado.ioloop import IOLoop
from traitlets import Float

from runner.execution.kernel.spare_files import spare_files
from runner.system.processes.process_tree import children, die_with_parent, hear_signals_again

INLINE_BACKEND = "module://matplotlib_inline.backend_inline"
"""The matplotlib default that ipykernel sets, before a notebook can import matplotlib."""
CHILDREN_SECONDS = 0.1
"""Time between SIGTERM and SIGKILL for processes that a notebook left behind."""
COPIED_BYTES = 1 << 40
"""Messages up to this size are copied. For a larger one, pyzmq starts a thread after its first
part is sent: if the system refuses the thread, half a message is out, and the rest is misread.
"""
GOODBYE_SECONDS = 5.0
_CHANNEL = 3
"""Descriptor over which a kernel hears from its job process."""
LAST_WORD = "last_word"
"""Type of a kernel's last message on iopub."""
_UP, _ASSIGNED, _FLUSHED = b"up\n", b"assigned\n", b"flushed\n"


@dataclass(frozen=True)
class KernelSetting:
    """The job's own part of a kernel: where and how it runs."""

    folder: str
    environment: dict[str, str]
    packages: str | None = None
    """Folder of packages that comes before those installed for all."""


class KernelTemplate:
    """The part of a kernel that needs no sockets and threads: settings, shell, magics.

    Forked children share it until they write to it.
    """

    def __init__(self) -> None:
        before = dict(os.environ)
        self._app = _App.instance()
        self._app.prepare()
        _set_environment(before)
        launcher = importlib.util.find_spec("ipykernel_launcher")
        self._launcher = str(launcher and launcher.origin)
        self._own: list[str] = []
        self._style: str | None = None
        self._fresh = frozenset(name.partition(".")[0] for name in sys.modules)

    @contextlib.contextmanager
    def as_in_a_cell(self) -> Iterator[None]:
        """Provide IPython's builtins: pandas asks `get_ipython` whether it is in a terminal."""
        with self._app.shell.builtin_trap:
            yield

    def settle(self) -> None:
        """Hide the runner's own modules from notebooks, after all imports."""
        self._own = [name for name in sys.modules if name.partition(".")[0] == "runner"]
        self._style = _matplotlib_style()

    def bring_up(self, connection_file: str, channel: socket.socket, parent: int) -> None:
        """Turn this freshly forked process into the kernel; never returns.

        Reports over `channel` when its sockets exist, and takes its `KernelSetting` from there.
        """
        os.setsid()
        die_with_parent(parent)
        signal.set_wakeup_fd(-1)
        hear_signals_again()
        _keep_only(channel.detach())
        random.seed()
        _reseed_numpy()
        app = self._app
        app.connection_file = connection_file
        sys.argv = [self._launcher, "-f", connection_file]
        sys.orig_argv = [sys.executable, "-m", "ipykernel_launcher", *sys.argv[1:]]
        app.initialize()
        gc.freeze()
        link = socket.socket(fileno=_CHANNEL)
        loop = IOLoop.current()
        loop.add_handler(link, lambda *_: self._hear(link, loop, parent), IOLoop.READ)
        link.sendall(_UP)
        app.start()
        # ipykernel 7.4 closes its output thread while the control thread still flushes through it,
        # and waits 10 s. The threads are daemons, and this one carries what is said until the end.
        atexit.unregister(app.close)
        atexit.unregister(app.iopub_thread.stop)
        threading._shutdown()  # type: ignore[attr-defined]
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # the notebook may have put anything there
                stream.flush()
        app.session.send(app.iopub_socket, LAST_WORD, {}, parent={})
        _wait_for_output(app.iopub_thread)
        _silence()
        _let_go(app.shell)
        with contextlib.suppress(OSError):
            link.send(_FLUSHED)
            # zmq sends in a thread of its own; the job process ends this one when it has it all.
            link.settimeout(GOODBYE_SECONDS)
            link.recv(1)
        os._exit(0)

    def _hear(self, link: socket.socket, loop: IOLoop, parent: int) -> None:
        """Wait until the job process says whose run it is, or is gone."""
        loop.remove_handler(link)
        with link.makefile("rb") as lines:
            line = lines.readline()
        if not line:
            return
        try:
            self._assign(KernelSetting(**json.loads(line)), parent)
        except Exception as error:  # noqa: BLE001 - said to the job process
            link.sendall(f"{type(error).__name__}: {error}\n".encode())
        else:
            link.sendall(_ASSIGNED)

    def _assign(self, setting: KernelSetting, parent: int) -> None:
        shell = self._app.shell
        _set_environment({"JPY_PARENT_PID": str(parent), **setting.environment})
        shell.init_environment()
        if not os.environ.get("MPLBACKEND"):
            os.environ["MPLBACKEND"] = INLINE_BACKEND
        os.chdir(setting.folder)
        # The processes that it spawns look there for what they import.
        multiprocessing.process.ORIGINAL_DIR = setting.folder  # type: ignore[attr-defined]
        if setting.packages is not None:
            _look_in(setting.packages)
        time.tzset()
        shell.starting_dir = setting.folder
        shell.history_manager.dir_hist[:] = [Path(setting.folder)]
        self._forget_modules(setting.folder)
        self._style_plots()
        self._app.run_startup()
        gc.enable()

    def _forget_modules(self, folder: str) -> None:
        """Forget imported modules that the notebook's neighbours replace."""
        for name in self._own:
            sys.modules.pop(name, None)
        hidden = {
            name
            for name in _modules_in(folder)
            if name in sys.modules and name not in self._fresh | sys.stdlib_module_names
        }
        if hidden:
            for name in [one for one in sys.modules if one.partition(".")[0] in hidden]:
                del sys.modules[name]

    def _style_plots(self) -> None:
        """Apply the matplotlib settings beside the notebook, which it reads first when imported."""
        style = _matplotlib_style()
        if style != self._style:
            sys.modules["matplotlib"].rc_file(style)


class _App(IPKernelApp):  # type: ignore[misc]
    """ipykernel's application, with `initialize` in two parts."""

    _prepares = False
    _has_startup = False

    def prepare(self) -> None:
        """Do the part that needs no socket and no thread, in ipykernel's own order."""
        BaseIPythonApplication.initialize(self, ["--HistoryManager.hist_file=:memory:"])
        # traitlets gives its logger DEBUG and its handler the level that counts, so that records
        # are made, four for each cell, that no handler takes.
        self.log.setLevel(self.log_level)
        self.kernel_class = _Kernel
        self.init_pdb()
        # A kernel takes the existing shell (traitlets' SingletonConfigurable.instance).
        shell = ZMQInteractiveShell.instance(
            parent=self, profile_dir=self.profile_dir, compiler_class=XCachingCompiler
        )
        shell.display_formatter.format(None)
        shell.showtraceback = _with_spare_files(shell.showtraceback)
        self.shell = shell
        self.session  # noqa: B018 - made now; a fork gives it an identity of its own
        self.init_path()
        self.init_extensions()
        self._prepares = True
        if not self.exec_lines:
            self.init_code()
        self._prepares = False

    def _exec_file(self, fname: str, shell_futures: bool = False) -> None:
        """Run a user's start-up file in each kernel, and only note it in their template."""
        if self._prepares:
            self._has_startup = True
        else:
            super()._exec_file(fname, shell_futures)

    def init_iopub(self, context: Any) -> None:
        """Make the kernel wait for readers of its output, where ipykernel drops output."""
        context.setsockopt(zmq.XPUB_NODROP, 1)
        ipykernel.kernelapp.IOPubThread = OutputThread
        self.outstream_class = f"{__name__}.{OutputStream.__name__}"
        super().init_iopub(context)
        del context.sockopts[zmq.XPUB_NODROP]

    def initialize(self, argv: object = None) -> None:
        """Do the part that belongs to one process."""
        del argv
        if not Path(self.connection_file).exists():
            # ipykernel would write another one, which the job process does not know, and make the
            # folders above it open to everybody. This kernel's end is heard at once.
            os.write(2, f"{self.connection_file} is gone; another kernel follows\n".encode())
            os._exit(1)
        self.session.session, self.session.pid = new_id(), os.getpid()
        mask = os.umask(0o077)
        self.init_connection_file()
        os.umask(mask)
        self.init_sockets()
        self.init_heartbeat()
        self._ports = {
            name: getattr(self, f"{name}_port")
            for name in ("shell", "iopub", "stdin", "hb", "control")
        }
        self.init_io()
        self.init_signal()
        self.session.copy_threshold = COPIED_BYTES
        self.init_kernel()
        self.init_shell()
        self.init_gui_pylab()
        sys.stdout.flush()
        sys.stderr.flush()

    def run_startup(self) -> None:
        """Run the user's start-up code before the first cell, in the notebook's surroundings."""
        if self._has_startup or self.exec_lines:
            self.init_code()
            sys.stdout.flush()
            sys.stderr.flush()


class _Kernel(IPythonKernel):  # type: ignore[misc]
    """ipykernel's kernel, around the existing shell."""

    _execute_sleep = Float(0.0)
    """No pause after a cell: ipykernel's is for clients that do not wait for `idle`; ours does."""

    def __init__(self, **options: Any) -> None:
        with _without_module_files():
            super().__init__(**options)
        self.shell.parent = self
        self.shell.kernel = self

    async def _progressively_terminate_all_children(self) -> None:
        """Ask children to end. ipykernel would wait for them; the job process ends the rest."""
        if children(os.getpid()) and self._process_children():  # psutil looks through all of /proc
            self._signal_children(signal.SIGTERM)
            await asyncio.sleep(CHILDREN_SECONDS)


@contextlib.contextmanager
def _without_module_files() -> Iterator[None]:
    """Skip ipykernel's list of all module files, which its debugger's "just my code" uses.

    Looking at each of 1,500 modules copies 2,500 shared pages: a third of a forked kernel's start.
    """
    ipykernel.ipkernel.sys = SimpleNamespace(**{**vars(sys), "modules": {}})
    try:
        yield
    finally:
        ipykernel.ipkernel.sys = sys


class OutputStream(OutStream):  # type: ignore[misc]
    """ipykernel's standard output or error, where a flush includes everything written before it.

    Output of other code than Python's reaches the descriptor through a pipe and a thread. Each cell
    ends with a flush; in ipykernel 7.4 that races with the thread. It also decodes each piece
    alone, so a character at a border is lost.
    """

    _pipe_lock: threading.Lock

    def _watch_pipe_fd(self) -> None:
        poll = select.poll()
        poll.register(self._fid, select.POLLIN)
        try:
            while self._should_watch:
                poll.poll()
                self._carry_over()
        except Exception:  # noqa: BLE001 - ipykernel tells of it when the stream is closed
            self._exc = sys.exc_info()

    def _setup_stream_redirects(self, name: str) -> None:
        self._pipe_lock = threading.Lock()
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        super()._setup_stream_redirects(name)

    def _carry_over(self) -> None:
        """Write the pipe's content now; the first caller does it."""
        with self._pipe_lock:
            waiting = array.array("i", [0])
            fcntl.ioctl(self._fid, termios.FIONREAD, waiting)
            if waiting[0] and self._should_watch:
                written = os.read(self._fid, waiting[0])
                self.write(self._decoder.decode(written))
                os.write(self._original_stdstream_copy, written)

    def flush(self) -> None:
        if self._should_watch and self._fid is not None and self._is_master_process():
            self._carry_over()
        super().flush()


class OutputThread(IOPubThread):  # type: ignore[misc]
    """ipykernel's output thread, which greets every subscriber and works with all files open."""

    def _really_send(self, *arguments: Any, **options: Any) -> None:
        """Send, then look for new subscribers.

        zmq announces one once, by an edge on a descriptor, and a send takes that edge. In ipykernel
        7.4 a subscriber of that moment is never greeted, and waits for it (1 in 20 while a kernel
        prints).
        """
        super()._really_send(*arguments, **options)
        own = threading.current_thread() is self.thread
        if own and not self.closed and not self.socket.closed and self.socket.events & zmq.POLLIN:
            self._xpub_stream.flush(zmq.POLLIN)

    @property
    def _event_pipe(self) -> Any:
        """A socket by which each thread wakes this one, made at its first output.

        Without a descriptor for it, ipykernel 7.4 loses the output, and each flush waits 10 s.
        """
        if hasattr(self._local, "event_pipe"):
            return self._local.event_pipe
        with spare_files():
            return super()._event_pipe


def _with_spare_files(show: Callable[..., None]) -> Callable[..., None]:
    """Lend descriptors to a traceback, which opens the source files."""

    @functools.wraps(show)
    def show_it(*arguments: Any, **options: Any) -> None:
        with spare_files():
            show(*arguments, **options)

    return show_it


def assign(channel: socket.socket, setting: KernelSetting) -> str | None:
    """Tell a kernel that is up whose run it is; return the reason if that fails."""
    try:
        channel.sendall(json.dumps(vars(setting)).encode() + b"\n")
        with channel.makefile("rb") as lines:
            said = lines.readline()
    except OSError as error:
        return str(error)
    if said == _ASSIGNED:
        return None
    return said.decode().strip() or "it died before its first cell"


async def is_up(channel: socket.socket) -> bool:
    """Wait until a kernel has its sockets; False if it died instead."""
    return await _hears(channel, _UP)


async def has_flushed(channel: socket.socket) -> bool:
    """Wait until a kernel has written everything; False if it died instead."""
    return await _hears(channel, _FLUSHED)


async def _hears(channel: socket.socket, word: bytes) -> bool:
    channel.setblocking(False)
    try:
        return await asyncio.get_running_loop().sock_recv(channel, len(word)) == word
    except OSError:
        return False
    finally:
        channel.setblocking(True)


def _matplotlib_style() -> str | None:
    """Return the settings file that matplotlib would read now; None if it is not imported."""
    matplotlib = sys.modules.get("matplotlib")
    return None if matplotlib is None else str(matplotlib.matplotlib_fname())


def _modules_in(folder: str) -> Iterator[str]:
    """List the names that `import` would find in a folder before installed packages."""
    for entry in os.scandir(folder):
        name, dot, suffix = entry.name.partition(".")
        is_package = not dot and Path(entry.path, "__init__.py").exists()
        if suffix.endswith(("py", "so")) or is_package:
            yield name


def _look_in(packages: str) -> None:
    """Put a folder of packages before the environment's own, as the module site does."""
    places = {*site.getsitepackages(), site.getusersitepackages()}
    positions = (index for index, entry in enumerate(sys.path) if entry in places)
    sys.path.insert(next(positions, len(sys.path)), packages)


def _set_environment(environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)


def _keep_only(channel: int) -> None:
    """Keep `channel` and the null device as standard streams, and close all other descriptors."""
    if channel == _CHANNEL:
        os.set_inheritable(channel, False)
    else:
        os.dup2(channel, _CHANNEL, inheritable=False)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > _CHANNEL:
            with contextlib.suppress(OSError):
                os.close(int(name))


def _reseed_numpy() -> None:
    """Reseed numpy, whose random state forked processes share. Python's modules do so alone."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def _wait_for_output(thread: IOPubThread) -> None:
    """Wait until the output thread has handed everything to zmq."""
    done = threading.Event()
    thread.schedule(done.set)
    done.wait(GOODBYE_SECONDS)


def _silence() -> None:
    """Discard output of exit functions and destructors: the notebook is complete before them."""
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - until the process ends
    for fd in (1, 2):
        os.dup2(sys.stdout.fileno(), fd)


def _let_go(shell: Any) -> None:
    """End as an interpreter ends, as far as a notebook can tell, after its threads.

    It runs exit functions, frees objects so that they close their files, and flushes the rest.
    Taking down every imported module as well would take 0.3 s.
    """
    atexit._run_exitfuncs()
    shell.user_ns_hidden.clear()
    shell.user_ns.clear()
    shell.displayhook.flush()
    gc.collect()
    for thing in gc.get_objects():
        # By its type, since a proxy would touch an object that is gone; and by the type that all
        # of them are made of, since io.IOBase looks through its subclasses for each new one.
        if issubclass(type(thing), _io._IOBase):
            with contextlib.suppress(Exception):
                thing.flush()
