"""Checks everything that the runner will need, and says in plain words what to change.

Writes one hidden canary folder into each of the four folders and removes it again. Repairs nothing,
takes no lock, and may run beside a runner.
"""

import asyncio
import errno
import importlib.util
import itertools
import math
import os
import re
import secrets
import sqlite3
import stat
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

import psutil

from runner.config import MEGABYTE, Dask, Settings, Tls, check_apart
from runner.execution.cluster.tls import security_of
from runner.execution.environment import withheld
from runner.execution.job.kernelspecs import installed_kernels
from runner.execution.limits.cgroup import NoCgroup, usable_base
from runner.execution.runtime_folder import runtime_base
from runner.followers.notifications.receivers import NoReceiver, all_receivers
from runner.followers.notifications.sending import NotSent, Senders, missing_extra
from runner.inbox import write_lease as lease
from runner.inbox.write_lease import Lease
from runner.places import ConfigError
from runner.reports.printing.programs import NoBrowser, find_browser
from runner.state import pulse
from runner.state.ledger_reader import LedgerReader
from runner.state.locks import holder_of
from runner.system.extras import advice_on
from runner.system.files.disk import Disk
from runner.system.files.mounts import Anchor, least_trusted, mount_fact, mount_of, polls
from runner.system.files.watch import Watch
from runner.system.processes.patience import NoAnswer, ask_apart

FOLDERS = ("inbox", "outbox", "notebooks", "state")
ANSWER_SECONDS = 4.0
TRIAL_SECONDS = 20.0
CANARY_PREFIX = ".runner-doctor-"
EVENT_SECONDS = 5.0
SLOW_SYNC_SECONDS = 0.5
SYNC_TRIALS = 5
SKEW_SECONDS = 2.0
SOCKET_BYTES = 107
"""The longest path of a socket (unix(7))."""
LOOKED_THROUGH = 2000
SCHEDULER_SECONDS = 5.0
NAMES_SHOWN = 40

_CGROUP_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")


class Level(StrEnum):
    """Severity of a finding."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One check: its result, and what to do about it."""

    check: str
    level: Level
    message: str
    advice: str | None = None


def _ok(check: str, message: str) -> Finding:
    return Finding(check, Level.OK, message)


def _warning(check: str, message: str, advice: str) -> Finding:
    return Finding(check, Level.WARNING, message, advice)


def _problem(check: str, message: str, advice: str) -> Finding:
    return Finding(check, Level.PROBLEM, message, advice)


def examine(
    settings: Settings, disk: Disk, wall: Callable[[], float] = time.time
) -> Iterator[Finding]:
    """Look at everything once, one finding after the other. Never raises `OSError`."""
    there = []
    for name, missing in ask_apart(
        {name: partial(_missing, settings, name) for name in FOLDERS}, ANSWER_SECONDS
    ).items():
        if isinstance(missing, NoAnswer):
            yield _silent(settings, name, missing)
        elif missing is not None:
            yield missing
        else:
            there.append(name)
    for name in there:
        look = partial(_all_of, settings, name, disk, wall)
        findings = ask_apart({name: look}, TRIAL_SECONDS)[name]
        if isinstance(findings, NoAnswer):
            yield _silent(settings, name, findings)
        else:
            yield from findings
    yield from _of_the_runner(settings)
    if "inbox" in there:
        yield from _locks(settings)
    apart = ask_apart({"apart": lambda: list(_apart(settings))}, ANSWER_SECONDS)["apart"]
    yield from () if isinstance(apart, NoAnswer) else apart
    if settings.execution.is_cluster:
        yield from _cluster(settings.execution.dask)
    else:
        yield _limits(settings.limits.use_cgroup)
        yield _memory(settings.concurrency, settings.limits.memory_mb, machine_memory_mb())
    yield _sockets(runtime_base())
    yield from _kernels(settings)
    yield _environment(os.environ, settings.kernels.pass_environment)
    yield _printing(settings.gateway.chromium)
    yield from _receivers(settings)


def _printing(named: str | None) -> Finding:
    """Check for the browser that prints reports; nothing else needs it."""
    try:
        return _ok("pdf", f"{find_browser(named)} prints reports")
    except NoBrowser as error:
        return _ok("pdf", f"reports are no PDFs here: {error}")


def _apart(settings: Settings) -> Iterator[Finding]:
    try:
        check_apart(settings)
    except ConfigError as error:
        yield _problem("folders", str(error), "Change the settings, or the links between them.")


