"""Callbacks: each outcome is told to who asked, in order, until it is taken, whatever crashes."""

import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runner.config import CALLBACKS, CallbackForAll, Settings
from runner.config import Callbacks as CallbackSettings
from runner.contract.callbacks import is_private
from runner.followers.callbacks import follower as sending
from runner.followers.callbacks.follower import Callbacks
from runner.state.books.callbacks import CallbackBook, CallbackState
from runner.state.jobs import State
from runner.state.ledger import Ledger
from runner.system import safe_post
from runner.system.clocks import Clocks
from runner.system.safe_post import NotSent, post
from tests.conftest import wait_for
from tests.integration.test_ledger import NOW, acceptance, job_id, seal
from tests.receiver import Came, Receiver

SECRET = "whsec_" + base64.b64encode(b"a secret of the test").decode()


class World:
    """A ledger with closed jobs, an outbox with their results, and the follower, on one clock."""

    def __init__(self, folder: Path, settings: CallbackSettings | None = None) -> None:
        self.settings = Settings(
            state=folder / "state",
            outbox=folder / "outbox",
            callbacks=settings or CallbackSettings(allowed=("127.0.0.1",)),
        )
        self.settings.outbox.mkdir()
        self.settings.state.mkdir()
        self.ledger = Ledger(self.settings.state)
        self.at = 0.0
        self.begin()

    def begin(self) -> None:
        """Start the process anew."""
        clocks = Clocks(lambda: self.at, lambda: self.now, lambda: 0)
        self.callbacks = Callbacks(self.settings, clocks)

    @property
    def now(self) -> datetime:
        return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC) + timedelta(seconds=self.at)

    def close(self, number: int, callback: Any = None, status: str = "result") -> str:
        """Close a job, whose request has this callback; return its id."""
        asked = json.dumps({} if callback is None else {"callback": callback})
        new = replace(acceptance(number, f"name-{number}"), request=asked)
        with self.ledger.transaction():
            self.ledger.accept(new)
            self.ledger.start(new.job_id, NOW)
            self.ledger.seal(seal(number), from_state=State.RUNNING)
            self.ledger.published(new.job_id, NOW, (CALLBACKS,))
        report = {"job_id": new.job_id, "name": new.name, "number": number}
        (self.settings.outbox / f"{new.name}.{status}.json").write_text(json.dumps(report))
        return new.job_id

    def take(self) -> None:
        """Let the follower take all rows of the ledger."""
        rows = self.ledger.deliveries(CALLBACKS, 100)
        self.callbacks.deliver([row.job for row in rows])

    def work(self, seconds: float = 0.0) -> None:
        """Send what is due, and record what comes of it."""
        self.at += seconds
        self.callbacks.work()
        wait_for(lambda: self.callbacks.work() != sending.BUSY_SECONDS, seconds=60)

    def states(self, number: int) -> list[tuple[str, int]]:
        book = CallbackBook(self.settings.state)
        try:
            return [(one.state, one.attempts) for one in book.of_job(job_id(number))]
        finally:
            book.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as one:
        yield one


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def make(settings: CallbackSettings | None = None) -> World:
        made.append(World(tmp_path, settings))
        return made[-1]

    yield make
    for one in made:
        one.ledger.close()


def ids(receiver: Receiver) -> list[str]:
    return [json.loads(one.body)["job_id"] for one in receiver.came]


def test_the_result_comes_signed_as_standard_webhooks_has_it(
    make_world: Callable[..., World], receiver: Receiver
) -> None:
    """With the headers that were asked for."""
    key = CallbackSettings.model_validate({"allowed": ["127.0.0.1"], "secret": SECRET})
    world = make_world(key)
    world.close(1, {"url": receiver.url("/a?b=c"), "headers": {"Authorization": "Bearer x"}})
    world.take()
    world.work()
    (came,) = receiver.came
    assert (came.path, json.loads(came.body)["number"]) == ("/a?b=c", 1)
    assert came.headers["authorization"] == "Bearer x"
    assert came.headers["content-type"] == "application/json"
    signed = f"{came.headers['webhook-id']}.{came.headers['webhook-timestamp']}.".encode()
    digest = hmac.new(b"a secret of the test", signed + came.body, hashlib.sha256).digest()
    assert came.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert abs(int(came.headers["webhook-timestamp"]) - world.now.timestamp()) < 2
    assert world.states(1) == [("delivered", 1)]


