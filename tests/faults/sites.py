"""Where the program syncs: each place by the two functions of the program that led to it."""

import linecache
import sys
from pathlib import Path
from types import FrameType

import runner

PROGRAM = str(Path(runner.__file__).parent)
DISK = str(Path(PROGRAM) / "system" / "files" / "disk.py")


def site() -> str:
    """The place from which a sync is asked for just now: `caller > function: line`."""
    asked, callers = "", list[FrameType]()
    frame: FrameType | None = sys._getframe()
    while frame is not None and len(callers) < 2:
        file = frame.f_code.co_filename
        if file == DISK and not callers:
            asked = frame.f_code.co_name
        elif file.startswith(PROGRAM) and file != DISK and frame.f_code.co_name[0] != "<":
            callers.append(frame)
        frame = frame.f_back
    place = callers[0]
    line = linecache.getline(place.f_code.co_filename, place.f_lineno).strip()
    names = " > ".join(one.f_code.co_qualname for one in reversed(callers))
    return f"{names}: {line if asked in line else asked}"
