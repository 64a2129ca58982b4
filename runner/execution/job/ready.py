"""A kernel that is forked and brought up before anybody has an order for it."""

import asyncio
import select
import socket
from multiprocessing.connection import Connection, wait

from jupyter_core.utils import ensure_event_loop

from runner.execution.kernel import forked
from runner.execution.kernel.forked import KernelSetting
from runner.execution.kernel.running import (
    Connections,
    KernelNotReady,
    Origin,
    RunningKernel,
    connect,
)
from runner.execution.limits.hold import RunLimits, count_user_tasks, hold


class ReadyKernel:
    """A kernel that was forked before its order came."""

    def __init__(self, origin: Origin, channel: socket.socket, connections: Connections) -> None:
        self._origin = origin
        self._channel = channel
        self._connections = connections
        self._kernel: RunningKernel | None = None
        self.trouble: str | None = None
        """Reason why the kernel did not come up."""

    def bring_up(self, seconds: float, limits: RunLimits, orders: Connection | None = None) -> None:
        """Wait until the kernel has run an empty cell or failed, then set its limits.

        Raises:
            EOFError: the daemon, at the other end of `orders`, is gone.
        """
        start = connect(
            self._origin, self._channel, self._connections, seconds, limits.message_bytes
        )
        loop = ensure_event_loop()
        starting = loop.create_task(start)

        def heard(orders: Connection) -> None:
            loop.remove_reader(orders.fileno())
            if _is_closed(orders):
                starting.cancel()

        if orders is not None:
            loop.add_reader(orders.fileno(), heard, orders)
        try:
            self._kernel = loop.run_until_complete(starting)
        except asyncio.CancelledError as error:
            raise EOFError from error
        except KernelNotReady as error:
            self.trouble = str(error)
        else:
            hold(self._origin.pid, limits, count_user_tasks())
        finally:
            if orders is not None:
                loop.remove_reader(orders.fileno())

    def waits(self, connection: Connection) -> bool:
        """Wait for an order. False if the kernel ends first: then nothing is begun."""
        if self._kernel is None:
            return True
        return connection in wait([connection, self._kernel.pidfd])

    def take(self, setting: KernelSetting) -> RunningKernel:
        """Hand out the kernel, which belongs to the caller from now on.

        Raises:
            KernelNotReady: there is none.
        """
        if self._kernel is None:
            raise KernelNotReady(self.trouble)
        failure = forked.assign(self._channel, setting)
        if failure is not None:
            raise KernelNotReady(failure)
        kernel, self._kernel = self._kernel, None
        return kernel

    def close(self) -> None:
        """End the kernel if nobody has taken it."""
        self._channel.close()
        if self._kernel is not None:
            self._kernel.kill()
            self._kernel.close()
            self._kernel = None


def _is_closed(connection: Connection) -> bool:
    """Tell whether nobody is at the other end; an order may lie in it."""
    poll = select.poll()
    poll.register(connection.fileno(), 0)
    return any(events & select.POLLHUP for _, events in poll.poll(0))
