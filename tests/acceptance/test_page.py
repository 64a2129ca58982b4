"""Promises of the page, against the real program: through sockets, and in Debian's Chromium."""

import html
import json
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from runner.contract.triggers.causes import stamp
from runner.state.pulse import Worker
from runner.submitters.schedules.book import Book
from tests.acceptance.conftest import PATIENCE
from tests.conftest import (
    Json,
    Program,
    Serving,
    code,
    free_port,
    notebook,
    programs,
    wait_for,
)
from tests.told import WORKERS, telling

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Locator, Page, Response

GATEWAY: Json = {"enabled": True, "port": 0}
BROWSERS = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
BROWSER = "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/145.0"
TOKEN = "s3cret-token"
SLOW = "import time\nfor n in range(3000):\n    print('step', n, flush=True)\n    time.sleep(0.1)"
STEPS = notebook(*["import time; time.sleep(1.3); print('here')"] * 3, code("6 * 7", "results"))
SALES = notebook(
    code(
        "region = 'EU'  # where it is sold\nfactor: float = 2.5\nstrict = True\ntags = ['a', 'b']",
        "parameters",
    ),
    code("region, factor, strict, tags", "results"),
)
TYPED = notebook(
    code(
        "from datetime import date, datetime\nfrom typing import Annotated, Literal, Optional\n"
        "from annotated_types import Ge, Le\n"
        "region: Literal['EU', 'US'] = 'EU'  # where it is sold\n"
        "share: Annotated[float, Ge(0), Le(1)] = 0.5\nday: date\nat: Optional[datetime] = None\n"
        "strict: bool = True\nnames: list[str] = ['a']",
        "parameters",
    ),
    code("[region, share, day, at, strict, names]", "results"),
)
PLANNED = "Ämter & <b>Co/täglich 1"
HOSTILE = """
from IPython.display import HTML, Javascript, Markdown, SVG, display
attack = "parent.document.title = 'taken'; top.location = '/ui/library'; alert(1)"
display(HTML(f"<script>{attack}</script>"))
display(HTML(f"<img src='/jobs?attack' onerror=\\"{attack}\\">"))
display(HTML(f"<a id='js' href=\\"javascript:{attack}\\">click</a>"))
display(HTML("<form id='evil' method='post' action='/ui/logout'>"
             "<button id='post'>x</button></form>"))
display(HTML("<meta http-equiv='refresh' content='0; url=/ui/library'>"))
display(HTML("<iframe src='/jobs?framed'></iframe><base href='http://192.0.2.1/'>"))
display(Javascript(attack))
display(Markdown(f"<script>{attack}</script>"))
display(SVG(f"<svg xmlns='http://www.w3.org/2000/svg' onload=\\"{attack}\\">"
            f"<script>{attack}</script></svg>"))
HTML(f"<table><thead><tr><th>a</th></tr></thead><tbody><tr><td><script>{attack}</script>"
     f"<img src=x onerror=\\"{attack}\\"></td></tr></tbody></table>")
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """One program for all tests that leave it as it was."""
    making = programs(tmp_path_factory.mktemp("page"))
    settings = {
        "gateway": GATEWAY,
        "execution": {"concurrency": 2},
        "intake": {"broken_seconds": 1},
        "callbacks": {"allowed": ["127.0.0.1"]},
    }
    found = next(making)(settings).start()
    found.library.mkdir(exist_ok=True)
    (found.library / "sales.ipynb").write_text(json.dumps(SALES))
    (found.library / "typed.ipynb").write_text(json.dumps(TYPED))
    (found.library / "wrong.ipynb").write_text(json.dumps(SALES))
    (found.library / "wrong.parameters.yaml").write_text("properties:\n  region: 3\n")
    plan(found, "daily", "cron: '0 6 * * *'\ntimezone: Asia/Kathmandu\nnotebook: sales.ipynb")
    plan(found, PLANNED, "cron: '@yearly'\nnotebook: sales.ipynb\nparameters: {region: <i>US}")
    plan(found, "wrong", "cron: '<b>never</b>'\nnotebook: sales.ipynb")
    days_of(found, "daily")
    yield found
    next(making, None)


def boxes(page: "Page", selector: str) -> list[dict[str, float]]:
    """Where elements are, in pixels: of one moment, as news may put others in their place."""
    found: list[dict[str, float]] = page.evaluate(
        "(which) => [...document.querySelectorAll(which)]"
        ".map((one) => one.getBoundingClientRect().toJSON())",
        selector,
    )
    return found


def plan(program: Program, name: str, text: str) -> Path:
    """Writes a schedule."""
    file = program.library / "schedules" / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def days_of(program: Program, name: str) -> None:
    """A week in which it ran, failed and was left out, up to yesterday."""
    with closing(Book(program.root / "state")) as book:
        for ago in range(7, 0, -1):
            due = datetime.now(UTC).replace(hour=0, minute=15) - timedelta(days=ago)
            stamped, day = stamp(due), due.date().isoformat()
            if ago == 3:
                book.skipped(name, stamped, day, "it was <b>away</b>", stamped)
                continue
            book.submitted(name, stamped, f"{ago:032x}", "schedules/daily", stamped)
            (run,) = book.still_open()
            book.finished(run, day, "failed" if ago == 1 else "succeeded")


def ask(program: Program, path: str, method: str = "GET", **headers: str) -> requests.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.request(
        method,
        f"{program.url}{path}",
        headers={"Accept": BROWSERS, "User-Agent": BROWSER, **given},
        allow_redirects=False,
        timeout=60,
    )


def run(program: Program, wait: int = 60, **body: Any) -> str:
    """Submits a request, and gives the job's id."""
    answer = requests.post(f"{program.url}/run?wait={wait}", json=body, timeout=120)
    return str(answer.json()["job_id"])


def newest(program: Program) -> str:
    answer = requests.get(f"{program.url}/jobs?limit=1", timeout=30)
    return str(answer.json()["jobs"][0]["job_id"])


# What a browser and what a program gets


@pytest.mark.parametrize(
    "accept",
    [
        *(None, "*/*", "application/json", "application/json, text/plain, */*"),
        *("text/html;q=0", "application/json, text/html;q=0.5"),
    ],
)
def test_a_program_still_gets_json(program: Program, accept: str | None) -> None:
    """Byte for byte the same as without a page."""
    headers = {"Accept": accept} if accept is not None else {"Accept": ""}
    for path in ("/", "/jobs/" + "0" * 32):
        answer = requests.get(f"{program.url}{path}", headers=headers, timeout=30)
        assert answer.headers["Content-Type"] == "application/json"

    def same() -> bool:  # but for what the daemon has said anew between the two
        health = requests.get(f"{program.url}/", headers=headers, timeout=30)
        return health.content == requests.get(f"{program.url}/healthz", timeout=30).content

    wait_for(same, 30)


def test_a_browser_gets_the_page(program: Program) -> None:
    """At `/` and at a job; health stays JSON at its own address."""
    job_id = run(program, notebook=notebook("1"))
    for path in ("/", f"/jobs/{job_id}", "/ui/library", "/ui/run", "/inbox", "/ui/inbox"):
        answer = ask(program, path)
        assert (answer.status_code, path) == (200, path)
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert ask(program, "/healthz").headers["Content-Type"] == "application/json"
    assert "Nothing stays in the inbox" in ask(program, "/inbox").text
    assert requests.get(f"{program.url}/inbox", timeout=30).json()["files"] == []


