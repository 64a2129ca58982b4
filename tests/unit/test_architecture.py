"""Promises of the house: imports point one way, and the pure rules know nothing of the world."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "runner"

MAY_IMPORT: dict[str, set[str]] = {
    # The values and the pure rules over them.
    "strict_json": set(),
    "scalars": set(),
    "strict_yaml": {"scalars", "strict_json"},
    "names": set(),
    "imports": set(),
    "plain_text": set(),
    "terminal": set(),
    "outcome": {"plain_text", "strict_json"},
    "request": {"outcome", "strict_json", "strict_yaml"},
    "notebook": {"outcome", "strict_json"},
    "parameters": {"notebook"},
    "literals": {"strict_json"},
    "results": {"literals", "notebook", "strict_json"},
    # What everybody stands on.
    "config": {"strict_yaml"},
    "folders": set(),
    "disk": {"folders"},
    "threads": set(),
    "delays": set(),
    "patience": set(),
    "remedies": set(),
    "allocator": set(),
    "side_process": set(),
    # The rooms; none of them knows another one, but for the values of intake's own inbox.
    "intake": {"config", "disk", "notebook", "outcome", "request", "side_process", "waiting"},
    "ledger": {"outcome", "strict_json"},
    "library": {"config", "outcome", "request"},
    "output": {"folders", "outcome", "strict_json"},
    "outbox": {"disk", "folders", "mounts", "outcome", "output", "strict_json"},
    "execution": {
        *("config", "disk", "imports", "notebook", "outcome", "output", "plain_text", "request"),
        *("folders", "__init__", "lazy_grammar", "names", "parameters", "results", "strict_json"),
        "terminal",
    },
    # Pure rules over the values of two rooms.
    "report": {"ledger", "outcome", "request", "strict_json"},
    "admission": {
        *("config", "intake", "ledger", "library", "names", "outcome", "request"),
    },
    "refusals": {"config", "library", "execution", "outcome", "parameters", "request"},
    # From one room to the next.
    "access": {"config"},
    "owner": {"disk"},
    "watch": {"inotify"},
    "inotify": set(),
    "mounts": set(),
    "client": {"outcome"},
    "pulse": set(),
    "waiting": set(),
    "companion": set(),
    "submit": {"disk", "outbox", "outcome", "strict_json"},
    "reception": {
        *("admission", "config", "disk", "intake", "ledger", "library", "names", "outbox"),
        *("delays", "outcome", "remedies", "request", "strict_json", "waiting"),
    },
    "leftovers": {"delays", "disk", "mounts", "remedies"},
    "dispatch": {
        *("config", "disk", "execution", "ledger", "library", "outbox", "outcome", "output"),
        *("delays", "leftovers", "remedies", "report"),
        *("request", "strict_json"),
    },
    # The HTTP face: a client of the folders, and a reader of the ledger.
    "gateway": {
        *(
            "access",
            "allocator",
            "config",
            "disk",
            "intake",
            "ledger",
            "library",
            "names",
            "notebook",
            "outbox",
        ),
        *(
            "outcome",
            "owner",
            "parameters",
            "patience",
            "pulse",
            "remedies",
            "report",
            "request",
            "scalars",
            "side_process",
            "strict_json",
            "submit",
            "waiting",
            "watch",
            "__init__",
        ),
    },
    # The face for agents: JupyterLab's client, and the gateway's rules over the same folders.
    "mcp": {
        *("access", "admission", "config", "disk", "gateway", "outcome", "plain_text"),
        *("library", "refusals", "request", "strict_json", "submit", "waiting", "__init__"),
    },
    # Who introduces them to each other.
    "engine": {"config", "execution", "extras", "output"},
    "daemon": {
        *("admission", "allocator", "config", "disk", "dispatch", "execution", "intake", "ledger"),
        "names",
        *("engine", "outbox", "outcome", "owner", "reception", "strict_json"),
        *("companion", "library", "mounts", "patience", "pulse", "threads", "waiting"),
        "watch",
    },
    "doctor": {
        *("config", "disk", "execution", "extras", "intake", "ledger", "mounts", "owner"),
        *("patience", "pulse", "watch"),
    },
    "lab": {"access", "config", "extras"},
    "lab_contents": set(),
    "worker": {"execution"},
    "cli": {
        *("access", "config", "daemon", "disk", "ledger", "names", "notebook", "outbox"),
        *("outcome", "owner", "request", "scalars", "strict_json", "submit", "__init__"),
        *("doctor", "gateway", "execution", "lab", "library", "mcp", "refusals", "report"),
        *("waiting", "patience", "worker", "extras", "interrupts", "plain_text", "console"),
        "intake",
    },
    "console": {"plain_text", "strict_json"},
    "extras": set(),
    "interrupts": set(),
    "lazy_grammar": set(),
    "__init__": {"lazy_grammar"},
    "__main__": {"cli", "interrupts"},
}
"""Each room, and the rooms that it may import; a room is a module or a package of `runner`."""

PURE = [
    "intake.contents",
    "strict_json",
    "scalars",
    "strict_yaml",
    "names",
    "imports",
    "plain_text",
    "terminal",
    "outcome",
    "request",
    "notebook",
    "literals",
    "results",
    "report",
    "remedies",
]
WORLD = set(
    """
    os time uuid random secrets socket ssl subprocess shutil tempfile glob io multiprocessing
    threading asyncio signal select selectors sqlite3 urllib http logging sys
    """.split()
)
ALLOWED_WORLD = {"results": {"io.BytesIO"}}
"""`io.BytesIO` is memory; it touches nothing."""
CLOCKS = {"now", "utcnow", "today", "fromtimestamp"}

IN_INTAKE: dict[str, set[str]] = {
    "__init__": set(),
    "ignore": set(),
    "lease": set(),
    "contents": set(),
    "reader": {"contents"},
    "documents": {"contents", "reader"},
    "inbox": {"contents", "documents", "ignore", "lease"},
    "claim": {"inbox"},
}
"""The same inside of the intake."""

IN_EXECUTION: dict[str, set[str]] = {
    "environment": set(),
    "tree": set(),
    "cgroup": set(),
    "limits": set(),
    "order": set(),
    "importable": set(),
    "kernelspecs": set(),
    "early_changes": set(),
    "messages": set(),
    "packages_of_run": set(),
    "packages": set(),
    "scheduler": set(),
    "footprint": {"tree"},
    "spare_files": {"limits"},
    "forked": {"spare_files", "tree"},
    "kernel": {"cgroup", "forked"},
    "shared_memory": {"tree"},
    "guard": {"cgroup", "footprint", "kernel", "limits", "shared_memory"},
    "run": {"kernel", "messages", "order"},
    "early_end": {"guard", "order", "run", "tree"},
    "diagnosis": {"guard", "limits", "run"},
    "preparation": {"early_changes", "importable", "kernelspecs"},
    "reading": {"footprint", "tree"},
    "server": {"cgroup", "limits", "tree"},
    "job": {
        *("cgroup", "diagnosis", "early_end", "forked", "guard", "kernel", "kernelspecs"),
        *("environment", "limits", "order", "packages_of_run", "preparation", "reading", "run"),
        *("server", "shared_memory", "tree"),
    },
    "preload": {"forked", "job", "run", "server", "tree"},
    "pool": {"order", "packages", "server"},
    "face": {"order"},
    "processes": {"face", "limits", "order", "packages", "pool", "server"},
    "placement": set(),
    "parcel": {"limits", "order"},
    "worker": {"environment", "order", "parcel", "processes"},
    "contact": {"parcel", "placement", "worker"},
    "sendings": {"contact", "face", "order", "parcel", "placement"},
    "cluster": {"contact", "face", "order", "parcel", "placement", "sendings", "worker"},
}
"""The same inside of the execution: the daemon's side never imports what drives papermill."""

