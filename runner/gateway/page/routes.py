"""The pages' routes: what a browser asks for and posts, by way of what the API is made of.

Owns `/ui/…`, and what a browser gets at `/` and `/jobs/ID`. Whatever is changed goes the API's way.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from bottle import BaseRequest, HTTPResponse, request

from runner.config import MEGABYTE, Settings
from runner.disk import Disk
from runner.gateway import session
from runner.gateway.access import Access, Coming
from runner.gateway.answers import HEADERS, Seated, bad, event, has_left, plainly
from runner.gateway.arrivals import Arrivals
from runner.gateway.asked import read_body
from runner.gateway.page import form, render
from runner.gateway.page.form import Typed
from runner.gateway.page.job import Sight, sight_of, submitted
from runner.gateway.page.overview import Line, Look, Overview, line_of
from runner.gateway.page.parameters import parameters_of
from runner.gateway.problem import Problem, not_found, refused, unavailable
from runner.gateway.record import Question, Record
from runner.gateway.runs import Runs, too_large
from runner.ledger import State
from runner.library import library_reader, listing
from runner.names import job_name
from runner.notebook import check, parse
from runner.outcome import ErrorType, Refused, Status, refuse
from runner.strict_json import dumps_compact
from runner.submit import cancel

JOBS_A_PAGE = 25
LOOK_SECONDS = 1.0
REST = 20
"""A stream rests so many times as long as its look took, so that a slow ledger is not looked at
all the time."""
DAY_SECONDS = 30.0
HEARTBEAT_LOOKS = 15
FORM_BYTES = 1 * MEGABYTE
"""What a form may hold beside its notebook."""
CLOSING_SECONDS = 1.0
"""The record of a job follows its report by a moment; its page waits for both."""
CLOSING_LOOK_SECONDS = 0.02
OPEN = re.compile(r"/ui/(login|static/[\w.-]+)")
_NEXT = re.compile(r"/(?![/\\])[^\s\\]{0,1000}", re.ASCII)
_SEES_OTHER = 303


class _Form(BaseRequest):  # type: ignore[misc]
    """Bottle's forms, with room for a notebook."""

    __slots__ = ()
    MEMFILE_MAX = 512 * MEGABYTE


