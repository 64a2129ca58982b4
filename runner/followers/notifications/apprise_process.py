"""The process that sends by Apprise, which imports much, blocks, and knows secrets.

A question is one message to one URL, the answer what came of it. Neither answers nor refusals have
anything of the URL but its scheme and host; what Apprise logs is heard here alone.
"""

import contextlib
import io
import json
import logging
import re
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from runner.contract.notifications import shown
from runner.system.files.passing_folders import passing_folder, remove_left
from runner.system.processes.side_process import serve

if TYPE_CHECKING:
    from apprise import Apprise, NotifyBase

MODULE = "runner.followers.notifications.apprise_process"
"""This module, for `SideProcess`."""
SECONDS = 90.0
"""Time of one answer: a message with attachments, and one more without."""
CALL_SECONDS = 40.0
MEMORY_BYTES = 1024**3
PREFIX = "runner-notify-"
REASON_CHARS = 300
SHORTEST_BODY = 40
TITLE_MARGIN = 16
"""What a service may put around a title that it has in the body."""
SHORTEST_WORD, SHORTEST_NUMBER = 3, 6
"""Characters of a part of a URL that counts as secret; ports and the codes of answers do not."""
NAME_CHARS = 100
_MARKDOWN = frozenset(
    "discord mmost mmosts guilded revolt zulip ryver ryvers nctalk nctalks".split()
)
"""Schemes of services that take Markdown in every text."""
_MARKED_UP = frozenset({"feishu", "lark"})
"""Schemes of services that take elements such as `<at user_id="all">` in every text."""
_CODE = re.compile(r"(?=[A-Za-z0-9+/_-]*[0-9])(?=[A-Za-z0-9+/_-]*[A-Za-z])[A-Za-z0-9+/_-]{12,}=*")
_SIGNS = re.compile(r"([\\`*_~|\[\]#>])")
_ERROR = re.compile(
    r"\[Errno -?\d+\] [A-Za-z ,.'-]{1,80}|timed out|certificate verify failed|"
    r"SMTP AUTH extension not supported|Connection unexpectedly closed|"
    r"\((?P<code>\d{3}), b'(?P<said>[^'\\]{0,160})"
)
"""What is taken from Apprise's own notes on exceptions, which may have much of a URL."""


def question_of(
    url: str, text: Mapping[str, str], attachments: Sequence[tuple[str, bytes]]
) -> bytes:
    """Ask to send a message: its `title`, `body`, `link` and `tone`, and what goes along.

    `link` is kept whole where the body is cut; `tone` is a type of Apprise's messages.
    """
    head = {
        "url": url,
        **text,
        "attachments": [[name, len(content)] for name, content in attachments],
    }
    return json.dumps(head).encode() + b"\0" + b"".join(content for _, content in attachments)


def look_question(url: str) -> bytes:
    """Ask whether Apprise can use a URL; nothing is sent."""
    return json.dumps({"url": url}).encode() + b"\0"


def answer(question: bytes) -> bytes:
    """Send a message, or look at a URL. The answer is what was left out, or nothing.

    Raises:
        ValueError: it was not sent, or cannot be; the message says why and shows no secret.
    """
    head, _, rest = question.partition(b"\0")
    asked = json.loads(head)
    heard = Heard()
    with heard.listening():
        try:
            return _answered(asked, rest, heard).encode()
        except ImportError as error:
            raise ValueError(f"Apprise is not installed ({error.name})") from None
        except ValueError:
            raise
        except Exception as error:  # noqa: BLE001 - plugins raise anything, and URLs in it
            raise ValueError(f"Apprise failed: {type(error).__name__}") from None


