"""A process that answers a number of seconds after that time, or leaves a thread behind."""

import os
import threading
import time

from runner.system.processes import side_process


def answer(question: bytes) -> bytes:
    if question == b"thread":
        threading.Thread(target=time.sleep, args=(600,)).start()
    else:
        time.sleep(float(question))
    return question


if __name__ == "__main__":
    side_process.IDLE_SECONDS = float(os.environ.get("IDLE_SECONDS", "60"))
    side_process.serve(answer, memory_bytes=None)
