"""Files and folders: every change of a disk, and what is known of mounts."""