def _limits(use_cgroup: bool) -> Finding:
    """Check how runs are held to their limits; both ways do."""
    why = "as limits.use_cgroup says"
    if use_cgroup:
        try:
            base = usable_base()
        except NoCgroup as error:
            why = str(error)
        else:
            return _ok("limits", f"the system holds runs to their memory, by cgroups below {base}")
    return _ok("limits", f"the runner holds runs to their memory by looking at them ({why})")


def _all_of(settings: Settings, name: str, disk: Disk, wall: Callable[[], float]) -> list[Finding]:
    findings = list(_folder(settings, name, disk, wall))
    if name == "inbox":
        findings += [*_watching(settings, disk), *_entries(settings.inbox)]
    return findings


def _silent(settings: Settings, name: str, no_answer: NoAnswer) -> Finding:
    folder: Path = getattr(settings, name)
    advice = "Its mount is dead, or its server: mount it anew. The runner then goes on by itself."
    return _problem(name, f"{folder} {no_answer}", advice)


def _of_the_runner(settings: Settings) -> Iterator[Finding]:
    """Repeat a working runner's own reports, also on single jobs and names."""
    beat = pulse.read(settings.state)
    if beat is None or pulse.is_stale(beat, time.monotonic()):
        return
    for reason in beat.troubles:
        yield Finding("runner", Level.PROBLEM, reason)
    for note in beat.notes:
        yield Finding("runner", Level.WARNING, note)


def _missing(settings: Settings, name: str) -> Finding | None:
    """Say why a folder cannot be checked: never made, gone, or an empty mount point."""
    folder: Path = getattr(settings, name)
    point = _fact(settings.state, mount_fact(folder))
    reason = Anchor(folder, point).trouble()
    if reason is None:
        return None
    if point is None and not folder.exists():
        return _warning(
            name,
            f"{folder} is not there yet",
            "`runner serve` makes it at its first start; ask again after that.",
        )
    return _problem(
        name, f"{folder} {reason}", "Mount it or make it; a running runner then goes on by itself."
    )


def _fact(state: Path, key: str) -> str | None:
    try:
        reader = LedgerReader(state)
    except sqlite3.Error:
        return None
    try:
        return reader.fact(key)
    except sqlite3.Error:
        return None
    finally:
        reader.close()


def _folder(
    settings: Settings, name: str, disk: Disk, wall: Callable[[], float]
) -> Iterator[Finding]:
    folder: Path = getattr(settings, name)
    mount = mount_of(folder)
    if name == "state" and not mount.tells_the_truth:
        yield _problem(
            name,
            f"{folder} is on a {mount.kind} mount: SQLite's locks and syncs cannot be relied on",
            "Set `state` to a folder on a local disk.",
        )
    if name == "notebooks" and not _may_write(folder):
        yield _ok(name, f"{folder} ({mount.kind}): can be read, and need not be written")
    else:
        yield from _canary(folder, name, mount.kind, disk, wall)
    yield from _space(folder, name, settings.limits.free_mb)
    if name == "inbox":
        yield from _others(folder)


def _may_write(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)


def _canary(
    folder: Path, name: str, kind: str, disk: Disk, wall: Callable[[], float]
) -> Iterator[Finding]:
    """Create, sync and rename, as each result does; then check the clock."""
    place = folder / f"{CANARY_PREFIX}{secrets.token_hex(8)}"
    step = "make a folder"
    try:
        disk.make_folder(place)
        step = "write and sync a file (fsync)"
        earliest = wall()
        took = _seconds_of_write(place, disk)
        step = "rename a file"
        disk.rename(place / "written0", place / "renamed")
        step = "sync a folder (fsync)"
        disk.sync_folder(place, "doctor")
        step = "read a file back"
        same = (place / "renamed").read_bytes() == b"canary"
        stamped, latest = (place / "renamed").stat().st_mtime, wall()
    except OSError as error:
        yield _problem(
            name,
            f"the runner cannot {step} in {folder}: {error.strerror}",
            advice_for(folder, error),
        )
        return
    finally:
        _remove(place, disk)
    if not same:
        advice = "Look for errors of the disk or of the server in the system's log."
        yield _problem(name, f"{folder} gives back other bytes than were written", advice)
        return
    yield _ok(name, f"{folder} ({kind}): a file was written, synced, renamed and removed")
    if took > SLOW_SYNC_SECONDS:
        yield _warning(
            name,
            f"a synced write into {folder} took {took:.1f} s",
            "Each request waits for several of them. Put the folder on a quicker disk.",
        )
    skew = stamped - min(max(stamped, earliest), latest)
    if abs(skew) > SKEW_SECONDS:
        yield _warning(
            name,
            f"the clock of {folder} is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} "
            "this machine's",
            "Set both clocks by NTP; until then the times of files and of results disagree.",
        )


