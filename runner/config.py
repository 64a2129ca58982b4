"""Settings, read once: flag, then environment, then `config.yaml`, then default.

Owns every default and unit, and refuses unknown keys by name. Nothing else reads the environment.
"""

import contextlib
import difflib
import errno
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import quote

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from runner.contract.callbacks import EVERYWHERE, Callback, ForAll, address_of
from runner.contract.notifications import SECRETS, Notify, NoUrl, urls_in
from runner.contract.report_choices import ReportChoices
from runner.contract.rules import BundleLimits, Rules
from runner.contract.triggers.signatures import standard_key
from runner.places import (
    ENV_PREFIX,
    FOLDERS,
    check_names_apart,
    from_flags,
    not_apart,
    place,
    read_file,
)
from runner.places import ConfigError as ConfigError

MOST_SECRET = 100_000
SHORT_NAMES = (
    ("GATEWAY_PORT", "gateway", "port"),
    ("GATEWAY_TOKEN", "gateway", "token"),
    ("GATEWAY_ALLOWED_HOSTS", "gateway", "allowed_hosts"),
    ("BIND_ADDRESS", "gateway", "bind_address"),
    ("BIND_ADDRESS", "mcp", "bind_address"),
    ("MCP_PORT", "mcp", "port"),
    ("MCP_TOKEN", "mcp", "token"),
    ("MCP_ALLOWED_HOSTS", "mcp", "allowed_hosts"),
    ("ROOM_URL", "mcp", "room_url"),
    ("ROOM_TOKEN", "mcp", "room_token"),
    ("ROOM_ID", "mcp", "room_id"),
    ("RUNTIME_URL", "mcp", "runtime_url"),
    ("RUNTIME_TOKEN", "mcp", "runtime_token"),
    ("JUPYTER_TOKEN", "mcp", "jupyter_token"),
    ("JUPYTER_TOKEN", "jupyter", "token"),
    ("JUPYTER_PORT", "jupyter", "port"),
    ("BIND_ADDRESS", "jupyter", "bind_address"),
    ("MAX_NOTEBOOK_SIZE_MB", "limits", "notebook_mb"),
    ("EXECUTION_TIMEOUT", "limits", "run_seconds"),
    ("USE_SCRAPBOOK", "results", "scrapbook"),
)
"""Names that compose files in this field already use; the long names win over them."""

MEGABYTE = 1024 * 1024
CALLBACKS = "callbacks"
"""Name of the follower that sends callbacks."""
NOTIFICATIONS = "notifications"
"""Name of the follower that sends notifications."""

DEFAULT_TOKEN = "changeme"  # noqa: S105 - the one that everybody knows
"""JupyterLab's token if nobody chose one: only this machine can reach it then."""


class NoSecret(ConfigError):
    """A receiver has no URL, because of the file of its secret: `what, advice`; shows no secret."""

    def __str__(self) -> str:
        what, advice = self.args
        return f"{what}; {advice[0].lower()}{advice[1:]}"

    @property
    def what(self) -> str:
        """What is wrong with the file, without a stop."""
        return str(self.args[0])

    @property
    def advice(self) -> str:
        """What to do about it, without a stop."""
        return str(self.args[1])


