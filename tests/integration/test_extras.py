"""What to type where a part of the program is not installed."""

from pathlib import Path

from runner.system.extras import command_for


def test_the_command_fits_where_the_program_came_from(tmp_path: Path) -> None:
    """A checkout with make, one in another environment, a wheel, a repository, an index."""
    (tmp_path / "Makefile").touch()
    wheel = tmp_path / "inbox_runner-0.1.0-py3-none-any.whl"
    wheel.touch()
    other = Path("/opt/venv")
    checkout = tmp_path.as_uri()
    assert (
        command_for("mcp", checkout, tmp_path / ".venv", "py") == f"make -C {tmp_path} setup-stack"
    )
    assert command_for("mcp", checkout, other, "py") == f"py -m pip install -e '{tmp_path}[mcp]'"
    assert command_for("mcp", wheel.as_uri(), other, "py") == f"py -m pip install '{wheel}[mcp]'"
    git = "git+https://git.example/runner@abc"
    assert command_for("lab", git, other, "py") == f"py -m pip install 'inbox-runner[lab] @ {git}'"
    for origin in (None, "file:///gone/wheel.whl"):
        advice = command_for("dask", origin, other, "py")
        assert "inbox-runner[" not in advice
        assert "[dask]" in advice