def _seconds_of_write(place: Path, disk: Disk) -> float:
    """Return how long a synced write takes: the least of some, as other work may slow one down."""
    took = [math.inf]
    while min(took) > SLOW_SYNC_SECONDS and len(took) <= SYNC_TRIALS:
        began = time.monotonic()
        disk.write(place / f"written{len(took) - 1}", b"canary", "doctor")
        took.append(time.monotonic() - began)
    return min(took)


def _remove(place: Path, disk: Disk) -> None:
    """Remove the canary; an entry that cannot be removed could not be made either."""
    try:
        disk.remove_tree(place)
    except OSError:
        Disk().discard_tree(place)


def advice_for(folder: Path, error: OSError) -> str:
    """Say what to do about a folder that cannot be used."""
    user = f"user {os.geteuid()}"
    try:
        owner = folder.stat()
        owned = f"it belongs to user {owner.st_uid}, mode {stat.S_IMODE(owner.st_mode):04o}"
    except OSError:
        owned = "its owner cannot be seen"
    if isinstance(error, PermissionError):
        return f"The runner is {user}; {owned}. Give it to that user, or change the mode."
    if error.errno == errno.EROFS:
        return "It is mounted read-only. Mount it for writing."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "Make room there."
    return f"The runner is {user}; {owned}."


def _space(folder: Path, name: str, free_mb: float) -> Iterator[Finding]:
    try:
        space = os.statvfs(folder)
    except OSError as error:
        yield _problem(name, f"the space of {folder} cannot be asked: {error.strerror}", "")
        return
    free = space.f_bavail * space.f_frsize // MEGABYTE
    if name != "notebooks" and free < free_mb:
        yield _problem(
            name,
            f"{free} MB are left on the disk of {folder}, less than {free_mb:g}",
            "Make room, or lower `limits.free_mb`. Until then health is red"
            + (" and requests stay in the inbox." if name == "state" else "."),
        )
    elif space.f_files and not space.f_favail:
        yield _problem(name, f"no inode is left on the disk of {folder}", "Remove files there.")
    else:
        yield _ok(name, f"{free} MB are free")


def _others(inbox: Path) -> Iterator[Finding]:
    """Check whether the runner can take the files of others."""
    status = inbox.stat()
    us = os.geteuid()
    if status.st_mode & stat.S_ISVTX and us not in (0, status.st_uid):
        yield _problem(
            "inbox",
            f"{inbox} is sticky (mode {stat.S_IMODE(status.st_mode):04o}) and not the runner's: "
            "files of others cannot be taken out of it",
            f"`chmod -t` it, or give it to user {us}.",
        )


def _entries(inbox: Path) -> Iterator[Finding]:
    """List unreadable files of the inbox, among the first couple of thousand."""
    refused = []
    for folder, _, files in itertools.islice(os.walk(inbox), LOOKED_THROUGH):
        for name in files[:LOOKED_THROUGH]:
            path = Path(folder) / name
            if not name.startswith(".") and not os.access(path, os.R_OK) and not path.is_symlink():
                refused.append(path)
    if refused:
        yield _problem(
            "inbox",
            f"{len(refused)} files cannot be read, {refused[0].name!r} for one",
            f"Let user {os.geteuid()} read them: `chmod a+r`, or another umask where they come "
            "from.",
        )


def _watching(settings: Settings, disk: Disk) -> Iterator[Finding]:
    """Check which way of watching is used, why, and whether it works."""
    inbox, intake = settings.inbox, settings.intake
    mount = least_trusted(inbox)
    where = f"the {mount.kind} mount at {mount.point}"
    if polls(intake.mode, mount):
        because = f"{where} does not report what others change there"
        if intake.mode == "poll":
            because = "`intake.mode` is poll"
        yield _ok(
            "watching",
            f"polling every {intake.poll_seconds:g} s, because {because}; a drop is taken after "
            f"two looks, YAML after 10 s",
        )
        return
    if not mount.tells_the_truth:
        yield _warning(
            "watching",
            f"events, as `intake.mode` says, though {where} may not report what others change",
            "Set `intake.mode` to auto or poll; until then only the look every "
            f"{intake.rescan_seconds:g} s finds what raises no event.",
        )
    else:
        yield _ok(
            "watching",
            f"events, because {where} is local; besides, a look every {intake.rescan_seconds:g} s",
        )
    yield from _try_events(inbox, disk)


