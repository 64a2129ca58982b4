"""Descriptors that are kept for the kernel's own words."""

import subprocess
import sys
import textwrap

from runner.execution.limits.hold import SPARE_FILES


def in_its_own(source: str) -> str:
    """What a process prints that may lower its own limits for good."""
    lines = [
        "import os, resource",
        "from runner.execution.limits.hold import SPARE_FILES",
        "from runner.execution.kernel.spare_files import spare_files",
        "def soft(): return resource.getrlimit(resource.RLIMIT_NOFILE)[0]",
        textwrap.dedent(source),
    ]
    command = [sys.executable, "-c", "\n".join(lines)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_they_are_lent_and_taken_back() -> None:
    said = in_its_own(
        """
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64 + SPARE_FILES))
        kept = []
        try:
            while True: kept.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        with spare_files():
            for _ in range(SPARE_FILES): kept.append(os.open("/dev/null", os.O_RDONLY))
            print(soft() - 64 == SPARE_FILES)
        print(soft(), len(kept) > 64)
        try:
            os.open("/dev/null", os.O_RDONLY)
        except OSError as error:
            print(error.errno)
        """
    )
    assert said.split() == ["True", "64", "True", "24"]


def test_who_borrows_last_puts_them_back() -> None:
    """In whatever order they come and go."""
    said = in_its_own(
        """
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64 + SPARE_FILES))
        first, second = spare_files(), spare_files()
        first.__enter__(); second.__enter__()
        print(soft())
        first.__exit__(None, None, None)
        print(soft())
        second.__exit__(None, None, None)
        print(soft())
        """
    )
    assert said.split() == [str(64 + SPARE_FILES), str(64 + SPARE_FILES), "64"]


def test_a_hard_limit_is_kept_to() -> None:
    said = in_its_own(
        """
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 70))
        with spare_files(): print(soft())
        print(soft())
        """
    )
    assert said.split() == ["70", "64"]


def test_an_exception_gives_them_back_too() -> None:
    said = in_its_own(
        """
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64 + SPARE_FILES))
        try:
            with spare_files(): os.close(-1)
        except OSError:
            print(soft())
        """
    )
    assert said.split() == ["64"]
    assert SPARE_FILES > 16, "is_out_of_files allows for 16"
