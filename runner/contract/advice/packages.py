"""Names the package to install for a missing module, and modules that nobody can install.

The names are those of each project's own instructions, checked against its metadata on PyPI. A
module that is not in the table is taken for a package of its own name.
"""

import re
from collections.abc import Sequence

PROVIDED = {
    "google.colab": "Google Colab",
    "kaggle_secrets": "Kaggle",
    "kaggle_datasets": "Kaggle",
    "dbruntime": "Databricks",
    "pyodide": "JupyterLite",
    "pyodide_js": "JupyterLite",
    "piplite": "JupyterLite",
    **dict.fromkeys(("asynchat", "asyncore", "imp", "smtpd"), "Python before 3.12"),
    **dict.fromkeys(
        ("aifc", "audioop", "cgi", "cgitb", "chunk", "crypt", "imghdr", "mailcap", "nntplib"),
        "Python before 3.13",
    ),
    **dict.fromkeys(
        ("pipes", "sndhdr", "spwd", "sunau", "telnetlib", "uu", "xdrlib"), "Python before 3.13"
    ),
}
"""Modules that a hosted service or an older Python brings, and no package of that name."""

PACKAGES = {
    "Bio": "biopython",
    "Crypto": "pycryptodome",
    "Cryptodome": "pycryptodomex",
    "Levenshtein": "Levenshtein",
    "MySQLdb": "mysqlclient",
    "OpenGL": "PyOpenGL",
    "OpenSSL": "pyOpenSSL",
    "PIL": "pillow",
    "Xlib": "python-xlib",
    "attr": "attrs",
    "azure.identity": "azure-identity",
    "azure.keyvault.secrets": "azure-keyvault-secrets",
    "azure.storage.blob": "azure-storage-blob",
    "barcode": "python-barcode",
    "binance": "python-binance",
    "bs4": "beautifulsoup4",
    "bson": "pymongo",
    "cairo": "pycairo",
    "community": "python-louvain",
    "constraint": "python-constraint",
    "crontab": "python-crontab",
    "cv2": "opencv-python",
    "databricks.sql": "databricks-sql-connector",
    "dateutil": "python-dateutil",
    "decouple": "python-decouple",
    "digitalocean": "python-digitalocean",
    "discord": "discord.py",
    "distutils": "setuptools",
    "dns": "dnspython",
    "docx": "python-docx",
    "dotenv": "python-dotenv",
    "ee": "earthengine-api",
    "faiss": "faiss-cpu",
    "ffmpeg": "ffmpeg-python",
    "fitz": "PyMuPDF",
    "flask_sqlalchemy": "Flask-SQLAlchemy",
    "gi": "PyGObject",
    "git": "GitPython",
    "github": "PyGithub",
    "gitlab": "python-gitlab",
    "google.auth": "google-auth",
    "google.genai": "google-genai",
    "google.generativeai": "google-generativeai",
    "google.oauth2": "google-auth",
    "google.protobuf": "protobuf",
    "google_auth_oauthlib": "google-auth-oauthlib",
    "googleapiclient": "google-api-python-client",
    "graphviz": "graphviz",
    "igraph": "igraph",
    "imblearn": "imbalanced-learn",
    "influxdb_client": "influxdb-client",
    "jose": "python-jose",
    "jwt": "PyJWT",
    "kafka": "kafka-python",
    "ldap": "python-ldap",
    "magic": "python-magic",
    "mpl_toolkits": "matplotlib",
    "mysql.connector": "mysql-connector-python",
    "netCDF4": "netCDF4",
    "newspaper": "newspaper3k",
    "osgeo": "GDAL",
    "paho.mqtt": "paho-mqtt",
    "pdfminer": "pdfminer.six",
    "pkg_resources": "setuptools",
    "pptx": "python-pptx",
    "psycopg2": "psycopg2-binary",
    "pylab": "matplotlib",
    "pythoncom": "pywin32",
    "pywintypes": "pywin32",
    "ruamel.yaml": "ruamel.yaml",
    "sentence_transformers": "sentence-transformers",
    "serial": "pyserial",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "skopt": "scikit-optimize",
    "slack_sdk": "slack-sdk",
    "slugify": "python-slugify",
    "smbus": "smbus2",
    "snowflake.connector": "snowflake-connector-python",
    "socks": "PySocks",
    "speech_recognition": "SpeechRecognition",
    "tabula": "tabula-py",
    "talib": "TA-Lib",
    "telegram": "python-telegram-bot",
    "umap": "umap-learn",
    "usb": "pyusb",
    "vlc": "python-vlc",
    "websocket": "websocket-client",
    "win32api": "pywin32",
    "win32com": "pywin32",
    "win32con": "pywin32",
    "win32gui": "pywin32",
    "wx": "wxPython",
    "yaml": "PyYAML",
    "zmq": "pyzmq",
}
"""Package names for pip, by module; with dots if packages share a first name."""

