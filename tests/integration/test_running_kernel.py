"""What a job's process hears from its kernel."""

import asyncio
import os
import select
from pathlib import Path

import pytest

from runner.execution.kernel.forked import KernelSetting
from runner.execution.kernel.running import ColdStart, RunningKernel, start_cold

pytestmark = pytest.mark.kernels

CODE = "import os, time\nwhile not os.path.exists({!r}): time.sleep(0.02)"


@pytest.mark.timeout(300)
def test_a_reply_is_heard_though_a_send_took_its_announcement(tmp_path: Path) -> None:
    """nbclient sends for an Output widget amid a cell: whose reply came then hung for ever."""
    asyncio.run(_hear_reply(tmp_path))


async def _hear_reply(folder: Path) -> None:
    setting = KernelSetting(str(folder), dict(os.environ))
    kernel = await start_cold(ColdStart("python3", setting, folder), 90)
    try:
        await _hear_it(kernel, folder / "go")
    finally:
        kernel.kill()
        kernel.close()


async def _hear_it(kernel: RunningKernel, go: Path) -> None:
    client = kernel.client
    assert client.shell_channel.socket is not None
    announced = client.shell_channel.socket.FD
    asked = client.execute(CODE.format(str(go)), silent=True)
    reply = asyncio.ensure_future(client.get_shell_msg(timeout=None))
    await asyncio.sleep(0.05)
    go.touch()  # the reply comes while nobody listens
    assert select.select([announced], [], [], 90)[0]

    client.shell_channel.send(client.session.msg("comm_msg", {"comm_id": "none", "data": {}}))

    assert not select.select([announced], [], [], 0)[0]
    assert (await asyncio.wait_for(reply, 90))["parent_header"]["msg_id"] == asked
