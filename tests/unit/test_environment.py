"""Promises of the environment: notebooks see what is listed, and no secret of the runner."""

import pytest

from runner.execution.environment import clean_environment, withheld


@pytest.mark.parametrize(
    "name",
    [
        "GATEWAY_TOKEN",
        "INBOX_RUNNER__GATEWAY__TOKEN",
        "INBOX_RUNNER_INSTANCE",
        "AWS_SECRET_ACCESS_KEY",
        "GITHUB_TOKEN",
        "DATABASE_URL",
        "OPENAI_API_KEY",
        "SSH_AUTH_SOCK",
        "PGPASSWORD",
        "UV_PUBLISH_TOKEN",
        "UV_INDEX_MINE_PASSWORD",
        "HF_TOKEN",
        "PIP_TOKEN",
        "PYTHONSAFEPATH",
        "NOTIFY_SOCKET",
        "LD_PRELOAD",
        "PYTHONSTARTUP",
        "path",
        "PATH2",
        "MY_PATH",
        "LC",
        "",
    ],
)
def test_what_is_not_listed_is_not_seen(name: str) -> None:
    """An allow-list, so that a secret with any name stays outside."""
    assert clean_environment({name: "secret", "PATH": "/bin"}) == {"PATH": "/bin"}


@pytest.mark.parametrize(
    "name", ["PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "PYTHONPATH", "VIRTUAL_ENV"]
)
def test_what_every_program_needs_is_seen(name: str) -> None:
    """Where things are, and in which language and time zone."""
    assert clean_environment({name: "x", "SECRET": "y"}) == {name: "x"}


def test_settings_add_names() -> None:
    """`kernels.pass_environment` lists them; what is not there is not made up."""
    source = {"DATABASE_URL": "x", "GATEWAY_TOKEN": "y", "TZ": "UTC"}
    assert clean_environment(source, ["DATABASE_URL", "ABSENT"]) == {
        "DATABASE_URL": "x",
        "TZ": "UTC",
    }


def test_names_are_no_patterns() -> None:
    """A star is a star."""
    assert clean_environment({"GATEWAY_TOKEN": "x"}, ["*", "GATEWAY_*"]) == {}


def test_source_is_left_alone() -> None:
    """The result is a mapping of its own."""
    source = {"PATH": "/bin", "SECRET": "x"}
    clean_environment(source)["PATH"] = "/other"
    assert source == {"PATH": "/bin", "SECRET": "x"}


@pytest.mark.parametrize(
    "name",
    [
        *("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "REQUESTS_CA_BUNDLE"),
        *("PIP_INDEX_URL", "PIP_CONFIG_FILE", "UV_INDEX_URL", "UV_DEFAULT_INDEX"),
        *("GDAL_DATA", "PROJ_LIB", "PROJ_DATA", "JAVA_HOME", "HF_HOME", "MPLCONFIGDIR"),
    ],
)
def test_what_a_network_or_a_library_needs_is_seen(name: str) -> None:
    """Proxies, package indexes, folders of libraries; with a login in it only when it is named."""
    assert clean_environment({name: "http://proxy:3128"}) == {name: "http://proxy:3128"}
    for secret in ("http://me:word@proxy", "https://token@index/simple", "x https://a:b@c/"):
        assert clean_environment({name: secret}) == {}
        assert clean_environment({name: secret}, [name]) == {name: secret}


def test_what_is_withheld_can_be_told() -> None:
    """Names only, and none of the shell's or of the runner's own."""
    source = {
        **{"PATH": "/bin", "PWD": "/", "GATEWAY_TOKEN": "x", "INBOX_RUNNER__STATE": "y"},
        **{"DATABASE_URL": "z", "HTTPS_PROXY": "http://a:b@c", "API_KEY": "k"},
    }
    assert withheld(source, ["API_KEY"]) == ["DATABASE_URL", "HTTPS_PROXY"]