def test_an_address_that_was_typed_without_ui_leads_to_the_page(program: Program) -> None:
    """For a browser; a program is told what there is."""
    for path in ("/library", "/run"):
        answer = ask(program, path)
        assert answer.status_code == 303
        assert answer.headers["Location"].endswith("/ui/library")
        plain = requests.get(f"{program.url}{path}", timeout=30)
        assert plain.status_code == (404 if path == "/library" else 405)


def test_every_page_is_under_one_strict_policy(program: Program) -> None:
    """Also those of errors: no script but ours, nothing from elsewhere, in no frame."""
    for path in ("/", "/ui/run", "/ui/library", "/jobs/nothing", "/ui/nothing", "/ui/run?job=x"):
        answer = ask(program, path)
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert not re.search(r"<script(?! src=)| style=| on\w+=", answer.text)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/jobs/" + "0" * 32, 404),
        ("/jobs/x", 404),
        ("/?before=x", 400),
        ("/?status=x", 400),
        ("/ui/nothing", 404),
        ("/ui/run?notebook=../secret", 400),
        ("/ui/run?notebook=none.ipynb", 400),
        ("/ui/run?job=x", 404),
        ("/ui/static/..%2fpage.css", 404),
        ("/ui/events?status=x", 400),
    ],
)
def test_errors_are_pages_too(program: Program, path: str, status: int) -> None:
    """With the sentence that the API has for it."""
    answer = ask(program, path)
    assert answer.status_code == status
    assert '<p class="notice bad" role="alert">' in answer.text


def test_static_files_are_kept_by_the_browser(program: Program) -> None:
    """Each under an address that changes with its content."""
    page = ask(program, "/").text
    for path in re.findall(r'"(/ui/static/[^"]+)"', page):
        answer = ask(program, path)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["Cache-Control"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "cross-site"},
    ],
)
def test_forms_of_other_pages_change_nothing(program: Program, headers: dict[str, str]) -> None:
    """Without a token too: a form says where it comes from, or is refused."""
    job_id = run(program, notebook=notebook("1"))
    before = newest(program)
    for path in (f"/ui/jobs/{job_id}/retry", f"/ui/jobs/{job_id}/cancel", "/ui/run", "/ui/inspect"):
        assert ask(program, path, "POST", **headers).status_code == 403
    assert newest(program) == before


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A program with a token."""
    making = programs(tmp_path_factory.mktemp("locked"))
    yield next(making)({"gateway": {**GATEWAY, "token": TOKEN}}).start()
    next(making, None)


def test_the_token_is_asked_for_once(locked: Program) -> None:
    """A cookie is kept that is not the token; it opens the API too, and ends with a log-out."""
    program = locked
    url = program.url
    own = {"Origin": url}
    health = requests.get(f"{url}/", timeout=30)
    assert health.json()["status"] == "healthy"
    asked = ask(program, "/jobs/" + "0" * 32)
    assert (asked.status_code, asked.headers["Location"]) == (
        303,
        "/ui/login?next=%2Fjobs%2F" + "0" * 32,
    )
    assert ask(program, "/").headers["Location"] == "/ui/login?next=%2F"
    assert ask(program, "/ui/login").status_code == 200
    assert ask(program, "/ui/events").status_code == 303
    assert ask(program, "/ui/run", "POST", **own).status_code == 401
    wrong = requests.post(f"{url}/ui/login", {"token": "wrong"}, headers=own, timeout=30)
    assert wrong.status_code == 401
    assert "Set-Cookie" not in wrong.headers
    browser = requests.Session()
    for target, leads_to in (("/ui/library", "/ui/library"), ("//evil.example", "/"), ("x", "/")):
        right = browser.post(
            f"{url}/ui/login",
            {"token": TOKEN, "next": target},
            headers=own,
            timeout=30,
            allow_redirects=False,
        )
        assert (right.status_code, right.headers["Location"]) == (303, leads_to)
    cookie = right.headers["Set-Cookie"].lower()
    assert all(part in cookie for part in ("httponly", "samesite=strict", "path=/"))
    assert "secure" not in cookie
    assert TOKEN not in cookie
    over_https = requests.post(
        f"{url}/ui/login",
        {"token": TOKEN},
        headers={"Origin": url.replace("http:", "https:")},
        timeout=30,
        allow_redirects=False,
    )
    assert "secure" in over_https.headers["Set-Cookie"].lower()
    assert browser.get(f"{url}/jobs", timeout=30).status_code == 200
    assert browser.post(f"{url}/jobs/{'0' * 32}/retry", timeout=30).status_code == 403
    again = browser.post(f"{url}/jobs/{'0' * 32}/retry", headers=own, timeout=30)
    assert again.status_code == 404
    browser.post(f"{url}/ui/logout", headers=own, timeout=30)
    assert browser.get(f"{url}/jobs", timeout=30).status_code == 401
    assert TOKEN not in program.log


# In the browser


@pytest.fixture
def page(browser: "Browser", program: Program) -> Iterator["Page"]:
    """A page of its own, which may say nothing on the console and load nothing from elsewhere."""
    yield from pages(browser, program)


def pages(
    browser: "Browser", program: Program, *, is_hostile: bool = False, **options: Any
) -> Iterator["Page"]:
    # Without a graphics card each frame of an animation is drawn by the processor.
    context = browser.new_context(base_url=program.url, reduced_motion="reduce", **options)
    found = context.new_page()
    found.set_default_timeout(PATIENCE)
    troubles: list[str] = []
    elsewhere: list[str] = []
    found.on("pageerror", lambda error: troubles.append(str(error)))
    found.on(
        "console",
        lambda said: (
            troubles.append(said.text)
            if "Content Security" in said.text and not is_hostile
            else None
        ),
    )
    found.on(
        "request",
        lambda asked: (
            elsewhere.append(asked.url)
            if not asked.url.startswith((program.url, "http://localhost:", "data:"))
            else None
        ),
    )
    yield found
    context.close()
    assert troubles == []
    assert elsewhere == []


def file_of(tmp_path: Path, name: str, content: Json) -> Path:
    file = tmp_path / name
    file.write_text(json.dumps(content))
    return file


def drop(page: "Page", file: Path) -> None:
    """What a mouse does that lets go of a file over the page."""
    carried = page.evaluate_handle(
        """([name, text]) => {
            const carried = new DataTransfer();
            carried.items.add(new File([text], name));
            return carried;
        }""",
        [file.name, file.read_text()],
    )
    page.dispatch_event("body", "dragover", {"dataTransfer": carried})
    page.dispatch_event("body", "drop", {"dataTransfer": carried})


def heading(page: "Page") -> str:
    return page.locator("h1").inner_text()


def test_a_dropped_notebook_runs_and_its_result_is_read(page: "Page", tmp_path: Path) -> None:
    """Drop, run, watch it move by cell, read the result: nothing is loaded anew by hand."""
    page.goto("/")
    drop(page, file_of(tmp_path, "Größe €.ipynb", STEPS))
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_url("**/jobs/*")
    assert heading(page) == "Größe €"
    page.get_by_text(re.compile(r"Cell [23] of 4")).wait_for()
    page.get_by_text("here").first.wait_for()
    page.get_by_role("heading", name="Results").wait_for()
    assert page.locator(".title .status").inner_text() == "Succeeded"
    assert page.locator(".result .value").inner_text() == "42"
    assert "Published" in page.locator(".steps").inner_text()


def test_a_notebook_is_dropped_with_its_files(page: "Page", tmp_path: Path) -> None:
    """The form keeps them until it is sent; run again, they go along again, or others do."""
    read = code("open('a.csv').read() + letter", "results")
    cells = notebook(code("letter = 'b'", "parameters"), read)
    files = [file_of(tmp_path, "with files.ipynb", cells), tmp_path / "a.csv"]
    files[1].write_text("number 1 ")
    page.goto("/")
    page.set_input_files("[data-drop] input[type=file]", files)
    page.get_by_role("heading", name="Run with files.ipynb").wait_for()
    assert page.evaluate("[...document.querySelector('#files').files].map((f) => f.name)") == [
        "a.csv"
    ]
    assert "finds them beside it" in page.inner_text("#files-hint")
    page.get_by_label("letter").fill("c")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("number 1 c").first.wait_for()
    page.get_by_role("link", name="Change and run").click()
    assert "a.csv goes along again" in page.inner_text("#files-hint")
    page.get_by_label("letter").fill("d")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("number 1 d").first.wait_for()
    page.get_by_role("link", name="Change and run").click()
    files[1].write_text("number 2 ")
    page.set_input_files("#files", files[1])
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("number 2 ").first.wait_for()


def test_the_overview_leads_to_the_files_that_wait(page: "Page", program: Program) -> None:
    """Its note on them has a link to the page that says what to do."""
    top = program.inbox / "deep"
    for number in range(6):
        deep = top.joinpath(str(number), *"d" * 33)
        deep.mkdir(parents=True)
        (deep / "x.ipynb").write_text("{}")
    page.goto("/")
    page.locator("#health").get_by_role("link", name="the Inbox page").click()
    page.wait_for_url("**/ui/inbox")
    page.get_by_text("it lies below more than 32 folders").first.wait_for()
    shutil.rmtree(top)
    wait_for(lambda: not requests.get(f"{program.url}/inbox", timeout=30).json()["files"])


def test_the_overview_tells_the_space_that_is_left(page: "Page") -> None:
    """On the fullest disk, beside health."""
    page.goto("/")
    assert re.search(r"\d (k|M|G)B of disk free", page.locator("#health").inner_text())


def said_on(page: "Page") -> str:
    """The name of the list of all that is said to who listens to a page, from now on."""
    page.evaluate(
        """() => {
            window.said = [];
            new MutationObserver(() => window.said.push(document.querySelector("#say").innerText))
                .observe(document.querySelector("#say"), { childList: true });
        }"""
    )
    return "window.said"


def test_the_overview_moves_by_itself(page: "Page", program: Program) -> None:
    """What runs appears, its cells go on, and it ends up among the finished jobs."""
    page.goto("/")
    said = said_on(page)
    gate = program.root / "gate"
    waits = f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.05)"
    cells = notebook("1", waits, code("6 * 7", "results"))
    job_id = run(program, 0, notebook=cells, name="moving")
    now = page.locator('[data-part="now"]')
    now.get_by_role("link", name="moving").wait_for()
    now.get_by_text("Cell 2 of 3").wait_for()
    gate.touch()
    done = page.locator(f'[data-part="jobs"] li[data-key="{job_id}"]')
    done.wait_for()
    assert "Succeeded" in done.inner_text()
    now.get_by_role("link", name="moving").wait_for(state="detached")
    page.wait_for_function(f"{said}.includes('moving: Succeeded')")


@pytest.mark.parametrize("path", ["/", "/?name=no-such"])
def test_the_day_moves_with_every_job_that_finishes(
    page: "Page", program: Program, path: str
) -> None:
    """Beside any list, also one that leaves that job out."""
    run(program, notebook=notebook("1"), name="day")
    page.goto(path)
    for _ in range(2):
        before = page.locator('[data-part="day"] dd').first.inner_text()
        run(program, notebook=notebook("import time; time.sleep(1.5)"), name="day")
        page.wait_for_function(
            """before => document.querySelector('[data-part="day"] dd').innerText !== before""",
            arg=before,
        )


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_workers_of_a_cluster_are_shown_as_they_change(
    browser: "Browser", make_program: Callable[..., Program], scheme: str, width: int
) -> None:
    """By host and address, and how busy each is; on one machine there is no table."""
    size = {"width": width, "height": 780}
    program = make_program({"gateway": GATEWAY})
    with telling(program) as teller:
        for page in pages(browser, program, color_scheme=scheme, viewport=size):
            page.goto("/")
            section = page.get_by_role("region", name="Workers")
            section.get_by_text("9 of 20 slots busy").wait_for()
            assert page.get_by_text("10 kernels ready").is_visible()
            assert rows(section) == [
                ["node-1 tcp://10.0.0.7:40001", "5 of 8", "2"],
                ["node-1 tcp://10.0.0.7:40002", "0 of 8", "8"],
                ["node-2 tcp://10.0.0.8:40001", "4 of 4", "0"],
            ]
            assert_for_everybody(page, "overview")
            long = Worker(f"node-{'long' * 15}", 64, 1, 0, f"tls://{'a.' * 60}example:40001")
            teller.tell(long, *WORKERS)
            section.get_by_text("10 of 84 slots busy").wait_for()
            assert_for_everybody(page, "overview")
            teller.tell(*(Worker("many", 1, 1, 0, f"tcp://{n:03}") for n in range(60)))
            section.get_by_text("And 10 more").wait_for()
            assert len(rows(section)) == 50
            teller.tell(Worker("home", 2, 1, 1))
            section.wait_for(state="detached")
            assert page.get_by_text("1 kernel ready").is_visible()


def rows(section: "Locator") -> list[list[str]]:
    """The cells of a table's body."""
    found: list[list[str]] = section.locator("tbody tr").evaluate_all(
        "all => all.map(tr => [...tr.cells].map(td => td.textContent))"
    )
    return found


