"""Promises of the environment: notebooks see what is listed, and no secret of the runner."""

import pytest

from runner.execution.environment import clean_environment


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
        "http_proxy",
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
