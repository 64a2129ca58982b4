"""Remembers how far each notebook's kernel was, so that agents hear when its variables are gone.

Pure. Belongs to one server, and is empty after its restart.
"""

from runner.mcp.jupyter.api import Session

GONE = "the kernel is a new one since the last cell: variables of earlier cells are gone"


class Memory:
    """The kernel of each notebook, and the count of the last cell that an agent ran in it."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[str, int]] = {}
        self._lost: set[str] = set()

    def note(
        self,
        path: str,
        session: Session,
        count: int | None,
        *,
        is_cell: bool,
        ran_before: bool = False,
    ) -> str | None:
        """Take what ran now, and return a sentence if the kernel lost its variables before that.

        A kernel counts its cells from 1; code without a cell does not count, and has the count of
        the cell before it. `ran_before` tells whether the notebook has cells that ran at some time.
        """
        last = self._last.get(path)
        if count is None:
            return None
        self._last[path] = (session.kernel_id, count)
        if path in self._lost:
            self._lost.discard(path)
            return GONE
        if last is None:
            return GONE if ran_before and count == int(is_cell) else None
        kernel, earlier = last
        is_new = kernel != session.kernel_id or count < earlier + is_cell
        return GONE if is_new else None

    def lose(self, path: str) -> None:
        """Take that a kernel is gone with its variables: whatever runs next is told so, once."""
        self._last.pop(path, None)
        self._lost.add(path)

    def forget(self, path: str) -> None:
        """Forget a kernel for another one that has variables."""
        self._last.pop(path, None)
        self._lost.discard(path)
