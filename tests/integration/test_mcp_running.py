"""Promises about code whose kernel cannot be reached."""

import pytest

pytest.importorskip("mcp", reason="the extra `mcp` is not installed")

import anyio

from runner.mcp.notebooks.cell import Code, Execution
from runner.mcp.notebooks.running import Step, run_code
from tests.conftest import free_port


def test_code_that_no_kernel_got_was_not_run() -> None:
    """And it is told so, with the reason."""
    port = free_port()  # nobody listens there
    step = Step("1")

    async def interrupt() -> None:
        raise AssertionError("there is nothing to interrupt")

    async def run() -> None:
        url = f"ws://127.0.0.1:{port}/api/kernels/x/channels"
        execution = Execution(url, {}, Code("1"), connect_seconds=1)
        await run_code(step, execution, 60, interrupt)

    anyio.run(run)
    assert step.status == "not_run"
    assert step.notes
