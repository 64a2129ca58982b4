"""What a forked kernel has that ipykernel's own does not."""

import time
from pathlib import Path

import zmq
from jupyter_client.session import Session

from runner.execution.kernel.forked import OutputThread


def test_whoever_subscribes_while_a_kernel_prints_is_greeted(tmp_path: Path) -> None:
    """Always; ipykernel 7.4 by itself forgets one in twenty, who then waits for ever."""
    assert [number for number in range(100) if not is_greeted(f"ipc://{tmp_path}/{number}")] == []


def is_greeted(address: str) -> bool:
    """Whether a subscriber hears the welcome (JEP 65) of an output thread that is busy sending."""
    with zmq.Context() as context, context.socket(zmq.XPUB) as output:
        output.linger = 1000  # as ipykernel has it; zmq's own is to wait for ever
        output.bind(address)
        thread = OutputThread(output, session=Session(key=b"key"))
        thread.start()
        try:
            with context.socket(zmq.SUB) as subscriber:
                subscriber.linger = 0
                subscriber.subscribe(b"")
                subscriber.connect(address)
                printing = time.monotonic() + 0.01
                while time.monotonic() < printing:
                    thread.send_multipart([b"stream", b"printed"])
                return _hears_welcome(subscriber)
        finally:
            thread.stop()
            # ipykernel cancels it when nobody runs it any more, and asyncio would complain.
            thread._event_pipe_gc_task._log_destroy_pending = False


def _hears_welcome(subscriber: "zmq.Socket[bytes]", seconds: int = 60) -> bool:
    while subscriber.poll(seconds * 1000):
        if any(b"iopub_welcome" in frame for frame in subscriber.recv_multipart()):
            return True
    return False
