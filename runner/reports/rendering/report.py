"""Writes an executed notebook as a report: what it says and shows, without what made it.

Tags of cells are honoured as Jupyter Book and nbconvert have them: `remove_cell`, `remove_input`,
`remove_output`, with `-` too, and `hide_…` in the same sense. The page has no script, and a policy
under which none would run.
"""

import base64
import html
import re
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from runner.contract.displays import says_nothing
from runner.contract.text.markup import html_text
from runner.reports.rendering.figures import figures_of, is_loader
from runner.reports.rendering.notebook import markdown_of, prepare, read
from runner.reports.rendering.options import ReportOptions
from runner.reports.rendering.style import STYLE

if TYPE_CHECKING:
    from nbformat import NotebookNode

POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; img-src data:; "
    "style-src 'unsafe-inline'; font-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)
"""Content-Security-Policy: an origin of its own, no script, and nothing from elsewhere."""
LIVE_POLICY = POLICY.replace("sandbox ", "sandbox allow-scripts ", 1) + "; frame-src 'self'"
"""The same with frames. A frame may do no more than the page around it, so that may have scripts by
its sandbox; `default-src` still lets none run.
"""
NO_FIGURE = "it has no such figure"
FRAME = (
    '<figure class="output frame"><iframe sandbox="allow-scripts" loading="{loading}" '
    'title="{title}" src="{source}" height="{height}"></iframe></figure>'
)
PAGE = """<!doctype html>
<html lang="en" data-theme="{theme}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="{scheme}">
<meta name="robots" content="noindex">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<header><h1>{title}</h1>
<p class="about">{about}</p></header>
{body}
</main>
</body>
</html>
"""
_SCHEMES = {"auto": "light dark", "light": "light", "dark": "dark"}
_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_HEADING = re.compile(r"\A\s*#\s+(.+?)\s*#*\s*(?:\n|\Z)")


def report_of(notebook: bytes, options: ReportOptions) -> str:
    """Write the report of a notebook, as HTML or Markdown.

    Raises:
        ValueError: it cannot be read as a notebook.
    """
    content = read(notebook)
    frames = _framed(_shown_cells(content.cells), options) if options.is_live else {}
    prepare(content)
    cells = [cell for cell in content.cells if not _has(cell, "cell")]
    # The first heading is the title, or stays where another one was chosen.
    title = " ".join((options.title or _taken_title(cells) or options.name).split())
    if options.form == "md":
        return _markdown(cells, title, options)
    body = "\n".join(part for cell in cells for part in _parts(cell, options, frames))
    return PAGE.format(
        theme=options.theme if options.theme in _SCHEMES else "auto",
        scheme=_SCHEMES.get(options.theme, _SCHEMES["auto"]),
        title=html.escape(title),
        about=html.escape(options.about),
        style=STYLE,
        body=body,
    )


def _has(cell: Mapping[str, Any], what: str) -> bool:
    """Return whether a cell has a tag that takes this part of it away."""
    tags = {str(tag).lower().replace("-", "_") for tag in cell["metadata"].get("tags", ())}
    return bool(tags & {f"remove_{what}", f"hide_{what}"})


def _taken_title(cells: "list[NotebookNode]") -> str:
    """Take the title out of the first cell, if that begins with one: the page's head has it."""
    if not cells or cells[0].cell_type != "markdown":
        return ""
    match = _HEADING.match(cells[0].source)
    if match is None:
        return ""
    cells[0].source = cells[0].source[match.end() :]
    return re.sub(r"[*_`]", "", match[1])


def figure_page(notebook: bytes, number: int) -> str:
    """Write the page of a figure, for a frame in the report.

    Raises:
        ValueError: there is no such figure, or it cannot be read as a notebook.
    """
    figures = islice(figures_of(_shown_cells(read(notebook).cells)), number, None)
    _, figure = next(figures, (None, None))
    if figure is None:
        raise ValueError(NO_FIGURE)
    return figure.page()


def _shown_cells(cells: "list[NotebookNode]") -> "list[NotebookNode]":
    """Return the cells whose outputs are shown."""
    return [cell for cell in cells if not _has(cell, "cell") and not _has(cell, "output")]


