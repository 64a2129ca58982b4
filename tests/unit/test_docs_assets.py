"""Promises of the files under docs/ that people import: they parse, and name what exists."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from runner.contract.states.status import ErrorType
from runner.jobs.problem import ProblemType

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
JSON_FILES = sorted(DOCS.rglob("*.json"))
YAML_FILES = sorted([*DOCS.rglob("*.yml"), *DOCS.rglob("*.yaml")])
WORKFLOWS = sorted((DOCS / "n8n").glob("*.json"))
DASHBOARD = DOCS / "monitoring" / "grafana-dashboard.json"
ALERTS = DOCS / "monitoring" / "alerts.yml"
METRICS_SOURCE = ROOT / "runner" / "gateway" / "prometheus.py"


def name_of(path: Path) -> str:
    return path.relative_to(DOCS).as_posix()


def metrics_in(path: Path) -> set[str]:
    """The metrics that a file names, without the endings of Prometheus' samples."""
    found: list[str] = re.findall(r"\binbox_runner_[a-z_]+", path.read_text(encoding="utf-8"))
    return {re.sub(r"_(total|bucket|count|sum)$", "", name) for name in found}


def workflow(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def test_each_picture_is_shown_and_small() -> None:
    """A repository keeps every version of each for ever."""
    pictures = sorted((DOCS / "page").glob("*.png"))
    pages = [ROOT / "README.md", *DOCS.glob("*.md")]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    assert len(pictures) >= 8
    for picture in pictures:
        assert picture.name in text, picture
        assert picture.stat().st_size < 150_000, picture


def test_there_is_something_to_import() -> None:
    """A test over no files would pass for the wrong reason."""
    names = ["long-run-by-callback", "long-run", "notebook-and-files", "quick-run"]
    assert [path.stem for path in WORKFLOWS] == names
    assert DASHBOARD in JSON_FILES
    assert ALERTS in YAML_FILES


@pytest.mark.parametrize("path", JSON_FILES, ids=name_of)
def test_json_parses(path: Path) -> None:
    """An importer reads all of it."""
    assert isinstance(json.loads(path.read_text(encoding="utf-8")), dict)


@pytest.mark.parametrize("path", YAML_FILES, ids=name_of)
def test_yaml_parses(path: Path) -> None:
    """Prometheus reads all of it."""
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


@pytest.mark.parametrize("path", WORKFLOWS, ids=name_of)
def test_connections_name_nodes(path: Path) -> None:
    """From a node to a node; each name once, and none left alone but the notes."""
    content = workflow(path)
    names = [node["name"] for node in content["nodes"]]
    assert len(names) == len(set(names))
    ends = {
        end["node"]
        for outputs in content["connections"].values()
        for links in outputs["main"]
        for end in links
    }
    notes = {
        node["name"] for node in content["nodes"] if node["type"] == "n8n-nodes-base.stickyNote"
    }
    assert ends | set(content["connections"]) == set(names) - notes


@pytest.mark.parametrize("path", WORKFLOWS, ids=name_of)
def test_expressions_name_nodes(path: Path) -> None:
    """`$('Settings')` breaks without a word when the node has another name."""
    named = set(re.findall(r"\$\('([^']+)'\)", path.read_text(encoding="utf-8")))
    assert named <= {node["name"] for node in workflow(path)["nodes"]}


@pytest.mark.parametrize("path", WORKFLOWS, ids=name_of)
def test_base_url_is_in_one_place(path: Path) -> None:
    """Who moves the gateway changes one field of Settings."""
    holders = [
        node["name"]
        for node in workflow(path)["nodes"]
        if node["type"] != "n8n-nodes-base.stickyNote" and "http://" in json.dumps(node)
    ]
    assert holders == ["Settings"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=name_of)
def test_a_failure_is_told_as_an_object(path: Path) -> None:
    """n8n replaces a message that looks like a network error, as that of FileNotFoundError does."""
    ends = [n for n in workflow(path)["nodes"] if n["type"] == "n8n-nodes-base.stopAndError"]
    assert ends
    for node in ends:
        assert node["parameters"]["errorType"] == "errorObject"
        told = node["parameters"]["errorObject"]
        assert "message: $json.body?.error_type" in told
        assert "description: ($json.body?.message" in told


def test_n8n_would_replace_no_error_type() -> None:
    """What it looks for stands in none of them."""
    codes = "ECONN ENOTFOUND ETIMEDOUT ADDR EHOST EAI_ ENOENT EISDIR ENOTDIR EACCES EEXIST EPERM"
    for error_type in (*ErrorType, *ProblemType):
        assert not any(code in error_type.upper() for code in codes.split())


@pytest.mark.parametrize("path", [DASHBOARD, ALERTS], ids=name_of)
def test_metrics_are_those_of_the_gateway(path: Path) -> None:
    """A panel of a metric that nobody gives stays empty for ever."""
    assert metrics_in(path) - metrics_in(METRICS_SOURCE) == set()


def test_every_metric_is_described() -> None:
    """And none that is not given: the table is what people build their own panels by."""
    assert metrics_in(DOCS / "monitoring.md") == metrics_in(METRICS_SOURCE)
