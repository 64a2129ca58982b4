"""A real SMTP server that remembers what came, and answers as it is told."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session


@dataclass(frozen=True)
class Mail:
    """One message: who it was for, and its content."""

    recipients: tuple[str, ...]
    raw: bytes

    @property
    def content(self) -> EmailMessage:
        """The parsed message."""
        parsed = message_from_bytes(self.raw, policy=default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    @property
    def text(self) -> str:
        """Its body, with the line ends of Unix."""
        body = self.content.get_body(("plain", "html"))
        assert body is not None
        return str(body.get_content()).replace("\r\n", "\n")

    @property
    def attachments(self) -> dict[str, bytes]:
        """Its attachments by name."""
        return {
            str(part.get_filename()): part.get_payload(decode=True)  # type: ignore[misc]
            for part in self.content.iter_attachments()
        }


@dataclass
class MailServer:
    """Takes mail unless `refuse` says why not. Ends with its test."""

    refuse: Callable[[Mail], str | None] = lambda _: None
    port: int = 0
    came: list[Mail] = field(default_factory=list)

    def __enter__(self) -> "MailServer":
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        made = asyncio.run_coroutine_threadsafe(self._serve(), self._loop)
        self._server = made.result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        """Take a message, as aiosmtpd calls it."""
        raw = envelope.content
        assert isinstance(raw, bytes)
        mail = Mail(tuple(envelope.rcpt_tos), raw)
        why = self.refuse(mail)
        if why is None:
            self.came.append(mail)
        return why or "250 OK"

    def url(self, more: str = "") -> str:
        """Return the URL of Apprise that sends mail to ops@example.com by it."""
        return (
            f"mailto://127.0.0.1:{self.port}?to=ops@example.com&from=runner@example.com"
            f"&mode=insecure{more}"
        )

    async def _serve(self) -> Any:
        return await self._loop.create_server(
            lambda: SMTP(self, data_size_limit=None), "127.0.0.1", self.port
        )
