"""Promises of reports as PDF: bounded, without a network, and with nothing left behind."""

import http.server
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from pypdf import PdfReader

from runner.reports.printing.printer import MAX_BYTES, MOST_WAITING, CannotPrint, Printer
from runner.reports.printing.programs import NoBrowser, find_browser
from runner.reports.rendering.report import POLICY
from runner.system.processes.side_process import Busy, TookTooMuch
from tests.conftest import tool

HANGS = "#!/bin/sh\nsetsid sleep 600 &\necho $$ $! > {pids}.new\nmv {pids}.new {pids}\nwait\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where browsers have their profiles; its path is longer than that of a socket may be."""
    made = tmp_path / ("long" * 20)
    made.mkdir()
    monkeypatch.setenv("TMPDIR", str(made))
    return made


@pytest.fixture
def printer(folder: Path) -> Iterator[Printer]:
    tool("chromium")
    made = Printer()
    yield made
    made.close()


def program(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def pages(pdf: bytes) -> list[str]:
    return [page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages]


def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_over(pid: int) -> bool:
    """Whether it has ended, and was reaped."""
    return not psutil.pid_exists(pid)


def test_a_page_is_printed_and_nothing_is_left(printer: Printer, folder: Path) -> None:
    """Neither a process nor a file; also of a page with a picture of 20 MB."""
    text = "<h1>First</h1><p style='break-before: page'>second" + "<!--" + "x" * 20_000_000 + "-->"
    assert pages(printer.print(text.encode(), POLICY)) == ["First", "second"]
    process = printer._process._process
    assert process is not None
    assert psutil.Process(process.pid).children(recursive=True) == []
    assert list(folder.iterdir()) == []


def test_a_page_gets_nothing_from_anywhere(printer: Printer, tmp_path: Path) -> None:
    """No file, no address, by no way that needs no script; and no script runs."""
    asked: list[str] = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        secret = tmp_path / "secret.html"
        secret.write_text("secret")
        ways = [
            f"<meta http-equiv=refresh content='0;url={where}'><img src='{where}'>"
            f"<iframe src='{where}'></iframe><object data='{where}'></object>"
            f"<link rel=stylesheet href='{where}'><link rel=preload as=image href='{where}'>"
            f"<link rel=dns-prefetch href='{where}'><style>@import '{where}';</style>"
            f"<div style='background: url({where})'>x</div><video src='{where}' poster='{where}'>"
            f"</video><svg><image href='{where}'/></svg>"
            for where in (f"{url}/a", secret.as_uri())
        ]
        script = f"<script>document.body.textContent = 'owned'; fetch('{url}/b')</script>"
        for policy in (POLICY, "img-src *"):
            shown = pages(printer.print(f"{ways}{script}<p>The end".encode(), policy))
            assert "The end" in shown[0]
            assert "secret" not in "".join(shown)
            assert "owned" not in "".join(shown)
        server.shutdown()
    assert asked == []


def test_a_browser_that_hangs_is_ended_with_all_it_started(folder: Path, tmp_path: Path) -> None:
    """Also what has left its group; the profile goes too."""
    pids = tmp_path / "pids"
    printer = Printer(program(tmp_path / "hangs", HANGS.format(pids=pids)), seconds=2)
    with pytest.raises(TookTooMuch, match="longer than 2 s"):
        printer.print(b"x", POLICY)
    assert all(is_over(int(pid)) for pid in pids.read_text().split())
    assert list(folder.iterdir()) == []
    printer.close()


def busy(printer: Printer) -> None:
    with pytest.raises(Busy, match="ends"):
        printer.print(b"x", POLICY)


def test_a_browser_ends_with_the_process_that_prints(folder: Path, tmp_path: Path) -> None:
    """Where that is killed; the next one removes what it left."""
    pids = tmp_path / "pids"
    hangs = program(tmp_path / "hangs", HANGS.format(pids=pids))
    printer = Printer(hangs, seconds=60)
    thread = threading.Thread(target=busy, args=(printer,))
    thread.start()
    until(pids.exists)
    printer.close()
    thread.join()
    until(lambda: is_over(int(pids.read_text().split()[0])))
    psutil.Process(int(pids.read_text().split()[1])).kill()
    assert len(list(folder.iterdir())) == 1
    other = Printer(program(tmp_path / "ends", "#!/bin/sh\nexit 1\n"))
    with pytest.raises(CannotPrint, match="without a word"):
        other.print(b"x", POLICY)
    assert list(folder.iterdir()) == []
    other.close()


def test_a_few_may_wait_for_the_printer(folder: Path, tmp_path: Path) -> None:
    """Whoever comes later is told to come again."""
    pids = tmp_path / "pids"
    printer = Printer(program(tmp_path / "hangs", HANGS.format(pids=pids)), seconds=1)
    ends: list[type[BaseException]] = []

    def ask() -> None:
        try:
            printer.print(b"x", POLICY)
        except (TookTooMuch, Busy) as error:
            ends.append(type(error))

    threads = [threading.Thread(target=ask) for _ in range(MOST_WAITING)]
    for thread in threads:
        thread.start()
    until(pids.exists)
    until(lambda: printer._seats._value == 0)
    with pytest.raises(Busy, match="try again"):
        printer.print(b"x", POLICY)
    for thread in threads:
        thread.join()
    assert ends == [TookTooMuch] * MOST_WAITING
    printer.close()


def test_a_page_that_no_message_holds_is_refused(folder: Path) -> None:
    """Before a browser is started for it."""
    with pytest.raises(TookTooMuch, match="more than can be printed"):
        Printer("/bin/true").print(b"x" * (MAX_BYTES + 1), POLICY)


def test_the_sandbox_is_given_up_only_where_there_is_none(folder: Path, tmp_path: Path) -> None:
    """As in containers without user namespaces: by the browser's own word."""
    chromium = tool("chromium")
    says = tmp_path / "switches"
    text = (
        f'#!/bin/sh\necho "$*" >> {says}\ncase "$*" in *--no-sandbox*) exec {chromium} "$@";; esac'
        "\necho '[1:FATAL:zygote_host.cc(1)] No usable sandbox! Update your kernel' >&2\nexit 1\n"
    )
    wrapper = program(tmp_path / "wrapper", text)
    code = (
        "import os, sys; os.geteuid = lambda: 1000\n"
        "from runner.reports.printing.process import *\nadopt_orphans()\n"
        f"sys.stdout.buffer.write(answer(question(Task({wrapper!r}, ''), b'<p>Printed')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=90, check=True)
    assert pages(done.stdout) == ["Printed"]
    first, second = says.read_text().splitlines()
    assert "--no-sandbox" not in first
    assert "--no-sandbox" in second


def test_without_a_browser_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snap is none: it cannot have a folder of ours as its home."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoBrowser, match=r"apt-get install chromium.*gateway\.chromium"):
        find_browser()
    with pytest.raises(NoBrowser, match=r"`gateway\.chromium` is 'absent'"):
        find_browser("absent")
    snap = "#!/bin/sh\nif [ -x /snap/bin/chromium ]; then exec /snap/bin/chromium; fi\n"
    program(tmp_path / "chromium-browser", snap)
    with pytest.raises(NoBrowser, match="is a snap"):
        find_browser()
    chrome = program(tmp_path / "google-chrome", "#!/bin/sh\n")
    assert find_browser() == chrome
    assert find_browser("google-chrome") == chrome
    assert os.path.isabs(chrome)
