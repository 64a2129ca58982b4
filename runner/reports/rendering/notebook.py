"""Renders an executed notebook as a page, in light and dark, with formulas as MathML.

No script of it may ever run: the page has a policy that forbids all of them.
"""

import html
import json
import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from runner.contract.displays import is_drawn, needed_to_see, says_nothing

if TYPE_CHECKING:
    from nbformat import NotebookNode


POLICY = (
    "sandbox allow-same-origin; default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "font-src data:; frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
)
"""Content-Security-Policy Level 3: a sandbox without allow-scripts, and nothing from elsewhere.

The origin stays, so that the page around it can measure how high the notebook is.
"""
MAX_FORMULA_CHARS = 4_000
LONG_FORMULA_CHARS = 30
"""Longest formula within a line that surely fits a telephone."""
MAX_TEXT_CHARS = 500_000
"""Longest text of one output; a browser lays out a longer one for minutes, or gives up."""
MARKER_TAGS = {"papermill-error-cell-tag", "papermill-error-cell"}
"""Tags of the banners that papermill adds to a failed notebook; the page shows the error above."""
_ELSEWHERE = re.compile(
    r"<(/?)(?=(?:i?frame|frameset|fencedframe|portal|object|embed|meta|base|link)\b)", re.I
)
_DEAD = ("application/vnd.jupyter.widget-view+json", "application/javascript")
"""Types that nbconvert prefers to all others, and that show nothing without a script."""
NOTE = '<p style="color: var(--jp-ui-font-color2)"><em>{words}</em></p>'
LEFT_OUT = (
    "The outputs that were saved in it before are not shown here; the downloaded notebook has them."
)
TEMPLATE = """
{%- extends 'index.html.j2' -%}
{% block html_head_js %}{% endblock %}
{% block jupyter_widgets %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block html_head_css %}
<meta name="color-scheme" content="light dark">
<style>
@media (prefers-color-scheme: dark) {
{% include 'static/theme-dark.css' %}
.jp-RenderedImage img, .jp-RenderedSVG img, .jp-RenderedSVG svg { background: #fff; }
}
body.jp-Notebook { padding: 8px; }
</style>
{% endblock %}
"""
"""nbconvert's lab template with both themes, and without scripts, which never run here."""


def to_html(notebook: bytes, note: str = "") -> str:
    """Render with nbconvert's own template; with a note in place of all outputs.

    Raises:
        ValueError: it cannot be read as a notebook.
    """
    try:
        content = read(notebook)
        if note:
            _leave_out_outputs(content, note)
        prepare(content)
        page: str = _exporter().from_notebook_node(content)[0]
    except Exception as error:  # nbformat and nbconvert raise whatever they trip over
        tamed = notebook.replace(b"<![", b"&lt;![")  # Python's HTML parser refuses it
        if tamed == notebook:
            raise ValueError(f"{type(error).__name__}: {error}") from error
        return to_html(tamed, note)
    return page


def to_mathml(source: str, *, is_block: bool) -> str | None:
    """Turn a LaTeX formula into MathML; None if it is too long, or is not understood."""
    from latex2mathml.converter import convert

    if len(source) > MAX_FORMULA_CHARS:
        return None
    try:
        converted: str = convert(source, display="block" if is_block else "inline")
    except Exception:  # noqa: BLE001 - it raises anything, RecursionError too; LaTeX is shown then
        return None
    # What may be wider than the screen scrolls, and what scrolls must be reached by the keyboard.
    if is_block:
        return converted.replace("<math ", '<math tabindex="0" ', 1)
    is_long = len(source) > LONG_FORMULA_CHARS
    return f'<span class="formula" tabindex="0">{converted}</span>' if is_long else converted


def _leave_out_outputs(notebook: "NotebookNode", note: str) -> None:
    """Remove outputs and execution counts, and begin with the note, and whether there were any."""
    from nbformat.v4 import new_markdown_cell

    had_any = False
    for cell in notebook.cells:
        if cell.cell_type == "code":
            had_any = had_any or bool(cell.outputs)
            cell.outputs, cell.execution_count = [], None
    words = f"{note} {LEFT_OUT}" if had_any else note
    notebook.cells.insert(0, new_markdown_cell(NOTE.format(words=words)))


