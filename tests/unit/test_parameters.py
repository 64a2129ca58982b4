"""Promises of parameters: values that reach nothing are named, with what was probably meant."""

from typing import Any

import pytest

from runner.contract.parameters.guesses import texts_for_values
from runner.contract.parameters.listing import SHOWN_NAMES, misspelt_parameters, unknown_parameters
from runner.contract.parameters.signature import signature_of

SOURCE = "factor = 2  # times\nregion: str = 'EU'\nwhole: int\nlow, high = 1, 2"


def notebook(source: str | None, language: str = "python") -> dict[str, Any]:
    """With one tagged cell, or none."""
    tags = [] if source is None else ["parameters"]
    cell = {
        "cell_type": "code",
        "source": "x = 1" if source is None else source,
        "metadata": {"tags": tags},
    }
    return {"cells": [cell], "metadata": {"language_info": {"name": language}}}


def warning(document: dict[str, Any], values: dict[str, object]) -> str | None:
    return texts_for_values(document, signature_of(document), values)


@pytest.mark.parametrize("names", [[], ["factor"], ["region", "whole"], ["low", "high"]])
def test_what_the_tagged_cell_sets_is_known(names: list[str]) -> None:
    """In whatever way: with a type, without a value, two at once."""
    assert unknown_parameters(notebook(SOURCE), names) is None


def test_a_misspelt_name_is_named_with_the_known_ones() -> None:
    """And with the one that was meant."""
    said = unknown_parameters(notebook(SOURCE), ["facter", "region"]) or ""
    assert "`facter` is no parameter" in said
    assert "did you mean `factor`?" in said
    assert "It has `factor`, `region`" in said
    assert "did you mean" not in (unknown_parameters(notebook(SOURCE), ["zzz"]) or "did you mean")


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ("factor = 3", "`factor` replaced nothing: another cell tagged `parameters`"),
        ("factor: int = 3\nother = 1", "`factor` replaced nothing"),
        ("factor = int(factor)", None),
        ("if 'factor' not in globals():\n    factor = 3", None),
        ("other = factor", None),
        ("factor: int", None),
        ("%run defaults.py\n(", None),
    ],
)
def test_a_second_tagged_cell_that_sets_it_again_is_told(second: str, said: str | None) -> None:
    """papermill sets values after the first one; what only converts them is right."""
    document = notebook(SOURCE)
    document["cells"] += notebook(second)["cells"]
    assert (unknown_parameters(document, ["factor"]) or "").startswith(said or "")
    assert (unknown_parameters(document, ["factor"]) is None) == (said is None)


def test_a_tagged_text_takes_no_value() -> None:
    """The defaults in the cell below it win."""
    document = notebook("# The parameters")
    document["cells"][0]["cell_type"] = "markdown"
    document["cells"] += notebook(None)["cells"]
    assert "is text: `x` replaced nothing" in (unknown_parameters(document, ["x"]) or "")
    assert unknown_parameters(document, []) is None


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["facter"], "`facter` is no parameter of the notebook (did you mean `factor`?)"),
        (["zzz"], None),
        (["facter", "factor"], None),
        (["factor", "regoin", "zzz"], "`regoin` is no parameter"),
        ([], None),
    ],
)
def test_a_name_meant_for_another_parameter_is_told_from_one_that_is_none(
    names: list[str], said: str | None
) -> None:
    """Also where that parameter has a value already: then it cannot be meant."""
    found = misspelt_parameters(notebook(SOURCE), names)
    assert (found or "").startswith(said or "")
    assert (found is None) == (said is None)
    assert misspelt_parameters(notebook(None), names) is None


def test_values_without_a_tagged_cell_are_said_to_replace_nothing() -> None:
    """Papermill puts them before everything else."""
    said = unknown_parameters(notebook(None), ["n"]) or ""
    assert "no cell tagged `parameters`" in said
    assert "`n`" in said
    assert unknown_parameters(notebook(None), []) is None


@pytest.mark.parametrize(
    ("source", "language"),
    [("%config x\nnot python (\n", "python"), ("let", "scala"), ("a <- 1", "klingon")],
)
def test_a_cell_that_cannot_be_read_gives_no_warning(source: str, language: str) -> None:
    """It would be wrong as often as right."""
    assert unknown_parameters(notebook(source, language), ["n"]) is None


@pytest.mark.parametrize("name", ["\N{MICRO SIGN}", "gro\u0308ße", "\N{LATIN SMALL LIGATURE FI}t"])
def test_a_name_is_what_python_makes_of_it(name: str) -> None:
    """Python reads names in NFKC: what was typed alike on both sides is the same name."""
    assert unknown_parameters(notebook(f"{name} = 1\nb = 2"), [name]) is None
    assert unknown_parameters(notebook("µ = 1\nb, größe, fit = 2, 3, 4"), [name]) is None