def test_a_crash_repeats_a_delivery_under_its_id_and_makes_no_second_one(
    make_world: Callable[..., World], receiver: Receiver
) -> None:
    """The rows come again, and an answer that was not recorded."""
    world = make_world()
    world.close(1, receiver.url())
    world.take()
    world.begin()
    world.take()
    world.callbacks.work()
    wait_for(lambda: receiver.came)
    world.begin()  # its answer was recorded by nobody
    world.take()
    world.work()
    assert world.states(1) == [("delivered", 1)]
    assert len(receiver.came) == 2
    assert len({one.headers["webhook-id"] for one in receiver.came}) == 1


def test_a_receiver_that_is_away_gets_all_in_order_once_it_is_back(
    make_world: Callable[..., World], receiver: Receiver
) -> None:
    """After pauses that grow; nobody else waits for it."""
    world = make_world()
    receiver.status = 503
    with Receiver() as other:
        for number in range(1, 6):
            world.close(number, (receiver if number != 3 else other).url())
        world.take()
        world.work()
        assert ids(other) == [job_id(3)]
        assert set(ids(receiver)) == {job_id(1)}
        for seconds in (5, 10, 20, 40):
            world.work(seconds - 1)
            before = len(receiver.came)
            world.work(1)
            assert len(receiver.came) == before + 1
    receiver.status = 204
    receiver.came.clear()
    for _ in range(6):
        world.work(80)
    assert ids(receiver) == [job_id(number) for number in (1, 2, 4, 5)]


def test_what_a_receiver_refuses_holds_up_nothing_else(
    make_world: Callable[..., World], receiver: Receiver
) -> None:
    """A status 4xx is about one delivery."""

    def judge(came: Came) -> None:
        receiver.status = 400 if json.loads(came.body)["number"] == 1 else 200

    receiver.before = judge
    world = make_world()
    for number in (1, 2):
        world.close(number, receiver.url())
    world.take()
    world.work()
    world.work()
    assert ids(receiver) == [job_id(1), job_id(2)]
    assert (world.states(1), world.states(2)) == ([("waiting", 1)], [("delivered", 1)])
    (note,) = world.callbacks.notes()
    assert note.startswith("1 callback waits since")
    assert "the receiver answered 400" in note


def test_after_a_day_it_is_given_up_until_somebody_sends_it_again(
    make_world: Callable[..., World], receiver: Receiver
) -> None:
    """By hand it is tried for another day."""
    receiver.status = 500
    world = make_world()
    one = world.close(1, receiver.url())
    world.take()
    for _ in range(60):
        world.work(1800)
    ((state, attempts),) = world.states(1)
    assert state == CallbackState.GIVEN_UP
    assert 20 < attempts < 40
    assert list(world.callbacks.notes()) == []
    receiver.status = 200
    book = CallbackBook(world.settings.state)
    delivery = book.of_job(one)[0].id
    now = world.now.isoformat(timespec="milliseconds")
    later = (world.now + timedelta(days=1)).isoformat(timespec="milliseconds")
    assert book.again(one, delivery, now, later)
    assert not book.again(one, "msg_other", now, later)
    book.close()
    world.work()
    assert world.states(1) == [("delivered", attempts + 1)]


def test_retry_after_is_kept_to(make_world: Callable[..., World], receiver: Receiver) -> None:
    """As far as it asks for more."""
    receiver.status, receiver.headers = 429, {"Retry-After": "60"}
    world = make_world()
    world.close(1, receiver.url())
    world.take()
    world.work()
    world.work(59)
    assert len(receiver.came) == 1
    world.work(1)
    assert len(receiver.came) == 2


