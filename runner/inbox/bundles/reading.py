"""Reads one `NAME.zip` or `NAME.job/`: finds its request and notebook, keeps the other files.

Decides nothing on whether it runs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from runner.contract.outcome import Failure, Refused, refuse
from runner.contract.request import Kind
from runner.contract.rules import BundleLimits
from runner.contract.states.status import ErrorType
from runner.inbox.bundles.names import digest_of
from runner.inbox.bundles.sources import Listed, NotWhole, Source
from runner.inbox.bundles.store import InputStore
from runner.inbox.contents import Bundle, Contents, Syntax, size_limit, syntax_of

REQUEST_STEM = "request"
_SETTINGS = (".yaml", ".yml", ".json")
_NAMED = 5

ReadDocument = Callable[[bytes, Syntax], Contents]
"""Reads a document, within bounds of time and memory."""


@dataclass(frozen=True)
class _Parts:
    """The files that make the request; each may be missing."""

    request: Listed | None
    notebook: Listed | None

    def rest(self, files: Sequence[Listed]) -> list[Listed]:
        """List the files that are neither."""
        return [one for one in files if one not in (self.request, self.notebook)]


def refused(failure: Failure) -> Contents:
    """Describe a request that cannot be read, for a reason that stays."""
    return Contents(kind=Kind.NOTEBOOK, is_request=True, refusal=failure)


def read_source(
    source: Source, stem: str, limits: BundleLimits, read: ReadDocument, store: InputStore
) -> Contents:
    """Read a request with its files, and write these into the store.

    `stem` is the request's own name: of several notebooks the one of this name is meant.

    Raises:
        NotWhole: it is damaged, or is still being written.
        Refused: it is no request that anybody can run.
        OSError: it cannot be read, or the store cannot be written.
    """
    parts = _parts_of(source.files, stem)
    if parts is None:
        return Contents(what=nothing_to_run(source.files))
    contents, parts, raw = _Documents(source, limits, read).read_parts(parts)
    rest = parts.rest(source.files)
    token, files = store.write((one.path, source.open(one)) for one in rest)
    return replace(
        contents,
        kind=Kind.NOTEBOOK,
        broken=None,
        bundle=Bundle(token, files, digest_of(raw, files)),
    )


def has_request(source: Source, stem: str) -> bool:
    """Return whether a request or a notebook is in it, without reading that.

    Raises:
        Refused: there are several.
    """
    return _parts_of(source.files, stem) is not None


def _parts_of(files: Sequence[Listed], stem: str) -> _Parts | None:
    """Find the request and the notebook; None if there is neither.

    Raises:
        Refused: there are several.
    """
    top = [one for one in files if "/" not in one.path]
    requests = [one for one in top if _is_called(one, REQUEST_STEM)]
    if len(requests) > 1:
        raise refuse(
            ErrorType.INVALID_REQUEST,
            f"There is more than one request: {_named(requests)}. Keep one.",
        )
    notebooks = [one for one in top if PurePosixPath(one.path).suffix.lower() == ".ipynb"]
    own = [one for one in notebooks if PurePosixPath(one.path).stem == stem]
    if requests:
        return _Parts(requests[0], notebooks[0] if len(notebooks) == 1 else None)
    if len(notebooks) > 1 and len(own) != 1:
        raise refuse(
            ErrorType.INVALID_REQUEST,
            f"There is more than one notebook: {_named(notebooks)}. Name the one to run in a "
            f"request.yaml beside them (`notebook: {notebooks[0].path}`), or call it "
            f"{stem!r}.",
        )
    if not notebooks:
        return None
    notebook = (own or notebooks)[0]
    beside = [one for one in top if _is_called(one, PurePosixPath(notebook.path).stem)]
    return _Parts(beside[0] if len(beside) == 1 else None, notebook)


def nothing_to_run(files: Sequence[Listed]) -> str:
    """Say why nothing in it runs: it is not known which notebook of a folder in it is meant."""
    inner = [one for one in files if PurePosixPath(one.path).suffix.lower() == ".ipynb"]
    if not inner:
        return "it has no notebook or request.yaml in it"
    return (
        f"its notebooks lie in folders ({_named(inner)}), and no request.yaml at its top names the "
        f"one to run (`notebook: {inner[0].path}`)"
    )


def _is_called(file: Listed, stem: str) -> bool:
    path = PurePosixPath(file.path)
    return path.stem == stem and path.suffix.lower() in _SETTINGS


@dataclass(frozen=True)
class _Documents:
    """Reads the documents of one source, each within its bounds."""

    source: Source
    limits: BundleLimits
    read: ReadDocument

    def read_parts(self, parts: _Parts) -> tuple[Contents, _Parts, bytes]:
        """Read request and notebook as one; return which files they are, and their bytes.

        Raises:
            NotWhole, Refused, OSError: as `read_source`.
        """
        if parts.request is None:
            assert parts.notebook is not None
            raw = self._bytes_of(parts.notebook, self.limits.notebook_bytes)
            contents = self.read(raw, Syntax.IPYNB)
            return replace(contents, notebook=raw, is_request=False), parts, raw
        suffix = PurePosixPath(parts.request.path).suffix.lower()
        raw = self._bytes_of(parts.request, size_limit(suffix, self.limits.notebook_bytes))
        contents = self._request(parts.request, raw)
        assert contents.request is not None
        named = contents.request.notebook
        own = next((one for one in self.source.files if one.path == _plain(named)), None)
        is_elsewhere = isinstance(named, str) and own is None
        if contents.notebook is not None or is_elsewhere:
            return contents, replace(parts, notebook=None), raw
        request, notebook_file = parts.request, own or parts.notebook
        if notebook_file is None:
            raise refuse(
                ErrorType.INVALID_REQUEST,
                f"{request.path!r} names no notebook, and there is not just one beside it.",
            )
        notebook = self._bytes_of(notebook_file, self.limits.notebook_bytes)
        parts = replace(parts, notebook=notebook_file)
        return self._with_notebook(contents, notebook), parts, raw + notebook

    def _request(self, file: Listed, raw: bytes) -> Contents:
        contents = self.read(raw, syntax_of(PurePosixPath(file.path).suffix.lower()))
        if contents.request is not None:
            return contents
        message = f"{file.path!r} is no request: {contents.what}."
        raise Refused(
            contents.refusal or Failure(error_type=ErrorType.INVALID_REQUEST, message=message)
        )

    def _with_notebook(self, contents: Contents, notebook: bytes) -> Contents:
        """Return a request with the notebook that lies beside it."""
        assert contents.request is not None
        seen = self.read(notebook, Syntax.IPYNB)
        return replace(
            contents,
            is_request=True,
            names_library=False,
            request=contents.request.model_copy(update={"notebook": None}),
            notebook=notebook,
            flaw=seen.flaw,
            has_cells=seen.has_cells,
            has_code=seen.has_code,
        )

    def _bytes_of(self, file: Listed, most: int) -> bytes:
        if file.size > most:
            raise refuse(
                ErrorType.NOTEBOOK_TOO_LARGE,
                f"{file.path!r} has {file.size} bytes, above the limit of {most / 1024**2:g} MB "
                "(limits.notebook_mb).",
            )
        with self.source.open(file) as opened:
            raw = opened.read(most + 1)
        if len(raw) != file.size:
            raise NotWhole(f"{file.path!r} changes")
        return raw


def _plain(named: object) -> str | None:
    return PurePosixPath(named).as_posix() if isinstance(named, str) else None


def _named(files: Sequence[Listed]) -> str:
    names = ", ".join(repr(one.path[:60]) for one in files[:_NAMED])
    return names if len(files) <= _NAMED else f"{names} and {len(files) - _NAMED} more"
