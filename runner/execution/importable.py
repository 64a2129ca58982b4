"""Asks a Python environment which modules it has, without importing any of them.

This interpreter directly, another one through a subprocess; both run the same few lines. Decides
nothing.
"""

import inspect
import json
import subprocess
from collections.abc import Iterable, Mapping

ANSWER_SECONDS = 20.0


class EnvironmentNotAnswering(Exception):
    """An interpreter could not be asked: `python, reason`."""

    def __str__(self) -> str:
        return f"{self.args[0]} could not be asked for its modules: {self.args[1]}"


def missing_here(modules: Iterable[str], folder: str | None) -> list[str]:
    """Which of these top-level modules this interpreter lacks, sorted.

    `folder` is where the kernel runs: its neighbours can be imported.
    """
    return _find_missing(list(modules), folder)


def missing_in(
    python: str,
    modules: Iterable[str],
    folder: str | None,
    env: Mapping[str, str] | None = None,
    timeout_seconds: float = ANSWER_SECONDS,
) -> list[str]:
    """The same for another interpreter.

    Raises:
        EnvironmentNotAnswering: it is not there, failed, or took too long.
    """
    question = json.dumps([list(modules), folder])
    script = (
        "from __future__ import annotations\nimport json, sys\n"
        f"{inspect.getsource(_find_missing)}\n"
        "print(json.dumps(_find_missing(*json.loads(sys.argv[1]))))\n"
    )
    try:
        answer = subprocess.run(
            [python, "-c", script, question],
            env=None if env is None else dict(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_seconds,
            check=True,
        )
        found = json.loads(answer.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise EnvironmentNotAnswering(python, str(error)) from error
    return [str(name) for name in found]


def _find_missing(modules: list[str], folder: str | None) -> list[str]:
    """Self-contained: its source runs in other interpreters too, from Python 3.8 on."""
    import importlib
    import importlib.util
    import sys

    def is_there(name: str) -> bool:
        if name in sys.builtin_module_names or name in sys.modules:
            return True
        try:
            return importlib.util.find_spec(name) is not None
        except Exception:  # noqa: BLE001 - finders are anybody's code
            return False

    before = list(sys.path)
    if folder is not None:
        sys.path.insert(0, folder)
    try:
        importlib.invalidate_caches()
        return sorted(name for name in set(modules) if not is_there(name))
    finally:
        sys.path[:] = before