class Pages:
    """The pages of one gateway."""

    def __init__(
        self,
        settings: Settings,
        access: Access,
        record: Record,
        runs: Runs,
        arrivals: Arrivals,
        disk: Disk,
    ) -> None:
        self._settings = settings
        self._access = access
        self._record = record
        self._runs = runs
        self._arrivals = arrivals
        self._disk = disk
        self._overview = Overview(settings, record)
        self._library = library_reader(
            settings.notebooks, int(settings.limits.notebook_mb * MEGABYTE)
        )

    def routes(self) -> Iterator[tuple[str, str, Callable[..., HTTPResponse]]]:
        """Method, path and answer of each."""
        ways: list[tuple[str, str, Callable[..., Any]]] = [
            ("GET", "/ui/events", self._events),
            ("GET", "/ui/library", self._show_library),
            ("GET", "/ui/run", self._ask),
            ("POST", "/ui/inspect", self._inspect),
            ("POST", "/ui/run", self._run),
            ("POST", "/ui/jobs/<job_id>/cancel", self._cancel),
            ("POST", "/ui/jobs/<job_id>/retry", self._retry),
            ("GET", "/ui/login", self._ask_token),
            ("POST", "/ui/login", self._login),
            ("POST", "/ui/logout", self._logout),
            ("GET", "/ui/static/<name>", self._static),
        ]
        for method, path, answer in ways:
            yield method, path, plainly(answer, self.tell)

    def tell(self, problem: Problem) -> HTTPResponse:
        """A problem as a page."""
        headers = {name: value for name, value in problem.headers.items() if name != "Location"}
        return self._page("problem.html", problem.status, headers, problem=problem, here="")

    def refuse(self, problem: Problem, coming: Coming) -> HTTPResponse:
        """What a browser gets that may not come in: the page that asks for the token."""
        if problem.status != 401 or coming.method != "GET":
            return self.tell(problem)
        here = request.path + (f"?{request.query_string}" if request.query_string else "")
        if coming.headers.get("sec-fetch-site") == "cross-site":
            # Its cookie is not sent from a link of another site; it is from a page of our own.
            return self._page("again.html", next=here, here="login")
        return _see(f"/ui/login?next={_quoted(here)}")

    def home(self) -> HTTPResponse:
        """The overview."""
        asked = _question()
        look = self._overview.look(asked)
        return self._page(
            "overview.html",
            here="overview",
            asked=asked,
            stream=_stream_url(asked),
            parts=self._parts(look, asked),
            is_first=asked.before is None,
        )

    def job(self, job_id: str) -> HTTPResponse:
        """One job."""
        return self._page("job.html", here="", job=self._sight(job_id), now=datetime.now(UTC))

    # The overview

    def _parts(self, look: Look, asked: Question) -> dict[str, str]:
        """The parts of the overview that change, rendered."""
        now = datetime.now(UTC)
        return {
            "health": render.fragment("_health.html", look=look),
            "now": render.fragment("_now.html", now=look.now, at=now),
            "jobs": render.fragment(
                "_jobs.html",
                jobs=look.jobs,
                at=now,
                trouble=look.trouble,
                is_filtered=bool(asked.part or asked.status),
                is_first=asked.before is None,
                older=_query(asked, look.jobs.before),
                newest=_query(asked, None),
            ),
            "day": render.fragment("_day.html", day=self._overview.day(now)),
        }

    def _events(self) -> HTTPResponse:
        asked = _question()
        self._overview.look(asked)  # a wrong question is answered before there is a stream
        if not self._runs.take_seat():
            raise unavailable("Too many clients wait already (gateway.max_waiting).")
        headers = {**HEADERS, "Content-Type": "text/event-stream; charset=utf-8"}
        stream = Seated(self._tell_overview(asked, has_left()), self._runs.leave_seat)
        return HTTPResponse(stream, 200, headers)

    def _tell_overview(self, asked: Question, has_left: Callable[[], bool]) -> Iterator[bytes]:
        """Server-sent events: a part of the page, rendered, when what it tells has changed."""
        seen: Look | None = None
        quiet, day_at = 0, 0.0
        with self._arrivals.listen(None) as next_look:
            yield b"retry: 2000\n\n"
            while not self._arrivals.is_closed and not has_left():
                began = time.monotonic()
                look = self._overview.look(asked)
                parts = self._parts(look, asked) if look != seen else {}
                if seen is not None and began - day_at < DAY_SECONDS:
                    parts.pop("day", None)
                elif parts:
                    day_at = began
                for name in _changed(seen, look) & set(parts):
                    yield event(name, parts[name])
                quiet = 0 if parts else quiet + 1
                seen = look
                if quiet >= HEARTBEAT_LOOKS:
                    quiet = 0
                    yield b": still here\n\n"
                time.sleep(min(REST * (time.monotonic() - began), LOOK_SECONDS))
                next_look(LOOK_SECONDS)

    # A job

    def _sight(self, job_id: str) -> Sight:
        try:
            found = self._record.job(job_id)
        except Problem as problem:
            if problem.status == 503:
                raise
            return submitted(job_id, self._record.name_of(job_id))
        report = self._record.outbox.of_job(found.name, job_id)
        deadline = time.monotonic() + CLOSING_SECONDS
        while report is not None and found.state is State.SEALED and time.monotonic() < deadline:
            time.sleep(CLOSING_LOOK_SECONDS)
            found = self._record.job(job_id)
        asked = self._asked(job_id)
        return sight_of(found, None if report is None else report.content, asked)

    def _asked(self, job_id: str) -> dict[str, Any] | None:
        """What was asked for a job; None once it is pruned."""
        try:
            return self._record.input_of(self._record.job(job_id))[0]
        except Problem as problem:
            if problem.status == 410:
                return None
            raise

    def _cancel(self, job_id: str) -> HTTPResponse:
        name = self._record.name_of(job_id)
        if not self._sight(job_id).is_over:
            cancel(self._settings.inbox, name, job_id, self._disk)
        return _see(f"/jobs/{job_id}")

    def _retry(self, job_id: str) -> HTTPResponse:
        return _see(f"/jobs/{self._runs.retry(job_id).job_id}")

    # The library

    def _show_library(self) -> HTTPResponse:
        found = self._listing()
        return self._page("library.html", here="library", now=datetime.now(UTC), **found)

    def _listing(self) -> dict[str, Any]:
        """The notebooks with their last runs, or why there is none."""
        try:
            found = listing(self._settings.notebooks)
        except OSError as error:
            trouble = f"The notebooks folder cannot be read: {error.strerror}."
            return {"notebooks": (), "runs": {}, "trouble": trouble, "is_cut": False}
        runs: dict[str, Line] = {}
        trouble = ""
        try:
            with self._record.ledger() as ledger:
                runs = {path: line_of(job) for path, job in ledger.library_runs().items()}
        except Problem as problem:
            trouble = problem.message
        return {
            "notebooks": found.notebooks,
            "runs": runs,
            "trouble": trouble,
            "is_cut": found.is_cut,
        }

    # A run

    def _ask(self) -> HTTPResponse:
        """The form for what is to be run, or the choice of it."""
        path, job_id = request.query.getunicode("notebook"), request.query.get("job")
        if path is not None:
            return self._form({"library": path}, self._document({"library": path}))
        if job_id is not None:
            return self._form({"job": job_id}, self._document({"job": job_id}), again=job_id)
        return self._choose()

    def _choose(self, error: str = "", status: int = 200) -> HTTPResponse:
        found = self._listing()
        return self._page("choose.html", status, here="run", error=error, **found)

    def _inspect(self) -> HTTPResponse:
        """A notebook that was dropped on the page: its form, in which it travels along."""
        given = self._given()
        upload = given.files.get("file")
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
            asked = self._asked(again) or {} if again is not None else {}
            given = form.filled(fields, asked.get("parameters") or {})
            name = self._name_of(again) if again else _name_for(source)
            given = form.named(given, asked.get("timeout_seconds"), name)
        return self._page(
            "form.html",
            status,
            here="run",
            source=source,
            title=source.get("library") or source.get("title") or self._name_of(again),
            form=given,
            run_seconds=self._settings.limits.run_seconds,
            max_run_seconds=self._settings.limits.max_run_seconds,
        )

    def _name_of(self, job_id: str | None) -> str:
        """The name that somebody chose for a job."""
        if job_id is None:
            return ""
        name = self._record.name_of(job_id)
        return "" if name.startswith("http/") and name.endswith(job_id) else name

    def _document(self, source: Mapping[str, str]) -> Mapping[str, Any]:
        """The notebook that a form is about: of the library, of a job, or in the form itself.

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
        given = self._given().forms
        source = {
            name: value
            for name in ("library", "job", "content", "title")
            if (value := given.getunicode(name))
        }
        document = self._document(source)
        again = source.get("job")

        def text(name: str) -> str | None:
            found = given.getall(name)
            return found[-1].encode("latin-1").decode("utf-8", "replace") if found else None

        read = form.typed(form.fields_of(parameters_of(document)), text)
        wanted, read = form.request_of(read, self._to_run(source, document))
        if not read.is_wrong:
            try:
                asked = read_body(dumps_compact(wanted), self._settings.limits.max_run_seconds)
                return _see(f"/jobs/{self._runs.submit(asked, None).job_id}")
            except Refused as refusal:
                problem = refused(refusal)
            except Problem as found:
                if found.status >= 500:
                    raise
                problem = found
            read = form.blamed(read, problem.message)
        return self._form(source, document, again=again, given=read, status=422)

    def _to_run(self, source: Mapping[str, str], document: Mapping[str, Any]) -> Any:
        """What a request names or carries; a job of the library is run from there again."""
        if "library" in source:
            return source["library"]
        if "job" in source:
            library = (self._asked(source["job"]) or {}).get("notebook")
            return library if isinstance(library, str) else document
        return document

    def _given(self) -> Any:
        """The form that was posted, within its bounds."""
        limit = self._settings.limits.notebook_mb
        length = int(request.environ.get("CONTENT_LENGTH") or 0)
        if length > limit * MEGABYTE + FORM_BYTES:
            raise too_large(limit)
        return _Form(request.environ)

    # Who is there

    def _ask_token(self) -> HTTPResponse:
        return self._page("login.html", here="login", error="", next=_next(request.query))

    def _login(self) -> HTTPResponse:
        given = self._given().forms
        cookie = self._access.cookie()
        if cookie is None:
            return _see("/")
        if not self._access.is_token(given.getunicode("token")):
            error = "This is not the gateway's token."
            return self._page("login.html", 401, here="login", error=error, next=_next(given))
        answer = _see(_next(given))
        self._keep(answer, cookie, session.SECONDS)
        return answer

    def _logout(self) -> HTTPResponse:
        answer = _see("/ui/login")
        self._keep(answer, "", 0)
        return answer

    def _keep(self, answer: HTTPResponse, value: str, seconds: int) -> None:
        """Set the cookie. Over https or not: the browser's own Origin tells, and no proxy."""
        is_secure = (request.get_header("origin") or "").lower().startswith("https://")
        answer.set_cookie(
            session.COOKIE,
            value,
            path="/",
            max_age=seconds,
            httponly=True,
            samesite="strict",
            secure=is_secure,
        )

    def _static(self, name: str) -> HTTPResponse:
        found = render.static_file(name)
        if found is None:
            raise not_found("There is nothing at this address.")
        return found

    def _page(
        self,
        template: str,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **values: Any,
    ) -> HTTPResponse:
        return render.page(
            template,
            status,
            headers,
            has_token=self._settings.gateway.secret is not None,
            served_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            **values,
        )