IN_GATEWAY: dict[str, set[str]] = {
    "__init__": set(),
    "problem": set(),
    "rendering": set(),
    "session": set(),
    "negotiation": set(),
    "media_types": {"problem"},
    "access": {"negotiation", "problem", "session"},
    "answers": {"negotiation", "problem"},
    "asked": set(),
    "arrivals": set(),
    "health": set(),
    "record": {"problem"},
    "metrics": {"health", "problem", "record"},
    "runs": {"arrivals", "asked", "problem", "record"},
    "forms": {"answers", "runs"},
    "openapi": {"asked", "problem", "record"},
    "page": {
        *("access", "answers", "arrivals", "asked", "forms", "health", "negotiation", "problem"),
        *("record", "runs", "session"),
    },
    "app": {
        *("access", "answers", "arrivals", "asked", "forms", "health", "media_types", "metrics"),
        *("negotiation", "openapi", "page", "problem", "record", "rendering"),
        *("runs", "session"),
    },
    "server": {"access", "answers", "app", "problem"},
}
"""And of the gateway; its package of pages is a room of its own in it."""

IN_PAGE: dict[str, set[str]] = {
    "__init__": set(),
    "words": set(),
    "readable": set(),
    "titles": set(),
    "form": set(),
    "job": {"readable", "words"},
    "overview": {"words"},
    "render": {"words"},
    "live": {"overview", "render"},
    "asking": {"form", "overview", "titles"},
    "routes": {"asking", "job", "live", "overview", "readable", "render"},
}
"""And of the pages: pure rules over values, then what looks and what renders, then routes."""

