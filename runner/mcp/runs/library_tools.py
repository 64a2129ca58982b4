"""Tools that are notebooks of the library: those that a tag, their title or their file marks.

Looks at the folder whenever tools are listed or called. Runs a notebook as `run_notebook` does.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

from anyio import to_thread
from mcp.server.mcpserver import Context
from mcp.server.subscriptions import InMemorySubscriptionBus, ServerEvent, ToolsListChanged
from mcp_types import CallToolResult, Tool

from runner.jobs.functions import Function, Functions, names_of
from runner.mcp.answers import KNOWN, RUNS_CODE, answer, said
from runner.mcp.runs.backend import Runs
from runner.mcp.schemas import portable

log = logging.getLogger(__name__)

MAX_TOOLS = 50
"""Most notebooks that are tools of their own: every client pays for the list."""
MAX_SCHEMA_CHARS = 10_000
LOOK_SECONDS = 2.0
"""How often the folder is looked at while a client listens for changes."""


class LibraryTools:
    """The notebooks that are tools. `taken` are names that other tools have."""

    def __init__(self, functions: Functions, runs: Runs, taken: Callable[[], Collection[str]]):
        self._functions = functions
        self._runs = runs
        self._taken = taken

    async def tools(self) -> list[Tool]:
        """List them, as the folder is now."""
        named = await self._named()
        return [_tool(name, function) for name, function in named.items()]

    async def call(
        self, name: str, arguments: Mapping[str, Any], context: Context
    ) -> CallToolResult | None:
        """Run the notebook of that name with these parameters; None if there is none."""
        function = (await self._named()).get(name)
        if function is None:
            return None
        try:
            return await self._run(function, arguments, context)
        except KNOWN as error:
            return answer([said(error)], is_error=True)

    async def _run(
        self, function: Function, arguments: Mapping[str, Any], context: Context
    ) -> CallToolResult:
        known = {one.name for one in function.signature.parameters}
        values = {name: value for name, value in arguments.items() if name in known}
        function.check(values)
        runs = self._runs
        await runs.jobs.refuse_misspelt(function.path, arguments)
        job = await runs.jobs.submit(function.path, {"parameters": values})
        record = await runs.wait(job, runs.wait_seconds, context)
        result = await runs.answer(record, failed_is_error=True)
        unknown = ", ".join(f"`{name[:80]}`" for name in [*arguments.keys() - known][:12])
        if not unknown:
            return result
        note = f"Not used, since the notebook has no such parameter: {unknown}."
        return result.model_copy(update={"content": [*result.content, *answer([note]).content]})

    async def _named(self) -> dict[str, Function]:
        functions = await to_thread.run_sync(marked, self._functions, abandon_on_cancel=True)
        names = names_of((one.path for one in functions), self._taken())
        return {names[one.path]: one for one in functions}


class ToolChanges(InMemorySubscriptionBus):
    """Tells clients that listen when the list of tools changes. Looks only while one does."""

    def __init__(self, functions: Functions) -> None:
        super().__init__()
        self._functions = functions
        self._known: list[Tool] | None = None
        """The tools when the first listener came; None while nobody listens."""
        self._watching: asyncio.Task[None] | None = None
        self._listening = 0

    async def prepare(self) -> None:
        """Look at the folder before a client hears that it listens: what changes later is news."""
        if self._known is None:
            self._known = await to_thread.run_sync(self._look, abandon_on_cancel=True)

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        """Register a listener, and look at the folder from now on."""
        unsubscribe = super().subscribe(listener)
        self._listening += 1
        if self._watching is None:
            self._watching = asyncio.get_running_loop().create_task(self._watch())
        is_over = False

        def leave() -> None:
            nonlocal is_over
            unsubscribe()
            self._listening -= 0 if is_over else 1
            is_over = True
            if self._listening == 0 and self._watching is not None:
                self._watching.cancel()
                self._watching = self._known = None

        return leave

    async def _watch(self) -> None:
        await self.prepare()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = await to_thread.run_sync(self._look, abandon_on_cancel=True)
            if now != self._known:
                self._known = now
                await self.publish(ToolsListChanged())

    def _look(self) -> list[Tool]:
        return [_tool("", one) for one in marked(self._functions)]


def marked(functions: Functions) -> list[Function]:
    """List the notebooks that are tools, by path; none while the folder cannot be read."""
    found: list[Function] = []
    with suppress(OSError):
        found = [one for one in functions.all() if isinstance(one, Function) and one.is_tool]
    if len(found) > MAX_TOOLS:
        log.info("only the first %d of %d notebooks are listed as tools", MAX_TOOLS, len(found))
    return found[:MAX_TOOLS]


def _tool(name: str, function: Function) -> Tool:
    schema = portable(function.signature.schema())
    if len(json.dumps(schema)) > MAX_SCHEMA_CHARS:
        schema = {"type": "object", "required": schema.get("required", [])}
    text = function.description or function.title
    how = f"Runs the library's {function.path} as a job; get_job goes on with a long one."
    return Tool(
        name=name,
        title=function.title or None,
        description=f"{text}\n\n{how}".strip(),
        input_schema=schema,
        annotations=RUNS_CODE,
    )