class Section(BaseModel):
    """A part of the settings; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Limits(Section):
    """The limits of one request."""

    notebook_mb: float = Field(5, gt=0)
    run_seconds: float = Field(300, gt=0)
    max_run_seconds: float = Field(3600, gt=0)
    kernel_start_seconds: float = Field(60, gt=0)
    memory_mb: int = Field(1024, gt=0)
    processes: int = Field(512, gt=0)
    open_files: int = Field(4096, ge=256)
    use_cgroup: bool = True
    output_mb: float = Field(50, gt=0)
    results_mb: float = Field(20, gt=0)
    inputs_mb: float = Field(200, ge=0)
    inputs: int = Field(1000, ge=0)
    files_mb: float = Field(200, ge=0)
    files: int = Field(1000, ge=0)
    queue: int = Field(200_000, gt=0)
    free_mb: float = Field(200, ge=0)

    @model_validator(mode="after")
    def _default_within_maximum(self) -> "Limits":
        if self.run_seconds > self.max_run_seconds:
            raise ValueError(
                f"run_seconds ({self.run_seconds:g}) is above "
                f"max_run_seconds ({self.max_run_seconds:g})"
            )
        return self


class Kernels(Section):
    """Which kernels run notebooks, and how they start."""

    allowed: tuple[str, ...] = ("python3",)
    languages: tuple[str, ...] = ("python",)
    start: Literal["fork", "cold"] = "fork"
    preload: tuple[str, ...] = ("numpy", "pandas", "pyarrow", "scrapbook", "matplotlib.pyplot")
    warm: int | None = Field(None, ge=0)
    pass_environment: tuple[str, ...] = ()
    install: Literal["environment", "run"] = "environment"


class Tls(Section):
    """The files (PEM) with which scheduler, workers and runner recognise each other."""

    ca_file: Path
    cert_file: Path
    key_file: Path


class Dask(Section):
    """The cluster that runs notebooks if `executor` is `dask`."""

    address: str | None = Field(None, pattern=r"^[a-z]+://.+")
    tls: Tls | None = None
    folder_mb: float = Field(50, ge=0)
    lease_seconds: float = Field(30, ge=5)
    patience_seconds: float = Field(60, ge=0)


class Execution(Section):
    """Where notebooks run, and how many at a time."""

    concurrency: int | None = Field(None, gt=0)
    executor: Literal["local", "dask"] = "local"
    unknown_parameters: Literal["warn", "refuse"] = "warn"
    dask: Dask = Dask()

    @property
    def is_cluster(self) -> bool:
        """Whether notebooks run on other machines than this one."""
        return self.executor != "local"

    @model_validator(mode="after")
    def _has_address(self) -> "Execution":
        if self.executor == "dask" and self.dask.address is None:
            raise ValueError("executor is dask, and dask.address is missing (tcp://HOST:8786)")
        return self


class Intake(Section):
    """How the inbox is watched."""

    mode: Literal["auto", "events", "poll"] = "auto"
    rescan_seconds: float = Field(10, gt=0)
    poll_seconds: float = Field(2, gt=0)
    broken_seconds: float = Field(15, gt=0)
    quiet_seconds: float = Field(10, ge=0)
    per_minute: int | None = Field(None, gt=0)
    ignore: tuple[str, ...] = ()


class Results(Section):
    """Which parts of an executed notebook are reported."""

    scrapbook: bool = True
    tag: str = Field("results", min_length=1)


class History(Section):
    """How long earlier runs are kept."""

    keep_days: float = Field(30, ge=0)
    keep_runs: int = Field(20, ge=0)
    keep_rows_days: float = Field(30, ge=0)


class Listening(Section):
    """The settings that every server has: its address, and who gets in."""

    host: str = Field("127.0.0.1", min_length=1)
    port: int = Field(0, ge=0, le=65535)
    bind_address: str | None = None
    token: SecretStr | None = None
    token_file: Path | None = None
    insecure: bool = False
    allowed_hosts: tuple[str, ...] = ()

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _by_comma(cls, value: object) -> object:
        """Split a list of names at commas: that is easier to write in the environment than JSON."""
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value

    @property
    def secret(self) -> str | None:
        """The token as it is, to be compared and never logged."""
        return _plain(self.token)


class Gateway(Listening):
    """The HTTP face."""

    enabled: bool = True
    port: int = Field(5005, ge=0, le=65535)
    allowed_hosts: tuple[str, ...] = ("host.docker.internal", "papermill-gateway", "gateway")
    wait_seconds: float = Field(330, ge=0)
    max_waiting: int = Field(250, gt=0, le=2000)
    chromium: str | None = Field(None, min_length=1)
    public_url: str | None = Field(None, pattern=r"^https?://[^\s?#@]+$")

    def address_of_job(self, job_id: str) -> str:
        """Return where others find the page of a job; empty where the settings do not say."""
        return "" if self.public_url is None else f"{self.public_url.rstrip('/')}/jobs/{job_id}"

    def address_of_schedule(self, name: str) -> str:
        """Return the same of a schedule's page."""
        if self.public_url is None:
            return ""
        return f"{self.public_url.rstrip('/')}/ui/schedules/{quote(name)}"


class CallbackForAll(Section):
    """A callback for jobs by their names, whatever their requests say."""

    names: str = Field("*", min_length=1)
    url: str
    events: tuple[str, ...] | None = None
    headers: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_a_callback(self) -> "CallbackForAll":
        self.parsed()
        return self

    def parsed(self) -> ForAll:
        """Return it as a request's callback is.

        Raises:
            ValueError: it is none.
        """
        said: dict[str, object] = {"url": self.url, "headers": self.headers}
        if self.events is not None:
            said["events"] = list(self.events)
        return ForAll(self.names, Callback.model_validate(said))


