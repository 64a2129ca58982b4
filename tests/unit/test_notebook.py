"""Promises of notebooks: what may be one is made whole or refused by name, and never changed."""

import contextlib
import copy
import json
from typing import Any

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.contract.notebook import (
    KernelChoice,
    KernelRules,
    check,
    choose_kernel,
    code_sources,
    has_code,
    is_blank,
    is_untitled,
    kernel_of,
    language_of,
    normalise,
    parse,
    source_of,
    tags_of,
)
from runner.contract.outcome import Refused
from runner.contract.states.status import ErrorType

Json = dict[str, Any]


def code(source: Any = "1", **more: Any) -> Json:
    return {"cell_type": "code", "source": source, **more}


def notebook(*cells: Any, **more: Any) -> Json:
    """As little as a notebook can have."""
    return {"cells": list(cells), **more}


def old(*cells: Json, **more: Any) -> Json:
    """A notebook of nbformat 3."""
    sheet = {"metadata": {}, "cells": list(cells)}
    return {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [sheet], **more}


def old_code(source: Any) -> Json:
    return {
        "cell_type": "code",
        "input": source,
        "language": "python",
        "outputs": [],
        "metadata": {},
        "collapsed": False,
    }


def refused(document: Any) -> str:
    """The message of `check` or `normalise`, whichever refuses."""
    with pytest.raises(Refused) as caught:
        normalise(check(document))
    assert caught.value.failure.error_type is ErrorType.INVALID_NOTEBOOK
    return caught.value.failure.message


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


# Reading


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"cells": []}', {"cells": []}),
        (b'\xef\xbb\xbf{"cells": []}', {"cells": []}),
        ('{"a": "é☃"}'.encode(), {"a": "é☃"}),
        (b" 5 ", 5),
    ],
)
def test_json_is_parsed_with_or_without_a_byte_order_mark(raw: bytes, expected: object) -> None:
    """Windows editors put one in front."""
    assert parse(raw) == expected


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b'{"cells": [', b"\xff", b"\0" * 100, b"[" * 100_000, b"9" * 5_000, b"{}x"],
    ids=range(8),
)
def test_what_does_not_parse_is_a_value_error(raw: bytes) -> None:
    """Cut, empty, zeroed by a server, too deep, or followed by something else."""
    with pytest.raises(ValueError, match=r"\w"):
        parse(raw)


def test_no_prefix_of_a_notebook_parses() -> None:
    """That is what tells whether a writer is done."""
    raw = json.dumps(notebook(code("print('}')"), metadata={"a": [1]})).encode()
    for length in range(len(raw)):
        with pytest.raises(ValueError, match=r"\w"):
            parse(raw[:length])


# Looking


@pytest.mark.parametrize(
    ("document", "part"),
    [
        ([], "list"),
        ("text", "str"),
        (None, "NoneType"),
        ({}, "`cells`"),
        ({"cells": None}, "`cells`"),
        ({"cells": {}}, "`cells`"),
    ],
)
def test_what_is_no_notebook_is_refused(document: object, part: str) -> None:
    """The message says what is missing."""
    assert part in refused(document)


def test_notebook_is_given_back_as_it_is() -> None:
    """Looking changes nothing."""
    document = notebook(code())
    assert check(document) is document


@pytest.mark.parametrize(
    "document",
    [
        {"cells": []},
        {"cells": [{"cell_type": "markdown", "source": "x"}]},
        {"cells": [code("1", metadata={"tags": ["skip-execution"]})]},
    ],
)
def test_a_notebook_without_code_is_a_notebook(document: Json) -> None:
    """Papermill runs it as well."""
    assert normalise(check(document)).nbformat == 4