@pytest.mark.parametrize("line", ["from defaults import *", "%run defaults.py", "(not python"])
def test_a_cell_that_may_set_more_names_gives_no_warning(line: str) -> None:
    """It would name a parameter that the notebook has."""
    assert unknown_parameters(notebook(f"{line}\nyears = 3"), ["rate"]) is None


def test_what_a_magic_returns_is_a_name_too() -> None:
    """Beside names that are bound in twos, which papermill's pattern does not see."""
    source = "files = !ls\nwhere = %pwd\nlow, high = 1, 2"
    assert unknown_parameters(notebook(source), ["low", "files", "where"]) is None
    assert "`hihg`" in (unknown_parameters(notebook(source), ["hihg"]) or "")


def test_magics_do_not_hide_the_other_lines() -> None:
    """As papermill reads them."""
    assert unknown_parameters(notebook("%matplotlib inline\nn = 1"), ["n"]) is None
    assert "`m`" in (unknown_parameters(notebook("%matplotlib inline\nn = 1"), ["m"]) or "")
    assert "has none" in (unknown_parameters(notebook(""), ["m"]) or "")


def test_other_languages_are_papermills() -> None:
    """Where it knows them."""
    assert unknown_parameters(notebook("a = 1", "r"), ["a"]) is None


def test_a_thousand_unknown_names_are_one_short_sentence() -> None:
    """The rest is counted, and nothing is compared that is long."""
    names = [f"n{i}" for i in range(1_000)] + ["x" * 100_000]
    said = unknown_parameters(notebook("a = 1"), names) or ""
    assert f"{len(names) - SHOWN_NAMES} more" in said
    assert len(said) < 1_500


@pytest.mark.parametrize(
    ("source", "value", "is_told"),
    [
        ("n = 3", "5", True),
        ("n = -0.5", "many", True),
        ("n: float = -0.5", "many", False),
        ("n = 3", 5, False),
        ("n = '3'", "5", False),
        ("n: str = 3", "5", False),
        ("n = [3]\nn = n.split(',')", "5", False),
        ("n: 'bool' = None", "no", False),
        ("n = None", "5", False),
        ("n = len('x')", "5", False),
        ("n = 3\nn = int(n)", "5", False),
        ("m = 3", "5", False),
    ],
)
def test_a_text_for_a_number_is_told(source: str, value: object, is_told: bool) -> None:
    """Where nothing makes a number of it: `"5" * 2` is no error, and no ten.

    A declared type is no guess: it refuses the text.
    """
    said = warning(notebook(source), {"n": value})
    assert (said is not None) is is_told
    assert said is None or "`n` is a number in the notebook" in said
    assert warning(notebook("n <- 3", "r"), {"n": "5"}) is None


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("n = True", "`n` is true or false in the notebook"),
        ("n = False", "`no`, `on` and `off` are texts"),
        ("n = [1, 2]", "`n` is a list in the notebook"),
        ("n = (1, 2)", "`n` is a list in the notebook"),
        ("n = {'a': 1}", "`n` is a mapping in the notebook"),
    ],
)
def test_a_text_for_something_else_is_told(source: str, said: str) -> None:
    """`verbose: no` is the text `no`, which counts as true."""
    text = warning(notebook(source), {"n": "no"})
    assert text is not None
    assert said in text


@pytest.mark.parametrize(
    ("default", "value", "advice"),
    [
        ("'20240101'", 20240101, "`p` is a text in the notebook, and the number 20240101"),
        ("1", 1.5, "`p` is a whole number in the notebook, and 1.5 in the request."),
        ("1", None, "`p` is a number in the notebook, and null in the request."),
        ("1", "5", "Send the number without quotes."),
        ("1", "five", "`five` is no number here."),
        ("1", "1_000", "`1_000` is no number here; write 1000."),
        ("1", "12,5", "`12,5` is no number here; write 12.5."),
        ("1", "-0,125", "`-0,125` is no number here; write -0.125."),
        ("1", "1234,567", "`1234,567` is no number here; write 1234.567."),
        ("1", "1,234", "; write 1.234 or 1234, whichever is meant."),
        ("1", "1.234,5", "here; write digits, with a point before the decimals."),
        ("1", "1,234,567", "here; write digits, with a point before the decimals."),
        ("1", "01_000", "here; write digits, with a point before the decimals."),
        ("1", 2.0, None),
        ("1.5", 2, None),
        ("None", 2, None),
        ("'x'", "y", None),
        ("'x'", None, None),
    ],
)
def test_a_value_of_another_type_than_the_default_is_warned_of(
    default: str, value: object, advice: str | None
) -> None:
    """It would change the results in silence; what often fits is let through."""
    said = warning(notebook(f"p = {default}"), {"p": value})
    assert (said is None) if advice is None else (advice in (said or "")), said