IN_MCP: dict[str, set[str]] = {
    "__init__": set(),
    "outputs": set(),
    "jupyter": set(),
    "document": set(),
    "kernel": set(),
    "jobs": set(),
    "shown": {"outputs"},
    "live": {"document", "jupyter", "kernel", "outputs"},
    "answers": {"document", "jupyter", "live", "outputs"},
    "notebook_tools": {"answers", "live", "outputs"},
    "runner_tools": {"answers", "jobs", "jupyter", "live", "outputs", "shown"},
    "server": {"jobs", "jupyter", "live", "notebook_tools", "runner_tools"},
}
"""And of the face for agents."""


def imported(source: str, module: str) -> set[str]:
    """Every dotted name that a module's text imports, those inside of functions as well.

    `module` is the importing module's own name, from which relative imports count; a package's
    ends in `.__init__`.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -node.level] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            found.update(f"{start}.{alias.name}" for alias in node.names)
    return found


def rooms(source: str, module: str) -> set[str]:
    """The rooms of `runner` that a module's text imports, its own apart."""
    parts = [name.split(".") for name in imported(source, module)]
    found = {_room(names[1:]) for names in parts if names[0] == "runner"}
    return found - {module.split(".")[1]}


def _room(names: list[str]) -> str:
    return names[0] if names and names[0] in MAY_IMPORT else "__init__"


def forbidden(source: str, module: str) -> set[str]:
    """The rooms that a module imports against the table."""
    return rooms(source, module) - MAY_IMPORT[module.split(".")[1]]


def forbidden_inside(source: str, module: str, table: dict[str, set[str]]) -> set[str]:
    """The modules of its own package that a module imports against the package's table."""
    _, package, own, *_ = module.split(".")
    parts = [name.split(".") for name in imported(source, module)]
    inner = {names[2] for names in parts if names[:2] == ["runner", package] and len(names) > 2}
    return {name for name in inner & set(table) if name != own} - table[own]


def of_page(source: str, module: str) -> set[str]:
    """The modules of the pages that one of them imports against their table."""
    parts = [name.split(".") for name in imported(source, module)]
    inner = {names[3] for names in parts if names[1:3] == ["gateway", "page"] and len(names) > 3}
    own = module.split(".")[3]
    return {name for name in inner & set(IN_PAGE) if name != own} - IN_PAGE[own]