def test_sources_are_those_that_would_run() -> None:
    """Code cells in order, without those that are skipped; lists of lines become text."""
    document = notebook(
        code("a"),
        {"cell_type": "markdown", "source": "b"},
        code(["c\n", "d"]),
        code("e", metadata={"tags": ["skip-execution"]}),
        code(5),
        {"cell_type": "code"},
        "no cell",
    )
    assert code_sources(document) == ["a", "c\nd", "", ""]
    assert code_sources(old(old_code("a"), old_code(["b\n", "c"]))) == ["a", "b\nc"]
    assert code_sources(None) == []


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ({"source": "a"}, "a"),
        ({"source": ["a\n", "b"]}, "a\nb"),
        ({"source": ["a", 5, None]}, "a"),
        ({"input": "a"}, "a"),
        ({"source": None}, ""),
        ({}, ""),
    ],
)
def test_source_is_always_text(cell: Json, expected: str) -> None:
    """Whatever stands there."""
    assert source_of(cell) == expected


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ({"metadata": {"tags": ["a", "b"]}}, ["a", "b"]),
        ({"metadata": {"tags": ["a", 5, None]}}, ["a"]),
        ({"metadata": {"tags": "a"}}, ["a"]),
        ({"metadata": {"tags": "a, b,"}}, ["a", "b"]),
        ({"metadata": {"tags": ["a,b", " c ", " "]}}, ["a", "b", "c"]),
        ({"metadata": {"tags": {"a": 1}}}, []),
        ({"metadata": {}}, []),
        ({"metadata": None}, []),
        ({}, []),
    ],
)
def test_tags_are_always_a_list_of_texts(cell: Json, expected: list[str]) -> None:
    """Malformed metadata have none; those that stand in one text are tags too."""
    assert tags_of(cell) == expected


@pytest.mark.parametrize(
    ("document", "stem", "expected"),
    [
        (notebook(code("")), "Untitled", True),
        (notebook(code("  \n")), "Untitled12", True),
        (notebook(code([])), "untitled", True),
        (notebook(code("1")), "Untitled", False),
        (notebook(code(""), code("1")), "Untitled3", False),
        (notebook(code("")), "daily", False),
        (notebook(code("")), "Untitled report", False),
        (notebook(code("")), "My Untitled", False),
        (notebook(), "daily", False),
        (notebook(), "Untitled", True),
        (notebook({"cell_type": "markdown", "source": "x"}), "daily", False),
        (notebook({"cell_type": "markdown", "source": "x"}), "Untitled", False),
        (notebook({"cell_type": "markdown", "source": " "}), "Untitled", True),
        (notebook(code("1")), "daily", False),
        (old(old_code("1")), "Untitled", False),
        ({}, "Untitled", False),
        ({"cells": 5}, "Untitled", False),
        ([], "Untitled", False),
    ],
)
def test_only_a_notebook_that_was_just_begun_is_left(
    document: object, stem: str, expected: bool
) -> None:
    """JupyterLab saves `Untitled.ipynb` with an empty cell before anybody has written a word."""
    assert (is_blank(document) and is_untitled(stem)) is expected


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (notebook(code("")), True),
        (notebook({"cell_type": "markdown", "source": "x"}), False),
        (notebook(), False),
        (old(old_code("1")), True),
        ([], False),
    ],
)
def test_code_is_a_code_cell_whatever_is_in_it(document: object, expected: bool) -> None:
    """Without one, somebody may have only begun."""
    assert has_code(document) is expected