def wants_page(accept: str) -> bool:
    """Whether a client names HTML, and likes it no less than JSON: browsers do, programs do not."""
    wanted: dict[str, float] = {}
    for part in accept.lower().split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            wanted[kind] = float(quality)
        except ValueError:
            wanted[kind] = 0.0
    html = max(wanted.get("text/html", 0.0), wanted.get("application/xhtml+xml", 0.0))
    return html > 0 and html >= wanted.get("application/json", 0.0)


def _changed(seen: Look | None, look: Look) -> set[str]:
    """Which parts of the overview tell something new."""
    if seen is None:
        return {"health", "now", "jobs", "day"}
    found = set()
    if (seen.health, seen.warm) != (look.health, look.warm):
        found.add("health")
    if seen.now != look.now:
        found.add("now")
    if (seen.jobs, seen.trouble) != (look.jobs, look.trouble):
        found |= {"jobs", "day"}
    return found


def _notebook(raw: bytes) -> Mapping[str, Any]:
    """A notebook that was looked at from outside.

    Raises:
        Refused: `invalid_notebook`.
    """
    try:
        return check(parse(raw))
    except ValueError as error:
        raise refuse(
            ErrorType.INVALID_NOTEBOOK, f"This is no notebook: it is no JSON ({error})."
        ) from error