class Heard(logging.Handler):
    """What Apprise says while it works."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._said: list[str] = []
        self._errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a warning; of what is below, the errors of the system in it."""
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            self._said.append(text)
        elif (match := _ERROR.search(text)) is not None:
            code = match["code"]
            self._errors.append(f"{code} {match['said']}" if code else match[0])

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Hear all loggers, in place of whoever else would; print nothing meanwhile."""
        root = logging.getLogger()
        before = root.handlers[:], root.level, logging.lastResort
        root.handlers, logging.lastResort = [self], None
        root.setLevel(logging.DEBUG)
        logger = logging.getLogger("apprise")
        logger.setLevel(logging.DEBUG)
        logger.handlers, logger.propagate = [self], False
        nowhere = io.StringIO()
        try:
            with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
                yield
        finally:
            root.handlers, level, logging.lastResort = before
            root.setLevel(level)

    def why(self, url: str, otherwise: str) -> str:
        """Say in one line why something did not work, without what is secret of a URL."""
        said = dict.fromkeys([*self._said, *self._errors])
        text = redacted("; ".join(said), url) or otherwise
        return text if len(text) <= REASON_CHARS else text[: REASON_CHARS - 1] + "…"

    def forget(self) -> None:
        """Begin anew."""
        self._said.clear()
        self._errors.clear()


def redacted(text: str, url: str) -> str:
    """Replace in a text everything that a URL holds besides its scheme and a server's host.

    However it is spelt; and whatever looks like a code, which may hold it in base64.
    """
    text = _CODE.sub("…", text)
    known = shown(url)
    text = text.replace(url, known)
    for place in re.findall(r"[A-Za-z][A-Za-z0-9+.-]{1,31}://[^\s,;'\"]+", text):
        text = text.replace(place, f"{place.partition('://')[0]}://…")
    rest = url.partition("://")[2]
    parts = {*re.split(r"[/:@?&=#,;+\s]", rest), *re.split(r"[/@?&=#\s]", rest)}
    server = known.partition("://")[2]
    public = {server, server.rpartition(":")[0] or server}
    spelt = {*parts, *map(unquote, parts), *map(unquote_plus, parts)}
    spelt |= {code(unquote(one), safe="") for one in parts for code in (quote, quote_plus)}
    for word in sorted(spelt, key=len, reverse=True):
        if len(word) >= (SHORTEST_NUMBER if word.isdecimal() else SHORTEST_WORD):
            text = text if word in public else re.sub(re.escape(word), "…", text, flags=re.I)
    return " ".join(text.split())


def _answered(asked: dict[str, Any], rest: bytes, heard: Heard) -> str:
    from apprise import Apprise, AppriseAsset, PersistentStoreMode

    asset = AppriseAsset(
        app_id="Inbox Runner",
        app_desc="Inbox Runner",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        async_mode=False,
        interpret_emojis=False,
        interpret_escapes=False,
        storage_mode=PersistentStoreMode.MEMORY,
        secure_logging=True,
    )
    url = asked["url"]
    target = Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    if target is None:
        why = heard.why(url, "its scheme or its parts are unknown to it")
        raise ValueError(f"Apprise cannot use this URL ({shown(url)}): {why}")
    heard.forget()
    if "title" not in asked:
        return ""
    box = Apprise(asset=asset)
    box.add(target)
    with passing_folder(PREFIX) as folder:
        files, remark = _laid_out(Path(folder), asked["attachments"], rest), ""
        if files and not target.attachment_support:
            files, remark = [], f"{shown(url).partition(':')[0]} takes no attachments"
        if files and not _sent(box, target, asked, files, ""):
            remark = f"the attachments were refused: {heard.why(url, 'no reason is known')}"
            heard.forget()
            files = []
        elif files:
            return ""
        if not _sent(box, target, asked, [], f"Without attachments: {remark}." if remark else ""):
            raise ValueError(heard.why(url, "the receiver did not take it; no reason is known"))
        return remark


def _laid_out(folder: Path, attachments: list[list[Any]], content: bytes) -> list[tuple[str, Path]]:
    """Write attachments to files, for Apprise; their names are given beside them.

    The names are plain ASCII: others make mail whose attachments have none.
    """
    files, start = [], 0
    for number, (name, size) in enumerate(attachments):
        plain = ascii_name(name)
        path = folder / f"{number}{Path(plain).suffix}"
        path.write_bytes(content[start : start + size])
        files.append((plain, path))
        start += size
    return files


def ascii_name(name: str) -> str:
    """Write a file's name with letters, digits and a few signs of ASCII alone."""
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    place = Path(re.sub(r"[^A-Za-z0-9._ -]+", "_", letters))
    stem = place.stem.strip(" _.") or "file"
    return f"{stem[:NAME_CHARS]}{place.suffix[:16]}"


def _sent(
    box: "Apprise",
    target: "NotifyBase",
    asked: dict[str, Any],
    files: list[tuple[str, Path]],
    remark: str,
) -> bool:
    from apprise import AppriseAttachment, NotifyFormat, NotifyType
    from apprise.attachment.file import AttachFile

    attach = AppriseAttachment()
    for name, path in files:
        attach.add(AttachFile(path=str(path), name=name))  # type: ignore[no-untyped-call]
    title, body = asked["title"], "\n\n".join(filter(None, (asked["body"], remark)))
    kinds = set(target.schemas())  # type: ignore[no-untyped-call]
    if kinds & _MARKDOWN:
        title, body = (_SIGNS.sub(r"\\\1", text) for text in (title, body))
    elif kinds & _MARKED_UP:
        title, body = (re.sub("<(?=/?[A-Za-z])", "< ", text) for text in (title, body))
    result = box.notify(
        body=fitted(body, asked["link"], _room(target, title)),
        title=title,
        notify_type=NotifyType(asked["tone"]),
        body_format=NotifyFormat.TEXT,
        attach=attach if files else None,
        timeout=CALL_SECONDS,
    )
    return bool(result)


def _room(target: "NotifyBase", title: str) -> int:
    """Return how long a body may be; many services have the title in it."""
    return max(int(target.body_maxlen) - length(title) - TITLE_MARGIN, SHORTEST_BODY)


def fitted(body: str, link: str, room: int) -> str:
    """Cut a body so that it fits with the link below it; a link that alone is too long goes."""
    tail = f"\n\n{link}" if link else ""
    if length(tail) > room // 2:
        tail = ""
    left = room - length(tail)
    if length(body) > left:
        raw = body.encode("utf-16-le", "replace")[: 2 * (left - 1)]
        body = raw.decode("utf-16-le", "ignore") + "…"
    return body + tail


def length(text: str) -> int:
    """Count as the strictest service does, in units of UTF-16: most emoji are two."""
    return len(text.encode("utf-16-le", "replace")) // 2


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    remove_left(PREFIX)
    serve(answer, memory_bytes=MEMORY_BYTES)