class Callbacks(Section):
    """Where outcomes are told to by HTTP, and to where they may be at all."""

    allowed: tuple[str, ...] = (EVERYWHERE,)
    secret: SecretStr | None = None
    secret_file: Path | None = None
    send: tuple[CallbackForAll, ...] = ()

    @property
    def key(self) -> str | None:
        """The secret by which they are signed; never logged."""
        return _plain(self.secret)

    @property
    def for_all(self) -> tuple[ForAll, ...]:
        """Those for jobs by their names."""
        return tuple(one.parsed() for one in self.send)

    @property
    def named(self) -> tuple[str, ...]:
        """Hosts that somebody named: also those of private networks may be called."""
        own = (str(address_of(one.url).hostname) for one in self.send)
        return (*(one for one in self.allowed if one != EVERYWHERE), *own)


LAB_PORT = 8888
"""Port of JupyterLab."""


class Mcp(Listening):
    """The tools for agents, and the JupyterLab whose notebooks they edit."""

    port: int = Field(4040, ge=0, le=65535)
    allowed_hosts: tuple[str, ...] = ("host.docker.internal", "jupyter-mcp-server", "mcp")
    wait_seconds: float = Field(50, ge=0, le=3600)
    cell_seconds: float = Field(3600, gt=0, le=86_400)
    room_url: str = Field(f"http://127.0.0.1:{LAB_PORT}", pattern=r"^https?://")
    room_token: SecretStr | None = None
    room_id: str = Field("notebook.ipynb", min_length=1)
    runtime_url: str | None = Field(None, pattern=r"^https?://")
    runtime_token: SecretStr | None = None
    jupyter_token: SecretStr = SecretStr(DEFAULT_TOKEN)

    @property
    def room_secret(self) -> str | None:
        """The token for notebooks; never logged."""
        return _plain(self.room_token or self.jupyter_token)

    @property
    def runtime_secret(self) -> str | None:
        """The token for kernels; never logged."""
        return _plain(self.runtime_token or self.jupyter_token)


class Jupyter(Listening):
    """JupyterLab, where `runner lab` starts it."""

    port: int = Field(LAB_PORT, gt=0, le=65535)
    folder: Path | None = None
    trust_results: bool = True


def reached(host: str) -> str:
    """Return where a server that listens on `host` is reached from this machine, for an address."""
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 - nothing listens here
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None


