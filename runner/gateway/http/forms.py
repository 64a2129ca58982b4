"""Reads posted forms within their bounds: those of pages, and those of programs that send a file.

Knows bottle and nothing of jobs.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO, Any

from bottle import (
    BaseRequest,
    FileUpload,
    FormsDict,
    HTTPError,
    MultipartError,
    _MultipartParser,
    _parse_http_header,
    request,
)

from runner.config import MEGABYTE, Settings
from runner.gateway.http.problems import bad
from runner.inbox.bundles.uploads import Upload
from runner.jobs.body import FormFile
from runner.jobs.submissions import too_large

FORM_BYTES = 1 * MEGABYTE
"""Most bytes of a form beside its notebook."""


BUFFERED_BYTES = 64 * 1024
"""A larger part of a form lies on disk while it is read."""
MOST_PARTS = 2_000
DISK_BYTES = 4 * 1024 * MEGABYTE
"""All parts together; what may go along is checked once they have names."""


class _Form(BaseRequest):  # type: ignore[misc]
    """Bottle's forms, with room for a notebook."""

    __slots__ = ()
    MEMFILE_MAX = 512 * MEGABYTE


def posted(settings: Settings) -> BaseRequest:
    """Read the posted form, within its bounds.

    Raises:
        Problem: 400 where it cannot be taken apart, 413.
    """
    limits = settings.limits
    is_multipart = request.content_type.lower().startswith("multipart/")
    limit = limits.notebook_mb + (limits.inputs_mb if is_multipart else 0)
    length = int(request.environ.get("CONTENT_LENGTH") or 0)
    if length > limit * MEGABYTE + FORM_BYTES:
        raise too_large(limits, with_files=is_multipart)
    form = (_Multipart if is_multipart else _Form)(request.environ)
    try:
        form.POST  # noqa: B018  (taken apart once, and kept)
    except HTTPError as error:
        if error.status_code != 400:
            raise
        reason = str(error.body).removeprefix("MultipartError: ").rstrip(".")
        raise bad(f"The form cannot be read: {reason}.") from error
    except (LookupError, ValueError) as error:  # an unknown charset, names that are none in it
        raise bad(f"The form cannot be read: {error}.") from error
    return form


class _Multipart(BaseRequest):  # type: ignore[misc]
    """The same of a form with files: a large body, and each large part of it, lie on disk."""

    __slots__ = ()
    MEMFILE_MAX = 1 * MEGABYTE

    @property
    def POST(self) -> FormsDict:  # noqa: N802 - bottle's name
        """Take the form apart, as bottle does; it allows all parts together only as much as one."""
        fields = self.environ.get("runner.form")
        if fields is None:
            _, options = _parse_http_header(self.environ.get("CONTENT_TYPE", ""))[0]
            parser = _MultipartParser(
                self.environ["wsgi.input"],
                options.get("boundary") or "",
                self.content_length,
                mem_limit=BUFFERED_BYTES * MOST_PARTS,
                memfile_limit=BUFFERED_BYTES,
                disk_limit=DISK_BYTES,
                charset=options.get("charset", "utf8"),
            )
            fields = self.environ["runner.form"] = _fields_of(parser.parse())
        return fields


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


def uploads(form: BaseRequest) -> list[FormFile]:
    """Return the files of the form."""
    return [
        FormFile(field, Upload(_name_of(upload), _size_of(upload.file), partial(_again, upload)))
        for field, upload in form.files.allitems()
    ]


def _name_of(upload: FileUpload) -> str:
    """Return the name under which a file goes along; old browsers send a whole path of Windows."""
    name: str = upload.raw_filename.rpartition("\\")[2]
    return name.lstrip("/")


def _size_of(file: IO[bytes]) -> int:
    return file.seek(0, os.SEEK_END)


@contextmanager
def _again(upload: FileUpload) -> Iterator[IO[bytes]]:
    """Give a file from its beginning; it lasts as long as its form."""
    upload.file.seek(0)
    yield upload.file


def _fields_of(parts: Iterable[Any]) -> FormsDict:
    """Sort the parts of a form into texts and files: a file has a name.

    Raises:
        MultipartError: there are too many.
    """
    fields = FormsDict()
    fields.recode_unicode = False
    for number, part in enumerate(parts, 1):
        if number > MOST_PARTS:
            raise MultipartError(f"It has more than {MOST_PARTS} parts")
        if part.filename:
            file = FileUpload(part.file, part.name, part.filename, part.headerlist)
            fields[part.name] = file
        else:
            fields[part.name] = part.value
    return fields
