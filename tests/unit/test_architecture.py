"""Promises of the house: imports point one way, and the pure rules know nothing of the world."""

import ast
import graphlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "runner"

MAY_IMPORT: dict[str, set[str]] = {
    "contract.text": set(),
    "system.processes": set(),
    "contract.advice": set(),
    "contract.states": set(),
    "contract": {"contract.states", "contract.text"},
    "system.files": {"contract", "contract.text"},
    "execution.limits": {"contract", "system.processes"},
    "client": {"contract", "contract.states"},
    "contract.parameters": {"contract", "contract.states", "contract.text"},
    "contract.triggers": {"contract", "contract.text"},
    "state": {"contract", "contract.states", "contract.triggers", "system.files"},
    "execution.kernel": {"contract", "contract.text", "execution.limits", "system.processes"},
    "reports.rendering": {"contract", "contract.text", "system.processes"},
    "reports.printing": {"system.files", "system.processes"},
    "places": {"contract.text"},
    "config": {"contract", "contract.triggers", "places"},
    "system": {"config", "contract", "contract.text"},
    "inbox": {
        "config",
        "contract",
        "contract.parameters",
        "contract.states",
        "contract.text",
        "system.files",
        "system.processes",
    },
    "__init__": {"system"},
    "execution": {"__init__", "contract", "contract.text", "system.files"},
    "execution.local": {
        "contract",
        "execution",
        "execution.limits",
        "system.files",
        "system.processes",
    },
    "cli.lab": {"config", "system"},
    "outbox": {"contract", "contract.text", "state", "system", "system.files"},
    "daemon.companions": {"config", "state", "system", "system.processes"},
    "inbox.bundles": {"contract", "contract.states", "inbox", "system.files", "system.processes"},
    "submitters.trigger_files": {"contract.text", "contract.triggers", "inbox"},
    "execution.cluster": {
        "__init__",
        "config",
        "contract",
        "contract.text",
        "execution",
        "execution.limits",
        "execution.local",
        "system.files",
    },
    "inbox.scanning": {
        "contract",
        "contract.states",
        "inbox",
        "inbox.bundles",
        "system",
        "system.files",
    },
    "execution.start": {
        "config",
        "execution",
        "execution.cluster",
        "execution.limits",
        "execution.local",
        "system",
        "system.files",
    },
    "execution.job": {
        "contract",
        "contract.advice",
        "contract.parameters",
        "contract.text",
        "contract.triggers",
        "execution",
        "execution.kernel",
        "execution.limits",
        "system.files",
        "system.processes",
    },
    "daemon.running": {
        "config",
        "contract",
        "contract.advice",
        "contract.states",
        "contract.text",
        "contract.triggers",
        "execution",
        "inbox",
        "inbox.bundles",
        "outbox",
        "state",
        "system",
        "system.files",
    },
    "jobs": {
        "__init__",
        "config",
        "contract",
        "contract.advice",
        "contract.parameters",
        "contract.states",
        "contract.text",
        "execution",
        "execution.job",
        "inbox",
        "inbox.bundles",
        "inbox.scanning",
        "outbox",
        "state",
        "system",
        "system.files",
        "system.processes",
    },
    "daemon.receiving": {
        "contract",
        "contract.advice",
        "contract.parameters",
        "contract.states",
        "contract.text",
        "inbox",
        "inbox.bundles",
        "inbox.scanning",
        "outbox",
        "state",
        "system",
    },
    "mcp": {"__init__", "contract", "contract.text", "jobs"},
    "gateway.http": {
        "config",
        "contract",
        "contract.states",
        "contract.text",
        "inbox.bundles",
        "jobs",
        "system",
    },
    "submitters.newest": {"jobs", "state"},
    "submitters.notebooks": {"contract", "jobs"},
    "submitters.schedules": {
        "config",
        "contract",
        "contract.states",
        "contract.triggers",
        "inbox",
        "jobs",
        "state",
        "submitters.trigger_files",
        "system",
        "system.files",
    },
    "submitters.hooks": {
        "config",
        "contract",
        "contract.states",
        "contract.text",
        "contract.triggers",
        "inbox",
        "jobs",
        "state",
        "submitters.newest",
        "submitters.notebooks",
        "submitters.trigger_files",
        "system.files",
    },
    "submitters.rules": {
        "config",
        "contract",
        "contract.states",
        "contract.triggers",
        "inbox",
        "inbox.bundles",
        "jobs",
        "state",
        "submitters.newest",
        "submitters.notebooks",
        "submitters.trigger_files",
        "system",
        "system.files",
    },
    "daemon": {
        "config",
        "contract",
        "contract.states",
        "contract.text",
        "daemon.companions",
        "daemon.receiving",
        "daemon.running",
        "execution",
        "execution.start",
        "inbox",
        "inbox.bundles",
        "inbox.scanning",
        "outbox",
        "state",
        "system",
        "system.files",
        "system.processes",
    },
    "mcp.jupyter": {"config", "contract.text", "mcp"},
    "submitters": {
        "config",
        "jobs",
        "submitters.hooks",
        "submitters.rules",
        "submitters.schedules",
        "system",
    },
    "mcp.notebooks": {"contract", "contract.text", "mcp", "mcp.jupyter"},
    "followers.callbacks": {
        "__init__",
        "config",
        "contract",
        "contract.text",
        "contract.triggers",
        "jobs",
        "outbox",
        "state",
        "system",
    },
    "mcp.runs": {
        "config",
        "contract",
        "contract.parameters",
        "contract.states",
        "contract.text",
        "followers.callbacks",
        "inbox",
        "jobs",
        "mcp",
        "mcp.jupyter",
        "state",
        "submitters.schedules",
        "system.files",
    },
    "mcp.server": {
        "__init__",
        "config",
        "mcp",
        "mcp.jupyter",
        "mcp.notebooks",
        "mcp.runs",
        "system",
        "system.files",
    },
    "gateway.triggers": {
        "config",
        "contract.triggers",
        "gateway.http",
        "jobs",
        "submitters.hooks",
        "submitters.rules",
        "submitters.schedules",
    },
    "jobs.histories": {
        "contract",
        "contract.states",
        "contract.text",
        "contract.triggers",
        "jobs",
        "state",
    },
    "reports": {"contract", "contract.states", "jobs", "reports.rendering"},
    "followers.notifications": {
        "config",
        "contract",
        "contract.states",
        "contract.text",
        "contract.triggers",
        "jobs",
        "jobs.histories",
        "reports",
        "reports.printing",
        "reports.rendering",
        "state",
        "submitters.schedules",
        "system",
        "system.files",
        "system.processes",
    },
    "followers": {
        "config",
        "contract.text",
        "followers.callbacks",
        "followers.notifications",
        "state",
        "system",
        "system.files",
    },
    "followers.overview": {"followers.callbacks", "followers.notifications", "jobs", "state"},
    "gateway.page": {
        "__init__",
        "config",
        "contract",
        "contract.parameters",
        "contract.states",
        "contract.text",
        "contract.triggers",
        "followers.overview",
        "gateway.http",
        "inbox",
        "inbox.bundles",
        "jobs",
        "jobs.histories",
        "state",
        "submitters.hooks",
        "submitters.rules",
        "submitters.schedules",
    },
    "gateway": {
        "__init__",
        "config",
        "contract",
        "contract.parameters",
        "contract.states",
        "contract.text",
        "followers.overview",
        "gateway.http",
        "inbox",
        "jobs",
        "jobs.histories",
        "reports",
        "reports.printing",
        "reports.rendering",
        "state",
        "system",
        "system.files",
        "system.processes",
    },
    "gateway.app": {
        "config",
        "contract.states",
        "followers.overview",
        "gateway",
        "gateway.http",
        "gateway.page",
        "gateway.triggers",
        "inbox",
        "jobs",
        "outbox",
        "reports.printing",
        "reports.rendering",
        "submitters.rules",
        "submitters.schedules",
        "system.files",
        "system.processes",
    },
    "gateway.server": {
        "config",
        "gateway.app",
        "gateway.http",
        "jobs",
        "system",
        "system.processes",
    },
    "cli": {
        "__init__",
        "cli.lab",
        "config",
        "contract",
        "contract.states",
        "contract.text",
        "daemon",
        "execution",
        "execution.cluster",
        "execution.job",
        "execution.limits",
        "followers",
        "followers.callbacks",
        "followers.notifications",
        "gateway.server",
        "inbox",
        "inbox.bundles",
        "jobs",
        "jobs.histories",
        "mcp.server",
        "outbox",
        "places",
        "reports.printing",
        "state",
        "submitters",
        "submitters.hooks",
        "submitters.rules",
        "submitters.schedules",
        "system",
        "system.files",
        "system.processes",
    },
    "__main__": {"cli", "system.processes"},
    "execution.forking": {
        "contract",
        "execution",
        "execution.job",
        "execution.kernel",
        "execution.limits",
        "execution.local",
        "system",
        "system.files",
        "system.processes",
    },
}
"""Each room and the rooms that it may import, from the ground up.

A room is a folder of `runner`, or a module that stands above or below its folder. A module belongs
to the longest name that fits.
"""

