"""Draws the phases of one tiny notebook as an SVG, readable in light and in dark."""

from collections.abc import Iterator, Mapping
from html import escape

from speed.phases import ACCEPTED, BESIDE, CELLS, IMPORTS, KERNEL, PUBLISHED, REST, SEEN, Phases
from speed.ways import DROP

WIDTH, LEFT, RIGHT = 900, 215, 90
BAR, STEP = 24, 42
AHEAD = 150
"""Width of what is drawn left of the drop: it has no scale."""
COLOURS = {
    IMPORTS: "imports",
    KERNEL: "kernel",
    CELLS: "cells",
    REST: "rest",
    SEEN: "seen",
    ACCEPTED: "accepted",
    BESIDE: "rest",
    PUBLISHED: "published",
}
STYLE = """
.ground { fill: #ffffff } text { font: 13px system-ui, sans-serif; fill: #24292f }
.small { font-size: 12px; fill: #57606a } .head { font-size: 15px; font-weight: 600 }
.imports { fill: #8fb4dc } .kernel { fill: #e9a25f } .cells { fill: #6cb277 }
.rest { fill: #b7a4d6 } .published { fill: #8f79bd }
.seen { fill: #d9c46a } .accepted { fill: #d98a8a }
.ahead { fill: none; stroke: #8c959f; stroke-dasharray: 4 3 } .axis { stroke: #8c959f }
@media (prefers-color-scheme: dark) {
  .ground { fill: #161b22 } text { fill: #e6edf3 } .small { fill: #9da7b3 }
  .imports { fill: #4d78a8 } .kernel { fill: #b87333 } .cells { fill: #3f8650 }
  .rest { fill: #7d68a6 } .published { fill: #5f4a8a }
  .seen { fill: #98873a } .accepted { fill: #9a5252 }
}
"""


def drawn(ways: Mapping[str, Phases]) -> str:
    """The whole figure: all ways on one scale, and the drop once more on its own."""
    body = [*_ways(ways), *_zoomed(ways[DROP], 40 + STEP * len(ways) + 60)]
    height = 40 + STEP * len(ways) + 60 + 90
    about = "A tiny notebook by the papermill command, by nbclient and by a drop, phase by phase"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{about}"><style>{STYLE}</style>'
        f'<rect class="ground" width="{WIDTH}" height="{height}"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _ways(ways: Mapping[str, Phases]) -> Iterator[str]:
    yield _text(20, 26, "One tiny notebook, each way on the same scale", "head")
    longest = max(sum(phases.values()) for phases in ways.values())
    scale = (WIDTH - LEFT - RIGHT) / longest
    for row, (way, phases) in enumerate(ways.items()):
        y = 44 + row * STEP
        yield _text(20, y + 17, way)
        yield from _bar(phases, LEFT, y, scale)
        end = LEFT + sum(phases.values()) * scale
        yield _text(end + 8, y + 17, _ms(sum(phases.values())))
    y, x = 44 + len(ways) * STEP + 8, LEFT
    for name in (IMPORTS, KERNEL, CELLS, REST):
        yield f'<rect class="{COLOURS[name]}" x="{x}" y="{y}" width="12" height="12"/>'
        yield _text(x + 18, y + 11, name, "small")
        x += 140


def _zoomed(phases: Phases, y: int) -> Iterator[str]:
    """The drop alone, what was ready before it, and each phase by name."""
    yield _text(
        20, y, "The drop once more, enlarged: what is dashed was ready before it came", "head"
    )
    begin, y = 20 + AHEAD + 10, y + 16
    yield f'<rect class="ahead" x="20" y="{y}" width="{AHEAD}" height="{BAR}" rx="3"/>'
    yield _text(28, y + 17, "imports, fork, kernel", "small")
    whole = sum(phases.values())
    scale = (WIDTH - begin - RIGHT) / whole
    yield from _bar(phases, begin, y, scale)
    yield _text(begin + whole * scale + 8, y + 17, _ms(whole))
    x = 20
    for name, took in phases.items():
        label = f"{name}: {_ms(took)}"
        yield f'<rect class="{COLOURS[name]}" x="{x}" y="{y + 42}" width="12" height="12"/>'
        yield _text(x + 18, y + 53, label, "small")
        x += 46 + int(7 * len(label))


def _bar(phases: Phases, x: float, y: float, scale: float) -> Iterator[str]:
    for name, took in phases.items():
        width = took * scale
        about = f"<title>{escape(name)}: {_ms(took)}</title>"
        yield (
            f'<rect class="{COLOURS[name]}" x="{x:.1f}" y="{y}" width="{width:.1f}" '
            f'height="{BAR}">{about}</rect>'
        )
        x += width


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    of_kind = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y}"{of_kind}>{escape(text)}</text>'


def _ms(took: float) -> str:
    return f"{took:.1f} ms" if took < 10 else f"{took:,.0f} ms"
