"""An executed notebook as a page to look at.

No script of it may ever run: the page goes out under a policy that forbids all of them.
"""

POLICY = (
    "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:; "
    "frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
)
"""Content-Security-Policy Level 3: a sandbox without allow-scripts, and nothing from elsewhere."""


def to_html(notebook: bytes) -> str:
    """Render with nbconvert's own template.

    Raises:
        ValueError: it cannot be read as a notebook.
    """
    import nbformat  # both only where a notebook is looked at: they take longer than all the rest
    from nbconvert import HTMLExporter

    try:
        found = nbformat.reads(notebook.decode("utf-8"), as_version=4)
    except Exception as error:  # nbformat raises whatever it trips over
        raise ValueError(f"{type(error).__name__}: {error}") from error
    exporter = HTMLExporter(sanitize_html=False, embed_images=False, exclude_input_prompt=False)
    page: str = exporter.from_notebook_node(found)[0]
    return page
