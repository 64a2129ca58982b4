"""Promises about what a cell displayed: its text, and a word where there is nothing to see."""

import pytest

from runner.contract.displays import needed_to_see
from runner.contract.text.markup import html_text

NAMED = "<x.Thing object>"


@pytest.mark.parametrize(
    ("bundle", "word"),
    [
        ({"application/vnd.plotly.v1+json": {}}, "write_html"),
        ({"application/vnd.vegalite.v6+json": {}, "text/plain": "alt.Chart(...)"}, "Altair"),
        ({"application/vnd.bokehjs_exec.v0+json": "", "application/javascript": "x"}, "Bokeh"),
        ({"application/vnd.jupyter.widget-view+json": {}, "text/plain": "IntSlider()"}, "widget"),
        ({"application/javascript": "x", "text/plain": NAMED}, "script"),
        ({"text/html": "<div id=a></div><script>x</script>", "text/plain": NAMED}, "script"),
        ({"text/html": "<iframe src=x></iframe>", "text/plain": NAMED}, "another page"),
        ({"application/geo+json": {}, "text/plain": NAMED}, "application/geo+json"),
        ({"application/pdf": "x"}, "application/pdf"),
        ({"application/vnd.plotly.v1+json": {}, "image/png": "x"}, None),
        ({"application/vnd.plotly.v1+json": {}, "text/html": "<b>a</b>"}, None),
        ({"application/x-own": "1", "text/plain": "own words"}, None),
        ({"text/html": "<style>a {}</style>", "text/plain": NAMED}, None),
        ({"text/html": "<div style='background: red'></div>", "text/plain": NAMED}, None),
        ({"text/html": "<script></script><img src='data:,'>", "text/plain": NAMED}, None),
        ({"application/vnd.bokehjs_load.v0+json": "", "application/javascript": "x"}, None),
        ({"text/plain": NAMED}, None),
        ({"application/json": {}, "text/plain": NAMED}, None),
        ({}, None),
    ],
)
def test_an_output_that_no_page_can_show_is_told(bundle: dict[str, object], word: str) -> None:
    """One that has any readable form is not."""
    needed = needed_to_see(bundle)
    assert needed is None if word is None else needed is not None and word in needed


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<b title='a > b'>x</b> &lt;y&gt;", "x <y>"),
        ("a<script>if (1 < 2) '<script>'</script>b", "ab"),
        ("a<!-- <b>no</b> -->c<!-- open", "ac"),
        ("<![CDATA[ x<p>y", "y"),
        ("1 < 2 and 2 <3", "1 < 2 and 2 <3"),
        ("<pre>a\n  b</pre>", "a\nb"),
        ("<IMG ALT='a dog' src=x>", "[image a dog]"),
        ("&#" + "9" * 5000 + ";", "\ufffd"),
    ],
)
def test_html_is_read_as_far_as_it_goes(html: str, text: str) -> None:
    """Nothing of it makes the reader raise."""
    assert html_text(html) == text