@pytest.mark.parametrize(
    ("metadata", "language", "kernel"),
    [
        ({"kernelspec": {"name": "ir", "language": "R"}}, "r", "ir"),
        ({"language_info": {"name": "Python"}}, "python", None),
        ({"kernelspec": {"name": "k"}, "language_info": {"name": "julia"}}, "julia", "k"),
        ({"kernelspec": {"name": "", "language": ""}}, None, None),
        ({"kernelspec": {"name": 5, "language": 5}}, None, None),
        ({"kernelspec": "python3", "language_info": "python"}, None, None),
        ({}, None, None),
        (None, None, None),
        ([], None, None),
        ({"language_info": {"file_extension": ".py"}}, "python", None),
        ({"language_info": {"codemirror_mode": {"name": "ipython"}}}, "python", None),
        ({"language_info": {"file_extension": ".jl"}}, None, None),
        ({"language_info": {"name": "ipython"}}, "python", None),
        ({"kernelspec": {"name": "gap", "display_name": "Python 3 (gap)"}}, "python", "gap"),
        ({"kernelspec": {"name": "gap", "display_name": "GAP 4"}}, None, "gap"),
        ({"kernelspec": {"name": "gap", "display_name": 3}}, None, "gap"),
    ],
)
def test_language_and_kernel_are_read_from_any_metadata(
    metadata: object, language: str | None, kernel: str | None
) -> None:
    """The kernelspec's language goes first; what is malformed says nothing."""
    document = notebook(code(), metadata=metadata)
    assert (language_of(document), kernel_of(document)) == (language, kernel)


def test_notebook_without_metadata_names_no_kernel() -> None:
    """A missing key is like an empty one."""
    assert language_of({}) is None
    assert kernel_of({}) is None


# Making whole


def test_sparse_notebook_becomes_valid() -> None:
    """Cells alone are enough."""
    whole = normalise(notebook(code("a"), {"cell_type": "markdown"}, {"cell_type": "raw"}))
    assert whole == {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {},
        "cells": [
            {
                "cell_type": "code",
                "id": "cell-0",
                "metadata": {"tags": []},
                "source": "a",
                "outputs": [],
                "execution_count": None,
            },
            {"cell_type": "markdown", "id": "cell-1", "metadata": {"tags": []}, "source": ""},
            {"cell_type": "raw", "id": "cell-2", "metadata": {"tags": []}, "source": ""},
        ],
    }
    nbformat.validate(whole)


def test_what_people_wrote_is_kept() -> None:
    """Sources, ids, tags, attachments, and metadata that nobody here knows."""
    given = notebook(
        code(["a\n", "b"], id="one", metadata={"tags": ["x", "x", "y"], "own": {"k": [1]}}),
        {"cell_type": "markdown", "source": "m", "attachments": {"a.png": {"image/png": "AA=="}}},
        metadata={
            "own": [1],
            "kernelspec": {"name": "k", "language": "python"},
            "language_info": {"name": "python", "version": "3"},
        },
    )
    whole = normalise(given)
    assert whole.cells[0].source == "a\nb"
    assert whole.cells[0].id == "one"
    assert whole.cells[0].metadata == {"tags": ["x", "y"], "own": {"k": [1]}}
    assert whole.cells[1].attachments == {"a.png": {"image/png": "AA=="}}
    assert whole.metadata == {
        "own": [1],
        "kernelspec": {"name": "k", "language": "python", "display_name": "k"},
        "language_info": {"name": "python", "version": "3"},
    }


def test_what_execution_replaces_is_dropped() -> None:
    """Outputs, counts, and what papermill or widgets left of an earlier run."""
    given = notebook(
        code("a", outputs=["broken"], execution_count="x", metadata={"papermill": {"status": 1}}),
        metadata={"papermill": {}, "widgets": {}, "orig_nbformat": 2, "kernelspec": {}},
    )
    whole = normalise(given)
    assert whole.metadata == {}
    assert whole.cells[0].metadata == {"tags": []}
    assert whole.cells[0].outputs == []
    assert whole.cells[0].execution_count is None


@pytest.mark.parametrize("metadata", [None, [], "x", {"kernelspec": 5, "language_info": None}])
def test_malformed_metadata_become_empty(metadata: object) -> None:
    """They say nothing that a run needs."""
    whole = normalise(notebook(code("a", metadata=metadata), metadata=metadata))
    assert whole.metadata == {}
    assert whole.cells[0].metadata["tags"] == []


