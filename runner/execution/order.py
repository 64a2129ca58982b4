"""The messages between the daemon and a job process: an order in, progress and an outcome out.

Values as JSON frames. Starts nothing.
"""

import json
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from runner.contract.outcome import InputFile, Outcome, Value
from runner.contract.request import Resources
from runner.contract.text.strict_json import JsonValue

TAIL_BYTES = 4096
READ_SECONDS = 60.0
"""Time to read the results of a run that is over."""
WRITE_SECONDS = 60.0
"""Time to write its notebook after that."""


class Order(Value):
    """One notebook to be executed once. Folders are absolute; the notebook travels beside it."""

    job_id: str
    name: str
    attempt: int = 1
    submitted_by: str | None = None
    parameters: dict[str, JsonValue] = {}
    kernel: str | None = None
    timeout_seconds: float
    kernel_start_seconds: float = 60
    folder: str | None = Field(None, description="Where the kernel runs; the output folder if not.")
    output_folder: str = Field(description="Exists, and holds the inputs only.")
    inputs: tuple[InputFile, ...] = ()
    packages_folder: str | None = Field(
        None, description="Folder for `%pip install`, not made yet; None: the environment."
    )
    allowed_kernels: tuple[str, ...] = ("python3",)
    languages: tuple[str, ...] = ("python",)
    start: Literal["fork", "cold"] = "fork"
    unknown_parameters: Literal["warn", "refuse"] = "warn"
    sidecar: str | None = Field(None, description="The parameters file beside the notebook.")
    resources: Resources = Resources()
    output_bytes: int = 50 * 1024 * 1024
    results_bytes: int = 20 * 1024 * 1024
    tag: str = "results"
    scrapbook: bool = True
    library_commit: str | None = None
    lease_seconds: float | None = Field(
        None, description="Silence after which the run ends; None: never."
    )


def with_paths(order: Order) -> Order:
    """Give a library notebook, which runs elsewhere, the whole paths of what came along.

    A parameter that is the name of such a file stands for it, and so does one in a list.
    """
    if order.folder is None or not order.inputs:
        return order
    paths = {one.path: str(Path(order.output_folder, one.path)) for one in order.inputs}

    def located(value: JsonValue) -> JsonValue:
        if isinstance(value, list):
            return [located(one) for one in value]
        return paths.get(value, value) if isinstance(value, str) else value

    parameters = {name: located(value) for name, value in order.parameters.items()}
    return order.model_copy(update={"parameters": parameters})


class Progress(Value):
    """The progress of a run; sent at most about once a second."""

    cell: int = Field(description="The code cell that runs, from 1.")
    cells: int
    tail: str = Field("", description="The end of the notebook's printed text.")


class Stop(Value):
    """Ends a run before its time."""

    reason: Literal["cancelled", "interrupted", "timeout"]


class Alive(Value):
    """Renews a run's lease."""

    heard_at: float = Field(description="By `lease_clock`.")


def lease_clock() -> float:
    """Return seconds that all processes of a machine agree on, including its sleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


Message = dict[str, Any]


def send(connection: Connection, kind: str, **fields: object) -> None:
    """Send one message."""
    connection.send_bytes(json.dumps({"kind": kind, **fields}).encode())


def receive(connection: Connection) -> Message:
    """Receive one message.

    Raises:
        EOFError: the other side is gone.
    """
    message: Message = json.loads(connection.recv_bytes())
    return message


def send_outcome(connection: Connection, outcome: Outcome, executed: bytes | None) -> None:
    """Send the last message of a job process, followed by results and executed notebook."""
    narrow = outcome.model_copy(update={"results": "{}"}).model_dump(mode="json")
    send(connection, "outcome", outcome=narrow, executed=executed is not None)
    connection.send_bytes(outcome.results.encode())
    if executed is not None:
        connection.send_bytes(executed)


def receive_outcome(connection: Connection, message: Message) -> tuple[Outcome, bytes | None]:
    """Receive the rest of an outcome, after its first message."""
    results = connection.recv_bytes().decode()
    executed = connection.recv_bytes() if message["executed"] else None
    return Outcome.model_validate({**message["outcome"], "results": results}), executed
