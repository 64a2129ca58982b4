"""JupyterLab's files, where the runner's own results are trusted: it shows their plots and tables.

The runner has run the notebooks in the outbox, so they are trusted as JupyterLab trusts its own.
Jupyter's rules hold for all other files.
"""

import os
from typing import Any

from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from traitlets import Unicode


class ResultsTrusted(AsyncLargeFileManager):  # type: ignore[misc]
    """The usual manager of files, but it trusts executed notebooks."""

    outbox = Unicode(help="The folder whose notebooks are trusted.").tag(config=True)

    def mark_trusted_cells(self, nb: Any, path: str = "") -> None:
        """Mark the cells of an opened notebook, as far as it is trusted."""
        if self._is_result(path):
            self.notary.mark_cells(nb, True)
        else:
            super().mark_trusted_cells(nb, path)

    def _is_result(self, path: str) -> bool:
        """Return whether the file itself lies in the outbox, not only a link to it."""
        real = os.path.realpath(self._get_os_path(path))
        return bool(self.outbox) and real.startswith(os.path.realpath(self.outbox) + os.sep)
