"""Finds the job that a command names."""

import re
import sqlite3
from pathlib import Path

from runner.cli.options import Fault, NothingThere
from runner.contract.job_ids import JOB_ID
from runner.contract.names import job_names
from runner.contract.text.plain_text import is_text
from runner.state.jobs import Job
from runner.state.listing import JobsReader


class NoSuchJob(NothingThere):
    """No job has that name or id."""

    def __init__(self, what: str) -> None:
        is_short = re.fullmatch(r"[0-9a-f]{1,5}", what) is not None
        hint = ", and an id needs its first six digits at least" if is_short else ""
        super().__init__(f"there is no job {what!r}; `runner jobs` lists them{hint}")


def reader_of(state: Path) -> JobsReader:
    """Open the ledger to read it.

    Raises:
        Fault: there is none.
    """
    try:
        return JobsReader(state)
    except sqlite3.Error as error:
        raise Fault(
            f"there is no ledger to read in {state} ({error}); "
            "`runner serve` makes it at its first start"
        ) from error


def find_job(state: Path, what: str) -> Job | None:
    """Find the job of an id, of the beginning of one, or the latest of a name.

    The name may be that of a dropped file, of which the job's is another where it was not safe.
    """
    reader = reader_of(state)
    if not is_text(what):
        return None
    if JOB_ID.fullmatch(what):
        return reader.job(what)
    job = reader.latest(what)
    if job is None and re.fullmatch(r"[0-9a-f]{6,31}", what):
        job = reader.by_prefix(what)
    if job is None:
        latest = (reader.latest(name) for name in job_names(what))
        job = next((one for one in latest if one is not None), None)
    return job