def test_metadata_that_do_not_fit_the_format_are_left_out() -> None:
    """Programs write `"collapsed": null`; the papermill command runs such a notebook, too."""
    odd_code = {"collapsed": None, "scrolled": None, "execution": {"iopub": 5}, "own": None}
    markdown = {"cell_type": "markdown", "metadata": {"name": ""}}
    raw = {"cell_type": "raw", "metadata": {"format": 3, "name": 5}}
    given = notebook(
        code("a", metadata=odd_code),
        markdown,
        raw,
        metadata={
            "authors": "me",
            "title": None,
            "language_info": {"name": "python", "file_extension": None},
            "kernelspec": {"name": "k", "display_name": 5},
        },
    )
    whole = normalise(given)
    nbformat.validate(whole)
    assert whole.metadata == {"kernelspec": {"name": "k", "display_name": "k"}}
    assert whole.cells[0].metadata == {"tags": [], "own": None}
    assert whole.cells[1].metadata == whole.cells[2].metadata == {"tags": []}


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["a", "b"], ["a", "b"]),
        (["a", "a"], ["a", "cell-1"]),
        ([None, 5, "with space", "x" * 65, ""], [f"cell-{n}" for n in range(5)]),
        (["cell-1", None], ["cell-1", "cell-1-1"]),
        (["cell-1", "cell-1", "cell-1"], ["cell-1", "cell-1-1", "cell-2"]),
    ],
)
def test_ids_are_valid_and_distinct(ids: list[Any], expected: list[str]) -> None:
    """A good id is kept, a missing, malformed or doubled one is replaced."""
    whole = normalise(notebook(*(code(id=given) for given in ids)))
    assert [cell.id for cell in whole.cells] == expected


@pytest.mark.timeout(60)
def test_ids_that_take_every_replacement_end_as_well() -> None:
    """A notebook cannot be written so that making it whole never ends."""
    ids = ["cell-3", "cell-3-3", "x", "x"]
    whole = normalise(notebook(*(code(id=given) for given in ids)))
    assert len({cell.id for cell in whole.cells}) == 4


def test_nbformat_3_is_upgraded_as_it_lies_on_a_disk() -> None:
    """There every text is a list of lines; the oldest have no ends of lines in it."""
    heading = {"cell_type": "heading", "level": 2, "source": ["Title"], "metadata": {}}
    output = {"output_type": "pyout", "prompt_number": 1, "text": ["1"], "metadata": {}}
    for lines in (["a = 1\n", "a"], ["a = 1", "a"]):
        cell = {**old_code(lines), "outputs": [output]}
        whole = normalise(old(heading, cell))
        assert [one.source for one in whole.cells] == ["## Title", "a = 1\na"]


def test_nbformat_3_is_upgraded() -> None:
    """Worksheets become cells, `input` becomes `source`, headings become markdown."""
    heading = {"cell_type": "heading", "level": 2, "source": "Title", "metadata": {}}
    whole = normalise(old(old_code("print(1)"), heading))
    assert [cell.cell_type for cell in whole.cells] == ["code", "markdown"]
    assert [cell.source for cell in whole.cells] == ["print(1)", "## Title"]
    nbformat.validate(whole)


def test_newer_minor_format_is_read_as_this_one() -> None:
    """A minor version adds things; none of them matters for a run."""
    newer = notebook(code("a", future=1), nbformat=4, nbformat_minor=99)
    whole = normalise(newer)
    assert (whole.nbformat, whole.nbformat_minor) == (4, 5)
    assert whole.cells[0].source == "a"


