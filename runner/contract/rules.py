"""The rules for requests beyond their schema: the runner's limits, and its machine's resources."""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from runner.contract.callbacks import EVERYWHERE, address_of, may_go
from runner.contract.outcome import Refused, refuse
from runner.contract.request import Request
from runner.contract.states.status import ErrorType

MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class BundleLimits:
    """How much may come with one request."""

    bytes: int = 200 * MEGABYTE
    files: int = 1000
    notebook_bytes: int = 5 * MEGABYTE


@dataclass(frozen=True)
class Rules:
    """Limits of one runner. `memory_mb` is the most that a run may hold on one machine.

    A cluster (`is_cluster`) looks at its workers when there is a job. `groups` are the names that a
    request's `group` may be, `callback_hosts` those of the hosts to which its callback may go.
    """

    max_run_seconds: float
    memory_mb: int
    is_cluster: bool
    groups: frozenset[str] = frozenset()
    callback_hosts: tuple[str, ...] = (EVERYWHERE,)

    def check(self, request: Request) -> None:
        """Refuse a request by the first rule that it breaks.

        Raises:
            Refused: `invalid_request`.
        """
        for refusal in self.refusals(request):
            raise refusal

    def refusals(self, request: Request) -> Iterator[Refused]:
        """Yield a refusal for each broken rule, in a fixed order."""
        yield from self._of_time(request)
        yield from self._of_waiting(request)
        yield from self._of_callback(request)
        if not self.is_cluster:
            yield from self._of_one_machine(request)

    def _of_time(self, request: Request) -> Iterator[Refused]:
        """Refuse a time limit above the configured one, rather than cut it in silence."""
        seconds = request.timeout_seconds
        if seconds is not None and seconds > self.max_run_seconds:
            yield refuse(
                ErrorType.INVALID_REQUEST,
                f"`timeout_seconds` is {seconds:g}, above the limit of "
                f"{self.max_run_seconds:g} (limits.max_run_seconds).",
            )

    def _of_waiting(self, request: Request) -> Iterator[Refused]:
        """Refuse two ways to run again at once, and a group that the settings do not name."""
        if request.retry is not None and request.retries:
            yield refuse(
                ErrorType.INVALID_REQUEST,
                "Give `retries` or `retry`, not both: `retry.times` is the same number.",
            )
        if request.group is not None and request.group not in self.groups:
            near = get_close_matches(request.group, self.groups, 1, 0.5)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            one = f"{request.group}: 1"
            known = ", ".join(map(repr, sorted(self.groups)))
            todo = f"add `{one}` there" if known else f"write `groups: {{{one}}}` there"
            yield refuse(
                ErrorType.INVALID_REQUEST,
                f"`group` is {request.group!r}{hint}, which is no group of the settings. They "
                f"name {known or 'none yet'}. For one run at a time change the line `groups:` of "
                f"config.yaml, {todo}, and start the runner again.",
            )

    def _of_callback(self, request: Request) -> Iterator[Refused]:
        """Refuse a callback to a host that the settings do not name."""
        if request.callback is None or may_go(request.callback.url, self.callback_hosts):
            return
        host = address_of(request.callback.url).hostname
        known = ", ".join(self.callback_hosts) or "none"
        public = " (`*` is every public one)" if EVERYWHERE in self.callback_hosts else ""
        yield refuse(
            ErrorType.INVALID_REQUEST,
            f"`callback.url` goes to {host}, which is not allowed. Hosts that are: {known}"
            f"{public}. Name it in callbacks.allowed in the settings, and start the runner again.",
        )

    def _of_one_machine(self, request: Request) -> Iterator[Refused]:
        """Refuse the first need that one machine cannot serve."""
        needs = request.resources
        if needs.memory_mb is not None and needs.memory_mb > self.memory_mb:
            yield refuse(
                ErrorType.INVALID_REQUEST,
                f"`resources.memory_mb` is {needs.memory_mb}, above the limit of "
                f"{self.memory_mb} (limits.memory_mb).",
            )
            return
        for key, wanted in (("gpus", needs.gpus), ("labels", needs.labels)):
            if wanted:
                yield refuse(
                    ErrorType.INVALID_REQUEST,
                    f"`resources.{key}` needs a cluster (execution.executor: dask); here all "
                    "notebooks run on one machine.",
                )
                return
