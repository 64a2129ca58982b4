"""Hands messages to processes that send them by Apprise: as many as there are receivers at work."""

import importlib.util
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from runner.followers.notifications.apprise_process import (
    MODULE,
    SECONDS,
    look_question,
    question_of,
)
from runner.system.extras import advice_on
from runner.system.processes.side_process import CannotAnswer, SideProcess, TookTooMuch

EXTRA = "notify"
"""The extra with which Apprise comes."""


class NotSent(Exception):
    """A message did not go; the text says why and shows no secret."""


@dataclass(frozen=True)
class Message:
    """A message: `link` is an address below the body, `attachments` names with contents.

    `tone` is a type of Apprise's messages: info, success, warning or failure.
    """

    title: str
    body: str
    link: str = ""
    attachments: Sequence[tuple[str, bytes]] = ()
    tone: str = "info"


def missing_extra() -> str | None:
    """Say how to install Apprise; None if it is there."""
    if importlib.util.find_spec("apprise") is not None:
        return None
    return f"Apprise is not installed; this installs it: {advice_on(EXTRA)}"


class Senders:
    """Processes that send, one message each at a time. Safe for many threads."""

    def __init__(self, module: str = MODULE, seconds: float = SECONDS) -> None:
        self._module = module
        self._seconds = seconds
        self._lock = threading.Lock()
        self._free: list[SideProcess] = []
        self._all: list[SideProcess] = []

    def send(self, url: str, message: Message) -> str:
        """Send a message to a URL of Apprise; return what was left out, or an empty text.

        Raises:
            NotSent
        """
        attachments = list(message.attachments)
        text = {
            "title": message.title,
            "body": message.body,
            "link": message.link,
            "tone": message.tone,
        }
        return self._ask(question_of(url, text, attachments))

    def look(self, url: str) -> None:
        """Check that Apprise can use a URL.

        Raises:
            NotSent: it cannot.
        """
        self._ask(look_question(url))

    def close(self) -> None:
        """End all processes, also in the middle of a message."""
        for one in self._all:
            one.close()

    def _ask(self, question: bytes) -> str:
        if (missing := missing_extra()) is not None:
            raise NotSent(missing)
        with self._process() as process:
            try:
                return process.ask(question).decode("utf-8", "replace")
            except TookTooMuch as error:
                raise NotSent(f"the receiver was given up: {error}") from None
            except CannotAnswer as error:
                raise NotSent(str(error)) from None

    @contextmanager
    def _process(self) -> Iterator[SideProcess]:
        with self._lock:
            if self._free:
                process = self._free.pop()
            else:
                process = SideProcess(self._module, self._seconds)
                self._all.append(process)
        try:
            yield process
        finally:
            with self._lock:
                self._free.append(process)
