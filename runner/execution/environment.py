"""The environment that notebooks see: an allow-list, so that it holds no secret of the runner.

Pure, over mappings. Never reads `os.environ` itself.
"""

import os
import re
from collections.abc import Iterable, Mapping

_NAMES = frozenset(
    """
    PATH HOME USER LOGNAME SHELL LANG LANGUAGE TZ TZDIR TERM TMPDIR
    PYTHONPATH PYTHONHASHSEED PYTHONUTF8 VIRTUAL_ENV LD_LIBRARY_PATH
    CONDA_PREFIX CONDA_DEFAULT_ENV CONDA_EXE CONDARC CONDA_PKGS_DIRS MAMBA_EXE MAMBA_ROOT_PREFIX
    JUPYTER_PATH JUPYTER_DATA_DIR JUPYTER_CONFIG_DIR JUPYTER_PREFER_ENV_PATH
    IPYTHONDIR MPLCONFIGDIR MPLBACKEND
    XDG_CACHE_HOME XDG_CONFIG_HOME XDG_DATA_HOME XDG_STATE_HOME
    RUNNER_IMAGE

    SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE AWS_CA_BUNDLE NODE_EXTRA_CA_CERTS
    GIT_SSL_CAINFO GRPC_DEFAULT_SSL_ROOTS_FILE_PATH
    HTTP_PROXY HTTPS_PROXY FTP_PROXY ALL_PROXY NO_PROXY
    http_proxy https_proxy ftp_proxy all_proxy no_proxy

    PIP_CERT PIP_CLIENT_CERT PIP_CONFIG_FILE PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_FIND_LINKS
    PIP_NO_INDEX PIP_TRUSTED_HOST PIP_PROXY PIP_CONSTRAINT PIP_CACHE_DIR PIP_NO_CACHE_DIR
    PIP_DEFAULT_TIMEOUT PIP_RETRIES PIP_PREFER_BINARY PIP_ONLY_BINARY PIP_DISABLE_PIP_VERSION_CHECK
    PIP_BREAK_SYSTEM_PACKAGES PIP_ROOT_USER_ACTION
    UV_CONFIG_FILE UV_DEFAULT_INDEX UV_INDEX UV_INDEX_URL UV_EXTRA_INDEX_URL UV_INDEX_STRATEGY
    UV_FIND_LINKS UV_NO_INDEX UV_OFFLINE UV_CACHE_DIR UV_LINK_MODE UV_CONSTRAINT UV_HTTP_TIMEOUT
    UV_NATIVE_TLS UV_SYSTEM_CERTS UV_INSECURE_HOST UV_PYTHON_INSTALL_DIR UV_BREAK_SYSTEM_PACKAGES

    OMP_NUM_THREADS OPENBLAS_NUM_THREADS MKL_NUM_THREADS BLIS_NUM_THREADS VECLIB_MAXIMUM_THREADS
    NUMEXPR_NUM_THREADS NUMEXPR_MAX_THREADS NUMBA_NUM_THREADS NUMBA_CACHE_DIR POLARS_MAX_THREADS
    RAYON_NUM_THREADS ARROW_DEFAULT_MEMORY_POOL MALLOC_ARENA_MAX
    CUDA_VISIBLE_DEVICES NVIDIA_VISIBLE_DEVICES NVIDIA_DRIVER_CAPABILITIES CUDA_DEVICE_ORDER
    CUDA_HOME CUDA_PATH HIP_VISIBLE_DEVICES ROCR_VISIBLE_DEVICES ROCM_PATH

    GDAL_DATA GDAL_DRIVER_PATH GDAL_LIBRARY_PATH GEOS_LIBRARY_PATH PROJ_LIB PROJ_DATA PROJ_NETWORK
    ECCODES_DEFINITION_PATH
    JAVA_HOME JDK_HOME SPARK_HOME SPARK_CONF_DIR HADOOP_HOME HADOOP_CONF_DIR YARN_CONF_DIR
    PYSPARK_PYTHON PYSPARK_DRIVER_PYTHON
    R_HOME R_LIBS R_LIBS_USER R_LIBS_SITE JULIA_DEPOT_PATH
    ORACLE_HOME TNS_ADMIN NLS_LANG ODBCINI ODBCSYSINI
    HF_HOME HF_ENDPOINT HF_HUB_CACHE HF_HUB_OFFLINE HF_DATASETS_CACHE HUGGINGFACE_HUB_CACHE
    TRANSFORMERS_CACHE TRANSFORMERS_OFFLINE SENTENCE_TRANSFORMERS_HOME TORCH_HOME KERAS_HOME
    TFDS_DATA_DIR NLTK_DATA OLLAMA_HOST OLLAMA_MODELS PLAYWRIGHT_BROWSERS_PATH CHROME_BIN TEXINPUTS
    """.split()
)
_SHELL_NAMES = frozenset(
    """
    PWD OLDPWD SHLVL _ PS1 LS_COLORS LESSOPEN LESSCLOSE HISTFILE HOSTNAME MAIL EDITOR PAGER LINES
    COLUMNS COLORTERM INVOCATION_ID JOURNAL_STREAM NOTIFY_SOCKET SYSTEMD_EXEC_PID LISTEN_FDS
    LISTEN_PID MAKEFLAGS MAKELEVEL MFLAGS MAKE_TERMERR MAKE_TERMOUT DEBIAN_FRONTEND
    """.split()
)
"""Variables of the shell, or of the runner's parent; no notebook would miss them."""
_RUNNER_NAMES = re.compile(
    r"INBOX_RUNNER.*|GATEWAY_.*|MCP_.*|JUPYTER_.*|ROOM_.*|RUNTIME_.*|BIND_ADDRESS"
    r"|MAX_NOTEBOOK_SIZE_MB|EXECUTION_TIMEOUT|USE_SCRAPBOOK"
)
_LOGIN_IN_ADDRESS = re.compile(r"://[^/@\s]+@")


def clean_environment(source: Mapping[str, str], extra: Iterable[str] = ()) -> dict[str, str]:
    """Return the part of `source` that a notebook may see, and the names of `extra`.

    `extra` comes from `kernels.pass_environment`. An address with a login in it, such as a proxy's,
    is a secret: only `extra` passes it on.
    """
    named = set(extra)
    return {
        name: value
        for name, value in source.items()
        if name in named or (_is_listed(name) and not _LOGIN_IN_ADDRESS.search(value))
    }


def activated(environment: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Activate the virtual environment at `prefix`: its `python` and `pip` come first."""
    place = os.path.join(prefix, "bin")
    rest = [part for part in environment.get("PATH", os.defpath).split(os.pathsep) if part != place]
    path = os.pathsep.join([place, *rest])
    return {**environment, "PATH": path, "VIRTUAL_ENV": prefix}


def withheld(source: Mapping[str, str], extra: Iterable[str] = ()) -> list[str]:
    """List the names in `source` that notebooks do not see and might miss, sorted."""
    seen = clean_environment(source, extra)
    return sorted(
        name
        for name in source
        if name not in seen and name not in _SHELL_NAMES and not _RUNNER_NAMES.fullmatch(name)
    )


def _is_listed(name: str) -> bool:
    return name in _NAMES or name.startswith("LC_")
