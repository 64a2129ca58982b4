"""Rules that say which workers of a cluster can serve a request's needs, now or ever.

Pure, over the resources that workers report. Asks no worker.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from runner.contract.request import Resources

MEMORY, GPUS, LABEL = "memory_mb", "gpus", "label:"
"""Names of Dask resources; the amount of a label is the number of runs that may use it."""

PLAIN = Resources()
LULL_SECONDS = 10.0
"""A waiting job asks more often than this."""


@dataclass(frozen=True)
class WorkerCapacity:
    """A worker that can run notebooks: its slots, and its Dask resources by name."""

    address: str
    host: str
    slots: int
    has: Mapping[str, float] = field(default_factory=dict)


class Patience:
    """Tracks how long each set of needs went unserved; a worker may just be restarting."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._questions: dict[str, tuple[float, float]] = {}
        """Times of the first and last question, by needs."""

    def served(self, wanted: Resources) -> None:
        """Note that a worker serves these needs."""
        self._questions.pop(wanted.model_dump_json(), None)

    def is_over(self, wanted: Resources) -> bool:
        """Note that no worker serves these needs; return whether this has lasted too long.

        The count begins anew after that, and after a time without questions: the waiting job has
        given up.
        """
        key, now = wanted.model_dump_json(), self._clock()
        since, last = self._questions.get(key, (now, now))
        if now - last > LULL_SECONDS:
            since = now
        self._questions[key] = (since, now)
        if now - since < self._seconds:
            return False
        del self._questions[key]
        return True


def as_dask(wanted: Resources) -> dict[str, float]:
    """Turn a request's needs into Dask resources; empty if it has none."""
    needs = {LABEL + label: 1.0 for label in wanted.labels}
    if wanted.memory_mb is not None:
        needs[MEMORY] = float(wanted.memory_mb)
    if wanted.gpus:
        needs[GPUS] = float(wanted.gpus)
    return needs


def fits(seats: Sequence[WorkerCapacity], taken: Sequence[Resources], wanted: Resources) -> bool:
    """Return whether `wanted` can start beside the runs in flight.

    The rule places those runs anew, the most demanding first, each on the worker with the least
    left. The scheduler may have placed them otherwise; then this one waits there for a while.
    """
    if wanted == PLAIN and all(one == PLAIN for one in taken):
        return len(taken) < sum(seat.slots for seat in seats)
    slots = {seat.address: seat.slots for seat in seats}
    left = {seat.address: dict(seat.has) for seat in seats}
    ranked = sorted([(_weight(one), 1, one) for one in taken], key=lambda row: row[:2])
    for *_, one in reversed(ranked):
        _take(slots, left, as_dask(one))
    return _take(slots, left, as_dask(wanted))


def why_never(seats: Sequence[WorkerCapacity], wanted: Resources) -> str | None:
    """Say why no worker could serve `wanted` even when idle; None if one could."""
    needs = as_dask(wanted)
    if not seats or any(serves(seat.has, needs) for seat in seats):
        return None
    missing = [_say(name, amount, seats) for name, amount in needs.items()]
    alone = [text for text in missing if text is not None]
    if alone:
        return "; ".join(alone)
    return "no worker has all of it together"


def _say(name: str, amount: float, seats: Sequence[WorkerCapacity]) -> str | None:
    """Say which need no worker serves; None if one does."""
    most = max(seat.has.get(name, 0.0) for seat in seats)
    if most >= amount:
        return None
    if name.startswith(LABEL):
        return f"no worker has the label `{name.removeprefix(LABEL)}`"
    if name == MEMORY:
        return f"no worker has {amount:.0f} MB of memory (the largest has {most:.0f})"
    return (
        f"no worker has {amount:.0f} GPU{'' if amount == 1 else 's'} (the largest has {most:.0f})"
    )


def _weight(wanted: Resources) -> tuple[int, int, int]:
    return wanted.gpus, len(wanted.labels), wanted.memory_mb or 0


def serves(has: Mapping[str, float], needs: Mapping[str, float]) -> bool:
    """Return whether Dask resources cover these needs."""
    return all(has.get(name, 0.0) >= amount for name, amount in needs.items())


def _take(
    slots: dict[str, int], left: dict[str, dict[str, float]], needs: Mapping[str, float]
) -> bool:
    """Give it a slot where it leaves the least; False if there is none."""
    able = [a for a, free in slots.items() if free > 0 and serves(left[a], needs)]
    if not able:
        return False
    best = min(able, key=lambda a: (left[a].get(GPUS, 0.0), len(left[a]), left[a].get(MEMORY, 0.0)))
    slots[best] -= 1
    for name, amount in needs.items():
        left[best][name] -= amount
    return True