def test_a_failing_job_shows_its_cell_and_traceback(page: "Page", program: Program) -> None:
    """The line that failed is marked; what was reached before is there too."""
    source = "x = 1\nraise ValueError('no <b>bold</b> luck')"
    job_id = run(program, notebook=notebook(code("'before'", "results"), source), name="fails")
    page.goto("/?status=failed")
    page.get_by_role("link", name="fails").first.click()
    page.wait_for_url(f"**/jobs/{job_id}")
    assert page.locator(".title .status").inner_text() == "Failed"
    assert "no <b>bold</b> luck" in page.locator(".message").inner_text()
    assert page.locator(".source .failed").inner_text().strip().startswith("2raise ValueError")
    assert "Cell In[2], line 2" in page.locator(".trouble pre").last.inner_text()
    assert page.locator(".variables code").all_inner_texts() == ["x int"]
    assert "before" in page.locator(".result").inner_text()


def test_a_long_margin_leaves_no_gap_above_the_notebook(
    browser: "Browser", program: Program
) -> None:
    """What stands beside it may be longer than a short error; the notebook follows the error."""
    job_id = run(program, notebook=notebook("import no_such_module_q"))
    for page in pages(browser, program, viewport={"width": 1280, "height": 800}):
        page.goto(f"/jobs/{job_id}")
        assert page.get_by_role("heading", name="Why it was not run").is_visible()
        gap = page.evaluate(
            "document.querySelector('.paper').getBoundingClientRect().top"
            " - document.querySelector('.trouble').getBoundingClientRect().bottom"
        )
        assert 0 < gap < 30


def test_the_menu_is_one_line_on_a_phone(browser: "Browser", program: Program) -> None:
    """Whichever page is the current one; and the buttons of pauses do not touch."""
    names = ("menu/a", "menu/b")
    for name in names:
        requests.post(f"{program.url}/pause", params={"name": name}, timeout=30)
    with closing(browser.new_context(viewport={"width": 360, "height": 800})) as context:
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        for url in ("/", "/ui/library", "/ui/run", "/ui/schedules", "/ui/inbox"):
            page.goto(f"{program.url}{url}")
            assert len({box["top"] for box in boxes(page, ".top nav a")}) == 1, url
        page.goto(program.url)
        first, second = boxes(page, "button[aria-label*='Resume menu']")
        assert second["top"] - first["bottom"] >= 6
    for name in names:
        requests.post(f"{program.url}/resume", params={"name": name}, timeout=30)


