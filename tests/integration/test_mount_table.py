"""Promises of the mount table: it is read again as soon as something is mounted or unmounted."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.system.files import mounts
from runner.system.files.mounts import MountTable, read_table


@pytest.fixture
def table() -> Iterator[MountTable]:
    """One whose clock stands still, so that only the kernel tells of changes."""
    table = MountTable(lambda: 5.0)
    yield table
    table.close()


def test_a_mount_and_its_end_are_seen_at_once(table: MountTable, tmp_path: Path) -> None:
    """By everybody who asks, the second time too."""
    assert table() == read_table()
    mount = ["mount", "-t", "tmpfs", "none", str(tmp_path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("nothing may be mounted here")
    try:
        assert [str(tmp_path) in table() for _ in range(2)] == [True, True]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert [str(tmp_path) in table() for _ in range(2)] == [False, False]


def test_it_is_read_once_while_nothing_changes(
    table: MountTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it is old, or there is nothing that tells of changes."""
    texts = [str(number) for number in range(9)]
    monkeypatch.setattr(mounts, "read_table", lambda: texts.pop(0))
    monkeypatch.setattr(table, "_has_changed", lambda: False)
    assert [table() for _ in range(3)] == ["0", "0", "0"]
    table._clock = lambda: 5.0 + mounts.READ_SECONDS
    assert [table() for _ in range(2)] == ["1", "1"]
    table.close()
    monkeypatch.undo()
    assert table._has_changed()
