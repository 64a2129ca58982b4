"""Finds the receivers that the settings name, and their URLs, as they are when a message goes."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from runner.config import NoSecret, Settings
from runner.contract.notifications import BY_HASH, Notify, key_of, shown


class NoReceiver(Exception):
    """A receiver has no URL now: `why, key`; it shows no secret. `why` may be a `NoSecret`."""

    def __str__(self) -> str:
        return str(self.args[0])

    @property
    def reason(self) -> tuple[str, str]:
        """What is wrong, and what to do about it."""
        why = self.args[0]
        return (why.what, why.advice) if isinstance(why, NoSecret) else (str(why), "")

    @property
    def key(self) -> str:
        """Its key in the record: that of the first URL where none can be read."""
        return str(self.args[1])

    @property
    def shown(self) -> str:
        """What everybody may see of its URL: nothing, as nobody knows it now."""
        return ""

    @property
    def name(self) -> str:
        """What people call it: by the file of its secret."""
        return self.key.partition("#")[0]


@dataclass(frozen=True)
class Receiver:
    """One receiver: its key in the record, and its URL, which nobody may see."""

    key: str
    url: str = field(repr=False)

    @property
    def shown(self) -> str:
        """What everybody may see of the URL."""
        return shown(self.url)

    @property
    def name(self) -> str:
        """What people call it: by the file of its secret, or what may be seen of the URL."""
        return name_of(self.key, self.shown)


def name_of(key: str, seen: str) -> str:
    """Name a receiver by its key, and by what may be seen of its URL."""
    if key.startswith(BY_HASH):
        return seen
    name = key.partition("#")[0]
    return f"{name} ({seen})" if seen else name


def receivers_of(settings: Settings, line: Notify) -> Iterator[Receiver | NoReceiver]:
    """Yield the receivers that a line of the settings names; a file without a URL as an error.

    That stands for the first one of the file, whose key it has.
    """
    for written in line.receivers:
        if "://" in written:
            yield Receiver(key_of(written), written)
            continue
        try:
            urls = settings.notify_urls(written)
        except NoSecret as error:
            yield NoReceiver(error, f"{written}#1")
            continue
        for number, url in enumerate(urls, 1):
            yield Receiver(f"{written}#{number}", url)


def all_receivers(settings: Settings) -> Iterator[Receiver | NoReceiver]:
    """Yield all receivers of the settings, each once."""
    seen = set[str]()
    for line in settings.notify:
        for one in receivers_of(settings, line):
            if one.key not in seen:
                seen.add(one.key)
                yield one


def receiver_by(settings: Settings, key: str) -> Receiver:
    """Find a receiver by its key.

    Raises:
        NoReceiver: the settings have it no more, or its secret cannot be read.
    """
    name, _, number = key.rpartition("#")
    for line in settings.notify:
        for written in line.receivers:
            if "://" in written and key_of(written) == key:
                return Receiver(key, written)
            if name and written == name:
                try:
                    urls = settings.notify_urls(name)
                except NoSecret as error:
                    raise NoReceiver(error, key) from None
                if int(number) <= len(urls):
                    return Receiver(key, urls[int(number) - 1])
                what = f"the file {settings.secrets / name} has no URL number {number} any more"
                raise NoReceiver(NoSecret(what, "Put it back on its line"), key)
    raise Gone("the settings do not name this receiver any more", key)


class Gone(NoReceiver):
    """A receiver that will not come back."""