@pytest.mark.parametrize("major", ["4", 4.0, 4.5, "4.5", None])
def test_its_format_may_be_written_in_any_way(major: object) -> None:
    """Programs that make notebooks write it as they like."""
    whole = normalise(check(notebook(code("a"), nbformat=major)))
    assert (whole.nbformat, whole.cells[0].source) == (4, "a")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "it is empty"),
        (b"\xef\xbb\xbf \n", "it is empty"),
        (b"\0" * 4096, "zeros only"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\n", "git lfs pull"),
        (b'{\n "cells": [\n<<<<<<< HEAD\n  {}\n=======\n', "merge conflict"),
        (b"<<<<<<< HEAD\n", "merge conflict"),
        (b'{"cells": [', "line 1"),
        (b"{" * 10 + b"<<<<<<< ", "line 1"),
    ],
)
def test_what_is_dropped_for_a_notebook_is_named(raw: bytes, said: str) -> None:
    """Half of a notebook has the place where it ends."""
    with pytest.raises(ValueError, match=said):
        parse(raw)


def test_a_cell_whose_source_is_null_is_empty() -> None:
    """As one without a source is."""
    assert normalise(check(notebook(code(None)))).cells[0].source == ""


@pytest.mark.parametrize("major", [5, 99, "four", [], 0, -1])
def test_unknown_format_is_refused(major: object) -> None:
    """The message names the format."""
    assert f"nbformat {major}" in refused(notebook(code(), nbformat=major)) or (
        f"nbformat is {major!r}" in refused(notebook(code(), nbformat=major))
    )


@pytest.mark.parametrize(
    ("cell", "part"),
    [
        (5, "cell 1 is a int"),
        (None, "cell 1"),
        ({}, "cell 1 has the `cell_type` None"),
        ({"cell_type": "Code"}, "'Code'"),
        (code(5), "source of cell 1"),
        (code(["a", 5]), "source of cell 1"),
        ({"cell_type": "markdown", "source": {}}, "source of cell 1"),
        (
            {"cell_type": "markdown", "source": "", "attachments": {"a": 5}},
            "cells/1/attachments",
        ),
        pytest.param(
            {"cell_type": ["code"]},
            "cell 1",
        ),
    ],
)
def test_cell_that_is_none_is_refused_by_its_number(cell: object, part: str) -> None:
    """The message says where."""
    assert part in refused(notebook(code(), cell))


def test_cells_beside_worksheets_must_be_a_list() -> None:
    """`worksheets` belong to nbformat 3."""
    assert "cells" in refused(
        {
            "nbformat": 4,
            **{
                k: v
                for k, v in old(old_code("1")).items()
                if k not in ("nbformat", "nbformat_minor")
            },
        }
    )


@pytest.mark.parametrize("where", ["notebook", "cell"])
@pytest.mark.parametrize(
    "depth",
    [
        100,
        pytest.param(
            700,
        ),
    ],
)
def test_deep_metadata_are_kept_or_refused(where: str, depth: int) -> None:
    """What parses is made whole or refused; nothing else is raised."""
    metadata = {"deep": nested(depth)}
    cell = code(metadata=metadata) if where == "cell" else code()
    document = notebook(cell, metadata=metadata if where == "notebook" else {})
    kind: object = None
    try:
        normalise(check(parse(json.dumps(document).encode())))
    except Refused as refusal:
        kind = refusal.failure.error_type
    except RecursionError:
        kind = RecursionError
    assert kind in (None, ErrorType.INVALID_NOTEBOOK)


def test_input_without_a_format_is_not_lost() -> None:
    """What `code_sources` says would run is what the notebook made whole runs."""
    document = notebook({"cell_type": "code", "input": "print(1)"})
    assert [cell.source for cell in normalise(document).cells] == code_sources(document)


def test_nbformat_3_without_its_number_is_upgraded() -> None:
    """Worksheets tell what it is."""
    document = old(old_code("a"))
    del document["nbformat"]
    assert [cell.source for cell in normalise(document).cells] == ["a"]


@pytest.mark.parametrize("tag", ["a, b", ""])
def test_odd_tag_is_no_reason_to_refuse(tag: str) -> None:
    """Slightly broken notebooks are made whole."""
    normalise(notebook(code(metadata={"tags": [tag]})))