PURE = ["contract", "inbox.contents", "outbox.report", "outbox.rows"]
"""Rooms and modules that know nothing of the world."""
WORLD = set(
    """
    os time uuid random secrets socket ssl subprocess shutil tempfile glob io multiprocessing
    threading asyncio signal select selectors sqlite3 urllib http logging sys
    """.split()
)
ALLOWED_WORLD = {
    "contract.callbacks": {"urllib.parse.urlsplit", "urllib.parse.SplitResult"},
    "contract.results": {"io.BytesIO"},
    "contract.parameters.listing": {"io.StringIO", "threading.Lock"},
}
"""They are of this process alone, and touch nothing outside."""
CLOCKS = {"now", "utcnow", "today", "fromtimestamp"}


def modules_of(folder: Path = PACKAGE) -> Iterator[tuple[str, str]]:
    """Every module below the package: its name without `runner.`, and its text."""
    for path in sorted(folder.rglob("*.py")):
        yield ".".join(path.relative_to(folder).with_suffix("").parts), path.read_text("utf-8")


MODULES = dict(modules_of())


def room_of(name: str) -> str:
    """The room of a module or of a name inside of one; the package's own name is `__init__`."""
    parts = name.split(".")
    ends = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((room for room in ends if room in MAY_IMPORT), "__init__")


