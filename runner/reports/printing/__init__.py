"""Reports as PDF, printed by the Chromium of this machine in a process of its own."""
