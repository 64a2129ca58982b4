"""The environment that notebooks see: an allow-list, so that no secret of the runner is in it.

A pure rule over mappings. Never reads `os.environ` itself.
"""

from collections.abc import Iterable, Mapping

_NAMES = frozenset(
    """
    PATH HOME USER LOGNAME SHELL LANG LANGUAGE TZ TERM TMPDIR
    PYTHONPATH PYTHONHASHSEED PYTHONUTF8 VIRTUAL_ENV LD_LIBRARY_PATH
    CONDA_PREFIX CONDA_DEFAULT_ENV CONDA_EXE
    JUPYTER_PATH JUPYTER_DATA_DIR JUPYTER_CONFIG_DIR JUPYTER_PREFER_ENV_PATH
    IPYTHONDIR MPLCONFIGDIR MPLBACKEND XDG_CACHE_HOME XDG_CONFIG_HOME XDG_DATA_HOME
    SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE PIP_CERT
    OMP_NUM_THREADS OPENBLAS_NUM_THREADS MKL_NUM_THREADS NUMEXPR_NUM_THREADS
    CUDA_VISIBLE_DEVICES NVIDIA_VISIBLE_DEVICES
    """.split()
)


def clean_environment(source: Mapping[str, str], extra: Iterable[str] = ()) -> dict[str, str]:
    """What of `source` a notebook may see; `extra` are the names of `kernels.pass_environment`."""
    allowed = _NAMES | set(extra)
    return {
        name: value for name, value in source.items() if name in allowed or name.startswith("LC_")
    }
