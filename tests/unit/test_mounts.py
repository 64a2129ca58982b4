"""Promises of mounts: the type comes from the mount table, by the longest point above a folder."""

from pathlib import Path

import pytest

from runner.system.files.mounts import Mount, least_trusted, mount_of, polls

# Names that no machine has, so that resolving links changes nothing.
TABLE = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:26 / /no-such rw,nosuid - tmpfs tmpfs rw
31 30 0:27 / /no-such/share rw,relatime - cifs //nas/share rw,vers=3.1.1
32 31 0:28 / /no-such/share/inner rw,relatime shared:2 master:1 - nfs4 nas:/inner rw
33 30 0:29 / /no-such/with\040space\011tab\134slash\012line rw - fuse.sshfs user@host:/ rw
34 30 8:1 /sub /no-such/bind rw,relatime - overlay overlay rw
35 30 0:30 / /no-such/twice rw - ext4 /dev/sdb1 rw
36 35 0:31 / /no-such/twice rw - fuse.rclone remote: rw
a line that is no mount
"""


@pytest.mark.parametrize(
    ("folder", "point", "kind"),
    [
        ("/", "/", "ext4"),
        ("/no-other/inbox", "/", "ext4"),
        ("/no-such", "/no-such", "tmpfs"),
        ("/no-such/inbox", "/no-such", "tmpfs"),
        ("/no-such/share", "/no-such/share", "cifs"),
        ("/no-such/share/inbox", "/no-such/share", "cifs"),
        ("/no-such/shared", "/no-such", "tmpfs"),
        ("/no-such/share/inner/inbox", "/no-such/share/inner", "nfs4"),
        ("/no-such/share/../inbox", "/no-such", "tmpfs"),
        ("/no-such/bind/inbox", "/no-such/bind", "overlay"),
        ("/no-such/twice/inbox", "/no-such/twice", "fuse.rclone"),
        (
            "/no-such/with space\ttab\\slash\nline/inbox",
            "/no-such/with space\ttab\\slash\nline",
            "fuse.sshfs",
        ),
    ],
)
def test_mount_is_the_nearest_above_the_folder(folder: str, point: str, kind: str) -> None:
    """The longest mount point counts, of equal ones the last, which covers the others."""
    assert mount_of(Path(folder), TABLE) == Mount(point, kind)


def test_name_with_an_escaped_backslash_is_not_unescaped_twice() -> None:
    """A folder called `a\\040b` is written as `a\\134040b`."""
    table = r"30 22 0:26 / /no-such/a\134040b rw - cifs //nas/share rw"
    assert mount_of(Path("/no-such/a\\040b/inbox"), table).kind == "cifs"


@pytest.mark.parametrize("table", ["", "\n\n", "1 2 3 - ext4", "30 22 0:26 / / rw"])
def test_table_that_says_nothing_gives_an_unknown_mount(table: str) -> None:
    """Then nothing is relied on."""
    found = mount_of(Path("/no-such"), table)
    assert found == Mount("/", "unknown")
    assert not found.tells_the_truth


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "f2fs"])
def test_local_file_systems_tell_the_truth(kind: str) -> None:
    """Every change that is made on this machine raises an event."""
    assert Mount("/", kind).tells_the_truth


@pytest.mark.parametrize(
    "kind",
    [
        "cifs",
        "smb3",
        "nfs",
        "nfs4",
        "9p",
        "virtiofs",
        "fuse",
        "fuse.sshfs",
        "fuse.rclone",
        "fuse.mergerfs",
        "fuse.grpcfuse",
        "fuseblk",
        "fakeowner",
        "vboxsf",
        "prl_fs",
        "unknown",
        "",
        "EXT4",
    ],
)
def test_all_other_file_systems_are_polled(kind: str) -> None:
    """Changes on their other side raise no events; what is not known is not trusted."""
    assert not Mount("/", kind).tells_the_truth


def line(point: Path | str, kind: str) -> str:
    return f"30 22 0:26 / {point} rw - {kind} source rw\n"


def test_a_mount_below_that_tells_less_decides() -> None:
    """One subfolder on a share is enough to poll; what lies beside does not matter."""
    table = line("/", "ext4") + line("/no-such/inbox/nas", "cifs") + line("/no-such/other", "nfs")
    assert least_trusted(Path("/no-such/inbox"), table) == Mount("/no-such/inbox/nas", "cifs")
    assert least_trusted(Path("/no-such/outbox"), table) == Mount("/", "ext4")
    assert least_trusted(Path("/no-such/inbox/nas"), table).kind == "cifs"
    covered = table + line("/no-such/inbox/nas", "tmpfs")
    assert least_trusted(Path("/no-such/inbox"), covered) == Mount("/", "ext4")


@pytest.mark.parametrize(
    ("mode", "kind", "expected"),
    [
        ("auto", "ext4", False),
        ("auto", "cifs", True),
        ("events", "cifs", False),
        ("poll", "ext4", True),
    ],
)
def test_the_setting_overrules_the_mount(mode: str, kind: str, expected: bool) -> None:
    """`auto` asks the mount."""
    assert polls(mode, Mount("/", kind)) is expected