def _question() -> Question:
    query = request.query
    status = query.get("status") or None
    if status is not None and status not in list(Status):
        raise bad(f"`status` is one of: {', '.join(Status)}.")
    return Question(
        limit=JOBS_A_PAGE,
        status=None if status is None else Status(status),
        part=(query.getunicode("name") or "").strip() or None,
        is_over=status is None,
        before=query.get("before"),
    )


def _query(asked: Question, before: str | None) -> str:
    """The address of another page of the same list."""
    given = {"name": asked.part, "status": asked.status, "before": before}
    found = "&".join(f"{key}={_quoted(value)}" for key, value in given.items() if value)
    return f"/?{found}" if found else "/"


def _stream_url(asked: Question) -> str:
    return _query(asked, asked.before).replace("/", "/ui/events", 1)


def _quoted(text: str) -> str:
    return quote(text, safe="")


def _name_for(source: Mapping[str, str]) -> str:
    """The name that a notebook would have if it was dropped into the inbox."""
    path = source.get("library") or source.get("title") or ""
    return job_name(re.sub(r"\.(ipynb|json)$", "", path, flags=re.IGNORECASE)) if path else ""


def _next(given: Any) -> str:
    """Where to go after the token was shown: an address of ours only."""
    found = given.getunicode("next") or "/"
    return found if _NEXT.fullmatch(found) else "/"


def _see(url: str) -> HTTPResponse:
    return HTTPResponse(b"", _SEES_OTHER, {**HEADERS, "Location": url})
