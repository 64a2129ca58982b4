"""Draws stacks as a flame: an SVG that needs no script, readable in light and in dark."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape

from profiling.stacks import Stacks

WIDTH, ROW, LETTER = 1400, 18, 6.6
LEAST = 0.6
"""Narrower frames are left out."""
_STYLE = """
text { font: 11px ui-monospace, monospace; fill: #222; pointer-events: none }
.title { font: 14px system-ui, sans-serif; fill: #333 }
rect { stroke: #fff; stroke-width: 0.5; rx: 2 }
.runner { fill: #8ec07c } .library { fill: #f2c777 }
.system { fill: #e58f7b } .python { fill: #b5c7e3 }
@media (prefers-color-scheme: dark) {
  svg { background: #1b1b1b } rect { stroke: #1b1b1b } .title { fill: #ddd }
}
"""


@dataclass
class _Frame:
    took: float = 0.0
    below: dict[str, "_Frame"] = field(default_factory=dict)

    def depth(self) -> int:
        return 1 + max((one.depth() for one in self.below.values()), default=0)


def flame(title: str, stacks: Stacks, count: int) -> str:
    """The SVG of stacks whose milliseconds are of so many jobs; each frame says its own a job."""
    root = _Frame()
    for stack, took in stacks.items():
        at = root
        at.took += took
        for name in stack:
            at = at.below.setdefault(name, _Frame())
            at.took += took
    height = (root.depth() + 2) * ROW
    body = "\n".join(_drawn(root, 0.0, WIDTH / max(root.took, 1e-9), 2, count))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">'
        f"<style>{_STYLE}</style>"
        f'<text class="title" x="6" y="18">{escape(title)}: {root.took / count:.1f} ms a job</text>'
        f"\n{body}\n</svg>\n"
    )


def _drawn(frame: _Frame, x: float, scale: float, row: int, count: int) -> Iterator[str]:
    for name, one in sorted(frame.below.items()):
        width = one.took * scale
        if width >= LEAST:
            y = row * ROW
            letters = int((width - 6) / LETTER)
            text = name if len(name) <= letters else name[: max(letters - 1, 0)] + "…"
            label = (
                f'<text x="{x + 3:.1f}" y="{y + 13}">{escape(text)}</text>' if letters > 3 else ""
            )
            about = escape(f"{name}: {one.took / count:.2f} ms a job")
            yield (
                f'<g><title>{about}</title><rect class="{_kind(name)}" x="{x:.1f}" y="{y}" '
                f'width="{width:.1f}" height="{ROW - 1}"/>{label}</g>'
            )
            yield from _drawn(one, x, scale, row + 1, count)
        x += width


def _kind(name: str) -> str:
    if name.endswith("[system]"):
        return "system"
    if name.startswith(("runner/", "bench/")):
        return "runner"
    return "library" if "/" in name.partition(":")[0] else "python"
