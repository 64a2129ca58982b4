"""JupyterLab's files, where the runner's own results are trusted: their plots and tables are shown.

Trusts what lies in the outbox, because the runner has run it, as JupyterLab trusts what it has run
itself. Whatever lies elsewhere is trusted by Jupyter's own rules.
"""

import os
from typing import Any

from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from traitlets import Unicode


class ResultsTrusted(AsyncLargeFileManager):  # type: ignore[misc]
    """The usual manager of files, which trusts executed notebooks."""

    outbox = Unicode(help="The folder whose notebooks are trusted.").tag(config=True)

    def mark_trusted_cells(self, nb: Any, path: str = "") -> None:
        """Mark the cells of a notebook that is opened, as far as it is trusted."""
        if self._is_result(path):
            self.notary.mark_cells(nb, True)
        else:
            super().mark_trusted_cells(nb, path)

    def _is_result(self, path: str) -> bool:
        """Whether the file itself lies in the outbox; a link in there to another place does not."""
        real = os.path.realpath(self._get_os_path(path))
        return bool(self.outbox) and real.startswith(os.path.realpath(self.outbox) + os.sep)
