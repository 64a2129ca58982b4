"""The look of a report: one column, light or dark, on paper too."""

STYLE = """
:root { --ink: #1d2430; --soft: #5a6474; --paper: #fff; --line: #dfe3ea; --tint: #f4f6f9;
  --accent: #2f4db4; --bad: #a3261f; }
@media (prefers-color-scheme: dark) { :root:not([data-theme=light]) { --ink: #e8ebf1;
  --soft: #a3adbd; --paper: #14171d; --line: #323946; --tint: #1c212a; --accent: #9db3ff;
  --bad: #ff9a8f; } }
:root[data-theme=dark] { --ink: #e8ebf1; --soft: #a3adbd; --paper: #14171d; --line: #323946;
  --tint: #1c212a; --accent: #9db3ff; --bad: #ff9a8f; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1.0625rem/1.6 system-ui, "DejaVu Sans", sans-serif; overflow-wrap: break-word; }
main { max-width: 800px; margin: 0 auto; padding: 40px 24px 72px; }
header { margin-bottom: 32px; padding-bottom: 14px; border-bottom: 1px solid var(--line); }
h1, h2, h3, h4 { line-height: 1.25; margin: 1.6em 0 0.5em; text-wrap: balance; }
header h1 { margin: 0 0 6px; font-size: 2rem; }
h2 { font-size: 1.4rem; } h3 { font-size: 1.15rem; } h4 { font-size: 1rem; }
.about { margin: 0; color: var(--soft); font-size: 0.9rem; }
a { color: var(--accent); }
section.text > :first-child { margin-top: 0.4em; }
blockquote { margin: 1em 0; padding: 2px 16px; border-left: 3px solid var(--line);
  color: var(--soft); }
hr { border: 0; border-top: 1px solid var(--line); margin: 2em 0; }
pre { margin: 1em 0; padding: 12px 14px; overflow-x: auto; background: var(--tint);
  border-radius: 8px; font: 0.875rem/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
code { font: 0.9em ui-monospace, "DejaVu Sans Mono", monospace; }
pre code { font: inherit; }
pre.stderr, pre.error { color: var(--bad); }
figure.output { margin: 1.2em 0; overflow-x: auto; }
figure.output > pre { margin: 0; overflow: visible; width: max-content; min-width: 100%; }
img, svg { max-width: 100%; height: auto; }
figure.output img { display: block; margin: 0 auto; background: #fff; border-radius: 6px; }
figure.frame { background: #fff; border-radius: 6px; }
iframe { display: block; width: 100%; border: 0; }
table { border-collapse: collapse; border: 0; font-size: 0.9rem;
  font-variant-numeric: tabular-nums; }
section.text table { display: block; overflow-x: auto; }
th, td { padding: 6px 12px; border: 0; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
th { color: var(--soft); font-weight: 600; }
section.text th, section.text td { text-align: left; }
.formula { display: inline-block; max-width: 100%; overflow-x: auto; vertical-align: bottom; }
math[display=block] { margin: 1em 0; overflow-x: auto; max-width: 100%; }
@media (max-width: 480px) { main { padding: 24px 16px 48px; } header h1 { font-size: 1.6rem; } }
@page { size: A4; margin: 18mm 16mm 20mm;
  @bottom-right { content: counter(page) " / " counter(pages); color: #444;
    font: 9pt system-ui, "DejaVu Sans", sans-serif; } }
@media print { :root:root { color-scheme: light; --ink: #000; --paper: #fff; --soft: #444;
    --line: #bbb; --tint: #f4f4f4; --accent: #1f3a9e; --bad: #900; }
  body { font-size: 10.5pt; font-variant-ligatures: none; }
  main { max-width: none; padding: 0; }
  h1, h2, h3, h4, pre.code { break-after: avoid; }
  p, li { orphans: 3; widows: 3; }
  img, svg, tr, math, iframe, figure.output:not(:has(table, pre)) { break-inside: avoid; }
  figure.output, section.text table, .formula, math[display=block] { overflow: visible; }
  img, svg { max-height: 235mm; object-fit: contain; }
  figure.output img { width: auto; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  figure.output > pre { width: auto; }
  section.text table { display: table; }
  th, td { white-space: normal; overflow-wrap: anywhere; padding: 3px 6px; }
  table:has(tr > :nth-child(10)) { font-size: 6pt; }
  table:has(tr > :nth-child(18)) { font-size: 4.5pt; }
  table:has(tr > :nth-child(10)) :is(th, td) { padding: 1px 2px; } }
"""