@cache
def parsed(source: str) -> ast.Module:
    """The tree of a module's text; nobody changes it."""
    return ast.parse(source)


@cache
def imported(source: str, module: str) -> frozenset[str]:
    """Every dotted name that a module's text imports, those inside of functions as well.

    `module` is the importing module's own full name, from which relative imports count.
    """
    names: set[str] = set()
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -node.level] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            names.update(f"{start}.{alias.name}" for alias in node.names)
    return frozenset(names)


def inner_imports(source: str, module: str) -> set[str]:
    """What a module of the package imports of the package, without `runner.`."""
    names = imported(source, f"runner.{module}")
    return {name.partition(".")[2] for name in names if name.split(".")[0] == "runner"}


def arrows(source: str, module: str) -> set[str]:
    """The rooms that a module imports, its own apart."""
    return {room_of(name) for name in inner_imports(source, module)} - {room_of(module)}


def forbidden(source: str, module: str) -> set[str]:
    """The rooms that a module imports against the table."""
    return arrows(source, module) - MAY_IMPORT[room_of(module)]


def touches_world(source: str, module: str) -> set[str]:
    """What a pure module takes from the world: modules that it may not have, paths, clocks."""
    tree = parsed(source)
    names = imported(source, f"runner.{module}")
    world = {name for name in names if name.split(".")[0] in WORLD}
    allowed = ALLOWED_WORLD.get(module, set())
    modules = {name.split(".")[0] for name in allowed}
    used = {
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in modules
    }
    paths = names & {"pathlib", "pathlib.Path", "pathlib.PosixPath"}
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    clocks = {call.attr for call in calls if isinstance(call, ast.Attribute)} & CLOCKS
    opens = {call.id for call in calls if isinstance(call, ast.Name)} & {"open", "input", "print"}
    return (world - modules - allowed) | (used - allowed) | paths | clocks | opens