def test_a_long_line_widens_no_page(browser: "Browser", program: Program) -> None:
    """A failing line, a name and a message of any length stay within 360 pixels."""
    line = "raise KeyError('" + "k" * 150 + "')  # " + "and so on " * 30
    job_id = run(program, notebook=notebook(line), name="long-" + "n" * 90)
    for page in pages(browser, program, viewport={"width": 360, "height": 800}):
        for path in (f"/jobs/{job_id}", "/"):
            page.goto(path)
            page.locator("h1").first.wait_for(state="attached")
            assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_what_never_was_a_notebook_is_offered_as_it_was_dropped(
    page: "Page", program: Program
) -> None:
    """No frame for it, and no running it again: the bytes that came, to be saved."""
    (program.inbox / "broken.ipynb").write_text('{"cells": [')
    wait_for(lambda: (program.outbox / "broken.error.json").exists())
    page.goto("/?name=broken")
    page.get_by_role("link", name="broken", exact=True).first.click()
    page.get_by_role("link", name="Dropped file").wait_for()
    assert heading(page) == "broken"
    assert page.locator("iframe").count() == 0
    assert page.get_by_text("Run again").count() == 0


def test_a_refused_request_is_read_on_its_page(page: "Page", program: Program) -> None:
    """As it was dropped, and escaped; without a notebook nothing is offered to run."""
    (program.inbox / "typing.yaml").write_text("notebook: sales.ipynb\nparamters: <b>x</b>\n")
    wait_for(lambda: (program.outbox / "typing.error.json").exists())
    page.goto("/?name=typing")
    page.get_by_role("link", name="typing", exact=True).first.click()
    page.get_by_role("heading", name="Dropped file").wait_for()
    assert "paramters: <b>x</b>" in page.locator("pre").inner_text()
    assert page.get_by_text("Run again").count() == 0
    assert page.get_by_text("Change and run").count() == 0


FORMULAS = {
    **notebook(code("1 + 1", "results")),
    "cells": [
        {"cell_type": "markdown", "metadata": {}, "source": "# One\n$a<b$\n\n$$\\frac{1}{2}$$"},
        {
            **code("class F:\n    def _repr_latex_(self): return '$x^{2}$'\nF()"),
        },
    ],
}


def test_the_notebook_is_dark_where_the_page_is_as_high_as_it_is_and_has_formulas(
    browser: "Browser", program: Program
) -> None:
    """Without a script of its own, and without papermill's banner over a failed cell."""
    fine = run(program, notebook=FORMULAS, name="formulas")
    failed = run(program, notebook=notebook("1 / 0"), name="banner")
    for page in pages(browser, program, color_scheme="dark"):
        page.goto(f"/jobs/{fine}")
        element = page.locator("iframe.notebook")
        element.scroll_into_view_if_needed()
        frame = page.frame_locator("iframe.notebook")
        frame.locator("math").nth(2).wait_for(state="attached")
        assert frame.locator("math").count() == 3
        colour = frame.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
        assert max(map(int, re.findall(r"\d+", colour)[:3])) < 60
        page.wait_for_function("document.querySelector('iframe.notebook').offsetHeight < 500")
        hidden = frame.locator("html").evaluate("all => all.scrollHeight - all.clientHeight")
        assert hidden <= 0
        page.goto(f"/jobs/{failed}")
        page.locator("iframe.notebook").scroll_into_view_if_needed()
        frame = page.frame_locator("iframe.notebook")
        frame.get_by_text("ZeroDivisionError").first.wait_for()
        assert frame.get_by_text("An Exception was encountered").count() == 0


def test_a_table_says_how_large_it_is_and_comes_as_csv(page: "Page", program: Program) -> None:
    """Dates are dates; of many rows the first are listed, and the file has all of them."""
    source = (
        "import pandas as pd, scrapbook as sb\n"
        "df = pd.DataFrame({'day': pd.date_range('2026-01-01', periods=300), 'n': range(300)})\n"
        "sb.glue('daily, all', df, 'pandas')"
    )
    job_id = run(program, notebook=notebook(source, code("df", "results")), name="table")
    page.goto(f"/jobs/{job_id}")
    glued, cell = page.locator(".result").all()
    assert "300 rows, 2 columns; the first 200 rows are listed" in glued.inner_text()
    assert glued.locator("tbody tr").first.inner_text().split() == ["2026-01-01", "0"]
    assert "300 rows, 2 columns; what the notebook shows" in cell.inner_text()
    with page.expect_download() as coming:
        glued.get_by_role("link", name="CSV").click()
    lines = Path(coming.value.path()).read_text().splitlines()
    assert (len(lines), lines[0], lines[-1].split(",")[1]) == (301, "day,n", "299")
    answer = ask(program, f"/ui/jobs/{job_id}/table?result=nothing")
    assert answer.status_code == 404


def test_the_library_tells_titles_and_drops_count_as_runs(page: "Page", program: Program) -> None:
    """A heading says more than a file's name; who drops the notebook has run it too."""
    titled = {**FORMULAS, "cells": [*FORMULAS["cells"]]}
    (program.library / "titled.ipynb").write_text(json.dumps(titled))
    page.goto("/ui/library")
    row = page.locator(".shelf li", has_text="titled.ipynb")
    assert row.locator(".what a").inner_text() == "One"
    assert "no run yet" in row.inner_text()
    (program.inbox / "titled.ipynb").write_text(json.dumps(titled))
    wait_for(lambda: (program.outbox / "titled.result.json").exists())

    def is_told() -> bool:
        page.reload()
        return "Succeeded" in row.inner_text()

    wait_for(is_told)


def test_several_jobs_are_run_again_at_once(page: "Page", program: Program) -> None:
    """Ticked in the list, also while news come in; nothing ticked, nothing to press."""
    for name in ("several-1", "several-2"):
        run(program, notebook=notebook("1"), name=name)
    page.goto("/?name=several-")
    assert page.get_by_role("button", name="Run again").count() == 0
    page.get_by_role("checkbox", name="several-1").check()
    run(program, notebook=notebook("1"), name="several-3")
    page.get_by_role("checkbox", name="several-3").wait_for()
    assert page.get_by_role("checkbox", name="several-1").is_checked()
    page.get_by_role("checkbox", name="several-2").check()
    page.get_by_role("button", name="Run again").click()
    page.wait_for_url("**/?again=*")
    started = page.get_by_role("status").get_by_role("link")
    assert sorted(started.all_inner_texts()) == ["several-1", "several-2"]

    def names() -> list[str]:
        listed = requests.get(f"{program.url}/jobs?limit=50", timeout=30).json()["jobs"]
        return [job["name"] for job in listed if job["status"] == "succeeded"]

    wait_for(lambda: names().count("several-1") == names().count("several-2") == 2)
    assert names().count("several-3") == 1


def test_what_is_to_be_done_with_ticked_jobs_is_in_sight(
    browser: "Browser", program: Program
) -> None:
    """Whatever the length of the list, on a wide page and on a narrow one."""
    for _ in range(2):
        run(program, notebook=notebook("1"), name="sight")
    job_ids = [run(program, 0, notebook="none.ipynb", name=f"sight-{n}") for n in range(20)]
    wait_for(lambda: newest(program) == job_ids[-1])
    for width in (1280, 360):
        for page in pages(browser, program, viewport={"width": width, "height": 640}):
            page.goto("/")
            page.locator(".jobs input").first.check()
            page.get_by_role("button", name="Run again").wait_for()
            (place,) = boxes(page, ".several button")
            assert 0 <= place["top"] < place["bottom"] <= 640


