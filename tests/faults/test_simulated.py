"""The model of a disk: what is durable, what may be lost, and what cannot be."""

import random
from pathlib import Path

import pytest

from tests.faults.simulated import SimulatedDisk, Tree, durable, lay_out

START: Tree = {"old": None, "old/f": b"full", "new": None}


@pytest.fixture
def disk(folder: Path) -> SimulatedDisk:
    lay_out(START, folder)
    return SimulatedDisk(folder, durable(START))


def survivors(disk: SimulatedDisk) -> list[Tree]:
    return [tree for _, tree in disk.model.survivors(random.Random(0), samples=20)]


def test_an_unsynced_file_may_be_gone_empty_or_half(disk: SimulatedDisk, folder: Path) -> None:
    """Until both its bytes and its name were synced."""
    disk.write(folder / "new/g", b"12345678")
    assert {tree.get("new/g") for tree in survivors(disk)} == {None, b"", b"1234", b"12345678"}
    disk.sync_folder(folder / "new", "test")
    assert {tree.get("new/g") for tree in survivors(disk)} == {b"", b"1234", b"12345678"}


def test_a_synced_file_needs_its_name(disk: SimulatedDisk, folder: Path) -> None:
    """And the name of the folder in which it lies."""
    disk.make_folder(folder / "new/inner")
    disk.write(folder / "new/inner/g", b"x", "test")
    disk.sync_folder(folder / "new/inner", "test")
    assert {tree.get("new/inner/g") for tree in survivors(disk)} == {None, b"x"}
    disk.sync_folder(folder / "new", "test")
    assert {tree.get("new/inner/g") for tree in survivors(disk)} == {b"x"}


def test_a_rename_never_loses_a_file_nor_doubles_it(disk: SimulatedDisk, folder: Path) -> None:
    """Also into a folder that is new itself; durable with the new name."""
    disk.make_folder(folder / "new/inner")
    disk.rename(folder / "old/f", folder / "new/inner/f")
    found = survivors(disk)
    assert all(("old/f" in tree) is not ("new/inner/f" in tree) for tree in found)
    assert {"old/f" in tree for tree in found} == {True, False}
    disk.sync_folder(folder / "new/inner", "test")
    disk.sync_folder(folder / "new", "test")
    assert all("new/inner/f" in tree for tree in survivors(disk))


def test_a_removal_may_be_undone(disk: SimulatedDisk, folder: Path) -> None:
    """With the bytes that were durable, until the folder was synced."""
    disk.unlink(folder / "old/f")
    assert {tree.get("old/f") for tree in survivors(disk)} == {None, b"full"}
    disk.sync_folder(folder / "old", "test")
    assert {tree.get("old/f") for tree in survivors(disk)} == {None}


def test_a_file_created_whole_has_its_bytes_with_its_name(
    disk: SimulatedDisk, folder: Path
) -> None:
    """Never a name without them."""
    disk.create_whole(folder / "new/g", b"whole", "test")
    assert {tree.get("new/g") for tree in survivors(disk)} == {None, b"whole"}