def test_imports_point_one_way() -> None:
    """A module that needs more than the table allows is moved, or argues for a new arrow."""
    wrong = {module: forbidden(source, module) for module, source in MODULES.items()}
    assert {module: rooms for module, rooms in wrong.items() if rooms} == {}


def test_table_has_no_circle() -> None:
    """A table that allowed one would allow every arrow."""
    list(graphlib.TopologicalSorter(MAY_IMPORT).static_order())


def test_modules_of_a_room_have_no_circle() -> None:
    """Inside of a room arrows are free, and still lead one way."""
    graph: dict[str, set[str]] = {}
    for module, source in MODULES.items():
        names = inner_imports(source, module)
        graph[module] = {one for name in names if (one := _module_of(name)) != module}
    list(graphlib.TopologicalSorter(graph).static_order())


def _module_of(name: str) -> str:
    """The module that a dotted name is, or is a name of."""
    while name and name not in MODULES and f"{name}.__init__" not in MODULES:
        name = name.rpartition(".")[0]
    return name if name in MODULES else f"{name}.__init__".lstrip(".")


def test_every_arrow_of_the_table_is_used() -> None:
    """A row allows what is needed and nothing more; a room that is gone leaves none behind."""
    used: dict[str, set[str]] = {room_of(module): set() for module in MODULES}
    for module, source in MODULES.items():
        used[room_of(module)] |= arrows(source, module)
    assert used == MAY_IMPORT


@pytest.mark.parametrize(
    ("room", "never"),
    [
        ("contract", {"system", "config"}),
        ("state", {"inbox", "outbox", "execution", "config"}),
        ("outbox", {"inbox", "execution"}),
        ("inbox", {"state", "outbox", "execution"}),
        ("execution.start", {"state", "outbox", "inbox", "daemon"}),
        ("jobs", {"daemon", "gateway", "mcp", "cli"}),
        ("mcp.server", {"gateway", "daemon"}),
        ("gateway.server", {"mcp", "daemon"}),
    ],
)
def test_table_keeps_the_rooms_apart(room: str, never: set[str]) -> None:
    """The design's lines, so that no new arrow of the table undoes one unseen."""
    reached, pending = set[str](), {room}
    while pending:
        one = pending.pop()
        reached.add(one)
        pending |= MAY_IMPORT[one] - reached
    assert {one for one in reached if one in never or one.split(".")[0] in never} == set()


def test_pure_modules_know_nothing_of_the_world() -> None:
    """No disk, no clock, no network, no chance: the world comes in as an argument."""
    pure = [m for m in MODULES if any(f"{m}.".startswith(f"{one}.") for one in PURE)]
    taken = {module: touches_world(MODULES[module], module) for module in pure}
    assert {module: world for module, world in taken.items() if world} == {}


def test_every_module_says_what_it_owns() -> None:
    """In its docstring."""
    texts = {module: ast.get_docstring(parsed(source)) for module, source in MODULES.items()}
    assert [m for m, text in texts.items() if not re.match(r".+[.!?](\s|$)", text or "")] == []


def test_no_folder_is_crowded() -> None:
    """Who opens a folder sees at a glance what is in it."""
    folders: dict[str, int] = {}
    for module in MODULES:
        folder, _, name = module.rpartition(".")
        folders[folder] = folders.get(folder, 0) + (name != "__init__")
    assert {folder: count for folder, count in folders.items() if count > 12} == {}


MOST_CLASS_LINES, MOST_PARAMETERS, MOST_BODY_LINES = 250, 5, 60


def oversized(source: str, module: str) -> Iterator[str]:
    """The names of classes and functions of a module that are larger than they should be."""
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.ClassDef):
            if _lines(node, node.lineno) > MOST_CLASS_LINES:
                yield f"{module}.{node.name}"
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = node.args
            count = len(given.posonlyargs) + len(given.args) + len(given.kwonlyargs)
            count -= bool(given.args) and given.args[0].arg in ("self", "cls")
            is_large = count > MOST_PARAMETERS and not _is_face(node)
            if is_large or _lines(node, node.body[0].lineno) > MOST_BODY_LINES:
                yield f"{module}.{node.name}"


