"""The guide that the runner puts into an inbox that it makes, for colleagues and agents.

`README.md` beside this module is its text, for folders that lie side by side.
"""

from pathlib import Path

from runner.config import Settings

GUIDE = "README.md"
"""Its name in the inbox, where it is left alone silently."""
_TEXT = Path(__file__).with_name(GUIDE)


def guide_for(settings: Settings) -> bytes:
    """Return the guide with the places of these folders, as seen from the inbox."""
    text = _TEXT.read_text(encoding="utf-8")
    for plain, folder in (("../outbox", settings.outbox), ("../notebooks", settings.notebooks)):
        text = text.replace(plain, _seen_from(settings.inbox, folder))
    return text.encode(errors="replace")


def _seen_from(inbox: Path, folder: Path) -> str:
    """Return a path relative to the inbox if both lie in one folder: they may be mounts of it."""
    beside = folder.absolute().parent == inbox.absolute().parent
    return f"../{folder.name}" if beside else str(folder.absolute())
