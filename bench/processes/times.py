"""The CPU of processes that live, as psutil knows it."""

import psutil


def cpu_of_tree(process: psutil.Process) -> float:
    """Seconds of CPU of a process, its children, and all of theirs that have ended."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        times = one.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
    return total


def own_cpu(process: psutil.Process) -> float:
    """Seconds of CPU of a process alone."""
    times = process.cpu_times()
    return float(times.user + times.system)


def pss_mb(pid: int) -> float:
    """Megabytes of a process, where each shared page counts in parts."""
    return float(psutil.Process(pid).memory_full_info().pss) / 1024**2
