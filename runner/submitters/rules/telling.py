"""Tells every interface which rule a file of the inbox is of, and why it stays there so long."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from runner.inbox.unclaimed import (
    NO_REQUESTS,
    WAITING_FILE,
    Reason,
    SaidByRules,
    read_own,
    write_of_rules,
)
from runner.submitters.rules.files import Ruled
from runner.submitters.rules.outlook import ADVICE

log = logging.getLogger(__name__)

Said = tuple[str, str]


class Telling:
    """Writes what rules say of the files that the daemon leaves alone. For one thread.

    `why_stays` knows of a path why it is not taken, if that is more than that it is not whole yet.
    """

    def __init__(self, state: Path, why_stays: Callable[[str], str | None]) -> None:
        self._state = state
        self._why_stays = why_stays
        self._rules: Sequence[Ruled] = ()
        self._stamp: tuple[int, int] | None = None
        self._of: dict[str, list[Ruled]] = {}
        """The rules of each file that is left alone; files of none are not in it."""
        self._written: SaidByRules | None = None

    def tell(
        self, rules: Sequence[Ruled], refusals: Mapping[str, str], conflicts: Mapping[str, str]
    ) -> None:
        """Write it where it has changed.

        `refusals` says why rules take no file now, `conflicts` which hinder each other, by name.
        """
        self._look(rules)
        files = {path: self._said(path, of, refusals) for path, of in self._of.items()}
        now = SaidByRules(files, dict(conflicts))
        if now == self._written:
            return
        try:
            write_of_rules(self._state, now)
        except OSError as error:
            log.debug("what rules say is not written: %s", error)
        else:
            self._written = now

    def _look(self, rules: Sequence[Ruled]) -> None:
        """Learn which files are left alone, if that or the rules have changed."""
        try:
            status = (self._state / WAITING_FILE).stat()
        except OSError:
            self._stamp, self._of = None, {}
            return
        stamp = status.st_ino, status.st_mtime_ns
        if stamp == self._stamp and list(map(id, rules)) == list(map(id, self._rules)):
            return
        self._stamp, self._rules = stamp, tuple(rules)
        known = read_own(self._state)
        left = [] if known is None else [one for one in known.files if one.reason in NO_REQUESTS]
        self._of = {one.path: of for one in left if (of := _of(one.path, rules))}

    def _said(self, path: str, of: Sequence[Ruled], refusals: Mapping[str, str]) -> Said:
        on = [one for one in of if one.rule is not None and one.rule.files.enabled]
        names = " and ".join(one.name for one in on or of)
        if not on:
            return Reason.RULE_OFF, f"{names} (enabled: false)"
        if len(on) > 1:
            return Reason.RULE_STAYS, f"the rules {names} match it; change one of them"
        why = refusals.get(names) or self._why_stays(path)
        if why is not None:
            why = why.removesuffix(f" {ADVICE}")  # that of the reason says it
            return Reason.RULE_STAYS, f"the rule {names} does not take it: {why}"
        assert on[0].rule is not None
        together = ", with those that come soon" if on[0].rule.files.group == "batch" else ""
        return Reason.RULE, f"{names}, as soon as it is whole{together}"


def _of(path: str, rules: Sequence[Ruled]) -> list[Ruled]:
    """List the rules of a file, also those that are off."""
    return [one for one in rules if one.rule is not None and one.rule.files.matches(path)]
