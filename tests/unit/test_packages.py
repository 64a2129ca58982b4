"""Promises of the advice on missing modules: what pip installs, or why nothing can be installed."""

import pytest

from runner.contract.advice.packages import (
    PACKAGES,
    advice_on_missing,
    advice_on_optional,
    can_be_installed,
    package_of,
)


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("sklearn", "scikit-learn"),
        ("sklearn.linear_model.Ridge", "scikit-learn"),
        ("cv2", "opencv-python"),
        ("PIL.Image", "pillow"),
        ("yaml", "PyYAML"),
        ("bs4.BeautifulSoup", "beautifulsoup4"),
        ("dotenv", "python-dotenv"),
        ("fitz", "PyMuPDF"),
        ("pandas", "pandas"),
        ("plotly.express", "plotly"),
        ("google.cloud.storage", "google-cloud-storage"),
        ("google.cloud.secretmanager_v1", "google-cloud-secretmanager"),
        ("google.protobuf.message", "protobuf"),
        ("google", None),
        ("google.cloud", None),
        ("azure.storage.blob.BlobClient", "azure-storage-blob"),
        ("größe", None),
    ],
)
def test_what_pip_installs_is_named(module: str, package: str | None) -> None:
    """By the longest part of its name that is known; nothing is guessed of shared first names."""
    assert package_of(module) == package


def test_the_advice_is_a_command() -> None:
    """Each package once; a module that is no known package may be somebody's own."""
    known = advice_on_missing(["sklearn.svm", "sklearn.tree", "cv2"], "/venv/bin/python")
    assert "`/venv/bin/python -m pip install scikit-learn opencv-python`" in known
    assert "`%pip install scikit-learn opencv-python`" in known
    assert "own" not in known
    own = advice_on_missing(["cv2", "my_module"], "/venv/bin/python")
    assert "pip install opencv-python my_module" in own
    assert "A module of your own has to come along" in own
    assert "pip install google" not in advice_on_missing(["google.cloud"], "/venv/bin/python")


def test_nobody_is_told_to_install_the_short_name_of_a_module() -> None:
    """It is that of another package there, if of any."""
    short = advice_on_missing(["sb"], "/venv/bin/python")
    assert short == "`sb` is what notebooks call `scrapbook`: write `import scrapbook as sb`."
    both = advice_on_missing(["pd", "cv2"], "/venv/bin/python")
    assert "`%pip install opencv-python`" in both
    assert "write `import pandas as pd`" in both


def test_nobody_is_told_to_install_what_only_a_service_brings() -> None:
    """Nor what Python has lost. What can be installed beside it still is."""
    alone = advice_on_missing(["google.colab.drive", "google.colab.files"], "/venv/bin/python")
    assert alone.count("Google Colab") == 1
    assert "nstall" not in alone
    both = advice_on_missing(["google.colab", "cv2"], "/venv/bin/python")
    assert "%pip install opencv-python" in both
    assert "Google Colab" in both
    assert "exists only in Python before 3.12" in advice_on_missing(["imp"], "/venv/bin/python")


def test_a_part_of_a_package_that_is_there_is_not_to_be_installed() -> None:
    """`sklearn.nothing` is missing where scikit-learn is installed; `google.cloud` is a package."""
    assert not can_be_installed("sklearn.nothing")
    assert can_be_installed("google.cloud")
    assert can_be_installed("sklearn")


def test_no_module_is_in_the_table_for_nothing() -> None:
    """pip takes `_`, `-` and `.` for one, and large letters for small ones (PEP 503)."""
    same = {"Levenshtein", "graphviz", "igraph"}
    plain = {one for one, package in PACKAGES.items() if one.lower() == package.lower()}
    assert {one for one in plain if "." not in one} - same - {"netCDF4"} == set()


@pytest.mark.parametrize(
    ("text", "traceback", "names"),
    [
        ("`Import lxml` failed.  Use pip to install the lxml package.", [], "lxml"),
        ("Missing optional dependency 'tabulate'.  Use pip or conda.", [], "tabulate"),
        ("html5lib not found, please install it", [], "html5lib"),
        ("It needs sklearn.", ["ModuleNotFoundError: No module named 'sklearn'"], "scikit-learn"),
        (
            "Using a URI requires 'sqlalchemy' version '2.0.42' or newer.",
            [],
            '"sqlalchemy>=2.0.42"',
        ),
        ("Pandas requires version '3.1' or newer of 'openpyxl'.", [], '"openpyxl>=3.1"'),
        ("cannot import name 'a' from 'b'", ["import b"], None),
        ("it goes on", ["ModuleNotFoundError: No module named 'google'"], None),
    ],
)
def test_a_module_that_a_library_would_use_is_installed_too(
    text: str, traceback: list[str], names: str | None
) -> None:
    """pandas raises an ImportError of its own where its part of a feature is not installed."""
    advice = advice_on_optional(f"ImportError: {text}", traceback, "/bin/python")
    assert (advice is None) == (names is None)
    assert names is None or f"`%pip install {names}`" in (advice or "")