def touches_world(source: str, room: str) -> set[str]:
    """What a pure module takes from the world: modules that it may not have, paths, clocks."""
    tree = ast.parse(source)
    found = {name for name in imported(source, f"runner.{room}") if name.split(".")[0] in WORLD}
    allowed = ALLOWED_WORLD.get(room, set())
    modules = {name.split(".")[0] for name in allowed}
    used = {
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in modules
    }
    paths = imported(source, f"runner.{room}") & {"pathlib", "pathlib.Path", "pathlib.PosixPath"}
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    clocks = {call.attr for call in calls if isinstance(call, ast.Attribute)} & CLOCKS
    opens = {call.id for call in calls if isinstance(call, ast.Name)} & {"open", "input", "print"}
    return (found - modules - allowed) | (used - allowed) | paths | clocks | opens


def sentences(text: str) -> int:
    """How many sentences a docstring has."""
    return len(re.findall(r"[.!?](?=\s|$)", text.replace("...", "")))


def modules_of(folder: Path = PACKAGE) -> Iterator[tuple[str, str]]:
    """Every module below the package: its name, and its text."""
    for path in sorted(folder.rglob("*.py")):
        name = ".".join(path.relative_to(folder.parent).with_suffix("").parts)
        yield name, path.read_text(encoding="utf-8")


MODULES = dict(modules_of())


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module: str) -> None:
    """Who needs more than the table allows moves the code, or argues for a new row."""
    assert module.split(".")[1] in MAY_IMPORT, "a new room needs a row in the table"
    assert forbidden(MODULES[module], module) == set()


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("runner.intake.")])
def test_imports_inside_intake_point_one_way(module: str) -> None:
    """The pure rules lie below what looks at the disk."""
    assert forbidden_inside(MODULES[module], module, IN_INTAKE) == set()


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("runner.execution.")])
def test_imports_inside_execution_point_one_way(module: str) -> None:
    """The daemon's side, the job process and what they say to each other."""
    if module != "runner.execution.__init__":
        assert forbidden_inside(MODULES[module], module, IN_EXECUTION) == set()


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("runner.gateway.")])
def test_imports_inside_the_gateway_point_one_way(module: str) -> None:
    """Rules below, then what is known of jobs, then routes, then the server."""
    assert forbidden_inside(MODULES[module], module, IN_GATEWAY) == set()


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("runner.mcp.")])
def test_imports_inside_the_face_for_agents_point_one_way(module: str) -> None:
    """What is known of Jupyter and of jobs, then what a model sees, then tools, then the server."""
    if module != "runner.mcp.__init__":
        assert forbidden_inside(MODULES[module], module, IN_MCP) == set()


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("runner.gateway.page.")])
def test_imports_inside_the_pages_point_one_way(module: str) -> None:
    """What decides is below what renders, and both are below the routes."""
    assert of_page(MODULES[module], module) == set()


def test_table_has_no_circle() -> None:
    """A table that allowed one would allow every arrow."""
    left = dict(MAY_IMPORT)
    while left:
        lowest = [room for room, allowed in left.items() if not allowed & left.keys()]
        assert lowest, f"a circle among {sorted(left)}"
        for room in lowest:
            del left[room]


def test_table_names_rooms_that_are_there() -> None:
    """A room that is gone leaves no row behind."""
    assert {module.split(".")[1] for module in MODULES} == set(MAY_IMPORT)
    assert set().union(*MAY_IMPORT.values()) <= set(MAY_IMPORT)


@pytest.mark.parametrize(
    ("room", "never"),
    [
        ("ledger", {"intake", "outbox", "execution", "disk", "config"}),
        ("outbox", {"ledger", "intake", "execution"}),
        ("execution", {"ledger", "outbox", "intake", "daemon", "dispatch"}),
        ("intake", {"ledger", "outbox", "execution"}),
        ("submit", {"ledger", "execution", "daemon"}),
    ],
)
def test_table_keeps_the_rooms_apart(room: str, never: set[str]) -> None:
    """The design's lines, so that no new row of the table undoes one unseen."""
    reached, pending = set[str](), {room}
    while pending:
        one = pending.pop()
        reached.add(one)
        pending |= MAY_IMPORT[one] - reached
    assert reached & never == set()


@pytest.mark.parametrize("room", PURE)
def test_pure_modules_know_nothing_of_the_world(room: str) -> None:
    """No disk, no clock, no network, no chance: the world comes in as an argument."""
    assert touches_world(MODULES[f"runner.{room}"], room) == set()


