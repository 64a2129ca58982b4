"""Two agents and a person edit one notebook in JupyterLab at once: nothing is lost or doubled."""

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.agents import Agents, agents, cell_of, connected, text
from tests.conftest import wait_for
from tests.peers.lab import Lab, lab

from jupyter_nbmodel_client import (  # isort: skip
    NbModelClient,
    get_jupyter_notebook_websocket_url,
)
from mcp import Client  # isort: skip

OPERATIONS = 200
NOTEBOOK = "together.ipynb"
MARK = re.compile(r"<[a-z]+[0-9]+>")
"""What each operation leaves: once, wherever its cell is by the end."""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("together")
    with lab(tmp_path_factory.mktemp("lab"), folder) as found:
        yield found


@pytest.fixture(scope="module")
def server(jupyter: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agents]:
    given = {"ROOM_URL": jupyter.url, "JUPYTER_TOKEN": jupyter.token}
    with agents(tmp_path_factory.mktemp("agents"), **given) as found:
        yield found


@dataclass
class Story:
    """What was done, and so what must be there."""

    rng: random.Random
    left: int = OPERATIONS
    marks: list[str] = field(default_factory=list)
    cells: int = 1
    ids: list[str] = field(default_factory=list)
    """Cells that stay, in which everybody writes."""
    movable: list[str] = field(default_factory=list)
    """Cells that agents write in and move. A moved cell is a copy, as in JupyterLab itself: what a
    person types into it in that very moment is lost, so that nobody types there."""

    def next(self, who: str) -> str | None:
        """The mark of the next operation, or None when all are done."""
        if self.left == 0:
            return None
        self.left -= 1
        mark = f"<{who}{self.left}>"
        self.marks.append(mark)
        return mark


async def agent(client: Client, who: str, story: Story) -> None:
    """Inserts, adds to cells, moves and deletes by stable ids, as a model does."""

    async def call(tool: str, **arguments: object) -> Any:
        result = await client.call_tool(tool, {"notebook": NOTEBOOK, **arguments})
        assert not result.is_error, text(result)
        return result

    async def insert(source: str, kind: str) -> str:
        at = story.rng.randrange(story.cells)
        made = await call("insert_cell", source=source, kind=kind, at=at, run=False)
        return str(cell_of(made)["cell_id"])

    while (mark := story.next(who)) is not None:
        match story.rng.choice(("insert", "insert", "add", "add", "add", "move", "delete")):
            case "insert":
                story.cells += 1
                story.ids.append(await insert(f"first {mark}\nlast", "code"))
            case "move" if story.movable:
                cell = story.rng.choice(story.movable)
                to = story.rng.randrange(max(story.cells - 5, 1))
                await call("edit_cell", cell=cell, action="move", to=to)
                new = {"find": "end", "replace": f"{mark}end"}
                await call("edit_cell", cell=cell, action="replace", **new)
            case "delete":
                cell = await insert("of no use", "raw")
                await call("edit_cell", cell=cell, action="delete")
                story.marks.remove(mark)
            case "move":
                story.cells += 1
                story.movable.append(await insert(f"{mark}end", "markdown"))
            case _:
                cell = story.rng.choice(story.ids)
                await call(
                    "edit_cell", cell=cell, action="replace", find="last", replace=f"{mark} last"
                )


async def person(open_notebook: NbModelClient, story: Story) -> None:
    """Types into cells, letter by letter, and adds some, as JupyterLab does."""
    cells = open_notebook._doc.ycells
    while (mark := story.next("p")) is not None:
        if story.rng.random() < 0.3:
            story.cells += 1
            open_notebook.insert_cell(story.rng.randrange(len(cells)), f"typed {mark}", "markdown")
            await anyio.sleep(0.02)
            continue
        wanted = story.rng.choice(story.ids)
        with anyio.fail_after(60):
            while not any(cell["id"] == wanted for cell in cells):
                await anyio.sleep(0.02)
        for place, letter in enumerate(mark):  # at the beginning, where nobody else writes
            cell = next(cell for cell in cells if cell["id"] == wanted)
            with open_notebook._doc.ydoc.transaction(origin=open_notebook._changes_origin):
                cell["source"].insert(place, letter)
            await anyio.sleep(0.002)


def test_two_agents_and_a_person_lose_and_double_nothing(server: Agents, jupyter: Lab) -> None:
    """200 operations at random, at once: each has left its mark once, in every copy."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    story = Story(random.Random(seed))

    async def work() -> tuple[list[Any], str]:
        async with connected(server.url) as one, connected(server.url) as two:
            made = {"source": "# Together", "kind": "markdown", "notebook": NOTEBOOK}
            assert not (await one.call_tool("insert_cell", made)).is_error
            for number in range(3):
                cell = {"source": "first\nlast", "run": False, "notebook": NOTEBOOK}
                result = await one.call_tool("insert_cell", {**cell, "at": number})
                story.ids.append(str(cell_of(result)["cell_id"]))
                story.cells += 1
            url = get_jupyter_notebook_websocket_url(jupyter.url, NOTEBOOK, jupyter.token)
            async with NbModelClient(url) as open_notebook:
                await open_notebook.wait_until_synced()
                async with anyio.create_task_group() as group:
                    group.start_soon(agent, one, "a", story)
                    group.start_soon(agent, two, "b", story)
                    group.start_soon(person, open_notebook, story)
                with anyio.fail_after(60):
                    while len(open_notebook._doc.ycells) != story.cells:
                        await anyio.sleep(0.1)
                read = await one.call_tool(
                    "read_notebook", {"notebook": NOTEBOOK, "detail": "full", "limit": 500}
                )
                with anyio.fail_after(60):
                    while _marks(seen := _sources(open_notebook)) != Counter(story.marks):
                        await anyio.sleep(0.5)
                return seen, text(read)

    seen, read = anyio.run(work)
    assert Counter(MARK.findall(read)) == Counter(story.marks)
    saved = wait_for(lambda: _saved(jupyter.folder / NOTEBOOK, seen), 60)
    ids = [cell["id"] for cell in saved["cells"]]
    assert len(ids) == len(set(ids)) == story.cells
    assert set(story.ids) <= set(ids)


def _sources(open_notebook: NbModelClient) -> list[str]:
    return [str(cell["source"]) for cell in open_notebook._doc.ycells]


def _marks(sources: list[str]) -> Counter[str]:
    return Counter(mark for source in sources for mark in MARK.findall(source))


def _saved(file: Path, seen: list[str]) -> Any:
    """What JupyterLab has saved, once it is what everybody sees; it writes in place."""
    with suppress(ValueError):
        content = json.loads(file.read_text())
        if ["".join(cell["source"]) for cell in content["cells"]] == seen:
            return content
    return None
