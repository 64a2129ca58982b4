"""A kernelspec's command that starts the runner's forked kernel: `forked_kernel.py -f FILE`.

It prepares a kernel as the preload server does, forks it, and stands in for it towards whoever
started it: signals go on to the kernel, its end is this process's end.
"""

import gc
import os
import signal
import socket
import sys
import time
from types import FrameType

from runner.execution.kernel.forked import KernelSetting, KernelTemplate, assign

POLL_SECONDS = 0.1
"""Between two looks whether the kernel, or whoever started it, is gone."""
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    """Start the kernel and wait for its end."""
    connection_file = sys.argv[sys.argv.index("-f") + 1]
    sys.path[:] = [entry for entry in sys.path if entry not in ("", os.path.dirname(__file__))]
    environment, folder, parent = dict(os.environ), os.getcwd(), os.getpid()
    starter = os.getppid()
    template = KernelTemplate()
    template.settle()
    gc.collect()
    gc.disable()
    gc.freeze()
    mine, its = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        mine.close()
        template.bring_up(connection_file, its, parent)
    its.close()

    def forward(number: int, frame: FrameType | None) -> None:
        del frame
        os.kill(pid, number)

    for number in FORWARDED:
        signal.signal(number, forward)
    mine.recv(len(b"up\n"))
    problem = assign(mine, KernelSetting(folder, environment))
    if problem is not None:
        sys.exit(problem)
    while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0):
        if os.getppid() != starter:
            os.kill(pid, signal.SIGKILL)
        time.sleep(POLL_SECONDS)
    sys.exit(os.waitstatus_to_exitcode(ended[1]) & 0xFF)


if __name__ == "__main__":
    main()
