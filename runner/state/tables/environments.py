"""The packages of the environments in which jobs ran, once for each list."""

import sqlite3

_UNUSED = (
    "SELECT packages_sha256 FROM environments WHERE seen_on < ? AND NOT EXISTS (SELECT 1 FROM "
    "outcomes WHERE json_extract(outcome, '$.environment.packages_sha256') = packages_sha256)"
)


def keep(db: sqlite3.Connection, sha256: str | None, packages: str, day: str) -> None:
    """Keep the packages of an outcome, in the transaction around it. `day` is a date."""
    db.execute(
        "INSERT INTO environments VALUES (?, ?, ?) ON CONFLICT DO UPDATE "
        "SET seen_on = excluded.seen_on WHERE seen_on < excluded.seen_on",
        (sha256, packages, day),
    )


def packages(db: sqlite3.Connection, sha256: str) -> str | None:
    """Return the list of that digest, a line for each package; None if it is not kept."""
    row = db.execute(
        "SELECT packages FROM environments WHERE packages_sha256 = ?", (sha256,)
    ).fetchone()
    return None if row is None else str(row[0])


def forget(db: sqlite3.Connection, before: str) -> None:
    """Remove lists that were not seen since a date and that no job's outcome names."""
    db.execute(
        f"DELETE FROM environments WHERE packages_sha256 IN ({_UNUSED})",  # noqa: S608
        (before,),
    )