def test_notebook_made_whole_can_be_written() -> None:
    """Half of a surrogate pair is replaced or refused."""
    document = parse(rb'{"cells": [{"cell_type": "code", "source": "print(\"\ud800\")"}]}')
    try:
        whole = normalise(check(document))
    except Refused:
        return
    nbformat.writes(whole).encode()


@pytest.mark.parametrize(
    "document",
    [
        notebook(
            code(["a\n", "b"], id="x", metadata={"tags": ["t"], "papermill": {}}, outputs=[1]),
            code("c", id="x"),
            metadata={"kernelspec": {"name": "k"}, "papermill": {}, "own": {"a": [1]}},
        ),
        old(old_code("a")),
    ],
)
def test_input_is_left_as_it_is(document: Json) -> None:
    """Neither making it whole nor changing the result touches what was dropped."""
    before = copy.deepcopy(document)
    whole = normalise(document)
    assert document == before
    whole.metadata["own"] = 5
    for cell in whole.cells:
        cell.metadata["tags"].append("new")
        cell.source = ""
    assert document == before


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 6) | st.sampled_from(["code", "markdown", "x", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from("tags name id own jupyter kernelspec source cells".split()),
            inner,
            max_size=3,
        )
    ),
    max_leaves=5,
)
KINDS = st.sampled_from(["code", "code", "code", "markdown", "raw", "heading", "x", None, 5])
CELLS = st.fixed_dictionaries(
    {"cell_type": KINDS},
    optional={
        "source": st.text(st.characters(codec="utf-8"), max_size=5) | JSON,
        "id": st.sampled_from(["a", "cell-1", "b"]) | JSON,
        "metadata": JSON,
        "outputs": JSON,
        "attachments": JSON,
    },
)
DOCUMENTS = st.fixed_dictionaries(
    {"cells": st.lists(CELLS, max_size=3) | JSON},
    optional={"metadata": JSON, "nbformat": st.just(4) | JSON, "nbformat_minor": JSON},
)


@given(DOCUMENTS | JSON)
@settings(max_examples=60)
def test_any_json_is_made_whole_or_refused(document: Any) -> None:
    """Nothing else is raised, and what comes out is valid and has every cell."""
    before = copy.deepcopy(document)
    whole = None
    with contextlib.suppress(Refused):
        whole = normalise(check(document))
    if whole is not None:
        nbformat.validate(whole)
        assert len(whole.cells) == len(document["cells"])
    assert document == before


# Kernels

RULES = KernelRules(
    allowed=("python3", "xpython", "gone"),
    languages=("python",),
    installed={"python3": "python", "xpython": "python", "ir": "r", "other": "python"},
)


@pytest.mark.parametrize(
    ("asked", "named", "language", "name"),
    [
        (None, None, None, "python3"),
        (None, None, "python", "python3"),
        (None, "python3", "python", "python3"),
        (None, "xpython", None, "xpython"),
        ("xpython", "python3", "python", "xpython"),
        ("python3", "ir", "r", "python3"),
        (None, "conda-env-x-py", "python", "python3"),
        (None, "my-python-env", None, "python3"),
        (None, "conda-env-geo-py", None, "python3"),
        (None, "conda-env-r-stuff-py", None, "python3"),
        (None, "venv", None, "python3"),
        (None, ".venv (3.12.1)", None, "python3"),
        (None, "myenv", None, "python3"),
        (None, "mystery", None, "python3"),
        (None, "gone", "python", "python3"),
    ],
)
def test_kernel_is_the_one_asked_for_or_stands_in_for_it(
    asked: str | None, named: str | None, language: str | None, name: str
) -> None:
    """The request goes before the notebook; an unknown Python kernel becomes the first allowed."""
    choice = choose_kernel(RULES, requested=asked, named=named, language=language)
    assert choice == KernelChoice(name, "python", asked or named)


