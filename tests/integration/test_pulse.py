"""The daemon's word is heard, also where the disk is full."""

import errno
from pathlib import Path

import pytest

from runner.state import pulse
from runner.state.pulse import Pulse, Worker

WORKERS = [Worker("a", 2, 1, 0, "tcp://10.0.0.7:40001"), Worker("b", 4, 0, 4)]


def word(trouble: str) -> Pulse:
    return Pulse(1, 2.0, 3, 4, [trouble], WORKERS, ["a note"])


def test_the_last_word_is_read_back(tmp_path: Path) -> None:
    """Longer and shorter ones."""
    for text in ("short", "x" * 10_000, "short again"):
        pulse.write(tmp_path, word(text))
        assert pulse.read(tmp_path) == word(text)


def test_a_full_disk_does_not_silence_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is room in the file that is there; nothing is left beside it."""
    pulse.write(tmp_path, word("before"))
    number = (tmp_path / pulse.PULSE_FILE).stat().st_ino
    real = Path.write_bytes

    def full(self: Path, content: bytes) -> int:
        real(self, content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    pulse.write(tmp_path, word("the disk is full"))
    assert pulse.read(tmp_path) == word("the disk is full")
    assert [path.name for path in tmp_path.iterdir()] == [pulse.PULSE_FILE]
    assert (tmp_path / pulse.PULSE_FILE).stat().st_ino == number