@pytest.mark.parametrize("module", MODULES)
def test_module_says_what_it_owns_and_what_it_refuses(module: str) -> None:
    """Two sentences at least, in its docstring; a package's first line may be one."""
    text = ast.get_docstring(ast.parse(MODULES[module])) or ""
    assert sentences(text) >= (1 if module.endswith("__init__") else 2)


# The checks themselves


@pytest.mark.parametrize(
    ("source", "module", "expected"),
    [
        ("from runner.daemon import Daemon", "runner.ledger", {"daemon"}),
        ("import runner.daemon", "runner.ledger", {"daemon"}),
        ("import runner.daemon as d", "runner.ledger", {"daemon"}),
        ("from runner import outbox, disk", "runner.ledger", {"outbox", "disk"}),
        ("def f():\n    from runner.ledger import Job", "runner.execution.job", {"ledger"}),
        ("if TYPE_CHECKING:\n    from runner.cli import main", "runner.names", {"cli"}),
        ("from . import cli", "runner.names", {"cli"}),
        ("from .cli import main", "runner.names", {"cli"}),
        ("from ..ledger import Job", "runner.execution.job", {"ledger"}),
        ("from .. import ledger", "runner.execution.job", {"ledger"}),
        ("from ..ledger import Job", "runner.intake.__init__", {"ledger"}),
        ("from .inbox import Drop", "runner.intake.__init__", set()),
        ("from runner import __version__", "runner.cli", set()),
        ("from runner import __version__", "runner.ledger", {"__init__"}),
        ("import runner", "runner.ledger", {"__init__"}),
        ("from runner.outcome import Status\nimport os", "runner.ledger", set()),
        ("'import runner.cli'  # from runner import cli", "runner.names", set()),
    ],
)
def test_checker_sees_an_arrow_that_points_up(source: str, module: str, expected: set[str]) -> None:
    """However it is written, and wherever it stands."""
    assert forbidden(source, module) == expected


def test_checker_sees_an_arrow_inside_of_a_package() -> None:
    """Absolute or relative."""
    for source in ("from runner.intake.claim import Claims", "from .claim import Claims"):
        assert forbidden_inside(source, "runner.intake.inbox", IN_INTAKE) == {"claim"}
    assert forbidden_inside("from . import lease", "runner.intake.inbox", IN_INTAKE) == set()


@pytest.mark.parametrize(
    ("source", "room", "expected"),
    [
        ("import os", "outcome", {"os"}),
        ("import os.path", "outcome", {"os.path"}),
        ("def f():\n    from time import time", "outcome", {"time.time"}),
        ("from pathlib import Path", "request", {"pathlib.Path"}),
        ("import pathlib", "request", {"pathlib"}),
        ("from pathlib import PurePosixPath", "request", set()),
        ("import io\nio.BytesIO(b'a')", "results", set()),
        ("import io\nio.open('a')", "results", {"io.open"}),
        ("from os import remove", "names", {"os.remove"}),
        ("from datetime import datetime\ndatetime.now()", "report", {"now"}),
        ("from datetime import datetime\ndatetime.fromisoformat('x')", "report", set()),
        ("open('x')", "notebook", {"open"}),
        ("import json, re", "outcome", set()),
    ],
)
def test_checker_sees_the_world_in_a_pure_module(
    source: str, room: str, expected: set[str]
) -> None:
    """A made-up text with each of the ways out."""
    assert touches_world(source, room) == expected


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("One thing", 0),
        ("One thing.", 1),
        ("Owns a.b... and c. Refuses d.", 2),
        ("A? B!", 2),
    ],
)
def test_checker_counts_sentences(text: str, count: int) -> None:
    """A dot inside of a name ends none."""
    assert sentences(text) == count


def test_trees_are_removed_in_one_way() -> None:
    """By `Disk`, which crosses no mount; `shutil.rmtree` would empty what a notebook mounted."""
    assert [module for module, source in MODULES.items() if "rmtree" in source] == []
