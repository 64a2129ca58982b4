"""Finds the modules that preloaded libraries import only when they are first used.

Each kernel would import them again: those of pandas' first table take 25 ms or more of CPU.
"""

import json
import logging
import os
import select
import signal
import sys
import warnings
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import NoReturn

from runner.system.processes.process_tree import die_with_parent

log = logging.getLogger(__name__)

FRAME = 'import pandas\nframe = pandas.DataFrame({"text": ["a"], "number": [1.5]})\n'
FIRST_USES: Mapping[tuple[str, ...], str] = {
    ("pandas",): FRAME + "frame._repr_html_(), repr(frame), frame.describe()",
    ("pandas", "pyarrow"): FRAME
    + "import io\nfile = io.BytesIO()\nframe.to_parquet(file)\npandas.read_parquet(file)",
    ("matplotlib.pyplot",): (
        "import io\nfrom matplotlib.backends.backend_agg import FigureCanvasAgg\n"
        "from matplotlib.figure import Figure\n"
        "figure = Figure()\nfigure.subplots().plot([1, 2])\n"
        "FigureCanvasAgg(figure).print_png(io.BytesIO())"
    ),
}
"""What notebooks do with these modules, if all of them are preloaded."""
CHUNK = 1 << 16


def modules_of_first_uses(preloaded: Collection[str], seconds: float) -> list[str]:
    """Use the preloaded libraries in a forked process; return the modules that this imported there.

    Call it while no other thread of this process runs Python. A library that fails, or takes longer
    than `seconds`, is left to the notebooks.
    """
    wanted = [code for names, code in FIRST_USES.items() if set(names) <= set(preloaded)]
    if not wanted:
        return []
    read, write = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _use(wanted, write, parent)
    os.close(write)
    told = _read(read, seconds)
    os.close(read)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    lines = told.decode().splitlines()
    return [name for line in lines for name in json.loads(line)]


def _use(wanted: Collection[str], write: int, parent: int) -> NoReturn:
    """Be the forked process: tell the modules after each use, a line of JSON each."""
    try:
        die_with_parent(parent)
        warnings.simplefilter("ignore")
        for code in wanted:
            before = set(sys.modules)
            try:
                exec(code, {})  # noqa: S102 - our own code
            except Exception as error:  # noqa: BLE001 - somebody else's library
                log.debug("a library failed at its first use: %r", error)
            news = sorted(set(sys.modules) - before)
            os.write(write, json.dumps(news).encode() + b"\n")
    finally:
        os._exit(0)


def _read(fd: int, seconds: float) -> bytes:
    """Read whole lines until the end, or until nothing comes for so long."""
    told = b""
    while select.select([fd], [], [], seconds)[0]:
        chunk = os.read(fd, CHUNK)
        if not chunk:
            break
        told += chunk
    return told[: told.rfind(b"\n") + 1]