def _try_events(inbox: Path, disk: Disk) -> Iterator[Finding]:
    place = inbox / f"{CANARY_PREFIX}{secrets.token_hex(8)}"
    seen = threading.Event()
    watch = Watch(inbox, lambda path: seen.set() if path.startswith(str(place)) else None)
    try:
        if not watch.ensure():
            yield _warning(
                "watching",
                f"events cannot be had: {watch.trouble}",
                "Raise fs.inotify.max_user_watches and fs.inotify.max_user_instances (sysctl). "
                "Until then drops are found by polling.",
            )
            return
        disk.make_folder(place)
        disk.write(place / "event", b"canary")
        began = time.monotonic()
        if not seen.wait(EVENT_SECONDS):
            yield _warning(
                "watching",
                f"no event of a new file came within {EVENT_SECONDS:g} s",
                "Set `intake.mode` to poll.",
            )
            return
        yield _ok("watching", f"an event came {(time.monotonic() - began) * 1000:.0f} ms after")
        yield _lease(place / "event")
    except OSError as error:
        yield _problem("watching", f"cannot try events: {error.strerror}", advice_for(inbox, error))
    finally:
        watch.stop()
        _remove(place, disk)


def _lease(path: Path) -> Finding:
    """Check a lease on a file of our own; another user's file also needs the right CAP_LEASE."""
    lease.ignore_breaks()
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        taken = lease.take(fd)
    finally:
        lease.close(fd)
    if taken is Lease.TAKEN:
        return _ok("watching", "a lease tells whether a file is still being written")
    return _warning(
        "watching",
        f"no lease can be had ({taken.value})",
        "Nothing to do: files are taken once they do not change any more, YAML after 10 s. "
        "Prefer JSON.",
    )


def _locks(settings: Settings) -> Iterator[Finding]:
    holders = {name: holder_of(getattr(settings, name)) for name in ("state", "inbox")}
    # Compare without the times: each lock has its own, because the inbox may come later.
    processes = {holder and holder.partition(", since ")[0] for holder in holders.values()}
    if len(processes) == 1:
        yield _ok("lock", f"held by {holders['state']}" if holders["state"] else "no runner works")
        return
    for name, holder in holders.items():
        other = "inbox" if name == "state" else "state"
        if holder is not None:
            yield _problem(
                "lock",
                f"the {name} is held by {holder}, and the {other} by {holders[other] or 'nobody'}",
                "Give each runner an inbox and a state of its own; or the runner that holds the "
                "state waits for its inbox: see its log.",
            )
            return