def _is_face(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether its parameters are what people or agents see: those of a command or a tool."""
    decorators = [ast.unparse(one) for one in node.decorator_list]
    return any(word in one for one in decorators for word in (".command(", ".tool("))


def _lines(node: ast.stmt, first: int) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - first + 1


def test_classes_and_functions_are_small() -> None:
    """A class or a function that is not has a second one in it, or a value is missing."""
    large = {name for module, source in MODULES.items() for name in oversized(source, module)}
    assert large == set()


def test_trees_are_removed_in_one_way() -> None:
    """By `Disk`, which crosses no mount; `shutil.rmtree` would empty what a notebook mounted."""
    assert [module for module, source in MODULES.items() if "rmtree" in source] == []


# The checks themselves


@pytest.mark.parametrize(
    ("source", "module", "expected"),
    [
        ("from runner.daemon.loop import Daemon", "state.ledger", {"daemon"}),
        ("import runner.daemon.loop", "state.ledger", {"daemon"}),
        ("import runner.daemon.loop as d", "state.ledger", {"daemon"}),
        ("from runner.outbox import publish, report", "state.ledger", {"outbox"}),
        ("from runner import outbox, inbox", "state.ledger", {"outbox", "inbox"}),
        ("def f():\n    from runner.state.ledger import Job", "execution.order", {"state"}),
        ("if TYPE_CHECKING:\n    from runner.cli.main import main", "contract.names", {"cli"}),
        ("from ..cli import main", "contract.names", {"cli"}),
        ("from ..state.ledger import Job", "inbox.__init__", {"state"}),
        ("from .drop import Drop", "inbox.claim", set()),
        ("from runner import __version__", "state.ledger", {"__init__"}),
        ("import runner", "state.ledger", {"__init__"}),
        ("from runner.contract.outcome import Status\nimport os", "state.ledger", set()),
        ("'import runner.cli'  # from runner import cli", "contract.names", set()),
    ],
)
def test_checker_sees_an_arrow_that_points_up(source: str, module: str, expected: set[str]) -> None:
    """However it is written, and wherever it stands."""
    assert forbidden(source, module) == expected


@pytest.mark.parametrize(
    ("source", "module", "expected"),
    [
        ("import os", "contract.outcome", {"os"}),
        ("import os.path", "contract.outcome", {"os.path"}),
        ("def f():\n    from time import time", "contract.outcome", {"time.time"}),
        ("from pathlib import Path", "contract.request", {"pathlib.Path"}),
        ("import pathlib", "contract.request", {"pathlib"}),
        ("from pathlib import PurePosixPath", "contract.request", set()),
        ("import io\nio.BytesIO(b'a')", "contract.results", set()),
        ("import io\nio.open('a')", "contract.results", {"io.open"}),
        ("from os import remove", "contract.names", {"os.remove"}),
        ("from datetime import datetime\ndatetime.now()", "outbox.report", {"now"}),
        ("from datetime import datetime\ndatetime.fromisoformat('x')", "outbox.report", set()),
        ("open('x')", "contract.notebook", {"open"}),
        ("import json, re", "contract.outcome", set()),
    ],
)
def test_checker_sees_the_world_in_a_pure_module(
    source: str, module: str, expected: set[str]
) -> None:
    """A made-up text with each of the ways out."""
    assert touches_world(source, module) == expected


@pytest.mark.parametrize(
    ("name", "room"),
    [
        ("state.ledger.Job", "state"),
        ("execution.start", "execution.start"),
        ("execution.order.Order", "execution"),
        ("execution.job.run", "execution.job"),
        ("__version__", "__init__"),
        ("", "__init__"),
    ],
)
def test_room_is_the_longest_name_that_fits(name: str, room: str) -> None:
    """A module of its own row is no part of its folder's."""
    assert room_of(name) == room
