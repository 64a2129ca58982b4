"""Install what a lock file pins, and the program itself, into the environment this runs in.

uv does it in seconds; where it cannot be had or fails, pip does. Both check every hash.
Needs the standard library alone.

    .venv/bin/python scripts/install.py base|stack|dev
"""

import ast
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = {
    "base": "requirements.lock",
    "stack": "requirements-stack.lock",
    "dev": "requirements-dev.lock",
}
MEGABYTES = {"base": (150, 500), "stack": (260, 850), "dev": (390, 1250)}
"""About how much of each is downloaded, and how much it takes on the disk."""
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
BEAT_SECONDS = 15.0
BEGUN = time.monotonic()
"""Of all of it: what comes after a first attempt, or after the packages, does not start anew."""
FROM_PIP = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "proxy": "ALL_PROXY",
}
"""What pip is told about where packages come from, and the variable that tells uv the same."""


def main() -> int:
    bundle = sys.argv[1]
    lock = ROOT / LOCKS[bundle]
    pins = sum(line[:1].isalnum() for line in lock.read_text().splitlines())
    download, disk = MEGABYTES[bundle]
    say(
        f"Installing {pins} packages into {sys.prefix}\n"
        f"about {download} MB to download, {disk} MB on the disk; seconds to a few minutes"
    )
    if not (install_by_uv(lock, compiled=bundle == "dev") or install_by_pip(lock)):
        return 1
    # Made now, since the runner takes a change of this folder for one of what is installed.
    Path(sysconfig.get_path("purelib"), "__pycache__").mkdir(exist_ok=True)
    say(f"installed in {time.monotonic() - BEGUN:.0f} s")
    return 0


def install_by_uv(lock: Path, *, compiled: bool) -> bool:
    """Whether uv was to be had and did it.

    `compiled` makes all bytecode now, half a minute, as pip does; without, each module's is made
    when it is first imported. The tests start hundreds of programs that would make it at once.
    """
    uv = Path(sysconfig.get_path("scripts"), "uv")
    if not (uv.exists() or fetch_uv()):
        return False
    install = [str(uv), "pip", "install", "--quiet", "--python", sys.executable]
    wanted = ["--index-strategy", "unsafe-best-match", "--require-hashes", "-r", str(lock)]
    if compiled:
        wanted.append("--compile-bytecode")
    environment = {**uv_settings(pip_settings()), **os.environ}
    if run([*install, *wanted], environment):
        return run([*install, "--no-deps", "--editable", str(ROOT)], environment)
    say("uv could not do it; now by pip, which takes some minutes")
    return False


def install_by_pip(lock: Path) -> bool:
    install = [*PIP, "install", "--quiet"]
    return run([*install, "--require-hashes", "-r", str(lock)], os.environ) and run(
        [*install, "--no-deps", "--editable", str(ROOT)], os.environ
    )


def fetch_uv() -> bool:
    """Have pip install the uv that the lock of the development tools pins, by its hash."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as pinned:
        pinned.write(pin_of("uv", (ROOT / LOCKS["dev"]).read_text()))
        pinned.flush()
        install = [*PIP, "install", "--quiet", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run(
            [*install, "--require-hashes", "-r", pinned.name], capture_output=True, text=True
        )
    if done.returncode:
        say("uv is not to be had here; now by pip, which takes some minutes")
    return done.returncode == 0


def pin_of(name: str, lock: str) -> str:
    """The lines of a lock file that pin one package, with its hashes."""
    lines: list[str] = []
    for line in lock.splitlines(keepends=True):
        if line.startswith(f"{name}==") or (lines and line.startswith(" ")):
            lines.append(line)
        elif lines:
            break
    return "".join(lines)


def pip_settings() -> dict[str, str]:
    """What pip's files and variables say, by option; a variable wins, then `install`'s own."""
    done = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True)
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in done.stdout.splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.rpartition(".")
        if section in found:
            found[section][option] = str(ast.literal_eval(value))
    return {**found["global"], **found["install"], **found[":env:"]}


def uv_settings(pip: Mapping[str, str]) -> dict[str, str]:
    """The same for uv, as environment variables."""
    settings: dict[str, str] = {}
    for option, variable in FROM_PIP.items():
        words = pip.get(option, "").split()
        if words:
            settings[variable] = (",".join if option == "find-links" else " ".join)(words)
    return settings


def run(command: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Run it, with a sign of life now and then; whether it succeeded."""
    process = subprocess.Popen(command, env=environment)
    written = 0
    while True:
        try:
            return process.wait(BEAT_SECONDS) == 0
        except subprocess.TimeoutExpired:
            written = max(written, written_mb(process.pid))
            say(sign_of_life(written, time.monotonic() - BEGUN))
        except KeyboardInterrupt:
            process.wait()
            raise


def sign_of_life(written: int, seconds: float) -> str:
    """How far it is; what is not known, or nothing yet, is not told."""
    how_far = f"{written} MB written" if written else "at work"
    return f"… {how_far} after {seconds:.0f} s"


def written_mb(pid: int) -> int:
    """How much a process and what it has started have written, where the system tells it."""
    total, pending = 0, [pid]
    while pending:
        one = pending.pop()
        try:
            lines = Path(f"/proc/{one}/io").read_text().splitlines()
            pending.extend(map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split()))
        except OSError:
            continue
        total += next(int(line.split()[1]) for line in lines if line.startswith("wchar"))
    return total // 1_000_000


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201  (its only output)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
