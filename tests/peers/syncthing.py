"""Two real Syncthings on this machine, which know only each other."""

import os
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import requests

from tests.conftest import free_port, tool, wait_for

FOLDER = "data"
OFF = {
    **dict.fromkeys(("globalAnnounceEnabled", "localAnnounceEnabled"), "false"),
    **dict.fromkeys(("relaysEnabled", "natEnabled", "startBrowser"), "false"),
    **dict.fromkeys(("crashReportingEnabled", "restartOnWakeup"), "false"),
    "urAccepted": "-1",
    "autoUpgradeIntervalH": "0",
    "reconnectionIntervalS": "5",
    "limitBandwidthInLan": "true",
}


class Syncthing:
    """One of them, with one folder."""

    def __init__(self, home: Path, folder: Path) -> None:
        self.folder = folder
        self._home = home
        self._gui, self.port = free_port(), free_port()
        made = subprocess.run(
            [tool("syncthing"), "generate", "--home", home],
            env={**os.environ, "HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert made.returncode == 0, made.stderr
        self._config = ET.parse(home / "config.xml")
        device = self._root.find("device")
        assert device is not None
        self.device = device.attrib["id"]
        self._session = requests.Session()
        self._session.headers["X-API-Key"] = self._root.findtext("gui/apikey") or ""

    @property
    def _root(self) -> ET.Element:
        return self._config.getroot()

    def share_with(self, other: "Syncthing", kind: str, kilobytes: int) -> None:
        """Know the other one, and share the folder with it.

        `kind` is Syncthing's `type`; at most so many kilobytes come in a second, 0 for any.
        """
        for old in self._root.findall("folder"):
            self._root.remove(old)
        for own in self._root.findall("device"):
            self._root.remove(own)
        for one in (self, other):
            device = ET.SubElement(self._root, "device", id=one.device, compression="never")
            ET.SubElement(device, "address").text = f"tcp://127.0.0.1:{one.port}"
        folder = ET.SubElement(self._root, "folder", id=FOLDER, path=str(self.folder), type=kind)
        folder.attrib |= {"fsWatcherEnabled": "true", "fsWatcherDelayS": "1"}
        for one in (self, other):
            ET.SubElement(folder, "device", id=one.device)
        self._set_options(maxRecvKbps=str(kilobytes))
        self._config.write(self._home / "config.xml")

    def _set_options(self, **more: str) -> None:
        gui = self._root.find("gui/address")
        options = self._root.find("options")
        assert gui is not None
        assert options is not None
        gui.text = f"127.0.0.1:{self._gui}"
        listening = {"listenAddress": f"tcp://127.0.0.1:{self.port}"}
        for key, value in {**OFF, **listening, **more}.items():
            option = options.find(key)
            if option is None:
                option = ET.SubElement(options, key)
            option.text = value

    @contextmanager
    def running(self) -> Iterator[None]:
        """In the foreground, without its own supervisor."""
        with (self._home / "log").open("wb") as log:
            process = subprocess.Popen(
                [tool("syncthing"), "serve", "--home", self._home, "--no-browser", "--no-restart"],
                env={**os.environ, "HOME": str(self._home), "STNOUPGRADE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            wait_for(lambda: self._is_up() or process.poll() is not None, 60)
            assert process.poll() is None, self.log
            yield
        finally:
            process.terminate()
            process.wait(60)

    @property
    def log(self) -> str:
        return (self._home / "log").read_text()

    def _is_up(self) -> bool:
        try:
            return self._session.get(f"{self._url}/system/ping", timeout=10).ok
        except requests.RequestException:  # it may also take its time
            return False

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self._gui}/rest"

    def status(self) -> dict[str, object]:
        """What it knows of the folder."""
        answer = self._session.get(f"{self._url}/db/status", params={"folder": FOLDER}, timeout=60)
        answer.raise_for_status()
        found: dict[str, object] = answer.json()
        return found

    def post(self, what: str) -> None:
        """Such as `scan`: look at the folder now."""
        answer = self._session.post(f"{self._url}/db/{what}", params={"folder": FOLDER}, timeout=60)
        assert answer.ok, answer.text


@contextmanager
def two(
    place: Path, sent: Path, received: Path, *, kind: str, kilobytes: int = 0
) -> Iterator[tuple[Syncthing, Syncthing]]:
    """The one that sends, and the one that receives, whose folder is of this `kind`."""
    homes = [place / "sender", place / "receiver"]
    for folder in (*homes, sent, received):
        folder.mkdir(parents=True, exist_ok=True)
    sender, receiver = map(Syncthing, homes, (sent, received))
    sender.share_with(receiver, "sendreceive", 0)
    receiver.share_with(sender, kind, kilobytes)
    with ExitStack() as stack:
        for one in (sender, receiver):
            stack.enter_context(one.running())
        yield sender, receiver