class Settings(Section):
    """All settings. Folders are absolute once loaded."""

    inbox: Path = Path("inbox")
    outbox: Path = Path("outbox")
    notebooks: Path = Path("notebooks")
    state: Path = Path("state")
    schedules: Path | None = None
    rules: Path | None = None
    hooks: Path | None = None
    limits: Limits = Limits()
    kernels: Kernels = Kernels()
    execution: Execution = Execution()
    intake: Intake = Intake()
    results: Results = Results()
    history: History = History()
    gateway: Gateway = Gateway()
    mcp: Mcp = Mcp()
    jupyter: Jupyter = Jupyter()
    callbacks: Callbacks = Callbacks()
    report: ReportChoices = ReportChoices()
    secrets: Path = Path(SECRETS)
    notify: tuple[Notify, ...] = ()
    groups: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    journal: bool = False
    shutdown_seconds: float = Field(30, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _tools_use_this_lab(cls, given: Any) -> Any:
        """Let agents' tools look for JupyterLab where these settings have it, unless told where."""
        if not isinstance(given, dict):
            return given
        mcp, lab = given.get("mcp") or {}, given.get("jupyter") or {}
        if not isinstance(mcp, dict) or not isinstance(lab, dict) or mcp.get("room_url"):
            return given
        host, port = lab.get("host") or "127.0.0.1", lab.get("port") or LAB_PORT
        return {**given, "mcp": {**mcp, "room_url": f"http://{reached(str(host))}:{port}"}}

    @property
    def schedules_folder(self) -> Path:
        """The folder with the files of schedules: in the library, unless it is set."""
        return self.schedules or self.notebooks / "schedules"

    @property
    def rules_folder(self) -> Path:
        """The folder with the files of rules: in the library, unless it is set."""
        return self.rules or self.notebooks / "rules"

    @property
    def hooks_folder(self) -> Path:
        """The folder with the files of web hooks: in the library, unless it is set."""
        return self.hooks or self.notebooks / "hooks"

    @property
    def bundle_limits(self) -> BundleLimits:
        """How much may come with one request."""
        limits = self.limits
        return BundleLimits(
            bytes=int(limits.inputs_mb * MEGABYTE),
            files=limits.inputs,
            notebook_bytes=int(limits.notebook_mb * MEGABYTE),
        )

    @property
    def followers(self) -> tuple[str, ...]:
        """Names of all followers that may have rows; see `followers_of`."""
        return (*(("journal",) if self.journal else ()), CALLBACKS, NOTIFICATIONS)

    def followers_of(self, name: str, *, has_callback: bool) -> tuple[str, ...]:
        """Return the followers of a job: those that tell somebody only where somebody wants it."""
        has_callback = has_callback or any(
            fnmatchcase(name, one.names) for one in self.callbacks.send
        )
        is_told = any(fnmatchcase(name, one.names) for one in self.notify)
        without = {CALLBACKS: has_callback, NOTIFICATIONS: is_told}
        return tuple(one for one in self.followers if without.get(one, True))

    def notify_urls(self, name: str) -> list[str]:
        """Read the URLs in a file of the folder of secrets, as they are now.

        Raises:
            NoSecret: it cannot be read, or has none.
        """
        file = self.secrets / name
        try:
            if file.exists() and not file.is_file():  # a pipe would keep its reader waiting
                what = f"{file} is {'a folder' if file.is_dir() else 'no file'}"
                raise NoSecret(what, "Make a file in its place, with a URL of Apprise in it")
            return urls_in(_small_text(file))
        except FileNotFoundError:
            what, advice = f"the file {file} is missing", "Make it, with a URL of Apprise in it"
        except OSError as error:
            what = f"the file {file} cannot be read: {error.strerror}"
            advice = f"See to it that user {os.geteuid()} can read it"
        except UnicodeDecodeError:
            what, advice = f"the file {file} is no text in UTF-8", "Write it as UTF-8"
        except NoUrl:
            what = f"the file {file} has no URL"
            advice = "Write a URL of Apprise into it, on a line of its own"
        except ValueError as error:
            what, advice = f"the file {file}: {error}", "Correct it"
        raise NoSecret(what, advice)

    @property
    def request_rules(self) -> Rules:
        """The rules for requests."""
        limits = self.limits
        return Rules(
            limits.max_run_seconds,
            limits.memory_mb,
            self.execution.is_cluster,
            frozenset(self.groups),
            self.callbacks.allowed,
        )

    @property
    def concurrency(self) -> int:
        """Notebooks at a time: `execution.concurrency`, or the cores that this process may use."""
        return self.execution.concurrency or available_cores()

    @property
    def warm(self) -> int:
        """Kernels that wait: `kernels.warm`, or as many as notebooks may run at a time."""
        return self.concurrency if self.kernels.warm is None else self.kernels.warm


def load(
    config: Path | None = None,
    flags: Mapping[str, Path | None] | None = None,
    *,
    reads_secrets: bool = True,
) -> Settings:
    """Read the settings, once; with `reads_secrets`, also the files of tokens and secrets.

    `config` is a file that must exist; without it, `config.yaml` of the current folder is read if
    it exists. `flags` are folders from the command line, relative to the current folder. All other
    relative folders count from the config file.

    Raises:
        ConfigError: an unknown key, a wrong type, an unreadable file.
    """
    file = read_file(config)
    base = file.base
    by_flags = {key: str(path) for key, path in from_flags(flags or {}).items()}
    merged = _merge(_merge(file.content, _environment()), by_flags)
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        raise ConfigError(_sentence(error)) from error
    folders = {name: place(base, getattr(settings, name)) for name in FOLDERS}
    check_names_apart(folders)
    servers = {name: getattr(settings, name) for name in ("gateway", "mcp", "jupyter")}
    callbacks = settings.callbacks
    if reads_secrets:
        servers = {name: _with_token(name, one, base) for name, one in servers.items()}
        callbacks = _with_secret(callbacks, base)
    tls = settings.execution.dask.tls
    if tls is not None:
        names = ("ca_file", "cert_file", "key_file")
        files = {name: place(base, getattr(tls, name)) for name in names}
        dask = settings.execution.dask.model_copy(update={"tls": tls.model_copy(update=files)})
        execution = settings.execution.model_copy(update={"dask": dask})
        settings = settings.model_copy(update={"execution": execution})
    if settings.jupyter.folder is not None:
        folder = place(base, settings.jupyter.folder)
        servers["jupyter"] = servers["jupyter"].model_copy(update={"folder": folder})
    for name in ("schedules", "rules", "hooks"):
        if (folder := getattr(settings, name)) is not None:
            folders[name] = place(base, folder)
    folders["secrets"] = place(base, settings.secrets)
    settings = settings.model_copy(update={**folders, **servers, "callbacks": callbacks})
    return settings


def receivers_without_url(settings: Settings) -> Iterator[str]:
    """Yield why receivers of notifications have no URL here.

    Only who sends needs them: they need not be where a gateway or a JupyterLab runs.
    """
    for name in dict.fromkeys(name for one in settings.notify for name in one.secret_names):
        try:
            settings.notify_urls(name)
        except NoSecret as error:
            yield f"no notification can go to {name} from here: {error}"


def check_apart(settings: Settings) -> None:
    """Refuse folders that are, or lie in, one another: outputs would come in again.

    This includes links, and one folder mounted at two places.

    Raises:
        ConfigError
    """
    places = {name: _ancestry(getattr(settings, name)) for name in FOLDERS}
    for outer in FOLDERS:
        for inner in FOLDERS:
            if inner != outer and places[outer][0] in places[inner]:
                raise not_apart({one: getattr(settings, one) for one in FOLDERS}, inner, outer)


def _ancestry(folder: Path) -> list[tuple[int, int] | str]:
    """Identify a folder and each above it; by name while it is missing."""
    real = Path(os.path.realpath(folder))
    places: list[tuple[int, int] | str] = []
    for above in (real, *real.parents):
        try:
            seen = above.stat()
        except OSError:
            places.append(str(above))
        else:
            places.append((seen.st_dev, seen.st_ino))
    return places


def _with_token(name: str, server: Listening, base: Path) -> Listening:
    """Read a server's token from its file, if one is named.

    Raises:
        ConfigError: the file cannot be read or is empty, or there is a token beside it.
    """
    if server.token is not None and not server.token.get_secret_value().strip():
        raise ConfigError(f"setting `{name}.token` is empty; leave it out for no token")
    if server.token_file is None:
        return server
    if server.token is not None:
        raise ConfigError(f"set `{name}.token` or `{name}.token_file`, not both")
    token = _secret_in(f"{name}.token_file", place(base, server.token_file))
    return server.model_copy(update={"token": SecretStr(token)})


def _with_secret(callbacks: Callbacks, base: Path) -> Callbacks:
    """Read the secret of callbacks from its file, if one is named.

    Raises:
        ConfigError: it cannot be read, is none, or there is one beside it.
    """
    given = callbacks.key
    if callbacks.secret_file is not None:
        if given is not None:
            raise ConfigError("set `callbacks.secret` or `callbacks.secret_file`, not both")
        given = _secret_in("callbacks.secret_file", place(base, callbacks.secret_file))
    if given is not None and not standard_key(given):
        raise ConfigError(
            "the secret of `callbacks` is no text in base64, which Standard Webhooks wants; "
            "`openssl rand -base64 32` prints one"
        )
    return callbacks.model_copy(update={"secret": None if given is None else SecretStr(given)})


def _small_text(file: Path) -> str:
    """Read a file of at most `MOST_SECRET` bytes; never wait for the other end of a pipe.

    Raises:
        OSError, UnicodeDecodeError
    """
    fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with open(fd, "rb") as opened:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        content = opened.read(MOST_SECRET + 1)
    if len(content) > MOST_SECRET:
        raise OSError(errno.EFBIG, f"it has more than {MOST_SECRET:,} bytes")
    return content.decode()


def _secret_in(key: str, file: Path) -> str:
    try:
        secret = _small_text(file).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read `{key}` {file}: {error}") from error
    if not secret:
        raise ConfigError(f"`{key}` {file} is empty")
    return secret


def available_cores() -> int:
    """Count cores by CPU affinity and by the cgroup's quota, whichever is less; at least 1."""
    by_affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    cores = by_affinity or os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(cores, int(quota + 0.5)) if quota else cores)