def machine_memory_mb(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the memory of this machine or container."""
    limits = [psutil.virtual_memory().total]
    for name in _CGROUP_LIMITS:
        try:
            limits.append(int((root / name).read_text()))
        except (OSError, ValueError):
            continue
    return min(limits) // MEGABYTE


def _memory(concurrency: int, memory_mb: int, have_mb: int) -> Finding:
    needed = concurrency * memory_mb
    notebooks = "notebook" if concurrency == 1 else "notebooks"
    need = f"{concurrency} {notebooks} at a time may take {needed} MB of {have_mb}"
    if needed <= have_mb:
        return _ok("memory", need)
    return _warning(
        "memory", need, "Lower `execution.concurrency` or `limits.memory_mb`, or add memory."
    )


def _sockets(base: str) -> Finding:
    longest = f"{base}/ir-12345678/9999/4194304/k-5"
    if len(os.fsencode(longest)) > SOCKET_BYTES:
        return _problem(
            "sockets",
            f"{base} makes socket paths of {len(os.fsencode(longest))} bytes; {SOCKET_BYTES} are "
            "possible",
            "Set TMPDIR to a folder with a shorter path.",
        )
    if not _may_write(Path(base)):
        return _problem(
            "sockets", f"{base} cannot be written", "Set TMPDIR to a folder that can be."
        )
    return _ok("sockets", f"kernels' sockets lie below {base}; their paths are short enough")


def _kernels(settings: Settings) -> Iterator[Finding]:
    installed, allowed = installed_kernels(), settings.kernels.allowed
    usable = [name for name in allowed if name in installed]
    missing = [name for name in allowed if name not in installed]
    if not usable:
        yield _problem(
            "kernels",
            f"none of the allowed kernels is installed ({', '.join(allowed)})",
            "Install one (`pip install ipykernel` brings python3), or change `kernels.allowed` to "
            f"one of: {', '.join(sorted(installed)) or 'none is installed'}.",
        )
        return
    yield _ok("kernels", f"allowed and installed: {', '.join(usable)}")
    if missing:
        yield _warning(
            "kernels",
            f"allowed and not installed: {', '.join(missing)}",
            "Install them, or take them out of `kernels.allowed`.",
        )


def _environment(source: Mapping[str, str], passed: Sequence[str]) -> Finding:
    """List the variables that notebooks do not see: by name, never by value."""
    names = withheld(source, passed)
    if not names:
        return _ok("environment", "notebooks see every variable of this environment")
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return _ok(
        "environment",
        f"notebooks do not see {', '.join(names[:NAMES_SHOWN])}{more}; what they need of it goes "
        "into `kernels.pass_environment`",
    )


def _receivers(settings: Settings) -> Iterator[Finding]:
    """Check whether Apprise can use the URLs of notifications; sends nothing."""
    if not settings.notify:
        return
    if (missing := missing_extra()) is not None:
        yield _problem("notify", "notifications are not sent", f"{missing}.")
        return
    usable = []
    with closing(Senders()) as senders:
        for one in all_receivers(settings):
            if isinstance(one, NoReceiver):
                what, advice = one.reason
                more = "Until then its notifications wait, for a day at most."
                yield _problem("notify", f"{one.name}: {what}", f"{advice}. {more}")
                continue
            try:
                senders.look(one.url)
                usable.append(one.name)
            except NotSent as error:
                advice = "Correct the URL; docs/notifications.md has the forms."
                yield _problem("notify", f"{one.name}: {error}", advice)
    if usable:
        said = f"Apprise can use {', '.join(usable)}; `runner notify test` sends a message to each"
        yield _ok("notify", said)


def _cluster(dask: Dask) -> Iterator[Finding]:
    """Check whether the scheduler answers, and list its workers."""
    if importlib.util.find_spec("distributed") is None:
        yield _problem(
            "cluster",
            "`execution.executor` is dask, and the package distributed is not installed",
            advice_on("dask"),
        )
        return
    unreadable = [path for path in _files(dask.tls) if not os.access(path, os.R_OK)]
    if unreadable:
        yield _problem(
            "cluster",
            f"{unreadable[0]} cannot be read",
            f"`execution.dask.tls` names it; let user {os.geteuid()} read it.",
        )
        return
    yield from _scheduler(dask.address or "", dask.tls)


def _files(tls: Tls | None) -> tuple[Path, ...]:
    return () if tls is None else (tls.ca_file, tls.cert_file, tls.key_file)


def _scheduler(address: str, tls: Tls | None) -> Iterator[Finding]:
    try:
        workers, differing = asyncio.run(_ask(address, tls))
    except Exception as error:  # noqa: BLE001  what another version makes Dask raise is not told
        yield _problem(
            "cluster",
            f"the scheduler at {address} cannot be reached: {str(error) or type(error).__name__}",
            "Start it (`dask scheduler`), or correct `execution.dask.address`; where it is "
            "encrypted, that begins with tls://, and `execution.dask.tls` names the files. "
            "Until then all jobs wait.",
        )
        return
    if workers:
        answer = f"workers: {len(workers)}, slots: {sum(workers.values())}"
        yield _ok("cluster", f"the scheduler at {address} answers; {answer}")
    else:
        yield _problem(
            "cluster",
            f"the scheduler at {address} has no worker",
            f"`runner worker --scheduler {address}` starts one. Until then all jobs wait.",
        )
    if differing:
        yield _warning(
            "cluster",
            f"not the same here, on the scheduler and on the workers: {', '.join(differing)}",
            "Install the same versions everywhere, out of one lock file or one image.",
        )


async def _ask(address: str, tls: Tls | None) -> tuple[dict[str, int], list[str]]:
    """Return the workers' slots by address, and the packages that differ.

    Raises:
        Exception: nobody answers (OSError), or not in a way that we understand.
    """
    from distributed import Client

    client = Client(
        address,
        timeout=SCHEDULER_SECONDS,
        security=security_of(tls),
        asynchronous=True,
        set_as_default=False,
    )
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            await client
        identity = client.scheduler.identity(n_workers=-1)
        workers = (await asyncio.wait_for(identity, SCHEDULER_SECONDS))["workers"]
    finally:
        await client.close()
    slots = {name: int(worker["nthreads"]) for name, worker in workers.items()}
    return slots, differing_packages("\n".join(str(one.message) for one in caught))


def differing_packages(warning: str) -> list[str]:
    """Read the packages in the table of Dask's warning of mismatched versions."""
    return [name for name in re.findall(r"^\| (\S+) +\|", warning, re.M) if name != "Package"]
