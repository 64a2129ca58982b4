"""Executes a notebook by nbclient, again and again in one process, with a new kernel each time."""

import sys
from typing import BinaryIO

import nbformat
from nbclient import NotebookClient


def main() -> None:
    """Answer each line of standard input when the notebook has run and is written."""
    wanted: BinaryIO = sys.stdin.buffer
    raw = wanted.read(int.from_bytes(wanted.read(8), "big")).decode()
    print("ready", flush=True)
    for _ in iter(wanted.readline, b""):
        notebook = nbformat.reads(raw, as_version=4)
        NotebookClient(notebook, kernel_name="python3").execute()
        nbformat.writes(notebook)
        print("done", flush=True)


if __name__ == "__main__":
    main()
