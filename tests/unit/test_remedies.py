"""Promises of the advice on errors: it names what works."""

import pytest

from runner.contract.advice.remedies import remedy_of_exception


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("pandas.Series", "`x.to_frame()`, or a list, `x.tolist()`"),
        ("pandas.core.series.Series", "`x.to_frame()`, or a list, `x.tolist()`"),
        ("numpy.int64", "`int(x)`"),
        ("__main__.Own", "a list, a mapping or a text"),
        ("NoneType", "only if it is not None"),
    ],
)
def test_what_scrapbook_does_not_glue_is_told_with_what_it_does(kind: str, advice: str) -> None:
    """A Series at the end of a tagged cell has no JSON, so that is no advice."""
    text = f"NotImplementedError: Scrap of type <class '{kind}'> has no supported encoder"
    assert advice in (remedy_of_exception(text) or "")
