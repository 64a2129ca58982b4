"""Creates the executor that the settings name: job processes of this machine, or a cluster.

Starts it, and gives it no order.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from runner.config import MEGABYTE, ConfigError, Settings
from runner.execution.environment import clean_environment
from runner.execution.interface import Execution, Incarnation
from runner.execution.limits.cgroup import NoCgroup, take_over
from runner.execution.limits.hold import RunLimits
from runner.execution.local.processes import JobProcesses, ProcessSettings
from runner.system.extras import advice_on
from runner.system.files.output_folder import FileCaps

log = logging.getLogger(__name__)

BURST_MB = 64
"""Output that a kernel may print within 0.2 s without losing it."""
MOST_IN_FLIGHT = 1000
"""Most orders in flight in a cluster: each has a thread that waits for it."""


StartExecution = Callable[[Settings, Incarnation, bool, Callable[[], None]], Execution]


def start_execution(
    settings: Settings, own: Incarnation, many: bool, on_change: Callable[[], None]
) -> Execution:
    """Create the executor that the settings name."""
    forks = settings.kernels.start == "fork" and many
    if settings.execution.is_cluster:
        return _cluster(settings, own, forks, on_change)
    return JobProcesses(
        ProcessSettings(
            environment=clean_environment(os.environ, settings.kernels.pass_environment),
            instance=own.instance,
            runtime_folder=own.runtime_folder,
            slots=settings.concurrency,
            preload=settings.kernels.preload,
            kernel_start_seconds=settings.limits.kernel_start_seconds,
            warm=settings.warm if forks else 0,
            limits=_run_limits(settings),
            cgroup=_find_cgroup(settings),
        )
    )


def _cluster(
    settings: Settings, own: Incarnation, forks: bool, on_change: Callable[[], None]
) -> Execution:
    """Connect to the Dask cluster; imports Dask only here.

    Raises:
        ConfigError: Dask is not installed.
    """
    try:
        from runner.execution.cluster.dask import Cluster
        from runner.execution.cluster.remote_runs import Bounds
        from runner.execution.cluster.scheduler_link import Scheduler
        from runner.execution.cluster.tls import security_of
    except ImportError as error:
        raise ConfigError(
            f"execution.executor is dask, which needs more packages ({error.name}): "
            f"{advice_on('dask')}"
        ) from error
    from runner.execution.cluster.messages import Terms

    dask, limits = settings.execution.dask, settings.limits
    assert dask.address is not None
    return Cluster(
        Scheduler(dask.address, security_of(dask.tls)),
        terms=Terms(
            modules=settings.kernels.preload,
            kernel_start_seconds=limits.kernel_start_seconds,
            limits=_run_limits(settings),
            pass_environment=settings.kernels.pass_environment,
            warm=settings.kernels.warm if forks else 0,
        ),
        bounds=Bounds(
            folder_bytes=int(dask.folder_mb * MEGABYTE),
            caps=FileCaps(int(limits.files_mb * MEGABYTE), limits.files),
            lease_seconds=dask.lease_seconds,
            patience_seconds=dask.patience_seconds,
            most=settings.execution.concurrency or MOST_IN_FLIGHT,
        ),
        own=own,
        on_change=on_change,
    )


def memory_warning(settings: Settings, available: int | None) -> str | None:
    """Warn if all runs together may take more memory than this machine has, in bytes."""
    if settings.execution.is_cluster or available is None:
        return None
    concurrency, memory_mb = settings.concurrency, settings.limits.memory_mb
    allowed = concurrency * memory_mb
    if allowed * MEGABYTE <= available:
        return None
    return (
        f"{concurrency} runs at a time of up to {memory_mb} MB each (execution.concurrency, "
        f"limits.memory_mb) are {allowed} MB, but there are only {available // MEGABYTE} MB of "
        "memory; when that is used up, the system ends a run before its limit"
    )


def _run_limits(settings: Settings) -> RunLimits:
    """Return the limits of one run.

    A message may need twice the room of its output. A kernel puts everything printed within 0.2 s
    into one message, and the part within the limit must be kept.
    """
    limits = settings.limits
    return RunLimits(
        memory_mb=limits.memory_mb,
        processes=limits.processes,
        open_files=limits.open_files,
        message_bytes=int((2 * limits.output_mb + BURST_MB) * MEGABYTE),
    )


def _find_cgroup(settings: Settings) -> Path | None:
    """Return a control group for those of runs, if the runner may use one."""
    if not settings.limits.use_cgroup:
        return None
    try:
        group = take_over()
    except NoCgroup as why:
        log.debug("runs are held to memory and processes by looking at them: %s", why)
        return None
    log.debug("runs are held to memory and processes by cgroups below %s", group)
    return group
