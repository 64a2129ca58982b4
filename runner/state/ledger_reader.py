"""Answers clients' questions on the ledger, outcomes and inputs included, and never writes.

Any number of `LedgerReader`s read while one `Ledger` writes; every read is short.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import TypeAdapter

from runner.contract.outcome import Failure, InputFile, Outcome, PublishedFile
from runner.state.contents import Input, Seal
from runner.state.listing import FILES_SINCE, Listing, opened

_FILES = TypeAdapter(list[PublishedFile])
_INPUTS = TypeAdapter(list[InputFile])


class Reading(Listing):
    """The questions that both the writer and a reader answer."""

    def seal_of(self, job_id: str) -> Seal | None:
        """Return the final outcome; its notebook is None once the job is closed."""
        row = self._db.execute(
            "SELECT o.*, j.finished_at FROM outcomes o JOIN jobs j USING (job_id) WHERE job_id = ?",
            (job_id,),
        ).fetchone()
        if row is None:
            return None
        return Seal(
            job_id=job_id,
            outcome=Outcome.model_validate_json(row["outcome"]),
            executed=row["executed"],
            files=tuple(files_from(row["files"])),
            finished_at=row["finished_at"],
        )

    def input_of(self, job_id: str) -> Input | None:
        """Return a job's input; None once it is pruned."""
        files = "files" if self._version >= FILES_SINCE else "NULL AS files"
        row = self._db.execute(
            f"SELECT request, notebook, failure, {files} FROM inputs WHERE job_id = ?",  # noqa: S608
            (job_id,),
        ).fetchone()
        if row is None:
            return None
        failure = Failure.model_validate_json(row["failure"]) if row["failure"] else None
        came = tuple(_INPUTS.validate_json(row["files"])) if row["files"] else ()
        return Input(row["request"], row["notebook"], failure, came)


class LedgerReader(Reading):
    """The read-only side, for the same user on the same host."""

    def __init__(self, state: Path) -> None:
        """Open the ledger below `state`.

        Raises:
            sqlite3.OperationalError: as `opened`.
        """
        super().__init__(opened(state))


def files_to(files: Iterable[PublishedFile]) -> str:
    """Write the ledger's JSON of published files."""
    return _FILES.dump_json(list(files)).decode()


def files_from(text: str) -> list[PublishedFile]:
    """Read what `files_to` wrote."""
    return _FILES.validate_json(text)


def inputs_to(files: Sequence[InputFile]) -> str | None:
    """Write the ledger's JSON of the files that came with a request; None if there is none."""
    return _INPUTS.dump_json(list(files)).decode() if files else None
