"""TLS settings for Dask: the certificates of runner, workers and scheduler.

Imports Dask only when needed. Connects to nothing.
"""

from typing import TYPE_CHECKING

from runner.config import ConfigError, Tls

if TYPE_CHECKING:
    from distributed import Security


def security_of(tls: Tls | None) -> "Security | None":
    """Return the `security` of `Client`, `Scheduler` and `Worker`; None without encryption.

    One certificate serves all three, so that each may be started with the same settings.

    Raises:
        ImportError: the extra `dask` is not installed.
        ConfigError: a file cannot be read.
    """
    if tls is None:
        return None
    from distributed import Security

    for name, file in tls:
        try:
            file.read_bytes()
        except OSError as error:
            setting = f"execution.dask.tls.{name}"
            raise ConfigError(f"cannot read `{setting}` {file}: {error.strerror}") from error
    cert, key = str(tls.cert_file), str(tls.key_file)
    return Security(
        require_encryption=True,
        tls_ca_file=str(tls.ca_file),
        tls_client_cert=cert,
        tls_client_key=key,
        tls_scheduler_cert=cert,
        tls_scheduler_key=key,
        tls_worker_cert=cert,
        tls_worker_key=key,
    )