ALIASES = {
    "np": "numpy",
    "pd": "pandas",
    "plt": "matplotlib.pyplot",
    "sb": "scrapbook",
    "sns": "seaborn",
    "tf": "tensorflow",
    "xr": "xarray",
}
"""Names that notebooks give to modules (`import numpy as np`), and that nobody installs."""

_BEHIND = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")
_OPTIONAL = (
    re.compile(r"Missing optional dependency '([\w.-]+)'"),
    re.compile(r"`Import ([\w.-]+)` failed"),
    re.compile(r"ImportError: ([\w.-]+) not found, please install it"),
)
_AS_OF = (
    re.compile(r"requires '(?P<name>[\w.-]+)' version '(?P<version>[\w.]+)' or newer"),
    re.compile(r"requires version '(?P<version>[\w.]+)' or newer of '(?P<name>[\w.-]+)'"),
)
"""How pandas, seaborn and others say that an optional module is missing, or too old."""

_CLOUD = re.compile(r"google\.cloud\.(\w+)")
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,60}")


def package_of(module: str) -> str | None:
    """Return what pip installs for a module; None where its name tells nothing.

    `module` has its dots as far as they are known: of `google` alone nobody knows which it is.
    """
    service = _CLOUD.match(module)
    if service is not None:
        return f"google-cloud-{service[1].replace('_', '-').removesuffix('-v1')}"
    known = next((PACKAGES[name] for name in _prefixes(module) if name in PACKAGES), None)
    first = module.partition(".")[0]
    if known is not None or first in _SHARED:
        return known
    return first if _PLAIN.fullmatch(first) else None


def _service_module(module: str) -> str | None:
    """Return the part of a module's name that a service provides, if one does."""
    return next((name for name in _prefixes(module) if name in PROVIDED), None)


def _prefixes(module: str) -> list[str]:
    """Return `a.b.c`, `a.b` and `a` of `a.b.c`."""
    parts = module.split(".")
    return [".".join(parts[:length]) for length in range(len(parts), 0, -1)]


def advice_on_missing(missing: Sequence[str], python: str) -> str:
    """Say what to do about modules that are not installed, by their names with dots.

    `python` is the interpreter that the kernel runs in.
    """
    services = {name: _service_module(name) for name in missing}
    rest = [name for name, service in services.items() if service is None]
    aliases = [name for name in rest if name in ALIASES]
    rest = [name for name in rest if name not in ALIASES]
    said = [_installing(rest, python)] if rest else []
    said.extend(
        f"`{name}` is what notebooks call `{ALIASES[name]}`: "
        f"write `import {ALIASES[name]} as {name}`."
        for name in aliases
    )
    said.extend(
        f"`{name}` exists only in {PROVIDED[name]}: remove what needs it, or put it into a `try`."
        for name in dict.fromkeys(services.values())
        if name is not None
    )
    return " ".join(said)


def advice_on_optional(text: str, traceback: Sequence[str], python: str) -> str | None:
    """Say what to install for an ImportError, `NAME: TEXT`, of a module that a library can use.

    The library raises it in place of a ModuleNotFoundError, which `traceback` may still hold. None
    where the two name no package.
    """
    dated = next((match for pattern in _AS_OF if (match := pattern.search(text))), None)
    if dated is not None:
        return _commands(f'"{dated["name"]}>={dated["version"]}"', python)
    patterns = (*((pattern, text) for pattern in _OPTIONAL), *((_BEHIND, one) for one in traceback))
    module = next((match[1] for pattern, one in patterns if (match := pattern.search(one))), None)
    package = None if module is None else package_of(module)
    return None if package is None else _commands(package, python)


def can_be_installed(module: str) -> bool:
    """Return whether a module that an import did not find is a package, or a package's part."""
    return "." not in module or module.partition(".")[0] in _SHARED


def _installing(modules: Sequence[str], python: str) -> str:
    packages = [package for package in map(package_of, modules) if package is not None]
    if len(packages) < len(modules):
        return (
            "Install what brings these modules in the notebook's first cell (`%pip install`), "
            f"or for the kernel (`{python} -m pip install`)."
        )
    names = " ".join(dict.fromkeys(packages))
    said = _commands(names, python)
    if all(module.partition(".")[0] in _FIRST_NAMES for module in modules):
        return said
    own = "A module of your own has to come along with the request, or lie beside the notebook in"
    return f"{said} {own} the library."


def _commands(names: str, python: str) -> str:
    return (
        f"Put `%pip install {names}` into the notebook's first cell. Or install for the kernel: "
        f"`{python} -m pip install {names}`."
    )


_FIRST_NAMES = frozenset(module.partition(".")[0] for module in PACKAGES)
_SHARED = frozenset(module.partition(".")[0] for module in PACKAGES if "." in module)
"""First names that several packages share."""