@pytest.mark.parametrize(
    ("asked", "named", "language", "kind", "part"),
    [
        ("nowhere", None, None, ErrorType.KERNEL_NOT_ALLOWED, "`nowhere` is not installed"),
        ("gone", "python3", "python", ErrorType.KERNEL_NOT_ALLOWED, "`gone` is not installed"),
        ("ir", None, None, ErrorType.KERNEL_NOT_ALLOWED, "`ir` is not allowed"),
        (None, "ir", "r", ErrorType.KERNEL_NOT_ALLOWED, "`ir` is not allowed"),
        (None, "other", "python", ErrorType.KERNEL_NOT_ALLOWED, "`other` is not allowed"),
        (None, "julia-1.9", "julia", ErrorType.KERNEL_NOT_ALLOWED, "`julia-1.9` is not installed"),
        (None, "julia-1.9", None, ErrorType.KERNEL_NOT_ALLOWED, "`julia-1.9` is not installed"),
        (None, "irkernel", None, ErrorType.KERNEL_NOT_ALLOWED, "`irkernel` is not installed"),
        (None, "conda-env-stats-r", None, ErrorType.KERNEL_NOT_ALLOWED, "is not installed"),
        (None, "xcpp17", None, ErrorType.KERNEL_NOT_ALLOWED, "`xcpp17` is not installed"),
        (None, ".net-csharp", None, ErrorType.KERNEL_NOT_ALLOWED, "`.net-csharp` is not"),
        (None, None, "r", ErrorType.LANGUAGE_NOT_ALLOWED, "`r` is not allowed"),
    ],
)
def test_kernel_that_may_not_run_is_refused(
    asked: str | None, named: str | None, language: str | None, kind: ErrorType, part: str
) -> None:
    """The message names it, and what is allowed."""
    with pytest.raises(Refused) as caught:
        choose_kernel(RULES, requested=asked, named=named, language=language)
    assert caught.value.failure.error_type is kind
    assert part in caught.value.failure.message
    assert "allowed: `" in caught.value.failure.message


def test_allowed_kernel_of_a_language_that_is_not_is_refused() -> None:
    """Both lists must agree."""
    rules = KernelRules(allowed=("ir",), languages=("python",), installed={"ir": "r"})
    with pytest.raises(Refused, match="speaks `r`") as caught:
        choose_kernel(rules, requested=None, named="ir", language=None)
    assert caught.value.failure.error_type is ErrorType.LANGUAGE_NOT_ALLOWED


@pytest.mark.parametrize("named", [None, "conda-env-x-py"])
def test_language_without_an_allowed_kernel_is_refused(named: str | None) -> None:
    """Nothing that is allowed is installed."""
    rules = KernelRules(allowed=("gone",), languages=("python",), installed={"python3": "python"})
    with pytest.raises(Refused, match="No allowed kernel") as caught:
        choose_kernel(rules, requested=None, named=named, language="python")
    assert caught.value.failure.error_type is ErrorType.KERNEL_NOT_ALLOWED


def test_python_that_is_no_allowed_language_is_refused() -> None:
    """A machine may run other languages only."""
    rules = KernelRules(allowed=(), languages=(), installed={"python3": "python"})
    with pytest.raises(Refused, match="allowed: none") as caught:
        choose_kernel(rules, requested=None, named="conda-env-x-py", language="python")
    assert caught.value.failure.error_type is ErrorType.LANGUAGE_NOT_ALLOWED


def test_another_language_that_is_allowed_gets_its_kernel() -> None:
    """Python is the default, not the only one."""
    rules = KernelRules(
        allowed=("python3", "ir"),
        languages=("python", "r"),
        installed={"python3": "python", "ir": "r"},
    )
    assert choose_kernel(rules, requested=None, named=None, language="r").name == "ir"
    assert choose_kernel(rules, requested="ir", named="python3", language="python").language == "r"