def test_a_tick_stays_though_newer_jobs_take_its_place(page: "Page", program: Program) -> None:
    """Whoever ticks one job after the other on a busy page loses none of them."""
    job_id = run(program, notebook=notebook("1"), name="ticked")
    page.goto("/")
    tick = page.locator(f".jobs input[value='{job_id}']")
    tick.check()
    for n in range(30):
        run(program, notebook="none.ipynb", name=f"newer-{n}")
    page.locator(".jobs a", has_text="newer-29").wait_for()
    assert tick.is_checked()
    shown = page.locator(".jobs li").count()
    assert shown == 26
    with page.expect_navigation():
        page.get_by_role("button", name="Run again").click()

    def times() -> int:
        return len(requests.get(f"{program.url}/jobs?name=ticked", timeout=30).json()["jobs"])

    wait_for(lambda: times() == 2)


def test_a_press_is_a_click_though_news_come_before_it_is_released(
    page: "Page", program: Program
) -> None:
    """On a busy page the list is another one every moment; nobody presses twice for that."""
    job_id = run(program, notebook=notebook("1"), name="pressed")
    page.goto("/")
    page.locator(f".jobs input[value='{job_id}']").check()
    page.get_by_role("button", name="Run again").hover()
    page.mouse.down()
    run(program, notebook="none.ipynb", name="meanwhile")
    page.wait_for_timeout(1500)
    with page.expect_navigation():
        page.mouse.up()
    assert "again=" in page.url


def test_a_long_job_is_cancelled(page: "Page", program: Program) -> None:
    """While its log goes on; the page tells when it is over."""
    job_id = run(program, 0, notebook=notebook(SLOW), name="long")
    page.goto(f"/jobs/{job_id}")
    page.locator("[data-log]").get_by_text("step 20").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.locator(".title .s-cancelled").wait_for()
    assert page.get_by_role("button", name="Cancel").count() == 0


def test_a_library_notebook_runs_with_a_changed_parameter(page: "Page", program: Program) -> None:
    """Types, defaults and comments are there; what was not changed is not asked for."""
    page.goto("/ui/library")
    page.get_by_role("link", name="Run sales.ipynb").click()
    assert "where it is sold" in page.locator("form.run").inner_text()
    assert page.get_by_label("factor").input_value() == "2.5"
    assert page.get_by_label("strict").is_checked()
    assert "RUNNER_INPUT_DIR" in page.inner_text("#files-hint")
    page.get_by_label("region").fill("US")
    page.get_by_label("strict").uncheck()
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_url("**/jobs/*")
    page.get_by_role("heading", name="Results").wait_for()
    job_id = page.url.rpartition("/")[2]
    found = requests.get(f"{program.url}/jobs/{job_id}/result", timeout=30).json()
    assert found["parameters"] == {"region": "US", "strict": False}
    assert page.locator("dt", has_text="Submitted by").locator("+ dd").inner_text() == "page"
    assert found["results"]["cell_3"]["text/plain"] == "('US', 2.5, False, ['a', 'b'])"
    page.goto("/ui/library")
    last = page.get_by_role("link", name="Succeeded: last run of sales.ipynb")
    assert last.get_attribute("href") == f"/jobs/{job_id}"


def test_run_again_and_run_again_with_other_parameters(page: "Page", program: Program) -> None:
    """The form has what was asked; the same notebook, not a copy out of the browser."""
    body = notebook(code("n: int = 1", "parameters"), code("n * 2", "results"))
    asked: Json = {"parameters": {"n": 4, "other": [1]}, "resources": {"memory_mb": 200}}
    asked["retries"] = 1
    job_id = run(program, notebook=body, name="again", **asked)
    page.goto(f"/jobs/{job_id}")
    page.get_by_role("button", name="Run again").click()
    page.wait_for_url(lambda url: "/jobs/" in url and job_id not in url)
    page.get_by_role("heading", name="Results").wait_for()
    assert page.locator(".result .value").inner_text() == "8"
    page.get_by_role("link", name="Change and run").click()
    assert page.get_by_label("n", exact=True).input_value() == "4"
    assert json.loads(page.get_by_label("Other parameters").input_value()) == {"other": [1]}
    assert page.get_by_label("Name of the job").input_value() == "again"
    assert page.get_by_label("Memory in MB").input_value() == "200"
    assert page.get_by_label("Further tries").input_value() == "1"
    page.get_by_label("Memory in MB").fill("100")
    page.get_by_label("n", exact=True).fill("x")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Enter a whole number.").wait_for()
    assert page.get_by_label("n", exact=True).input_value() == "x"
    page.get_by_label("n", exact=True).fill("5")
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_url("**/jobs/*")
    page.get_by_role("heading", name="Results").wait_for()
    assert page.locator(".result .value").inner_text() == "10"
    assert page.locator("dt", has_text="Host").locator("+ dd").inner_text() == socket.gethostname()
    page.get_by_role("link", name="Change and run").click()
    assert page.get_by_label("Memory in MB").input_value() == "100"


def test_a_notebook_that_was_repaired_runs_again_as_it_is_now(
    page: "Page", program: Program
) -> None:
    """The page says why it asks, with a button that does it; a program keeps its 410."""
    file = program.library / "mended.ipynb"
    tagged = code("n = 1", "parameters")
    file.write_text(json.dumps(notebook(tagged, "1 / 0")))
    job_id = run(program, notebook="mended.ipynb", name="mended", parameters={"n": 4})
    file.write_text(json.dumps(notebook(tagged, code("n * 2", "results"))))
    answer = requests.post(f"{program.url}/jobs/{job_id}/retry", timeout=60)
    assert (answer.status_code, answer.json()["error_type"]) == (410, "gone")
    page.goto(f"/jobs/{job_id}")
    page.get_by_role("button", name="Run again").click()
    page.get_by_text("is not the same any more").wait_for()
    assert_for_everybody(page, "changed")
    page.get_by_role("button", name="Run it as it is now").click()
    page.wait_for_url(lambda url: "/jobs/" in url and job_id not in url)
    page.get_by_role("heading", name="Results").wait_for()
    assert heading(page) == "mended"
    assert page.locator(".result .value").inner_text() == "8"


def test_what_a_form_sends_is_bounded_and_checked(program: Program) -> None:
    """Broken, foreign and oversized bodies are refused as pages, and nothing is queued."""
    before = newest(program)
    kind = {"Content_Type": "multipart/form-data; boundary=B"}
    head = b'--B\r\nContent-Disposition: form-data; name="%s"; filename="x"\r\n\r\n%s\r\n--B--\r\n'
    for path, body, headers, status in (
        ("/ui/run", b"", {}, 400),
        ("/ui/run", b"content=%ff", {}, 400),
        ("/ui/run", b"garbage", kind, 400),
        ("/ui/run", b"library=../x.ipynb", {}, 400),
        ("/ui/run", b"job=x", {}, 404),
        ("/ui/inspect", b"", {}, 422),
        ("/ui/inspect", head % (b"file", b"{"), kind, 422),
        ("/ui/inspect", head % (b"file", b" " * (7 << 20)), kind, 413),
    ):
        answer = requests.post(
            f"{program.url}{path}",
            body,
            headers={
                "Accept": BROWSERS,
                "User-Agent": BROWSER,
                "Origin": program.url,
                "Content-Type": "application/x-www-form-urlencoded",
                **{name.replace("_", "-"): value for name, value in headers.items()},
            },
            timeout=60,
        )
        assert (path, body[:40], answer.status_code) == (path, body[:40], status)
        assert answer.headers["Content-Type"].startswith("text/html")
    assert newest(program) == before


