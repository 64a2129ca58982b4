"""Tells clients of changes of the jobs that they watch, as `notifications/resources/updated`.

A client names resources such as `runner://jobs/ID`. With the protocol of 2026 that is a request
whose answer is a stream (`subscriptions/listen`), with the one of 2025 `resources/subscribe`, over
stdio only: HTTP keeps nothing between two requests.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import ListenHandler, ResourceUpdated
from mcp_types import (
    EmptyResult,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    UnsubscribeRequestParams,
)

from runner.jobs.problem import Problem
from runner.mcp.runs.jobs import Jobs
from runner.mcp.runs.library_tools import ToolChanges
from runner.mcp.runs.summary import is_open

LOOK_SECONDS = 0.5
WATCHED_JOBS = 100
"""Most jobs that one client watches."""
_JOB = re.compile(r"runner://jobs/([0-9a-f]{32})(/notebook)?")

Context = ServerRequestContext[Any, Any]
Tell = Callable[[str], Awaitable[None]]


class Watching:
    """The watched jobs of all clients."""

    def __init__(self, jobs: Jobs, bus: ToolChanges) -> None:
        self._jobs = jobs
        self._bus = bus
        self._handler = ListenHandler(bus)
        self._subscribed: dict[str, asyncio.Task[None]] = {}

    async def listen(
        self, context: Context, params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        """Serve one stream of news; its jobs are looked at while it is open."""
        uris = params.notifications.resource_subscriptions or ()
        await self._bus.prepare()
        looking = asyncio.ensure_future(self._look(uris, self._publish))
        try:
            return await self._handler(context, params)
        finally:
            looking.cancel()

    async def subscribe(self, context: Context, params: SubscribeRequestParams) -> EmptyResult:
        """Begin to watch a resource, for the one client of a server over stdio."""
        uri = str(params.uri)

        async def tell(changed: str) -> None:
            await context.session.send_resource_updated(changed)

        if len(self._subscribed) < WATCHED_JOBS and uri not in self._subscribed:
            self._subscribed[uri] = asyncio.ensure_future(self._look([uri], tell))
        return EmptyResult()

    async def unsubscribe(self, _: Context, params: UnsubscribeRequestParams) -> EmptyResult:
        """Watch a resource no longer."""
        looking = self._subscribed.pop(str(params.uri), None)
        if looking is not None:
            looking.cancel()
        return EmptyResult()

    async def _publish(self, uri: str) -> None:
        await self._bus.publish(ResourceUpdated(uri=uri))

    async def _look(self, uris: Iterable[str], tell: Tell) -> None:
        """Look at jobs again and again until all are over, and tell of each change."""
        watched = {uri: match[1] for uri in uris if (match := _JOB.fullmatch(uri))}
        watched = dict(list(watched.items())[:WATCHED_JOBS])
        known: dict[str, str] = {}
        while watched:
            for uri, job_id in list(watched.items()):
                state, is_over = await self._state(job_id)
                if is_over:
                    del watched[uri]
                # What is over at the first look may have ended since its client read it.
                if known.get(uri, "" if is_over else state) != state:
                    await tell(uri)
                known[uri] = state
            await asyncio.sleep(LOOK_SECONDS)

    async def _state(self, job_id: str) -> tuple[str, bool]:
        """Return what tells two states of a job apart, and whether it is over."""
        try:
            record = await self._jobs.show(job_id)
        except Problem:
            return "", False  # not accepted yet, or the ledger is out of reach
        if not is_open(record):
            return str(record["status"]), True
        return json.dumps([record["status"], record.get("progress")], default=str), False
