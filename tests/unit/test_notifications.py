"""Notifications: what is an event, what is shown of a URL, when a message goes, what it says."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.contract.notifications import (
    Event,
    Notify,
    check_url,
    events_of,
    key_of,
    shown,
    urls_in,
)
from runner.contract.states.status import Status
from runner.followers.notifications import pacing
from runner.followers.notifications.apprise_process import (
    Heard,
    answer,
    ascii_name,
    fitted,
    length,
    look_question,
    redacted,
)
from runner.followers.notifications.message import cut_bytes, of_many, of_missed
from runner.followers.notifications.pacing import MOST_GOOD, MOST_SINGLES, Kind, turn_of
from runner.followers.notifications.sending import missing_extra
from runner.state.books.notifications import Counted, Stream

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("mailto://user:pass@example.com?to=a@b.com", "mailto://example.com"),
        ("mailtos://example.com:587/a%40b.com", "mailtos://example.com:587"),
        ("JSON://u:p@127.0.0.1:80/secret?k=v", "json://127.0.0.1:80"),
        ("json://[::1]:80/secret", "json://[::1]:80"),
        ("ntfy://secret-topic", "ntfy://…"),
        ("ntfy://secret-topic/", "ntfy://…"),
        ("ntfys://u:p@ntfy.example.com/topic", "ntfys://ntfy.example.com"),
        ("discord://1234/secret", "discord://…"),
        ("tgram://123:secret/1", "tgram://…"),
        ("slack://secret/secret/secret", "slack://…"),
        ("ntfys://secret-topic/other?mode=cloud", "ntfys://…"),
        ("https://secret.example.com/secret", "https://…"),
        ("rocket://secret/secret@chat.example.com/#a", "rocket://…"),
        ("mailtos://user:pass@secret/word@example.com", "mailtos://…"),
        ("mailto://us er@h:x/y", "mailto://…"),
        ("nosuch://host/secret", "nosuch://…"),
        ("mailto://pass@word@example.com", "mailto://example.com"),
        ("mailto://example.com#secret", "mailto://example.com"),
        ("no url", "…"),
    ],
)
def test_of_a_url_only_scheme_and_a_servers_host_are_shown(url: str, seen: str) -> None:
    """Where the host may be a key, not even that."""
    assert shown(url) == seen


@pytest.mark.parametrize("url", ["mailto:a@b", "://x", "m\x00ailto://x", f"json://{'x' * 5000}"])
def test_what_is_no_url_is_an_error_that_shows_nothing(url: str) -> None:
    """Whatever it holds."""
    with pytest.raises(ValueError, match="no URL of Apprise") as error:
        check_url(url)
    assert url not in str(error.value)


def test_a_file_of_secrets_has_a_url_a_line() -> None:
    """With comments; a line that is none is told by its number."""
    assert urls_in("\ufeff# x\n\n json://a \r\nntfy://b#c\n") == ["json://a", "ntfy://b#c"]
    with pytest.raises(ValueError, match="line 2 has something that is no URL") as error:
        urls_in("json://a\ns3cr3t\n")
    assert "s3cr3t" not in str(error.value)
    with pytest.raises(ValueError, match="no URL"):
        urls_in("# nothing\n")


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("before", [None, *Status])
def test_each_end_is_what_it_is_beside_the_one_before(
    status: Status, before: Status | None
) -> None:
    """First failures and recoveries are failures and successes too."""
    events = events_of(status, before)
    was_bad = before in (Status.FAILED, Status.TIMED_OUT, Status.INTERRUPTED, Status.REJECTED)
    is_bad = status in (Status.FAILED, Status.TIMED_OUT, Status.INTERRUPTED, Status.REJECTED)
    assert (Event.FAILED in events) == is_bad
    assert (Event.FIRST_FAILURE in events) == (is_bad and not was_bad)
    assert (Event.SUCCEEDED in events) == (status is Status.SUCCEEDED)
    assert (Event.RECOVERED in events) == (status is Status.SUCCEEDED and was_bad)


def test_a_line_of_the_settings_names_its_event() -> None:
    """A success that is a recovery is told as one, in whatever order they stand."""
    line = Notify.model_validate({"to": "ops", "when": ["succeeded", "recovered"], "names": "a/*"})
    assert line.wants(["a/b"], events_of(Status.SUCCEEDED, Status.FAILED)) is Event.RECOVERED
    assert line.wants(["a/b"], events_of(Status.SUCCEEDED, None)) is Event.SUCCEEDED
    assert line.wants(["b"], events_of(Status.SUCCEEDED, None)) is None
    assert line.wants(["a/b"], events_of(Status.FAILED, None)) is None
    assert "ops" not in repr(line)
    assert key_of("json://s3cr3t").startswith("url:")


# When


def stream(**more: object) -> Stream:
    plain = Stream("ops#1", 0, 1, 1, pacing.iso(NOW), wants_now=False)
    return replace(plain, **more)  # type: ignore[arg-type]


def test_a_stream_goes_alone_until_its_hour_is_full() -> None:
    """Then together at its end; and one that somebody asks for goes at once."""
    assert turn_of(stream(), NOW).stream.singles == 1
    began = pacing.iso(NOW)
    full = stream(hour_began=began, singles=MOST_SINGLES, waiting=5)
    assert turn_of(full, NOW + HOUR - timedelta(seconds=1)).kind is Kind.NOTHING
    assert turn_of(full, NOW + HOUR).kind is Kind.DIGEST
    assert turn_of(replace(full, waiting=1), NOW + HOUR).kind is Kind.SINGLE
    late = replace(full, oldest=pacing.iso(NOW + 2 * HOUR))
    assert turn_of(late, NOW + 2 * HOUR).kind is Kind.SINGLE
    assert turn_of(replace(full, wants_now=True), NOW).kind is Kind.ASKED
    assert turn_of(full, NOW - HOUR).kind is Kind.DIGEST, "the clock was set back"


def test_successes_leave_half_of_the_hour_to_failures() -> None:
    """Those beyond go at its end, together; what holds each is known."""
    half = stream(hour_began=pacing.iso(NOW), singles=MOST_GOOD, waiting=3, bad=0)
    assert turn_of(half, NOW).kind is Kind.NOTHING
    assert turn_of(replace(half, bad=1), NOW).kind is Kind.BAD
    assert turn_of(half, NOW + HOUR).kind is Kind.DIGEST
    assert pacing.hold_of(half, Event.FAILED, NOW) is None
    hold = pacing.hold_of(half, Event.RECOVERED, NOW)
    assert hold == pacing.Hold(NOW + HOUR, "5 messages of this hour are left for failures")
    full = replace(half, singles=MOST_SINGLES, bad=1)
    assert turn_of(full, NOW).kind is Kind.NOTHING
    hold = pacing.hold_of(full, Event.FAILED, NOW)
    assert hold == pacing.Hold(NOW + HOUR, "more than 10 messages in this hour")
    assert pacing.hold_of(full, Event.FAILED, NOW + HOUR) is None


def test_a_failed_stream_waits_ever_longer_up_to_an_hour() -> None:
    """Also where the clock was set back it is tried again."""
    one, pauses = stream(), list[float]()
    for _ in range(15):
        one = pacing.failed(one, NOW)
        assert one.due_at is not None
        pauses.append((datetime.fromisoformat(one.due_at) - NOW).total_seconds())
    assert pauses[:4] == [5, 10, 20, 40]
    assert pauses[-1] == 3600
    assert turn_of(one, NOW).kind is Kind.NOTHING
    assert turn_of(one, NOW + HOUR).kind is Kind.SINGLE
    assert turn_of(one, NOW - 2 * HOUR).kind is Kind.SINGLE


COMING = st.lists(
    st.tuples(st.integers(min_value=0, max_value=900), st.booleans()), min_size=1, max_size=300
)


@dataclass(frozen=True)
class Came:
    """What came when."""

    number: int
    at: datetime
    is_bad: bool


@given(COMING)
def test_no_hour_has_more_than_its_messages(gaps: list[tuple[int, bool]]) -> None:
    """Ten and a digest, whatever comes when; and all of it goes in the end.

    A failure goes at once, unless there were five others before: successes leave room for it.
    """
    at, came, waiting, one = NOW, list[Came](), list[Came](), stream(waiting=0)
    sent = list[tuple[datetime, int]]()
    for number, (gap, is_bad) in enumerate(gaps):
        after = (came[-1].at if came else NOW) + timedelta(seconds=gap)
        came.append(Came(number, after, is_bad))
    total, left = len(came), list(came)
    while left or waiting:
        at += timedelta(seconds=30)
        while left and left[0].at <= at:
            waiting.append(left.pop(0))
        if not waiting:
            continue
        bad = [each for each in waiting if each.is_bad]
        now = replace(one, waiting=len(waiting), bad=len(bad), oldest=pacing.iso(waiting[0].at))
        for each in waiting:
            hold = pacing.hold_of(now, Event.FAILED if each.is_bad else Event.SUCCEEDED, at)
            assert hold is None or at < hold.until <= at + HOUR
        turn = turn_of(now, at)
        if turn.kind is not Kind.NOTHING:
            told = {Kind.DIGEST: waiting, Kind.BAD: bad[:1]}.get(turn.kind, waiting[:1])
            sent.append((at, len(told)))
            for each in told:
                before = [other for other in came[: each.number] if other.is_bad]
                is_calm = sum(each.at - other.at < 2 * HOUR for other in before) < 5
                most = timedelta(minutes=6) + (timedelta() if is_calm and each.is_bad else HOUR)
                assert at - each.at < most
            waiting = [each for each in waiting if each not in told]
            one = pacing.sent(turn)
    assert sum(taken for _, taken in sent) == total
    for begin, _ in sent:
        of_two_hours = [when for when, _ in sent if begin <= when < begin + HOUR]
        assert len(of_two_hours) <= 2 * (MOST_SINGLES + 1)
    assert len(sent) <= (MOST_SINGLES + 1) * ((at - NOW) / HOUR + 1)


# What


def test_a_digest_counts_by_name_and_leaves_out_what_does_not_fit() -> None:
    """It says how much that is."""
    counted = [Counted(f"job-{number}", "failed", number + 1, "x" * 160) for number in range(100)]
    text = of_many(counted, pacing.iso(NOW))
    assert text.title == "5050 notifications: 5050 failed"
    assert text.body.startswith("Since 2026-01-02 03:04 UTC:\njob-99: 100 × failed; the first: xx")
    assert len(text.body.encode()) <= 3000
    kept = text.body.count("job-")
    assert f"… and {100 - kept} more lines like these." in text.body


def test_a_missed_time_is_one_line() -> None:
    """Of a schedule whose name calls nobody."""
    text = of_missed("@channel\nx", "2026-01-02T03:00Z", "2026-01-02T05:00Z", "too late")
    assert "\n" not in text.title
    assert "@channel" not in text.title
    assert "2026-01-02T03:00Z to 2026-01-02T05:00Z: too late." in text.body


@given(st.text(), st.integers(min_value=8, max_value=50))
def test_a_cut_text_is_whole_utf_8(text: str, limit: int) -> None:
    """And as short as it has to be."""
    assert len(cut_bytes(text, limit).encode()) <= limit


@given(st.text(max_size=300), st.text(max_size=80), st.integers(min_value=40, max_value=200))
def test_a_body_fits_with_its_link(body: str, link: str, room: int) -> None:
    """The link stays whole, or goes where it would fill the message."""
    said = fitted(body, link, room)
    assert length(said) <= room
    assert not link or said.endswith(f"\n\n{link}") or length(link) + 2 > room // 2


@given(st.text())
def test_a_files_name_is_one_that_mail_can_carry(name: str) -> None:
    """Nothing in it is a header, a path, or another letter than ASCII's."""
    plain = ascii_name(name)
    assert plain
    assert plain.isascii()
    assert plain.isprintable()
    assert "/" not in plain
    assert '"' not in plain