def test_what_the_contract_refuses_stands_beside_its_field(page: "Page") -> None:
    """With what was typed kept."""
    page.goto("/ui/run?notebook=sales.ipynb")
    page.get_by_text("More settings").click()
    page.get_by_label("Memory in MB").fill("1000000")
    page.get_by_role("button", name="Run", exact=True).click()
    page.locator("#memory-error").wait_for()
    assert "limits.memory_mb" in page.locator("#memory-error").inner_text()
    page.get_by_label("Memory in MB").fill("")
    page.get_by_label("Time limit").fill("1e9")
    page.get_by_role("button", name="Run", exact=True).click()
    page.locator("#timeout-error").wait_for()
    assert "limits.max_run_seconds" in page.locator("#timeout-error").inner_text()
    assert page.get_by_label("Time limit").input_value() == "1e9"
    page.get_by_label("Time limit").fill("")
    page.get_by_label("Further tries").fill("11")
    page.get_by_role("button", name="Run", exact=True).click()
    page.locator("#retries-error").wait_for()
    assert "10" in page.locator("#retries-error").inner_text()


def test_what_is_no_notebook_is_told_where_it_was_dropped(page: "Page", tmp_path: Path) -> None:
    """By its name at once, by its content after a look at it."""
    page.goto("/ui/run")
    drop(page, file_of(tmp_path, "letter.txt", {}))
    page.get_by_text("letter.txt is no notebook").wait_for()
    drop(page, file_of(tmp_path, "total.zip", {}))
    page.get_by_text("total.zip is a ZIP file: put it into the inbox folder.").wait_for()
    drop(page, file_of(tmp_path, "letter.ipynb", {"cells": 5}))
    page.get_by_text("it has no list of").wait_for()
    page.set_input_files("#file", file_of(tmp_path, "good.ipynb", notebook("1")))
    page.get_by_role("heading", name="Run good.ipynb").wait_for()


def test_what_is_told_of_a_dropped_file_covers_nothing(
    browser: "Browser", program: Program, tmp_path: Path
) -> None:
    """It has its own room above the list, on a wide page and on a narrow one."""
    for width in (1280, 360):
        for page in pages(browser, program, viewport={"width": width, "height": 800}):
            page.goto("/")
            drop(page, file_of(tmp_path, f"{'sales' * 9}.csv", {}))
            page.get_by_text(".csv is no notebook").wait_for()
            (told,) = boxes(page, "[data-drop-error]")
            (below,) = boxes(page, ".card:has(.filter)")
            assert told["bottom"] <= below["top"]


def test_everything_works_without_javascript(
    browser: "Browser", program: Program, tmp_path: Path
) -> None:
    """Forms and links do; only news need a reload."""
    for page in pages(browser, program, java_script_enabled=False):
        page.goto("/")
        page.set_input_files("#file", file_of(tmp_path, "plain.ipynb", STEPS))
        page.get_by_role("button", name="Continue").click()
        page.get_by_role("button", name="Run", exact=True).click()
        page.wait_for_url("**/jobs/*")

        def is_over(page: "Page" = page) -> bool:
            page.reload()
            return page.get_by_role("heading", name="Results").count() == 1

        wait_for(is_over)


def _refuse(dialogs: list[str], dialog: "Dialog") -> None:
    dialogs.append(dialog.message)
    dialog.dismiss()


def _note(answered: list[str], answer: "Response") -> None:
    answered.append(f"{answer.request.method} {answer.url}")


def test_a_hostile_notebook_does_nothing(browser: "Browser", program: Program) -> None:
    """Scripts, handlers, links and forms of its outputs are shown, and never run."""
    body = notebook(
        "open('x.svg', 'w').write('<svg onload=\"alert(1)\"/>')", code(HOSTILE, "results")
    )
    job_id = run(program, notebook=body, name="hostile")
    for page in pages(browser, program, is_hostile=True):
        dialogs: list[str] = []
        answered: list[str] = []  # a request that the policy stops has no answer
        page.on("dialog", partial(_refuse, dialogs))
        page.on("response", partial(_note, answered))
        page.goto(f"/jobs/{job_id}")
        frame = page.frame_locator("iframe.notebook")
        page.locator("iframe.notebook").scroll_into_view_if_needed()
        frame.locator("#js").wait_for()
        title = page.title()
        frame.locator("#js").click()
        frame.locator("#post").click()
        page.wait_for_function("document.readyState === 'complete'")
        page.evaluate("new Promise((done) => setTimeout(done, 500))")  # for what must not come
        assert page.url.endswith(f"/jobs/{job_id}")
        assert page.title() == title
        assert dialogs == []
        path = [url.removeprefix(f"GET {program.url}").split("?")[0] for url in answered]
        allowed = {f"/jobs/{job_id}", f"/jobs/{job_id}/notebook", f"/jobs/{job_id}/files/x.svg"}
        assert {one for one in path if not one.startswith(("/ui/static/", "GET data:"))} <= allowed
        assert page.locator("main script, main [onerror], main form[id=evil]").count() == 0


def test_a_hostile_name_and_value_are_text(page: "Page", program: Program) -> None:
    """Wherever a notebook's words stand."""
    evil = "<img src=x onerror=document.title='taken'>"
    body = notebook(
        code(f"x = {evil!r}  # {evil}", "parameters"), code("x", "results"), "1/0  # </pre>"
    )
    job_id = run(program, notebook=body, parameters={"x": evil}, name="evil")
    for path in ("/", f"/jobs/{job_id}", f"/ui/run?job={job_id}"):
        page.goto(path)
        assert "taken" not in page.title()
        assert page.locator("main img[src=x]").count() == 0


def test_a_login_by_hand(browser: "Browser", locked: Program) -> None:
    """The page that was asked for comes after the token; then all of it works."""
    program = locked
    for page in pages(browser, program):
        page.goto("/ui/library?x=1")
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Log in").click()
        page.get_by_text("This is not the gateway's token.").wait_for()
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(f"{program.url}/ui/library?x=1")
        assert page.evaluate("document.cookie") == ""
        page.goto(program.url.replace("127.0.0.1", "localhost") + "/ui/login")  # another site
        page.evaluate("(url) => { location.href = url; }", f"{program.url}/ui/library")
        page.get_by_role("heading", name="Library").wait_for()
        page.goto("/")
        headers = {"Authorization": f"Bearer {TOKEN}"}
        requests.post(
            f"{program.url}/run",
            json={"notebook": notebook("1"), "name": "seen"},
            headers=headers,
            timeout=60,
        )
        page.locator('[data-part="jobs"]').get_by_role("link", name="seen").click()
        page.get_by_role("button", name="Run again").click()
        page.wait_for_url("**/jobs/*")
        page.get_by_role("button", name="Log out").click()
        page.wait_for_url("**/ui/login")
        page.goto("/")
        page.wait_for_url("**/ui/login*")


def test_a_stream_comes_back_after_a_restart(
    browser: "Browser", serving: Serving, make_program: Callable[..., Program]
) -> None:
    """The gateway went away under an open page; the page says so, and goes on by itself."""
    program = serving({"gateway": {"enabled": True, "port": free_port()}})
    for page in pages(browser, program):
        page.goto("/")
        page.get_by_text("Healthy").wait_for()
        program.children(" gateway")[0].kill()
        wait_for(lambda: len(program.addresses()) == 2)
        run(program, notebook=notebook("1"), name="after")
        page.locator('[data-part="jobs"]').get_by_role("link", name="after").wait_for()
        assert page.locator("[data-live]").is_hidden()
        away = program.outbox.rename(program.root / "away")
        page.get_by_text("the outbox is not there").first.wait_for()
        assert "Not healthy" in page.locator("#say").inner_text()
        away.rename(program.outbox)
        page.locator(".health.good").wait_for()