def prepare(notebook: "NotebookNode") -> None:
    """Remove banners and stored values, cut long text, and show formulas."""
    notebook.cells = [
        cell for cell in notebook.cells if not MARKER_TAGS & set(cell.metadata.get("tags", ()))
    ]
    for cell in notebook.cells:
        if "outputs" in cell:
            outputs = [output for output in cell.outputs if not _is_stored(output)]
            cell.outputs = [part for output in outputs for part in _visible(output)]
        for output in cell.get("outputs", ()):
            bundle = output.get("data") or {}
            for kind in ("text/html", "image/svg+xml"):
                if isinstance(bundle.get(kind), str):
                    bundle[kind] = without_frames(bundle[kind])
            for place, key in ((output, "text"), (bundle, "text/plain")):
                if isinstance(place.get(key), str):
                    place[key] = _shortened(place[key])
            latex = bundle.get("text/latex")
            if isinstance(latex, str) and "text/html" not in bundle:
                formula = to_mathml(latex.strip().strip("$"), is_block=True)
                if formula is not None:
                    bundle["text/html"] = formula


def without_frames(text: str) -> str:
    """Take the meaning from elements of HTML that lead elsewhere.

    A policy forbids them, and a browser may connect to an address before it looks.
    """
    return _ELSEWHERE.sub(r"<\1x-", text)


def _visible(output: "NotebookNode") -> "list[NotebookNode]":
    """Return an output in a form that shows without scripts; where it has none, with a note."""
    from nbformat.v4 import new_output

    bundle = output.get("data") or {}
    note = needed_to_see(bundle)
    if "application/json" in bundle and says_nothing(bundle):
        bundle["text/plain"] = json.dumps(bundle["application/json"], ensure_ascii=False, indent=2)
    is_empty = is_drawn(bundle.get("text/html") or "")
    for media_type in (*_DEAD, "text/html") if is_empty else _DEAD:
        bundle.pop(media_type, None)
    if note is None:
        return [output]
    words = re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(note))
    return [output, new_output("display_data", {"text/html": NOTE.format(words=words)})]


def _shortened(text: str) -> str:
    """Keep the beginning and the end of a text that is too long for a browser."""
    if len(text) <= MAX_TEXT_CHARS:
        return text
    half = MAX_TEXT_CHARS // 2
    left_out = f"{len(text) - 2 * half:,} characters are left out here; the notebook has them"
    return f"{text[:half]}\n\n… {left_out} …\n\n{text[-half:]}"


def _is_stored(output: "NotebookNode") -> bool:
    """Return whether an output only stores a value for programs."""
    bundle = output.get("data") or {}
    return bool(bundle) and all(kind.startswith("application/scrapbook.") for kind in bundle)


def read(notebook: bytes) -> "NotebookNode":
    """Read a notebook of any version.

    Raises:
        ValueError: it is none.
    """
    import nbformat  # imported here: it takes longer than everything else

    try:
        return nbformat.reads(notebook.decode("utf-8"), as_version=4)
    except Exception as error:  # nbformat raises whatever it trips over
        raise ValueError(f"{type(error).__name__}: {error}") from error


def markdown_of(cell: Mapping[str, Any]) -> str:
    """Render the Markdown of a cell, its formulas as MathML."""
    return _rendered(
        cell["source"],
        escape=False,
        attachments=cell.get("attachments", {}),
        embed_images=False,
        exclude_anchor_links=True,
    )


def _rendered(source: str, **options: Any) -> str:
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):  # type: ignore[misc]
        """Markdown whose formulas are MathML, as far as they are understood."""

        def block_math(self, body: str) -> str:
            return to_mathml(body, is_block=True) or f"<code>{html.escape(body)}</code>"

        def inline_math(self, body: str) -> str:
            return to_mathml(body, is_block=False) or f"<code>{html.escape(body)}</code>"

        def latex_environment(self, name: str, body: str) -> str:
            source = rf"\begin{{{name}}}{body}\end{{{name}}}"
            return to_mathml(source, is_block=True) or f"<code>{html.escape(source)}</code>"

    text: str = MarkdownWithMath(renderer=Renderer(**options)).render(source)
    return without_frames(text)


def _exporter() -> Any:
    from jinja2 import pass_context
    from nbconvert import HTMLExporter

    class Exporter(HTMLExporter):  # type: ignore[misc]
        """nbconvert's exporter with our Markdown."""

        @pass_context
        def markdown2html(self, context: Any, source: str) -> str:
            """Render as nbconvert does, with our renderer."""
            return _rendered(
                source,
                escape=False,
                attachments=context.get("cell", {}).get("attachments", {}),
                embed_images=False,
                anchor_link_text=self.anchor_link_text,
                exclude_anchor_links=self.exclude_anchor_links,
                **self.lexer_options,
            )

    made = Exporter(sanitize_html=False, embed_images=False, raw_template=TEMPLATE)
    made.exclude_anchor_links = True
    made.log.setLevel(logging.ERROR)
    return made
