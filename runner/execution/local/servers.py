"""The preload server that forks now, and those that live on for the runs they have.

Replaces a server that is gone, does not come up, or is older than the installed packages.
"""

import logging
from collections.abc import Callable, Collection
from pathlib import Path

from runner.execution.local.installed import Fingerprint
from runner.execution.local.preload_server import Preload, PreloadServer
from runner.system.files.disk import Disk
from runner.system.files.folders import make_private

log = logging.getLogger(__name__)

SETTLED_SECONDS = 2.0
"""Pause after a change, because a working installer changes more."""
_GONE = "the preload server is gone; starting another"
_CHANGED = "installed packages have changed; starting another preload server"


class Servers:
    """The preload servers of one pool; for one thread at a time."""

    def __init__(
        self,
        preload: Preload,
        start: Callable[[Preload], PreloadServer],
        installed: Callable[[], Fingerprint],
        clock: Callable[[], float],
    ) -> None:
        """Start one. `preload.runtime_folder` exists; each server has a folder below it.

        `installed` returns a value that changes with the installed packages.
        """
        self._preload = preload
        self._start = start
        self._installed = installed
        self._clock = clock
        self._retired: list[PreloadServer] = []
        self._count = 0
        self._changed_at: float | None = None
        self._last_seen: Fingerprint | None = None
        self._is_without = False
        """Whether servers import nothing, since one ended amid its imports."""
        self.current = self._started()

    @property
    def all(self) -> list[PreloadServer]:
        """The current one, and those that live on."""
        return [self.current, *self._retired]

    @property
    def left_out(self) -> tuple[str, ...]:
        """The modules that are not imported beforehand, since a server ended amid that."""
        return tuple(self._preload.modules) if self._is_without else ()

    def refresh(self) -> None:
        """Replace the server at once if it is gone or out of date.

        Raises:
            OSError: no other can be started.
        """
        if self.current.has_ended:
            log.warning(_GONE)
            self.replace()
        elif self._installed() != self._fingerprint:
            log.info(_CHANGED)
            self.import_again()

    def follow(self) -> None:
        """Replace one that is out of date, once its installer rests, before anybody needs it.

        Raises:
            OSError: no other can be started.
        """
        now, current = self._clock(), self._installed()
        if current == self._fingerprint:
            self._changed_at = None
        elif self._changed_at is None or current != self._last_seen:
            self._changed_at, self._last_seen = now, current
        elif now - self._changed_at >= SETTLED_SECONDS:
            log.info(_CHANGED)
            self.import_again()

    def import_again(self) -> None:
        """Start another server, with all modules: what was wrong with one may be mended.

        Raises:
            OSError: it cannot be started.
        """
        self._is_without = False
        self._retire()

    def replace(self) -> None:
        """Start another server in the place of one that is gone.

        Raises:
            OSError: it cannot be started.
        """
        old = self.current
        has_imports = bool(self._preload.modules) and not self._is_without
        if has_imports and old.has_ended and not old.is_prepared:
            log.error(
                "a preload server ended while it imported %s (kernels.preload); the next one "
                "goes without, until packages change or the daemon gets a SIGHUP",
                ", ".join(self._preload.modules),
            )
            self._is_without = True
        self._retire()

    def collect(self, busy: Collection[PreloadServer]) -> None:
        """End the retired servers that are not `busy`, and forget those that have ended.

        A busy one that is gone leaves its folder, with the sockets of a kernel that comes up.
        """
        for server in list(self._retired):
            if server in busy:
                continue
            server.hang_up()
            if server.has_ended:
                server.close()
                Disk().discard_tree(Path(server.runtime_folder))
                self._retired.remove(server)

    def close(self) -> None:
        """End all of them, and wait for that."""
        for server in self.all:
            server.hang_up()
        for server in self.all:
            server.close()

    def _retire(self) -> None:
        self._retired.append(self.current)
        self.current = self._started()

    def _started(self) -> PreloadServer:
        self._fingerprint = self._installed()
        self._changed_at = None
        self._count += 1
        folder = Path(self._preload.runtime_folder) / str(self._count)
        make_private(folder)
        modules = () if self._is_without else self._preload.modules
        own = {"runtime_folder": str(folder), "modules": modules}
        return self._start(self._preload.model_copy(update=own))
