"""Promises of README, CONTRIBUTING and the pages below docs/: they name what exists."""

import re
from pathlib import Path

import pytest

from runner.cli.jobs.listing import COLUMNS
from runner.contract.outcome import ErrorResult, Result
from runner.contract.request import Request, Resources
from runner.contract.states.status import ERROR_RULES
from runner.gateway.http.problems import STATUSES, HttpProblemType
from runner.jobs.problem import ProblemType

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)


def title_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows_of(page: str, heading: str) -> dict[str, str]:
    """The rows of the tables below a heading, by each `name` in their first column."""
    text = (DOCS / page).read_text(encoding="utf-8").partition(f"# {heading}\n")[2]
    section = re.split(r"^#", text, maxsplit=1, flags=re.MULTILINE)[0]
    rows = re.findall(
        r"^\| .*", re.sub(r"^.*\n\|---.*", "", section, flags=re.MULTILINE), re.MULTILINE
    )
    return {name: row for row in rows for name in re.findall(r"`([\w.]+)`", row.split("|")[1])}


def lines_of_tree() -> list[tuple[str, str]]:
    """The folders and modules of the README's tree: path below the root, and description."""
    block = (ROOT / "README.md").read_text(encoding="utf-8").partition("```\nrunner/\n")[2]
    lines, folder = [], ""
    for line in block.partition("\n```")[0].splitlines():
        shape = re.fullmatch(r"([│ ]*)[├└]── (\S+)\s+(\S.*)", line)
        assert shape, line
        depth, name, description = shape.groups()
        folder = "" if not depth else folder
        lines.append((f"runner/{folder}{name}", description))
        folder = name if not depth and name.endswith("/") else folder
    return lines


@pytest.mark.parametrize("page", PAGES, ids=title_of)
def test_a_link_leads_somewhere(page: Path) -> None:
    """To a file of the repository, and to a heading in it."""
    for link in LINK.findall(BLOCK.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


def test_each_page_is_in_the_index() -> None:
    """A page that no index names is read by nobody."""
    index = set(LINK.findall((DOCS / "README.md").read_text(encoding="utf-8")))
    assert {page.name for page in DOCS.glob("*.md")} - index == {"README.md"}


def test_the_tree_is_that_of_the_repository() -> None:
    """Each room of the package has a line, and no line names another."""
    lines = [path for path, _ in lines_of_tree()]
    packages = {
        f"{init.parent.relative_to(ROOT).as_posix()}/" for init in ROOT.glob("runner/*/__init__.py")
    }
    assert packages <= set(lines)
    assert [path for path in lines if not (ROOT / path).exists()] == []


def test_each_error_type_has_its_row() -> None:
    """With the HTTP status and the job's status of the contract."""
    rows = rows_of("errors.md", "Error types of jobs")
    for error_type, rule in ERROR_RULES.items():
        assert f"| {rule.http} | {rule.status} |" in rows.pop(error_type), error_type
    assert rows == {}
    rows = rows_of("errors.md", "Error types of the gateway")
    for own in (*ProblemType, *HttpProblemType):
        assert f"| {STATUSES[own]} |" in rows.pop(own), own
    assert rows == {}


def test_each_key_of_a_request_has_its_row() -> None:
    """The table of keys is the schema's."""
    keys = {*Request.model_fields, *(f"resources.{name}" for name in Resources.model_fields)}
    assert set(rows_of("requests.md", "Keys")) == keys


def test_the_inbox_lists_each_key_of_a_request() -> None:
    """Its README says that there are no others."""
    text = (ROOT / "inbox" / "README.md").read_text(encoding="utf-8")
    (keys,) = re.findall(r"^Keys: (.*?) No others\.$", text, re.DOTALL | re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", keys)) == set(Request.model_fields)


def test_the_list_of_jobs_is_that_of_the_command() -> None:
    """With each of its columns."""
    header = next(line for line in (DOCS / "cli.md").read_text().splitlines() if "job id  " in line)
    assert tuple(re.split(r" {2,}", header)) == COLUMNS


def test_each_field_of_a_report_has_its_row() -> None:
    """The tables of fields are the schema's."""
    fields = {field.alias or name for name, field in Result.model_fields.items()}
    assert set(rows_of("results.md", "Fields")) == fields
    beside = set(ErrorResult.model_fields) - set(Result.model_fields)
    assert set(rows_of("errors.md", "Errors")) == beside
