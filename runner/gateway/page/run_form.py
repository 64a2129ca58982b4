"""Leads from a notebook to a job: choose it, see its parameters as a form, run it.

The form carries the notebook of a dropped file; nothing is kept here. It submits as `POST /run`
does.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from bottle import HTTPResponse, request

from runner.config import MEGABYTE, Settings
from runner.contract.names import is_made_name, job_name
from runner.contract.notebook import check, parse
from runner.contract.outcome import ErrorType, Refused, refuse
from runner.contract.parameters import parameters_of
from runner.contract.text.strict_json import dumps_compact
from runner.gateway.http.answers import see_other
from runner.gateway.http.forms import posted, texts
from runner.gateway.http.problems import status_of
from runner.gateway.page import form
from runner.gateway.page.form import Typed
from runner.gateway.page.overview import JobLine, line_of
from runner.gateway.page.titles import Titles
from runner.inbox.library import library_reader, listing
from runner.jobs.body import read_body
from runner.jobs.problem import Problem
from runner.jobs.record import Record
from runner.jobs.submissions import Runs
from runner.state.jobs import Job, JobFilter
from runner.state.ledger_reader import LedgerReader

FACE = "page"
KEPT_KEYS = ("kernel",)
"""Keys that a job keeps when it runs again, without a field in the form."""

_SOURCES = ("library", "job", "content", "title")
Page = Callable[..., HTTPResponse]


class Asking:
    """The forms of one gateway. `page` renders a template as the pages do."""

    def __init__(self, settings: Settings, record: Record, runs: Runs, page: Page) -> None:
        self._settings = settings
        self._record = record
        self._runs = runs
        self._page = page
        self._library = library_reader(
            settings.notebooks, int(settings.limits.notebook_mb * MEGABYTE)
        )
        self._titles = Titles(self._library)

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
        posted_form = posted(self._settings)
        upload = posted_form.files.get("file")
        raw = upload.file.read() if upload is not None else b""
        if not raw:
            return self._choose("Choose a notebook first: a file that ends in .ipynb.", 422)
        try:
            document = _notebook(raw)
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
        fields = form.fields_of(parameters_of(document))
        if given is None:
            asked = self._record.asked(again) or {} if again is not None else {}
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
            return _notebook(self._library(source["library"]))
        if "job" in source:
            _, raw = self._record.input_of(self._record.job(source["job"]))
            return _notebook(raw or b"")
        return _notebook(source.get("content", "").encode())

    def _run(self) -> HTTPResponse:
        fields = texts(posted(self._settings))
        source = {name: fields[name] for name in _SOURCES if fields.get(name)}
        document = self._document(source)
        again = source.get("job")
        earlier = (self._record.asked(again) or {}) if again is not None else {}
        read = form.typed(form.fields_of(parameters_of(document)), fields.get)
        wanted, read = form.request_of(read, _to_run(source, document, earlier))
        wanted |= _kept(earlier, wanted)
        if not read.is_wrong:
            job_id, read = self._submit(wanted, read)
            if job_id is not None:
                return see_other(f"/jobs/{job_id}")
        return self._form(source, document, again=again, given=read, status=422)

    def _submit(self, wanted: Mapping[str, Any], read: Typed) -> tuple[str | None, Typed]:
        """Submit, and return the job's id, or the form with the contract's objection."""
        try:
            asked = read_body(dumps_compact(wanted), self._settings)
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


def _notebook(raw: bytes) -> Mapping[str, Any]:
    """Check a notebook from outside, and return it.

    Raises:
        Refused: `invalid_notebook`.
    """
    try:
        return check(parse(raw))
    except ValueError as error:
        raise refuse(
            ErrorType.INVALID_NOTEBOOK, f"This is no notebook: it is no JSON ({error})."
        ) from error


def _name_for(source: Mapping[str, str]) -> str:
    """Return the name that a notebook would have if it was dropped into the inbox."""
    path = source.get("library") or source.get("title") or ""
    return job_name(re.sub(r"\.(ipynb|json)$", "", path, flags=re.IGNORECASE)) if path else ""
