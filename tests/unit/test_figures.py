"""Promises of pages of figures: which outputs have one, and what is in it."""

from typing import Any

import pytest

from runner.reports.rendering.figures import Figure, figures_of

DIV = '<div id="a" class="plotly-graph-div" style="height:525px; width:100%;"></div>'
DRAWS = "<script>Plotly.newPlot('a', [])</script>"
CDN = '<script src="https://cdn.plot.ly/plotly-3.1.0.min.js" integrity="x"></script>'
BOKEH = "<script src='https://cdn.bokeh.org/bokeh/release/{name}-3.9.2.min.js'></script>"
ROOT = '<div id="b" data-root-id="p1"></div>'


def figures(*bundles: dict[str, Any], there: tuple[str, ...] = ("plotly",)) -> list[Figure]:
    outputs = [{"output_type": "display_data", "data": bundle} for bundle in bundles]
    cells: Any = [{"cell_type": "markdown"}, {"cell_type": "code", "outputs": outputs}]
    return [figure for _, figure in figures_of(cells, lambda name: name in there)]


def test_a_figure_of_plotly_is_drawn_from_its_data() -> None:
    """Whatever text is in it; as high as its layout says; not from the picture beside it."""
    data = {"data": [{"name": "</script><b>"}], "layout": {"height": 700}, "other": 1}
    (figure,) = figures({"application/vnd.plotly.v1+json": data, "image/png": "x"})
    assert (figure.libraries, figure.height) == (("plotly",), 700)
    assert "\\u003c/script>" in figure.body
    assert "other" not in figure.body
    assert figures({"application/vnd.plotly.v1+json": data}, there=()) == []


@pytest.mark.parametrize(
    ("html", "libraries"),
    [
        (CDN + DIV + DRAWS, ("plotly",)),
        (DIV + f'<script>require(["plotly"], (Plotly) => 1)</script>{DRAWS}', ("plotly",)),
        ("<div id=x></div><script>x.textContent = 1</script>", ()),
        (BOKEH.format(name="bokeh") + ROOT + "<script>Bokeh.x</script>", ("bokeh",)),
    ],
)
def test_html_that_draws_has_what_it_needs_from_here(html: str, libraries: tuple[str, ...]) -> None:
    """Nothing is loaded: its library is put in, and the line that loads it is taken out."""
    (figure,) = figures({"text/html": html}, there=("plotly", "bokeh"))
    assert figure.libraries == libraries
    assert "src=" not in figure.body
    page = figure.page()
    assert page.index("RTCPeerConnection") < page.index(figure.body)


@pytest.mark.parametrize(
    "html",
    [
        "<p>Some text</p><script>x</script>",
        "<script>/* plotly.js */</script><style>a {}</style>",
        "<div></div><script src='https://example.com/d3.js'></script>",
        "<div></div><link rel=stylesheet href='https://example.com/d3.css'><script>1</script>",
        BOKEH.format(name="bokeh-api") + ROOT + "<script>Bokeh.x</script>",
        f"{CDN}<script src='https://example.com/more.js'></script>{DIV}{DRAWS}",
    ],
)
def test_what_cannot_be_drawn_here_has_no_page(html: str) -> None:
    """Text needs none, loaders show nothing, and what is elsewhere stays there."""
    assert figures({"text/html": html}) == []


def test_bokeh_draws_into_the_output_before() -> None:
    """In notebooks, the place of a figure and its script are two outputs."""
    script = {"application/javascript": "draw()", "application/vnd.bokehjs_exec.v0+json": ""}
    (figure,) = figures(
        {"text/html": ROOT}, script, there=("bokeh", "bokeh-widgets", "bokeh-tables")
    )
    assert figure.body == f"{ROOT}<script>draw()</script>"


def test_a_figure_has_no_frames_in_it() -> None:
    """They would have what was taken away from it."""
    html = "<div></div><IFRAME srcdoc='&lt;script&gt;1&lt;/script&gt;'></IFRAME><script>1</script>"
    assert "<iframe" not in Figure("x", html, (), 1).page().lower()
