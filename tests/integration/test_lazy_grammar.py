"""jsonschema checks what it did before; only later."""

import subprocess
import sys

import pytest


def run(source: str) -> str:
    """What a program of its own prints."""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "module", ["cli.notebook", "gateway.server", "execution.forking.serve", "contract.notebook"]
)
def test_no_process_of_ours_compiles_a_grammar_that_nobody_needs(module: str) -> None:
    """It would be most of the start of each."""
    assert run(f"import sys, runner.{module}\nprint('lark' in sys.modules)") == "False\n"


def test_who_needs_the_grammar_has_it() -> None:
    """By jsonschema, and by its own name."""
    pytest.importorskip("rfc3987_syntax")
    said = run(
        "import runner.contract.notebook, jsonschema, rfc3987_syntax\n"
        "check = jsonschema.Draft202012Validator.FORMAT_CHECKER\n"
        "print(rfc3987_syntax.is_valid_syntax_iri('a b'), rfc3987_syntax.__file__ is not None)\n"
        "print(check.conforms('http://ü.example/', 'iri'), check.conforms('a b', 'iri'))\n"
    )
    assert said == "False True\nTrue False\n"