def _framed(cells: "list[NotebookNode]", options: ReportOptions) -> dict[int, str]:
    """Take the figures out of their outputs; return the frame of each, by its output's identity."""
    frames = {}
    loading = "eager" if options.form == "pdf" else "lazy"  # only what is loaded can be printed
    for number, (output, figure) in enumerate([*figures_of(cells)]):
        source = html.escape(f"{options.frames}{number}", quote=True)
        title = f"{figure.title} {number + 1}"
        frames[id(output)] = FRAME.format(
            title=title, source=source, height=figure.height, loading=loading
        )
        output.data = {"text/markdown": ""}
    for cell in cells:
        if "outputs" in cell:
            cell.outputs = [one for one in cell.outputs if not is_loader(one.get("data") or {})]
    return frames


def _parts(
    cell: "NotebookNode", options: ReportOptions, frames: Mapping[int, str]
) -> Iterable[str]:
    if cell.cell_type == "markdown" and not _has(cell, "input"):
        yield f'<section class="text">{markdown_of(cell)}</section>'
    elif cell.cell_type == "code":
        if options.code and cell.source.strip() and not _has(cell, "input"):
            yield f'<pre class="code" tabindex="0"><code>{html.escape(cell.source)}</code></pre>'
        if not _has(cell, "output"):
            yield from _outputs(cell, frames)


def _outputs(cell: "NotebookNode", frames: Mapping[int, str]) -> Iterable[str]:
    for output in cell.outputs:
        if id(output) in frames:
            yield frames[id(output)]
        elif output.output_type == "stream":
            text = _plain(output.text)
            if text.strip():
                yield f'<pre class="stream {output.name}" tabindex="0">{html.escape(text)}</pre>'
        elif output.output_type == "error":
            text = f"{output.ename}: {output.evalue}"
            yield f'<pre class="error" tabindex="0">{html.escape(_plain(text))}</pre>'
        else:
            shown = _shown(output.get("data") or {})
            if shown:
                yield f'<figure class="output" tabindex="0">{shown}</figure>'


def _shown(bundle: Mapping[str, Any]) -> str:
    """Show an output by its richest form that needs no script."""
    if isinstance(rich := bundle.get("text/html"), str):
        return rich
    if isinstance(drawing := bundle.get("image/svg+xml"), str):
        coded = base64.b64encode(drawing.encode()).decode()
        return f'<img alt="" src="data:image/svg+xml;base64,{coded}">'
    for kind in _PICTURES:
        if isinstance(picture := bundle.get(kind), str):
            data = re.sub(r"[^A-Za-z0-9+/=]", "", picture)
            said = html.escape(str(bundle.get("text/plain", "")), quote=True)
            return f'<img alt="{said}" src="data:{kind};base64,{data}">'
    if isinstance(text := bundle.get("text/markdown"), str):
        return markdown_of({"source": text})
    if isinstance(text := bundle.get("text/plain"), str):
        return f"<pre>{html.escape(_plain(text))}</pre>"
    return ""


def _plain(text: str) -> str:
    """Take a terminal's colours out."""
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)


def _markdown(cells: "list[NotebookNode]", title: str, options: ReportOptions) -> str:
    parts = [f"# {title}", options.about]
    for cell in cells:
        if cell.cell_type == "markdown" and not _has(cell, "input"):
            parts.append(cell.source.strip())
        elif cell.cell_type == "code":
            if options.code and cell.source.strip() and not _has(cell, "input"):
                parts.append(_fenced(cell.source, "python"))
            if not _has(cell, "output"):
                parts += [_as_markdown(output) for output in cell.outputs]
    return "\n\n".join(part for part in parts if part) + "\n"


def _as_markdown(output: "NotebookNode") -> str:
    if output.output_type == "stream":
        return _fenced(_plain(output.text))
    if output.output_type == "error":
        return _fenced(_plain(f"{output.ename}: {output.evalue}"))
    bundle = output.get("data") or {}
    for kind in _PICTURES:
        if isinstance(picture := bundle.get(kind), str):
            data = re.sub(r"[^A-Za-z0-9+/=]", "", picture)
            return f"![](data:{kind};base64,{data})"
    if isinstance(text := bundle.get("text/markdown"), str):
        return text
    if says_nothing(bundle) and isinstance(rich := bundle.get("text/html"), str):
        return _fenced(html_text(rich))
    text = bundle.get("text/plain")
    return _fenced(_plain(text)) if isinstance(text, str) else ""


def _fenced(text: str, language: str = "") -> str:
    """Put text into a fence that is longer than any in it."""
    if not text.strip():
        return ""
    longest = max((len(run) for run in re.findall("`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
