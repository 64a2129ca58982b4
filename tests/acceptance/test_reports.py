"""Reports of jobs, and links that show one of them to who has no token."""

import io
import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import requests
from pypdf import PdfReader

from tests.acceptance.conftest import PATIENCE
from tests.conftest import Program, code, notebook, programs, tool

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BEARER = {"Authorization": "Bearer the token"}
EVIL = "<script>document.title = 'owned'; fetch('/jobs')</script><img src=x onerror=fetch('/')>"
CELLS = (
    {"cell_type": "markdown", "source": "# Sales *of* the day\n\nIt is $x^2$.", "metadata": {}},
    code("n = 3", "parameters"),
    code("print('noise')", "remove_output"),
    code("secret_code = 1; 'shown value'", "remove-input"),
    code("'never seen'", "remove_cell"),
    code(
        "import pandas as pd\n"
        "pd.DataFrame({'region': ['north'], **{f'c{i}': [i] for i in range(40)}})"
    ),
    code("%matplotlib inline\nimport matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()"),
    code(f"from IPython.display import HTML; HTML({EVIL!r})"),
    code("open('table 1.csv', 'w').write('a,b')", "results"),
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    for make in programs(tmp_path_factory.mktemp("reports")):
        yield make({"gateway": {"enabled": True, "port": 0, "token": "the token"}}).start()


@pytest.fixture(scope="module")
def job(program: Program) -> dict[str, Any]:
    asked = {"notebook": notebook(*CELLS), "name": "sales/day", "parameters": {"n": 4}}
    done = requests.post(f"{program.url}/run", json=asked, headers=BEARER, timeout=90)
    assert done.status_code == 200, done.text
    found: dict[str, Any] = done.json()
    return found


def get(program: Program, path: str, *, token: bool = True) -> requests.Response:
    return requests.get(f"{program.url}{path}", headers=BEARER if token else {}, timeout=90)


def post(program: Program, job: dict[str, Any], body: Any) -> requests.Response:
    url = f"{program.url}/jobs/{job['job_id']}/shares"
    return requests.post(url, json=body, headers=BEARER, timeout=90)


def test_a_report_shows_what_a_notebook_says(program: Program, job: dict[str, Any]) -> None:
    """Without its code, and without what tags take away; formulas are MathML; no script runs."""
    answer = get(program, f"/jobs/{job['job_id']}/report")
    assert answer.status_code == 200, answer.text
    page = answer.text
    assert "<title>Sales of the day</title>" in page
    for shown in ("shown value", "<math", "data:image/png;base64,", 'class="dataframe"'):
        assert shown in page
    for hidden in ("noise", "secret_code", "never seen", "n = 4", "plt.plot"):
        assert hidden not in page
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox allow-popups")
    assert "allow-scripts" not in policy
    assert "allow-same-origin" not in policy
    with_code = get(program, f"/jobs/{job['job_id']}/report?code=show&theme=dark").text
    assert "plt.plot" in with_code
    assert "secret_code" not in with_code
    assert 'data-theme="dark"' in with_code


def test_a_report_is_markdown_too(program: Program, job: dict[str, Any]) -> None:
    """With tables as text, and pictures in it."""
    answer = get(program, f"/jobs/{job['job_id']}/report?format=md")
    assert answer.headers["Content-Type"] == "text/markdown; charset=utf-8"
    assert answer.text.startswith("# Sales of the day\n\n")
    assert "shown value" in answer.text
    assert "![](data:image/png;base64," in answer.text
    assert "never seen" not in answer.text
    figure = notebook(code("from IPython.display import HTML; HTML('<b>bold</b> news')"))
    done = requests.post(f"{program.url}/run", json=figure, headers=BEARER, timeout=90).json()
    assert "bold news" in get(program, f"/jobs/{done['job_id']}/report?format=md").text


def test_a_figure_that_only_a_script_draws_leaves_a_line_in_markdown(program: Program) -> None:
    """As in the other forms."""
    drawn = "<div class=plotly-graph-div></div><script>1</script>"
    bundle = {"application/vnd.plotly.v1+json": {}, "text/html": drawn}
    cells = notebook(code(f"from IPython.display import display; display({bundle}, raw=True)"))
    done = requests.post(f"{program.url}/run", json=cells, headers=BEARER, timeout=90).json()
    for form in ("md", "html"):
        told = get(program, f"/jobs/{done['job_id']}/report?format={form}").text
        assert "A Plotly figure, which only a script can draw" in told
        assert "figures=live" in told


def test_how_a_report_looks_is_chosen_at_four_places(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The address counts before the request, that before the file beside the notebook, and so on.

    A link keeps what was chosen for it.
    """
    for make in programs(tmp_path_factory.mktemp("choices")):
        at = {"enabled": True, "port": 0, "token": "the token", "chromium": "/absent/chromium"}
        settings = {"gateway": at}
        usual = {"theme": "light", "title": "Of the settings", "code": "hide"}
        other = make({**settings, "report": usual})
        shelf = other.root / "notebooks"
        shelf.mkdir(exist_ok=True)
        cells = (CELLS[0], code("'seen'"))
        (shelf / "sales.ipynb").write_text(json.dumps(notebook(*cells)))
        beside = shelf / "sales.parameters.yaml"
        beside.write_text("report: {theme: dark, title: Beside it}\n")
        other.start()
        asked = {"notebook": "sales.ipynb", "report": {"title": "Größe <b>"}}
        done = requests.post(f"{other.url}/run", json=asked, headers=BEARER, timeout=90).json()
        path = f"/jobs/{done['job_id']}/report"

        def looks(where: str, *, token: bool = True, other: Program = other) -> tuple[str, ...]:
            page = get(other, where, token=token).text
            found = re.search(r'data-theme="(\w+)"[\s\S]*<title>(.*)</title>', page)
            assert found is not None, page
            return (*found.groups(), "code" if "&#x27;seen&#x27;</code>" in page else "")

        assert looks(path) == ("dark", "Größe &lt;b&gt;", "")
        assert looks(f"{path}?title=%C3%84&code=show") == ("dark", "Ä", "code")
        no_pdf = get(other, f"{path}?format=pdf")
        assert (no_pdf.status_code, no_pdf.json()["error_type"]) == (501, "unavailable")
        assert "'/absent/chromium'" in no_pdf.json()["message"]
        share = post(other, done, {"theme": "auto", "code": "show"}).json()
        assert looks(share["url"], token=False) == ("auto", "Größe &lt;b&gt;", "code")
        asked = {"notebook": notebook(*cells), "report": {"theme": "auto"}}
        done = requests.post(f"{other.url}/run", json=asked, headers=BEARER, timeout=90).json()
        assert looks(f"/jobs/{done['job_id']}/report") == ("auto", "Of the settings", "")
        for wrong, meant in ((b"report: {cod: show}", "code"), (b"reprt: {}", "report")):
            beside.write_bytes(wrong)
            answer = requests.post(
                f"{other.url}/run", json={"notebook": "sales.ipynb"}, headers=BEARER, timeout=90
            )
            assert f"did you mean `{meant}`?" in answer.json()["message"]
        asked = {"notebook": "sales.ipynb", "report": {"titel": "x"}}
        answer = requests.post(f"{other.url}/run", json=asked, headers=BEARER, timeout=90)
        assert "Unknown key `report.titel` (did you mean `title`?)" in answer.json()["message"]


def test_a_report_is_a_pdf(program: Program, job: dict[str, Any]) -> None:
    """On A4, with text that can be searched, the picture, and numbers of pages; by a link too."""
    tool("chromium")
    share = post(program, job, {"format": "pdf", "code": "show", "theme": "dark"}).json()
    own = get(program, f"/jobs/{job['job_id']}/report?format=pdf")
    for answer in (own, get(program, share["url"], token=False)):
        assert answer.headers["Content-Type"] == "application/pdf"
        assert answer.headers["Content-Disposition"] == "inline; filename*=UTF-8''day.pdf"
        document = PdfReader(io.BytesIO(answer.content))
        assert document.metadata is not None
        assert document.metadata.title == "Sales of the day"
        texts = [page.extract_text() for page in document.pages]
        assert f"1 / {len(texts)}" in texts[0]
        assert all(len(text) > 20 for text in texts)
        assert "shown value" in "".join(texts)
        assert ("plt.plot" in "".join(texts)) == (answer is not own)
        assert any(len(image.data) > 3000 for page in document.pages for image in page.images)
        assert [round(side) for side in document.pages[0].mediabox[2:]] == [595, 842]
    url = f"{program.url}/jobs/{job['job_id']}/shares/{share['id']}"
    assert requests.delete(url, headers=BEARER, timeout=90).status_code == 200


@pytest.mark.parametrize(
    "query",
    ["format=doc", "code=x", "theme=x", "frm=md", "titel=x", "title=%ff", f"title={'x' * 201}"],
)
def test_what_a_report_cannot_be_is_told(program: Program, job: dict[str, Any], query: str) -> None:
    """Also a key that is none."""
    assert get(program, f"/jobs/{job['job_id']}/report?{query}").status_code == 400
    assert get(program, f"/jobs/{'0' * 32}/report").status_code == 404


def test_a_link_shows_one_report_and_nothing_else(program: Program, job: dict[str, Any]) -> None:
    """To who has no token, until it is revoked."""
    made = post(program, job, {})
    assert made.status_code == 201, made.text
    share = made.json()
    shown = get(program, share["url"], token=False)
    assert (shown.status_code, "shown value" in shown.text) == (200, True)
    assert shown.headers["X-Robots-Tag"] == "noindex"
    assert job["job_id"] not in shown.text
    path = f"/jobs/{job['job_id']}/shares"
    for other in (f"/jobs/{job['job_id']}/report", path, f"{share['url']}x", "/shared/", "/jobs"):
        assert get(program, other, token=False).status_code in (401, 404)
    assert [one["id"] for one in get(program, path).json()["shares"]] == [share["id"]]
    url = f"{program.url}{path}/{share['id']}"
    assert requests.delete(url, timeout=90).status_code == 401
    assert requests.delete(url, headers=BEARER, timeout=90).json() == {"shares": []}
    assert requests.delete(url, headers=BEARER, timeout=90).status_code == 404
    gone = get(program, share["url"], token=False)
    assert (gone.status_code, gone.text) == (404, "There is no such link, or it has ended.\n")


def test_a_link_shows_one_file(program: Program, job: dict[str, Any]) -> None:
    """As a download; and it ends by itself."""
    share = post(program, job, {"what": "files/table 1.csv", "days": 0.5}).json()
    shown = get(program, share["url"], token=False)
    assert (shown.status_code, shown.text) == (200, "a,b")
    assert shown.headers["Content-Disposition"].startswith("attachment")
    (file,) = (program.root / "state" / "shares").glob("*.json")
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"ends_at": "2026-01-01T00:00:00+00:00"}))
    assert get(program, share["url"], token=False).status_code == 404
    assert get(program, f"/jobs/{job['job_id']}/shares").json() == {"shares": []}
    assert not file.exists()


def test_a_report_connects_to_nowhere(program: Program, job: dict[str, Any]) -> None:
    """A browser connects to the address of a frame before it looks whether it may be there."""
    said = "<iframe src=http://192.0.2.1/></iframe><META http-equiv=refresh content=0><p>here</p>"
    cells = [code(f"from IPython.display import HTML; HTML({said!r})")]
    cells.append({"cell_type": "markdown", "metadata": {}, "source": f"{said}\n<link href=x>"})
    done = requests.post(
        f"{program.url}/run", json=notebook(*cells), headers=BEARER, timeout=90
    ).json()
    for view in ("report", "report?figures=live", "notebook?format=html"):
        page = get(program, f"/jobs/{done['job_id']}/{view}").text
        body = page.partition("<body")[2]
        assert "here" in body
        assert not re.search(r"<(iframe|meta|link|base|object|embed)\b", body, re.I), view


def test_links_say_what_they_show(program: Program, job: dict[str, Any]) -> None:
    """So that somebody knows which to revoke; and a misspelt key says what was meant."""
    made = post(program, job, {"format": "md", "code": "show"}).json()
    assert made["report"] == {"format": "md", "code": "show"}
    headers = {**BEARER, "Accept": "text/html"}
    page = requests.get(f"{program.url}/jobs/{job['job_id']}", headers=headers, timeout=90).text
    assert "Report (code: show, format: md)" in page
    assert "(did you mean `days`?)" in post(program, job, {"day": 2}).json()["message"]
    folder = program.root / "state" / "shares"
    assert folder.stat().st_mode & 0o777 == 0o700
    get(program, made["url"])


@pytest.mark.parametrize(
    "body",
    [
        *({"what": "files/other.csv"}, {"what": "x"}, {"days": 0}, {"days": 9999}, {"days": True}),
        *({"day": 1}, {"theme": "x"}, [1], {"what": "files/../../state/ledger.sqlite3"}),
    ],
)
def test_a_link_to_nothing_is_refused(program: Program, job: dict[str, Any], body: Any) -> None:
    """By what is wrong."""
    assert post(program, job, body).status_code in (400, 404)


def test_in_a_browser_no_script_of_a_notebook_runs(
    program: Program, job: dict[str, Any], browser: "Browser"
) -> None:
    """The page is legible without sideways scrolling, and gets nothing else of the gateway."""
    share = post(program, job, {"code": "show"}).json()
    asked: list[str] = []
    page = browser.new_page(viewport={"width": 360, "height": 700})
    page.set_default_timeout(PATIENCE)
    page.on("response", lambda answer: asked.append(answer.url))
    page.goto(f"{program.url}{share['url']}")
    assert page.title() == "Sales of the day"
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert {re.sub(r"^data:.*", "data:", url, flags=re.DOTALL) for url in asked} <= {
        f"{program.url}{share['url']}",
        "data:",
        f"{program.url}/favicon.ico",
    }
    page.close()


def test_the_page_of_a_job_makes_and_revokes_links(
    program: Program, job: dict[str, Any], browser: "Browser"
) -> None:
    """By its forms."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(f"{program.url}/ui/login")
    page.fill("input[name=token]", "the token")
    page.press("input[name=token]", "Enter")
    page.goto(f"{program.url}/jobs/{job['job_id']}")
    page.select_option("select[name=what]", "files/table 1.csv")
    page.get_by_role("button", name="Make a link").click()
    revoke = page.get_by_role("button", name="Revoke the link to table 1.csv")
    revoke.wait_for()
    link = page.get_by_role("link", name="table 1.csv", exact=True).last.get_attribute("href")
    assert link is not None
    assert get(program, link, token=False).text == "a,b"
    revoke.click()
    revoke.wait_for(state="detached")
    assert get(program, link, token=False).status_code == 404
    context.close()