def _cgroup_quota() -> float | None:
    """Read CPUs from cgroup v2 `cpu.max` or v1 `cpu.cfs_quota_us`; None without a limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        root = Path("/sys/fs/cgroup/cpu")
        limit = int((root / "cpu.cfs_quota_us").read_text())
        return None if limit <= 0 else limit / int((root / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None


def available_memory() -> int | None:
    """Return the bytes of memory that this process and its children may have; None if unknown.

    This is the machine's memory, or less if the container or service has a limit (cgroup v2
    `memory.max`, v1 `memory.limit_in_bytes`).
    """
    if "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    least = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for file in _memory_limits():
        with contextlib.suppress(OSError, ValueError):  # "max" is no limit
            least = min(least, int(file.read_text()))
    return least


def _memory_limits() -> Iterator[Path]:
    """Yield the limits of this process's group, and of all visible ones above it."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, name = Path("/sys/fs/cgroup"), "memory.max"
        elif "memory" in controllers.split(","):
            root, name = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"
        else:
            continue
        inner = Path(path.lstrip("/"))
        yield from (root / above / name for above in (inner, *inner.parents))


def _environment() -> dict[str, Any]:
    short: dict[str, Any] = {}
    for name, section, key in SHORT_NAMES:
        if os.environ.get(name):
            short.setdefault(section, {})[key] = os.environ[name]
    ours = [name for name in os.environ if name.upper().startswith(ENV_PREFIX)]
    for name in ours:
        section = name.upper().removeprefix(ENV_PREFIX).partition("__")[0].lower()
        if section not in Settings.model_fields:
            raise ConfigError(f"unknown setting `{name}` in the environment")
    return _merge(short, _by_long_names()) if ours else short


