"""Where a job's result comes from: its environment, with the packages, and the library's commit."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from runner.jobs.record import Record


@dataclass(frozen=True)
class Origin:
    """What is known of it. `packages` has versions by name; None if the list is not kept."""

    python: str | None
    image: str | None
    runner: str | None
    host: str | None
    commit: str | None
    packages_sha256: str | None
    packages: dict[str, str] | None

    @property
    def is_unknown(self) -> bool:
        """Whether nothing but the host is known."""
        return self.runner is None

    def facts(self) -> Iterator[tuple[str, str]]:
        """Yield what is known besides the packages, in words."""
        for name, value in (
            ("Python", self.python),
            ("image", self.image),
            ("runner", self.runner),
            ("host", self.host),
            ("library commit", self.commit),
            ("packages SHA-256", self.packages_sha256),
        ):
            if value is not None:
                yield name, value

    def content(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "python": self.python,
            "image": self.image,
            "runner": self.runner,
            "host": self.host,
            "library_commit": self.commit,
            "packages_sha256": self.packages_sha256,
            "packages": self.packages,
        }


def origin_of(record: Record, job_id: str) -> Origin | None:
    """Return where a job's result comes from; None if it has none, or none is kept.

    Raises:
        Problem: `unavailable`.
    """
    with record.ledger() as ledger:
        seal = ledger.seal_of(job_id)
        if seal is None:
            return None
        about = seal.outcome.environment
        digest = None if about is None else about.packages_sha256
        text = None if digest is None else ledger.packages(digest)
    return Origin(
        python=None if about is None else about.python,
        image=None if about is None else about.image,
        runner=None if about is None else about.runner,
        host=seal.outcome.host,
        commit=seal.outcome.library_commit,
        packages_sha256=digest,
        packages=None if text is None else _versions(text),
    )


def _versions(text: str) -> dict[str, str]:
    lines = (line.partition("==") for line in text.splitlines())
    return {name: version for name, _, version in lines}
