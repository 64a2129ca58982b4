"""Inbox Runner: drop a Jupyter notebook into a folder, get its result out of another."""

from runner.system.lazy_grammar import put_off

__version__ = "0.2.0.dev0"

put_off()