def test_the_settings_and_the_request_may_both_ask(
    make_world: Callable[..., World], receiver: Receiver
) -> None:
    """By the name and the status of a job; one address is told once."""
    send = (
        CallbackForAll(names="name-1*", url=receiver.url("/all")),
        CallbackForAll(url=receiver.url("/failed"), events=("failed",)),
    )
    world = make_world(CallbackSettings(send=send))
    world.close(1, receiver.url("/all"))
    world.close(2)
    world.take()
    world.work()
    assert [(one.path, json.loads(one.body)["number"]) for one in receiver.came] == [("/all", 1)]


def test_redirects_are_not_followed(make_world: Callable[..., World], receiver: Receiver) -> None:
    """They could lead anywhere."""
    receiver.status, receiver.headers = 307, {"Location": receiver.url("/elsewhere")}
    world = make_world()
    world.close(1, receiver.url())
    world.take()
    world.work()
    assert [one.path for one in receiver.came] == ["/done"]
    assert world.states(1) == [("waiting", 1)]


def test_private_addresses_are_for_hosts_that_are_named(
    make_world: Callable[..., World], receiver: Receiver
) -> None:
    """By default nobody reaches what only this machine or its network has."""
    world = make_world(CallbackSettings())
    world.close(1, receiver.url())
    world.close(2, receiver.url().replace("127.0.0.1", "localhost"))
    world.take()
    world.work()
    assert receiver.came == []
    for note in world.callbacks.notes():
        assert "private network; name the host in callbacks.allowed" in note


@pytest.mark.parametrize(
    ("address", "private"),
    [
        *(("127.0.0.1", True), ("10.1.2.3", True), ("169.254.169.254", True), ("0.0.0.0", True)),
        *(("::1", True), ("fe80::1%eth0", True), ("fd00::1", True), ("::ffff:10.0.0.1", True)),
        *(("64:ff9b::7f00:1", True), ("2002:7f00:1::", True), ("224.0.0.1", True)),
        *(("93.184.215.14", False), ("2606:2800:21f:cb07::1", False), ("100.64.0.1", True)),
    ],
)
def test_an_address_is_of_the_world_or_of_some_network(address: str, private: bool) -> None:
    """Whatever way it is written."""
    assert is_private(address) is private


def test_a_result_that_is_gone_is_told_by_what_is_known(
    make_world: Callable[..., World], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is too large to be kept is read when it is sent."""
    monkeypatch.setattr(sending, "KEPT_BODY", 10)
    world = make_world()
    for number in (1, 2):
        world.close(number, receiver.url())
    world.take()
    (world.settings.outbox / f"{'name-2'}.result.json").unlink()
    world.work()
    world.work()
    first, second = (json.loads(one.body) for one in receiver.came)
    assert first["number"] == 1
    assert second["job_id"] == job_id(2)
    assert "not in the outbox any more" in second["message"]


@pytest.mark.parametrize("kind", ["silent", "dripping", "closing", "talking"])
def test_a_receiver_holds_nobody_for_long(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that says nothing, says it slowly, hangs up, or says too much."""
    monkeypatch.setattr(safe_post, "SECONDS", 2.0)
    server, over = socket.create_server(("127.0.0.1", 0)), threading.Event()
    port = server.getsockname()[1]

    def serve() -> None:
        connection, _ = server.accept()
        with connection, suppress(OSError):
            connection.recv(65536)
            if kind == "closing":
                return
            if kind == "talking":
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                while True:
                    connection.sendall(b"x" * 65536)
            said = iter(b"HTTP/1.1 200 OK" + b"\r" * 1000)
            while not over.wait(0.2):
                if kind == "dripping":
                    connection.sendall(bytes([next(said)]))

    serving = threading.Thread(target=serve)
    serving.start()
    begin = time.monotonic()
    url = f"http://127.0.0.1:{port}/x"
    if kind == "talking":
        assert post(url, {}, b"{}", may_be_private=True).status == 200
    else:
        with pytest.raises(NotSent):
            post(url, {}, b"{}", may_be_private=True)
    assert time.monotonic() - begin < 20
    over.set()
    serving.join()
    server.close()
