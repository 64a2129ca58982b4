"""Asks a Python environment which modules it has, without importing any of them.

Asks this interpreter directly and another one through a subprocess; both run the same few lines. If
a finder gives no answer, the module counts as present.
"""

import contextlib
import importlib
import importlib.util
import inspect
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping

ANSWER_SECONDS = 20.0
_ANSWER = "missing modules: "


class EnvironmentNotAnswering(Exception):
    """An interpreter gives no answer: `python, reason`."""

    def __str__(self) -> str:
        return f"{self.args[0]} could not be asked for its modules: {self.args[1]}"


def missing_here(modules: Iterable[str], folder: str | None) -> list[str]:
    """List the modules that this interpreter lacks: their top-level names, sorted.

    `folder` is where the kernel runs: it can import its neighbours.
    """
    return _find_missing(list(modules), folder)


def missing_in(
    python: str,
    modules: Iterable[str],
    folder: str | None,
    timeout_seconds: float = ANSWER_SECONDS,
    env: Mapping[str, str] | None = None,
) -> list[str]:
    """Do the same for another interpreter, Python 3.6 or newer.

    Raises:
        EnvironmentNotAnswering: it is not there, failed, or took too long.
    """
    # By stdin: one argument holds no more than 128 KiB (execve(2)).
    question = json.dumps([list(modules), folder])
    try:
        ended = subprocess.run(
            [python, "-c", _SCRIPT],
            env=None if env is None else dict(env),
            input=question.encode("ascii"),
            capture_output=True,
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EnvironmentNotAnswering(python, f"no answer in {timeout_seconds:g} s") from error
    except (OSError, ValueError) as error:
        raise EnvironmentNotAnswering(python, str(error)) from error
    missing = _read_answer(ended.stdout)
    if missing is None:
        raise EnvironmentNotAnswering(python, _why(ended.returncode, ended.stderr))
    return missing


def _read_answer(output: bytes) -> list[str] | None:
    """Take the marked line; sitecustomize and others may print around it."""
    _, mark, rest = output.rpartition(_ANSWER.encode())
    if not mark:
        return None
    try:
        names = json.loads(rest.partition(b"\n")[0])
    except ValueError:
        return None
    return [str(name) for name in names] if isinstance(names, list) else None


def _why(code: int, errors: bytes) -> str:
    """Return the exit code and the last line of standard error, without control characters."""
    lines = errors.decode(errors="replace").strip().splitlines()
    last = "".join(c if c.isprintable() else " " for c in lines[-1][:300]) if lines else ""
    return f"it ended with code {code}" + (f", {last}" if last else "")


def _find_missing(modules: "list[str]", folder: "str | None") -> "list[str]":
    """Find missing modules. Other interpreters run its source too, after `_SCRIPT`."""

    def is_there(name: str) -> bool:
        if name in sys.modules:
            return True
        try:
            return importlib.util.find_spec(name) is not None
        except Exception:  # noqa: BLE001 - finders are anybody's code, and no answer is no "no"
            return True

    before, known = list(sys.path), set(sys.path_importer_cache)
    with contextlib.suppress(Exception):
        importlib.invalidate_caches()
    if folder is not None:
        sys.path.insert(0, folder)
    try:
        return sorted(name for name in {m.partition(".")[0] for m in modules} if not is_there(name))
    finally:
        sys.path[:] = before
        # Otherwise a folder that comes later would stay unimportable.
        for path in set(sys.path_importer_cache) - known:
            sys.path_importer_cache.pop(path, None)


# Read once: the file may be another one by the time somebody asks. What lies in the daemon's own
# folder is no part of the answer, and must not stand in for `json`.
_SCRIPT = f"""
import sys
if sys.path[:1] == [""]:
    del sys.path[0]
import contextlib, importlib, importlib.util, json
{inspect.getsource(_find_missing)}
print({_ANSWER!r} + json.dumps(_find_missing(*json.loads(sys.stdin.read()))))
"""
