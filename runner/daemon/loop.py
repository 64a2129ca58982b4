"""The one loop of a runner: accepts, starts, publishes, and waits.

Owns the order of these. Knows none of the rules of its parts.
"""

import logging
import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from runner.config import Settings
from runner.daemon.announcements import Announcements
from runner.daemon.looking import Looking
from runner.daemon.mail import Changed, Mailbox, Message, Progressed, Signalled, Woken
from runner.daemon.running.publishing import Finished
from runner.daemon.startup import Backing, Options, Parts, Startup
from runner.daemon.stopping import Stopping
from runner.daemon.upkeep import Upkeep
from runner.state.deliveries import Settlement
from runner.state.pulse import PULSE_SECONDS

log = logging.getLogger(__name__)

PRUNE_SECONDS = 3600.0
TIDY_SECONDS = 2.0
HINTS = (Woken, Progressed)
"""Messages after which there is nothing to do at once."""


class Daemon:
    """One owner of an inbox. `run` returns when it was told to stop, or its goal is reached."""

    def __init__(
        self, settings: Settings, options: Options | None = None, backing: Backing | None = None
    ) -> None:
        self._settings = settings
        self._options = options or Options()
        self._backing = backing or Backing()

    def run(self) -> None:
        """Serve until a signal, or until the goal is reached.

        Raises:
            Owned, ConfigError, FolderMissing, OSError, sqlite3.DatabaseError: see `Startup.open`.
        """
        mailbox = Mailbox()
        startup = Startup(self._settings, self._options, self._backing, mailbox)
        with ExitStack() as stack:
            stack.enter_context(mailbox.signals())
            parts = startup.open(stack)
            if parts is None:
                return
            loop = Loop(self._settings, self._options, self._backing, parts, mailbox)
            stack.callback(loop.fall_silent)
            loop.announce()
            startup.say_ready()
            stack.callback(lambda: log.info("stopped"))
            loop.run()


@dataclass
class _Timer:
    """A chore that is due every so many seconds."""

    clock: Callable[[], float]
    seconds: float
    at: float = 0.0

    def is_due(self) -> bool:
        """Say whether it is time, and restart the count."""
        now = self.clock()
        if now < self.at:
            return False
        self.at = now + self.seconds
        return True


class Loop:
    """Repeats its work until it is over."""

    def __init__(
        self, settings: Settings, options: Options, backing: Backing, parts: Parts, mailbox: Mailbox
    ) -> None:
        clocks = backing.clocks
        self._clock = clocks.seconds
        self._options = options
        self._parts = parts
        self._dispatch = parts.dispatch
        self._execution = parts.execution
        self._mailbox = mailbox
        self._looking = Looking(settings, parts, clocks)
        self._stopping = Stopping(parts.dispatch, settings.shutdown_seconds, clocks)
        self._announcements = Announcements(settings, parts)
        self._upkeep = Upkeep(settings, parts, clocks, backing.disk)
        self._pulse = _Timer(self._clock, PULSE_SECONDS)
        self._prune = _Timer(self._clock, PRUNE_SECONDS)
        self._tidy = _Timer(self._clock, TIDY_SECONDS)

    def run(self) -> None:
        """Repeat until told to stop, or until the goal is reached."""
        while not self._is_over():
            self._go_round()

    def announce(self) -> None:
        """Announce how the runner is."""
        self._announcements.write(
            is_stopping=self._stopping.has_begun, inbox_trouble=self._looking.trouble
        )

    def fall_silent(self) -> None:
        """Remove the announcements, because the runner is gone.

        Raises:
            OSError
        """
        self._announcements.remove()

    def _go_round(self) -> None:
        """Do one iteration. No error in it may end the daemon."""
        try:
            self._turn()
            if not self._is_over():
                self._wait()
        except Exception:
            log.exception("a round of the loop failed; going on")
            self._read_mail(1.0)

    def _turn(self) -> None:
        """Do everything that is due, once."""
        is_stopping = self._stopping.has_begun
        if not is_stopping and self._clock() >= min(self._looking.due()):
            self._looking.look()
        self._dispatch.turn()
        if not is_stopping:
            self._execution.keep(self._dispatch.spare)
        self._dispatch.write_status()
        if self._pulse.is_due():
            self.announce()
        if self._options.goal is None and self._prune.is_due() and self._upkeep.prune():
            self._prune.at = 0.0
        if self._tidy.is_due():
            self._keep_house()
        left = self._stopping.seconds_left()
        if left is not None and left <= 0:
            self._dispatch.interrupt()

    def _keep_house(self) -> None:
        self._upkeep.tidy()
        if self._options.goal is None:
            self._upkeep.remove_stale_status()
        self._parts.reception.keep_house()
        if not self._stopping.has_begun:
            self._keep_companions()
        if self._parts.watching.is_lost:
            self._looking.look_now()

    def _keep_companions(self) -> None:
        if self._parts.gateway is not None:
            self._parts.gateway.keep()
        if self._options.goal is None:
            self._parts.following.keep()
            self._parts.submitting.keep()

    def _seconds_until_due(self) -> float:
        """Return how long the loop may sleep, if no mail comes."""
        now = self._clock()
        due = [self._tidy.at - now]
        left = self._stopping.seconds_left()
        if left is None:
            due.extend(at - now for at in self._looking.due())
        else:
            due.append(max(left, 0.1))
        busy = self._dispatch.next_due()
        if busy is not None:
            due.append(busy)
        return max(min(due), 0.0)

    def _wait(self) -> None:
        """Read mail until there is something to do.

        A hint only moves the next look, or is for the next status file. While 200 jobs run, there
        are as many a second.
        """
        while True:
            seconds = self._seconds_until_due()
            messages = self._read_mail(seconds)
            is_hint = bool(messages) and all(isinstance(one, HINTS) for one in messages)
            if seconds <= 0 or not is_hint:
                return

    def _read_mail(self, seconds: float) -> list[Message]:
        messages = self._mailbox.read(seconds)
        for message in messages:
            self._open(message)
        return messages

    def _open(self, message: Message) -> None:
        match message:
            case Woken():
                self._looking.wake(at_once=message.by_client)
            case Changed():
                self._pulse.at = 0.0
            case Finished():
                self._dispatch.finish(message)
            case Progressed():
                self._dispatch.progressed(message.job_id, message.progress)
                if self._options.on_progress is not None:
                    self._options.on_progress(message.job_id, message.progress)
            case Settlement():
                self._parts.following.record(message)
            case Signalled(signal.SIGHUP) if not self._hangs_up():
                self._renew()
            case Signalled():
                self._stopping.tell(message.number)
                self._pulse.at = 0.0

    def _hangs_up(self) -> bool:
        """Return whether SIGHUP ends this runner, rather than renewing the kernels' template."""
        return self._options.goal is not None or self._mailbox.is_left_alone

    def _renew(self) -> None:
        """On SIGHUP, import everything anew for the kernels to come."""
        if not self._stopping.has_begun:
            log.info("SIGHUP: importing everything anew for the kernels to come")
            self._execution.renew()

    def _is_over(self) -> bool:
        goal = self._options.goal
        return self._stopping.is_over or (goal is not None and self._is_closed(goal.job_id))

    def _is_closed(self, job_id: str) -> bool:
        job = self._parts.ledger.job(job_id)
        return job is not None and job.published_at is not None