def test_the_parts_of_a_url_are_taken_out_of_a_text() -> None:
    """As they are written, and decoded; numbers of ports and answers stay."""
    url = "json://user:p%40ss%20word@host.example:8080/tok3n/abc?key=v4lue&port=500"
    text = (
        "error=500 at host.example:8080 for user with p@ss word, p%40ss%20word, tok3n and v4lue: "
        f"{url} and https://host.example/tok3n"
    )
    said = redacted(text, url)
    for secret in ("p@ss", "p%40ss", "tok3n", "v4lue", "user"):
        assert secret not in said
    assert "error=500" in said


@pytest.mark.parametrize(
    "said",
    [
        "535 Bad credentials AUTH PLAIN AGJvYgBIdW50ZXIyUGFzc3cwcmQ=",  # of bob, by SMTP
        "no such user BOB, Hunter2Passw0rd",
        "for Hunter2Passw0rd%21 or Hunter2Passw0rd!",
    ],
)
def test_a_secret_is_taken_out_however_it_is_spelt(said: str) -> None:
    """A server may answer with what it was told, coded anew."""
    left = redacted(said, "mailto://bob:Hunter2Passw0rd%21@mail.example.com")
    assert "hunter" not in left.lower()
    assert "AGJvYgBIdW50" not in left
    assert "bob" not in left.lower()


def test_a_clock_that_was_set_back_holds_no_window_open() -> None:
    """What waits since a time to come goes at once."""
    late = stream(minutes=60, waiting=2, oldest=pacing.iso(NOW + 30 * 24 * HOUR))
    assert turn_of(late, NOW).kind is Kind.DIGEST


def test_what_cannot_be_said_is_said_in_general() -> None:
    """There is always a reason."""
    assert Heard().why("json://host", "no reason is known") == "no reason is known"


def test_without_apprise_a_note_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sending process says the same in its way."""
    assert missing_extra() is None
    monkeypatch.setitem(__import__("sys").modules, "apprise", None)
    missing = missing_extra()
    assert missing is not None
    assert "this installs it" in missing
    with pytest.raises(ValueError, match="Apprise is not installed"):
        answer(look_question("json://host"))


def test_every_url_of_the_document_is_one() -> None:
    """Apprise takes the forms that the document shows."""
    text = Path(__file__).parents[2].joinpath("docs", "notifications.md").read_text("utf-8")
    table = text.partition("| service | URL |")[2].partition("\n\n")[0]
    urls = [line.split("`")[1] for line in table.splitlines() if "://" in line]
    assert len(urls) > 8
    for url in urls:
        assert answer(look_question(url)) == b""
