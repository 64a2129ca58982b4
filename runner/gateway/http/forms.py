"""Reads posted forms within their bounds: those of pages, and those of programs that send a file.

Knows bottle and nothing of jobs.
"""

from bottle import BaseRequest, HTTPError, request

from runner.config import MEGABYTE, Settings
from runner.gateway.http.problems import bad
from runner.jobs.submissions import too_large

FORM_BYTES = 1 * MEGABYTE
"""Most bytes of a form beside its notebook."""


class _Form(BaseRequest):  # type: ignore[misc]
    """Bottle's forms, with room for a notebook."""

    __slots__ = ()
    MEMFILE_MAX = 512 * MEGABYTE


def posted(settings: Settings) -> BaseRequest:
    """Read the posted form, within its bounds.

    Raises:
        Problem: 400 where it cannot be taken apart, 413.
    """
    limit = settings.limits.notebook_mb
    length = int(request.environ.get("CONTENT_LENGTH") or 0)
    if length > limit * MEGABYTE + FORM_BYTES:
        raise too_large(limit)
    form = _Form(request.environ)
    try:
        form.POST  # noqa: B018  (taken apart once, and kept)
    except HTTPError as error:
        if error.status_code != 400:
            raise
        reason = str(error.body).removeprefix("MultipartError: ").rstrip(".")
        raise bad(f"The form cannot be read: {reason}.") from error
    return form


def texts(form: BaseRequest) -> dict[str, str]:
    """Return the last text of each field: a ticked box comes after the field of an empty one.

    Raises:
        Problem: 400, they are no UTF-8.
    """
    try:
        decoded = form.forms.decode()
    except UnicodeError as error:
        raise bad("The form's texts are no UTF-8.") from error
    return {name: decoded.getall(name)[-1] for name in decoded}


def uploads(form: BaseRequest) -> list[bytes]:
    """Return the bytes of each file in the form."""
    return [upload.file.read() for _, upload in form.files.allitems()]
