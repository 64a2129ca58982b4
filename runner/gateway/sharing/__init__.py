"""Reports of jobs, and links by which one report or one file is shown to others."""
