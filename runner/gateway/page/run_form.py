"""Leads from a notebook to a job: choose it, see its parameters as a form, run it.

The form carries the notebook of a dropped file; nothing is kept here. It submits as `POST /run`
does.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from bottle import HTTPResponse, request

from runner.config import MEGABYTE
from runner.contract.names import is_made_name, job_name
from runner.contract.notebook import parse_checked
from runner.contract.outcome import Refused
from runner.contract.parameters.signature import Signature, signature_of
from runner.contract.text.strict_json import dumps_compact
from runner.gateway.http.answers import see_other
from runner.gateway.http.forms import posted, texts, uploads
from runner.gateway.http.problems import status_of
from runner.gateway.page import form
from runner.gateway.page.fields import Field, fields_of
from runner.gateway.page.form import Typed
from runner.gateway.page.overview import JobLine, line_of
from runner.gateway.page.titles import Titles
from runner.inbox.bundles.uploads import Upload, checked
from runner.inbox.library import library_reader, listing
from runner.jobs.backend import Backend
from runner.jobs.body import read_body
from runner.jobs.problem import Problem
from runner.jobs.submissions import too_large
from runner.state.jobs import Job, JobFilter
from runner.state.ledger_reader import LedgerReader

FACE = "page"
KEPT_KEYS = ("kernel", "retry", "priority", "group", "callback", "report")
"""Keys that a job keeps when it runs again, without a field in the form."""

_SOURCES = ("library", "job", "content", "title")
Page = Callable[..., HTTPResponse]


class Asking:
    """The forms of one gateway. `page` renders a template as the pages do."""

    def __init__(self, backend: Backend, page: Page) -> None:
        self._settings = settings = backend.settings
        self._record = backend.record
        self._runs = backend.runs
        self._page = page
        self._library = library_reader(
            settings.notebooks, int(settings.limits.notebook_mb * MEGABYTE)
        )
        self._titles = Titles(self._library)
        self._functions = backend.functions

    def routes(self) -> Iterator[tuple[str, str, Callable[..., HTTPResponse]]]:
        """List method, path and answer of each route."""
        yield "GET", "/ui/run", self._ask
        yield "POST", "/ui/inspect", self._inspect
        yield "POST", "/ui/run", self._run

    def shelf(self) -> dict[str, Any]:
        """Return the notebooks with their last runs, or the reason why there is none."""
        try:
            listed = listing(self._settings.notebooks)
        except OSError as error:
            trouble = f"The notebooks folder cannot be read: {error.strerror}."
            return {
                "notebooks": (),
                "titles": {},
                "runs": {},
                "trouble": trouble,
                "wrong": {},
                "is_cut": False,
            }
        runs: dict[str, JobLine] = {}
        trouble = ""
        try:
            with self._record.ledger() as ledger:
                paths = [one.path for one in listed.notebooks]
                runs = {path: line_of(job) for path, job in _last_runs(ledger, paths).items()}
        except Problem as problem:
            trouble = problem.message
        return {
            "notebooks": listed.notebooks,
            "titles": self._titles.of(listed.notebooks),
            "runs": runs,
            "trouble": trouble,
            "wrong": self._functions.broken(one.path for one in listed.notebooks),
            "is_cut": listed.is_cut,
        }

    def _ask(self) -> HTTPResponse:
        """Answer with the form for a notebook, or with the choice of one."""
        path, job_id = request.query.getunicode("notebook"), request.query.get("job")
        if path is not None:
            return self._form({"library": path}, self._document({"library": path}))
        if job_id is not None:
            return self._form({"job": job_id}, self._document({"job": job_id}), again=job_id)
        return self._choose()

    def _choose(self, error: str = "", status: int = 200) -> HTTPResponse:
        shelf = self.shelf()
        return self._page("choose.html", status, here="run", error=error, **shelf)

    def _inspect(self) -> HTTPResponse:
        """Answer with the form of a notebook that was dropped on the page."""
        upload = posted(self._settings).files.get("file")
        limits = self._settings.limits
        most = int(limits.notebook_mb * MEGABYTE)
        raw = upload.file.read(most + 1) if upload is not None else b""
        if len(raw) > most:
            raise too_large(limits)
        if not raw:
            return self._choose("Choose a notebook first: a file that ends in .ipynb.", 422)
        try:
            document = parse_checked(raw)
        except Refused as refusal:
            return self._choose(refusal.failure.message, 422)
        title = re.split(r"[/\\]", upload.raw_filename)[-1]
        content = dumps_compact(document).decode()
        return self._form({"content": content, "title": title}, document)

    def _form(
        self,
        source: Mapping[str, str],
        document: Mapping[str, Any],
        *,
        again: str | None = None,
        given: Typed | None = None,
        status: int = 200,
    ) -> HTTPResponse:
        fields = self._fields(source, document)
        asked = self._record.request_of(again) or {} if again is not None else {}
        if given is None:
            given = form.filled(fields, asked.get("parameters") or {})
            name = self._name_of(again) if again else _name_for(source)
            given = form.named(given, asked, name)
        return self._page(
            "form.html",
            status,
            here="run",
            source=source,
            title=source.get("library") or source.get("title") or self._name_of(again),
            form=given,
            run_seconds=self._settings.limits.run_seconds,
            max_run_seconds=self._settings.limits.max_run_seconds,
            memory_mb=self._settings.limits.memory_mb,
            is_cluster=self._settings.execution.is_cluster,
            is_library="library" in source or isinstance(asked.get("notebook"), str),
            inputs=[] if again is None else self._record.files_of(self._record.job(again)),
        )

    def _name_of(self, job_id: str | None) -> str:
        """Return the name that somebody chose for a job."""
        if job_id is None:
            return ""
        name = self._record.name_of(job_id)
        return "" if is_made_name(name) else name

    def _document(self, source: Mapping[str, str]) -> Mapping[str, Any]:
        """Return the notebook of a form: of the library, of a job, or in the form itself.

        Raises:
            Refused, Problem: it is not there, or is no notebook.
        """
        if "library" in source:
            return parse_checked(self._library(source["library"]))
        if "job" in source:
            _, raw = self._record.input_of(self._record.job(source["job"]))
            return parse_checked(raw or b"")
        return parse_checked(source.get("content", "").encode())

    def _fields(self, source: Mapping[str, str], document: Mapping[str, Any]) -> tuple[Field, ...]:
        """Return the fields of a form: by the types of the notebook, and of the file beside it."""
        return fields_of(self._signature(source, document).parameters)

    def _signature(self, source: Mapping[str, str], document: Mapping[str, Any]) -> Signature:
        if "library" in source:
            return self._functions.of(source["library"]).signature
        earlier = self._record.request_of(source["job"]) if "job" in source else None
        path = (earlier or {}).get("notebook")
        if isinstance(path, str):
            with suppress(Refused):  # it is gone or wrong by now; the runner says so
                return self._functions.of(path).signature
        return signature_of(document)

    def _run(self) -> HTTPResponse:
        posted_form = posted(self._settings)
        fields = texts(posted_form)
        source = {name: fields[name] for name in _SOURCES if fields.get(name)}
        document = self._document(source)
        again = source.get("job")
        earlier = (self._record.request_of(again) or {}) if again is not None else {}
        read = form.typed(self._fields(source, document), fields.get)
        wanted, read = form.request_of(read, _to_run(source, document, earlier))
        wanted |= _kept(earlier, wanted)
        if not read.is_wrong:
            files = [one.upload for one in uploads(posted_form) if one.field == "files"]
            job_id, read = self._submit(wanted, [*self._along(again, files), *files], read)
            if job_id is not None:
                return see_other(f"/jobs/{job_id}")
        return self._form(source, document, again=again, given=read, status=422)

    def _along(self, again: str | None, chosen: Sequence[Upload]) -> list[Upload]:
        """Return the files of the job that runs again, but for those that are chosen anew."""
        if again is None:
            return []
        names = {one.path for one in chosen}
        files = self._runs.files_of(self._record.job(again))
        return [one for one in files if one.path not in names]

    def _submit(
        self, wanted: Mapping[str, Any], files: Sequence[Upload], read: Typed
    ) -> tuple[str | None, Typed]:
        """Submit, and return the job's id, or the form with the contract's objection."""
        try:
            asked = read_body(dumps_compact(wanted), self._settings)
            asked = replace(asked, files=checked(files, self._settings.bundle_limits))
            return self._runs.submit(asked.submitted_by(FACE), None).job_id, read
        except Refused as refusal:
            return None, form.blamed(read, refusal.failure.message)
        except Problem as problem:
            if status_of(problem) >= 500:
                raise
            return None, form.blamed(read, problem.message)


def _last_runs(ledger: LedgerReader, paths: Iterable[str]) -> dict[str, Job]:
    """Return the newest job of each library notebook, requested or dropped under its name."""
    by_path = ledger.library_runs()
    runs = {}
    for path in paths:
        dropped = ledger.jobs(JobFilter(name=job_name(path.removesuffix(".ipynb"))), limit=1)
        candidates = [job for job in (by_path.get(path), *dropped) if job is not None]
        if candidates:
            runs[path] = max(candidates, key=lambda job: job.seq)
    return runs


def _to_run(
    source: Mapping[str, str], document: Mapping[str, Any], earlier: Mapping[str, Any]
) -> Any:
    """Return a request's notebook or its path; a job of the library runs from there again."""
    path = source.get("library") or earlier.get("notebook")
    return path if isinstance(path, str) else document


def _kept(earlier: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of an earlier request that have no field in the form."""
    kept = {key: earlier[key] for key in KEPT_KEYS if key in earlier}
    others = {k: v for k, v in earlier.get("resources", {}).items() if k != "memory_mb"}
    resources = {**others, **wanted.get("resources", {})}
    return {**kept, "resources": resources} if resources else kept


def _name_for(source: Mapping[str, str]) -> str:
    """Return the name that a notebook would have if it was dropped into the inbox."""
    path = source.get("library") or source.get("title") or ""
    return job_name(re.sub(r"\.(ipynb|json)$", "", path, flags=re.IGNORECASE)) if path else ""