def test_a_hidden_page_holds_no_seat(page: "Page", program: Program) -> None:
    """Its stream ends when it is hidden, and is there again when it is seen."""
    page.goto("/")
    page.get_by_text("Healthy").wait_for()
    with page.expect_event("requestfailed", lambda one: "/ui/events" in one.url):
        page.evaluate(
            """() => {
                Object.defineProperty(document, "hidden", { value: true, configurable: true });
                document.dispatchEvent(new Event("visibilitychange"));
            }"""
        )
    with page.expect_request("**/ui/events*"):
        page.evaluate(
            """() => {
                Object.defineProperty(document, "hidden", { value: false, configurable: true });
                document.dispatchEvent(new Event("visibilitychange"));
            }"""
        )


def test_jobs_are_filtered_and_paged(page: "Page", program: Program) -> None:
    """By a part of the name and by status; 25 a page."""
    for number in range(27):  # no notebooks, so that none has to be run
        program.drop(f"paged/n{number:02}.ipynb", "{}")
        program.await_report(f"paged/n{number:02}")
    page.goto("/")
    page.get_by_label("Name contains").fill("PAGED/")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url("**/?*name=PAGED*")
    assert page.locator(".jobs li").count() == 25
    page.get_by_role("link", name="Older").click()
    page.locator(".jobs").get_by_role("link", name="paged/n00").wait_for()
    assert page.locator(".jobs li").count() == 2
    page.get_by_label("Status").select_option("failed")
    page.get_by_text("No job fits.").wait_for()


def test_a_schedule_is_paused_and_run_by_hand(browser: "Browser", program: Program) -> None:
    """Without JavaScript; its job leads back to it. What is in a file and a name is text."""
    for page in pages(browser, program, java_script_enabled=False):
        page.goto("/")
        page.get_by_role("link", name="Schedules").click()
        line = page.locator(".schedules li").filter(has_text=PLANNED)
        line.get_by_role("button", name="Pause").click()
        line.get_by_text("by page").wait_for()
        tops = line.locator("button").evaluate_all(
            "found => found.map(one => one.getBoundingClientRect().top)"
        )
        assert (len(tops), len(set(tops))) == (2, 1), "the buttons stand beside each other"
        line.get_by_role("button", name="Resume").click()
        line.get_by_text("Next: Fri 1 Jan 2027, 00:00").wait_for()
        line.get_by_role("link", name=PLANNED).click()
        assert page.get_by_role("heading", level=1).inner_text() == PLANNED
        page.get_by_role("button", name=f"Pause: {PLANNED}").click()
        assert page.locator(".title .status").inner_text() == "Paused"
        assert "<i>US" in page.get_by_label("Parameters").inner_text()
        page.get_by_role("button", name="now").click()
        page.wait_for_url("**/jobs/*")
        requests.get(f"{page.url}?wait=60", timeout=90)
        page.reload()
        page.get_by_role("link", name=f"schedule:{PLANNED}@").click()
        page.get_by_role("button", name=f"Resume: {PLANNED}").click()
        assert page.locator(".title .status").inner_text() == "On"


def test_jobs_are_paused_and_resumed(page: "Page", program: Program) -> None:
    """What waits says so, and since when it may start; a job of later tells its time."""
    page.goto("/ui/schedules")
    before = boxes(page, ".top nav a")
    page.goto("/")
    now = page.locator('[data-part="now"]')
    assert boxes(page, ".top nav a") == before
    page.get_by_role("button", name="Pause all jobs").click()
    now.get_by_text("Paused: all jobs by page").wait_for()
    health = f"{program.url}/healthz"
    wait_for(lambda: "all jobs are paused" in requests.get(health, timeout=90).text)
    page.reload()
    assert page.locator(".note").filter(has_text="paused").count() == 0
    assert "`" not in page.locator("main").inner_text()
    run(program, 0, notebook=notebook("1"), name="held back")
    later = {"not_before": "2999-01-01T00:00:00Z", "priority": 3}
    job_id = run(program, 0, notebook=notebook("1"), name="of later", **later)
    now.get_by_text(re.compile(r"starts in \d+ days")).wait_for()
    now.get_by_role("link", name="held back").click()
    waits = page.locator("[data-cells]")
    waits.get_by_text(re.compile("Waits for the end of a pause: all jobs are paused")).wait_for()
    page.goto("/ui/run?notebook=sales.ipynb")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("heading", name="Timeline").wait_for()
    waits.get_by_text(re.compile("Waits for the end of a pause")).wait_for()
    assert page.locator("dt", has_text="Notebook").locator("+ dd").inner_text() == "sales.ipynb"
    page.goto("/")
    assert now.get_by_role("link", name="held back").count() == 1
    assert page.get_by_role("button", name="Pause all jobs").count() == 0
    page.get_by_role("button", name="Resume all jobs").click()
    page.locator('[data-part="jobs"]').get_by_role("link", name="held back").wait_for()
    page.goto(f"/jobs/{job_id}")
    assert re.search("Starts at .*2999.* at the earliest", page.locator(".main").inner_text())
    assert page.get_by_role("term").filter(has_text="Priority").count() == 1
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("The job was cancelled before it ran.").wait_for()


def test_a_year_of_a_schedule_is_read_day_by_day(page: "Page", program: Program) -> None:
    """By a title that says what a colour means, and in a table; the times are of its zone."""
    page.goto("/ui/schedules/daily")
    days = page.locator(".year [role=img]").evaluate_all(
        "found => found.map(one => [one.getAttribute('class'), one.textContent])"
    )
    assert [kind for kind, _ in days] == ["good"] * 4 + ["idle", "good", "bad"]
    yesterday = datetime.now(UTC) - timedelta(days=1)
    assert days[-1][1] == f"{yesterday:%a} {yesterday.day} {yesterday:%b %Y}: 1 failed"
    assert page.locator(".year-frame rect").count() in range(52 * 7 + 1, 53 * 7 + 1)
    cells = page.locator("tbody tr").first.locator("td").all_inner_texts()
    assert [cells[0].endswith(", 06:00"), cells[1]] == [True, "Failed"]
    assert page.get_by_text("it was <b>away</b>").count() == 1
    assert page.get_by_label("Next").locator("li").count() == 5

    file = program.library / "schedules" / "gone.yaml"
    file.write_text("cron: '@daily'\nnotebook: sales.ipynb")
    page.goto("/ui/schedules/gone")
    file.unlink()
    page.get_by_role("button", name="Pause").click()
    page.get_by_text("There is no schedule 'gone'").wait_for()
    page.goto("/ui/schedules")
    assert "<b>never</b>" in page.locator("li", has_text="wrong").inner_text()


def test_without_schedules_a_page_says_how_to_make_one(program: Program, serving: Serving) -> None:
    """With an example that works as it stands; a browser gets the page at both addresses."""
    bare = serving({"gateway": GATEWAY})
    text = ask(bare, "/schedules").text
    assert text.count("<nav") == 2
    example = html.unescape(re.findall(r"<pre[^>]*>(.*?)</pre>", text, re.DOTALL)[0])
    plan(bare, "mine", example)
    assert "At 06:00, Monday through Friday" in ask(bare, "/ui/schedules").text
    assert ask(program, "/schedules/daily").headers["Content-Type"].startswith("text/html")


# For everybody


