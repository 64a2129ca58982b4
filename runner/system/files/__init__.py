"""Files and folders: every change of a disk, and the facts about mounts."""
