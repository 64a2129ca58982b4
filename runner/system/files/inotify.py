"""Extends watchdog's observer of inotify(7): it also reports that events were lost.

Owns our use of watchdog's internals. Decides nothing.
"""

import errno
import logging
from collections.abc import Callable

from watchdog.observers.api import DEFAULT_OBSERVER_TIMEOUT, BaseObserver
from watchdog.observers.inotify import InotifyEmitter
from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchCallback,
    WatchDescriptor,
)
from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper

logging.getLogger("watchdog").setLevel(logging.CRITICAL)
"""Its log is no news: this module reports lost events and refused folders, and the end of any watch
looks like an error there."""


class _Queue(InotifyFD):
    """The kernel's queue. After an overflow watchdog renews its watches, and tells nobody."""

    def __init__(self, lost: Callable[[], None]) -> None:
        super().__init__()
        self._lost = lost
        self.refused: str | None = None
        self.unmounted = False

    def handle_event(self, event: InotifyEvent) -> None:
        super().handle_event(event)
        if event.mask & InotifyConstants.IN_UNMOUNT:
            self.unmounted = True
        if event.is_queue_overflow or self.unmounted:
            self._lost()

    def add_callback(
        self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId
    ) -> WatchDescriptor:
        """Note a folder below that cannot be watched; watchdog would ignore it silently."""
        try:
            return super().add_callback(path, mask, callback, id_)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                self.refused = error.strerror
            raise


class Observer(BaseObserver):
    """One inotify instance; `lost` is called from another thread when events were lost.

    Raises:
        OSError: no instance can be had (fs.inotify.max_user_instances).
    """

    def __init__(self, lost: Callable[[], None]) -> None:
        # watchdog holds each rename back for half a second, and all events behind it, to find its
        # other half. Each claim is such a rename, and we need no halves.
        InotifyMoveEventGrouper.delay = 0.0
        self._queue = _Queue(lost)
        self._queue.start()
        super().__init__(InotifyEmitter, timeout=DEFAULT_OBSERVER_TIMEOUT, inotify_fd=self._queue)

    @property
    def refused(self) -> str | None:
        """Reason why a folder below is not watched; None if all are."""
        return self._queue.refused

    @property
    def sees(self) -> bool:
        """Whether all its threads live, and the watched folders were not unmounted."""
        threads = [self, self._queue, *self.emitters]
        return all(one.is_alive() for one in threads) and not self._queue.unmounted

    def on_thread_stop(self) -> None:
        """End the thread that reads the queue too."""
        super().on_thread_stop()
        self._queue.stop()
        self._queue.join()