@pytest.fixture(scope="module")
def places(program: Program) -> dict[str, str]:
    """Pages that together show everything."""
    table = 'import json; json.loads(\'[{"a": 1, "b": "x"}]\')'
    good = run(program, notebook=notebook(code(table, "results"), code("'text\\n' * 9", "results")))
    bad = run(program, notebook=notebook("x = 1\n1/0"), name="broken")
    slow = run(program, 0, notebook=notebook(SLOW), name="endless")
    # Nobody listens there, so the card of its callback shows a try that failed.
    told = run(program, notebook=notebook(code(table)), callback="http://127.0.0.1:9/told")
    requests.post(f"{program.url}/jobs/{told}/shares", json={}, timeout=30).raise_for_status()
    return {
        "told and shared": f"/jobs/{told}",
        "name": "/ui/names/broken",
        "overview": "/",
        "job": f"/jobs/{good}",
        "failed": f"/jobs/{bad}",
        "running": f"/jobs/{slow}",
        "choose": "/ui/run",
        "form": "/ui/run?notebook=sales.ipynb",
        "types": "/ui/run?notebook=typed.ipynb",
        "library": "/ui/library",
        "schedules": "/ui/schedules",
        "schedule": "/ui/schedules/daily",
        "login": "/ui/login",
        "problem": "/jobs/none",
    }


@pytest.mark.parametrize("has_script", [True, False])
def test_a_typed_form_offers_what_fits(
    browser: "Browser", program: Program, has_script: bool
) -> None:
    """A menu, a number with limits, a day and a time; a missing value is said beside its field."""
    for page in pages(browser, program, java_script_enabled=has_script):
        page.goto("/ui/run?notebook=typed.ipynb")
        kinds = page.locator("fieldset input:not([type=hidden]), fieldset select").evaluate_all(
            "found => found.map(one => [one.name, one.type, one.min, one.max, one.required])"
        )
        assert kinds == [
            ["p.region", "select-one", None, None, False],
            ["p.share", "number", "0", "1", False],
            ["p.day", "date", "", "", True],
            ["p.at", "datetime-local", "", "", False],
            ["p.strict", "checkbox", "", "", False],
        ]
        page.get_by_label("region").select_option("US")
        page.get_by_label("share").fill("2")
        page.get_by_role("button", name="Run", exact=True).click()
        page.get_by_text("Enter a number from 0 to 1.").wait_for()
        page.get_by_text("Enter a date such as 2026-01-31.").wait_for()
        page.get_by_label("share").fill("0.25")
        page.get_by_label("day").fill("2026-02-03")
        page.get_by_label("at").fill("2026-02-03T04:05")
        page.get_by_role("button", name="Run", exact=True).click()
        page.wait_for_url("**/jobs/*")
        job_id = page.url.rpartition("/")[2]
        record = requests.get(f"{program.url}/jobs/{job_id}?wait=60", timeout=90).json()
        assert record["result"]["parameters"] == {
            "region": "US",
            "share": 0.25,
            "day": "2026-02-03",
            "at": "2026-02-03T04:05",
        }


def test_a_wrong_parameters_file_is_told_where_its_notebook_is(page: "Page") -> None:
    """In the library, and in place of the form; with the line."""
    page.goto("/ui/library")
    said = "The library's 'wrong.parameters.yaml' is wrong: a schema is a mapping"
    assert said in page.locator("li", has_text="wrong.ipynb").inner_text()
    assert page.get_by_text("(line 2)").count() == 1
    page.goto("/ui/run?notebook=wrong.ipynb")
    assert said in page.locator("main").inner_text()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_axe_finds_no_violation(
    browser: "Browser", program: Program, places: dict[str, str], scheme: str, width: int
) -> None:
    """Labels, landmarks, contrast, on every page; and none is wider than the screen."""
    size = {"width": width, "height": 780}
    for page in pages(browser, program, color_scheme=scheme, viewport=size):
        for name, path in places.items():
            page.goto(path)
            assert_for_everybody(page, name)


# One within a line, and one that no screen of a telephone holds, in both ways.
WIDE_FORMULAS = "# Sales\n\nIn $a^2$ and ${0}$ and\n\n$${0}$$".replace(
    "{0}", " + ".join(f"x_{{{n}}}" for n in range(60))
)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_axe_finds_no_violation_in_a_report(
    browser: "Browser", program: Program, scheme: str, width: int
) -> None:
    """Its text is put into a page of its own, for a report's own policy lets no script look."""
    cells = [
        code("import pandas as pd; pd.DataFrame({f'column {n}': [n] for n in range(30)})"),
        code("'a value of one line' * 100"),
        code("print('word ' * 200); 1/0"),
    ]
    heading: dict[str, Any] = {"cell_type": "markdown", "metadata": {}, "source": WIDE_FORMULAS}
    job_id = run(program, notebook=notebook(heading, *cells))
    report = requests.get(
        f"{program.url}/jobs/{job_id}/report", headers={"Accept": "text/html"}, timeout=60
    )
    size = {"width": width, "height": 780}
    for page in pages(browser, program, color_scheme=scheme, viewport=size):
        page.set_content(report.text)
        # What pandas writes above an index.
        page.locator("th:empty").evaluate_all("found => found.forEach(one => one.remove())")
        assert_for_everybody(page, "report")


def assert_for_everybody(page: "Page", name: str) -> None:
    """No rule of accessibility is broken, and nothing is wider than the screen."""
    from axe_playwright_python.sync_playwright import Axe

    page.wait_for_function("document.fonts.status === 'loaded'")
    found = Axe().run(page, options={"iframes": False})
    assert [
        (name, one["id"], [node["html"][:200] for node in one["nodes"]])
        for one in found.response["violations"]
    ] == []
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert (name, page.evaluate(overflow)) == (name, 0)
    # Who says what a button shows means that button (WCAG 2.5.3).
    others = page.locator("button[aria-label], a[aria-label]").evaluate_all(
        "found => found.map(one => [one.innerText.trim(), one.ariaLabel])"
        ".filter(([text, label]) => !label.toLowerCase().startsWith(text.toLowerCase()))"
    )
    assert (name, others) == (name, [])


def test_a_link_is_seen_whole_and_times_are_those_of_everywhere_else(
    browser: "Browser", program: Program, places: dict[str, str]
) -> None:
    """It can be copied as it stands; and no page has hours of twelve beside hours of 24."""
    for page in pages(browser, program, locale="en-US"):
        page.goto(places["told and shared"])
        shown = page.locator("[data-whole]").inner_text()
        assert shown.startswith(f"{program.url}/shared/")
        times = page.locator("time[data-local]").all_inner_texts()
        page.goto(places["name"])
        last = page.locator("dl time[data-local]").all_inner_texts()
        assert len(times) > 2
        assert [one for one in times + last if re.search("[AP]M", one)] == []
        assert [one for one in last if not re.search(r"\d{4}", one)] == []


def test_dark_is_dark(browser: "Browser", program: Program) -> None:
    """As the system says."""
    seen = {}
    for scheme in ("light", "dark"):
        for page in pages(browser, program, color_scheme=scheme):
            page.goto("/")
            seen[scheme] = page.evaluate(
                "getComputedStyle(document.documentElement).backgroundColor"
            )
    light, dark = (sum(map(int, re.findall(r"\d+", seen[one])[:3])) for one in ("light", "dark"))
    assert light > 600 > 200 > dark


def test_the_keyboard_is_enough(page: "Page", tmp_path: Path) -> None:
    """Skip link first; what has the focus is seen; a file is chosen by the input itself."""
    page.goto("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    for _ in range(30):
        if page.evaluate("document.activeElement.id") == "file":
            break
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    outline = "getComputedStyle(document.querySelector('.drop label')).outlineStyle"
    assert page.evaluate(outline) == "solid"