def _by_long_names() -> dict[str, Any]:
    # It takes a quarter of a short command's time, and most environments have no such name.
    from pydantic_settings import EnvSettingsSource, SettingsError

    try:
        source = EnvSettingsSource(
            Settings,  # type: ignore[arg-type]  # only its fields are looked at
            case_sensitive=False,
            env_prefix=ENV_PREFIX,
            env_nested_delimiter="__",
        )
        return source()
    except SettingsError as error:
        raise ConfigError(_no_json(error)) from error


def _no_json(error: Exception) -> str:
    """Name the variable that holds no list or mapping; the error itself names only its section."""
    text = getattr(error.__cause__, "doc", None)
    named = (
        name
        for name, value in os.environ.items()
        if name.upper().startswith(ENV_PREFIX) and value == text
    )
    name = next(named, None)
    if name is None:
        return f"the environment: {error}"
    shown = "no JSON" if "NOTIFY" in name.upper() else repr(text)  # it may hold passwords
    return (
        f"`{name}` in the environment is {shown}; a list is written as JSON there, such as "
        '["one", "two"]'
    )


def _merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(low)
    for key, value in high.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _known_beside(place: Sequence[str | int]) -> str:
    """List the known settings beside an unknown one."""
    section: type[BaseModel] = Settings
    for part in place[:-1]:
        if isinstance(part, int):
            continue
        kind = section.model_fields[part].annotation
        kinds = [kind, *get_args(kind)]
        section = next(k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel))
    where = ".".join(map(str, place[:-1]))
    known = ", ".join(sorted(section.model_fields))
    near = difflib.get_close_matches(str(place[-1]), section.model_fields, 1)
    maybe = f"did you mean `{near[0]}`? " if near else ""
    return f"{maybe}There are{f' in `{where}`' if where else ''}: {known}"


_EXPECTED = {
    "model_type": "This is a section; its settings go below it, each as `key: value`",
    "tuple_type": "Input should be a list, such as `[one, two]`",
}
"""Words for pydantic's Python types, which a settings file does not have."""


def _meant(written: str, expected: str) -> str:
    """Ask whether a near one of the expected words, in quotes, was meant; empty if none is near."""
    near = difflib.get_close_matches(written, re.findall("'([^']*)'", expected), 1)
    return f"did you mean `{near[0]}`? " if near else ""


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown setting `{key}`; {_known_beside(first['loc'])}"
    said = first["msg"].removeprefix("Value error, ")
    if first["type"] == "too_short":
        least = first["ctx"]["min_length"]
        return f"setting `{key}` has too few entries: at least {least} is needed"
    if first["type"] in ("enum", "literal_error"):
        said = f"{_meant(str(first['input']), first['ctx']['expected'])}{said}"
    is_shown = first["type"] != "value_error" and first["loc"][:1] != ("notify",)
    got = f" (got {first['input']!r})" if is_shown else ""
    return f"setting `{key}`: {_EXPECTED.get(first['type'], said)}{got}"
