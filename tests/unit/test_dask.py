"""What the far side makes of Dask's ways; the cluster itself is in the acceptance tests."""

import asyncio
from typing import Any, cast

import pytest
from distributed import Future

from runner.execution.cluster import sender as cluster
from runner.execution.cluster.sender import _delivered


class Gathered:
    """A Dask future whose result is fetched together with others', as distributed does it."""

    def __init__(self, *tasks: "asyncio.Future[Any]") -> None:
        self.tasks = list(tasks)

    async def result(self) -> Any:
        return await self.tasks.pop(0)


def test_who_gives_up_a_result_takes_no_other_one_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask cancels the task that fetches several; what is wanted is asked for again."""
    monkeypatch.setattr(cluster, "WAIT_SECONDS", 0)

    async def both() -> list[Any]:
        loop = asyncio.get_running_loop()
        shared, again, lost, never = (loop.create_future() for _ in range(4))
        given_up = _delivered(cast(Future, Gathered(shared)), lost)
        wanted = _delivered(cast(Future, Gathered(shared, again)), never)
        lost.set_result(True)
        loop.call_later(0.05, again.set_result, "what came back")
        return [*await asyncio.wait_for(asyncio.gather(given_up, wanted), 10)]

    assert asyncio.run(both()) == [None, "what came back"]


def test_what_a_task_raises_is_raised() -> None:
    """And not waited for again."""

    async def failed() -> None:
        loop = asyncio.get_running_loop()
        broken, never = loop.create_future(), loop.create_future()
        broken.set_exception(OSError("its folder is gone"))
        await _delivered(cast(Future, Gathered(broken)), never)

    with pytest.raises(OSError, match="its folder is gone"):
        asyncio.run(failed())
