"""Tells a client how far its call is, as the protocol wants it: each value is above the last."""

import math

from mcp.server.mcpserver import Context

APPROACH = 0.1


class Progress:
    """The progress of one call."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._last = -math.inf

    async def tell(self, done: float, total: float | None, text: str) -> None:
        """Report what is done, or a little more where that is not more than before.

        A run that is tried again begins at its first cell: then the value comes nearer and nearer
        to the next whole number, and the text says where the run is.
        """
        value = done
        if value <= self._last:
            value = self._last + (math.floor(self._last) + 1 - self._last) * APPROACH
        if value <= self._last:
            return  # as near as numbers go
        self._last = value
        await self._context.report_progress(value, total, text)
