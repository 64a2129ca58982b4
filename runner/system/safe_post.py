"""Sends a POST to an address that somebody else chose: bounded, followed nowhere, resolved once.

The connection goes to the very address that was looked at, so that a name cannot lead elsewhere
between the look and the call.
"""

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from runner.contract.callbacks import is_private

SECONDS = 30.0
"""Longest that a call may take in all."""
CONNECT_SECONDS = 10.0
MOST_ANSWER = 65_536
"""Bytes of an answer that are read; nobody needs the rest."""
MOST_AFTER = 86_400.0
MOST_ADDRESSES = 4


@dataclass(frozen=True)
class Answer:
    """An answer: its status, and after how many seconds the receiver wants to be asked again."""

    status: int
    retry_after: float | None

    @property
    def is_good(self) -> bool:
        """Whether the receiver has taken it."""
        return 200 <= self.status < 300


class NotSent(Exception):
    """A call that got no answer; the message says why."""


def post(url: str, headers: Mapping[str, str], body: bytes, *, may_be_private: bool) -> Answer:
    """Send a body, and return the answer's head.

    `may_be_private`: it may go to addresses that only this machine or its network has.

    Raises:
        NotSent
    """
    parts = urlsplit(url)
    host, is_tls = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if is_tls else 80)
    raw = _connected(_addresses(host, port, may_be_private=may_be_private), port)
    connection = http.client.HTTPConnection(host, port)
    connection.sock = raw
    if is_tls:
        context = ssl.create_default_context()
        connection.sock = context.wrap_socket(
            raw, server_hostname=host, do_handshake_on_connect=False
        )
    target = parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    try:
        with _ended_after(connection.sock, SECONDS):
            if isinstance(connection.sock, ssl.SSLSocket):
                connection.sock.do_handshake()
            connection.request("POST", target, body, {"Host": parts.netloc, **headers})
            response = connection.getresponse()
            response.read(MOST_ANSWER)
            return Answer(response.status, _seconds(response.getheader("Retry-After")))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotSent(_in_words(error)) from error
    finally:
        connection.close()


def _addresses(host: str, port: int, *, may_be_private: bool) -> list[str]:
    """Resolve a name, once: the addresses that may be called.

    Raises:
        NotSent: it is not known, or has private addresses alone, and may not have them.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NotSent(f"the host {host} is not known here ({_in_words(error)})") from error
    addresses = [str(place[0]) for _, _, _, _, place in found]
    fitting = [one for one in addresses if may_be_private or not is_private(one)]
    if not fitting:
        raise NotSent(
            f"{host} is an address of a private network; name the host in callbacks.allowed"
        )
    return fitting


def _connected(addresses: Sequence[str], port: int) -> socket.socket:
    """Connect to the first address that answers.

    Raises:
        NotSent: none does.
    """
    reason = "no address"
    for address in addresses[:MOST_ADDRESSES]:
        try:
            return socket.create_connection((address, port), CONNECT_SECONDS)
        except OSError as error:
            reason = _in_words(error)
    raise NotSent(f"cannot connect: {reason}")


@contextlib.contextmanager
def _ended_after(raw: socket.socket, seconds: float) -> Iterator[None]:
    """End the connection after a time, whatever is sent on it meanwhile."""

    def end() -> None:
        with contextlib.suppress(OSError):
            # Not that of a TLS socket, which forgets its state while another thread reads.
            socket.socket.shutdown(raw, socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _seconds(value: str | None) -> float | None:
    """Read the seconds of a header `Retry-After`; a date in it counts as none."""
    if value is None or not value.strip().isascii() or not value.strip().isdecimal():
        return None
    return min(float(value.strip()[:9]), MOST_AFTER)


def _in_words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, http.client.RemoteDisconnected):
        return "the receiver closed the connection without an answer"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    text = getattr(error, "strerror", None) or str(error)
    return text or type(error).__name__
