"""Waits for reports: events in a job's folder wake its waiters.

A look once a second stands behind the events, for mounts without any. Reads the outbox alone.
"""

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runner.jobs.look import Look, look
from runner.outbox.layout import ERROR, RESULT, STATUS
from runner.outbox.reader import OutboxReader, Report
from runner.system.files.watch import Watch

REPORTS = (RESULT, ERROR)
LOOK_SECONDS = 1.0
WATCHED_FOLDERS = 64
"""Most watched folders: each takes an inotify instance and two threads."""


class Arrivals:
    """The waiting room of one outbox. Safe for many threads.

    It has `seats` for those whose wait holds a connection; all others wait without one.
    """

    def __init__(self, outbox: Path, seats: int = 1) -> None:
        self.reader = OutboxReader(outbox)
        self._seats = threading.BoundedSemaphore(seats)
        self._outbox = outbox
        self._lock = threading.Lock()
        self._waiters: dict[str | None, set[threading.Event]] = {}
        self._watches: dict[Path, Watch] = {}
        self._closed = False

    @property
    def is_closed(self) -> bool:
        """Whether all waiting has ended."""
        return self._closed

    def take_seat(self) -> bool:
        """Take a seat if one is free; give it back with `leave_seat`."""
        return self._seats.acquire(blocking=False)

    def leave_seat(self) -> None:
        """Give a seat back."""
        self._seats.release()

    def wait(
        self, name: str, job_id: str, seconds: float, has_left: Callable[[], bool]
    ) -> Report | None:
        """Wait for a job's report; None when the time is over or the client left."""
        report = None
        for seen in self.looks(name, job_id, seconds, has_left):
            report = seen.report
        return report

    def looks(
        self,
        name: str,
        job_id: str,
        seconds: float = math.inf,
        has_left: Callable[[], bool] = lambda: False,
    ) -> Iterator[Look]:
        """Look at a job whenever there may be news of it, and once a second.

        The last look has the report, or comes after the end of the time, of the client, or of all
        waiting.
        """
        deadline = time.monotonic() + seconds
        with self.listen(name) as next_look:
            while True:
                seen = look(self.reader, name, job_id)
                yield seen
                left = deadline - time.monotonic()
                if seen.report is not None or left <= 0 or self._closed or has_left():
                    return
                next_look(left)

    @contextmanager
    def listen(self, name: str | None) -> Iterator[Callable[[float], None]]:
        """Return a function that returns when there may be news of a name, or after a second.

        None means all names; those in subfolders are found by the looks only.
        """
        woken = threading.Event()
        with self._lock:
            self._waiters.setdefault(name, set()).add(woken)

        def next_look(seconds: float) -> None:
            woken.wait(min(seconds, LOOK_SECONDS))
            woken.clear()
            self._watch(name)

        try:
            self._watch(name)
            yield next_look
        finally:
            with self._lock:
                self._waiters[name].discard(woken)
                if not self._waiters[name]:
                    del self._waiters[name]

    def close(self) -> None:
        """End all waits."""
        self._closed = True
        self._wake_all()
        with self._lock:
            watches, self._watches = list(self._watches.values()), {}
        for watch in watches:
            watch.stop()

    def _wake(self, path: str) -> None:
        """Wake only the waiters of that name: two hundred may wait for fifty results a second.

        A new folder may be one that somebody needs to watch.
        """
        relative = os.path.relpath(path, self._outbox)
        name = next((relative.removesuffix(s) for s in REPORTS if relative.endswith(s)), None)
        if name is None and Path(path).is_dir():
            self._wake_all()
        with self._lock:
            for key in (name or relative.removesuffix(STATUS), None):
                for woken in self._waiters.get(key, ()):
                    woken.set()

    def _wake_all(self) -> None:
        with self._lock:
            for waiters in self._waiters.values():
                for woken in waiters:
                    woken.set()

    def _watch(self, name: str | None) -> None:
        """Watch the folder of a name's files, or the nearest existing one."""
        folder = self._outbox if name is None else (self._outbox / name).parent
        while folder != self._outbox and not folder.is_dir():
            folder = folder.parent
        with self._lock:
            if self._closed:
                return
            watch = self._watches.pop(folder, None) or Watch(folder, self._wake, recursive=False)
            self._watches[folder] = watch  # the last one is the one used last
            watch.ensure()
            unused = list(self._watches)[:-WATCHED_FOLDERS]
            stopped = [self._watches.pop(old) for old in unused]
        for old_watch in stopped:
            old_watch.stop()
