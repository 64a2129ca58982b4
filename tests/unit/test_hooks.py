"""Files of web hooks: what is wrong with one is said, with its line; what a call becomes."""

import pytest

from runner.contract.rules import Rules
from runner.contract.text.strict_json import JsonValue
from runner.contract.triggers.documents import TriggerError
from runner.contract.triggers.hooks import read_hook
from runner.contract.triggers.placeholders import PlaceholderError

RULES = Rules(max_run_seconds=3600, memory_mb=1024, is_cluster=False)
VERIFY = "verify: {type: key, secret: s}\n"
CALL: dict[str, JsonValue] = {
    "body": {"total": 7, "lines": [{"price": 2.5}], "note": None, "who": "ü", "ok": True},
    "headers": {"x-github-event": "push"},
    "query": {"years": "3"},
}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("notebook: a.ipynb\n", "It has no `verify`"),
        ("notebook: a.ipynb\nverfy: {type: key}\n", "Did you mean `verify` by `verfy`"),
        (VERIFY, "It has no `notebook`"),
        ("- 1\n", "A hook is a mapping"),
        ("verify: {type: kye, secret: s}\nnotebook: a.ipynb\n", r"`verify.type`.*\(line 1\)"),
        ("verify: {type: key}\nnotebook: a.ipynb\n", r"`verify`: give one of.*\(line 1\)"),
        (f"{VERIFY}notebok: a.ipynb\n", r"Unknown key `notebok`.*did you mean.*\(line 2\)"),
        (f"{VERIFY}notebook: a.ipynb\nwhen: {{event: push}}\n", r"begin with one of.*\(line 3\)"),
        (f"{VERIFY}notebook: a.ipynb\nidd: a\n", r"^Unknown key `idd`\.((?! id,).)*$"),
        (
            f'{VERIFY}notebook: a.ipynb\nparameters:\n  a: 1\n  b: "{{{{ bdy.x }}}}"\n',
            r"did you mean `body`.*\(line 5\)",
        ),
        (f'{VERIFY}notebook: a.ipynb\nparameters: {{a: "{{{{ body"}}\n', "never closes it"),
        (f"{VERIFY}notebook: a.ipynb\nparameters: {{a: {{{{ body }}}}}}\n", "need quotes"),
        (f"{VERIFY}notebook: a.ipynb\ntimeout_seconds: 9999\n", "above the limit"),
        (f"{VERIFY}notebook: a.ipynb\ngroup: db\n", "no group of the settings"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(text: str, said: str) -> None:
    """In one sentence, with the line where there is one."""
    with pytest.raises(TriggerError, match=said):
        read_hook(text.encode(), RULES)


def test_a_call_fills_the_request() -> None:
    """Values stay what they are; what may be missing keeps its default."""
    text = (
        VERIFY + "notebook: a.ipynb\nname: 'orders/{{ body.total }}'\npriority: 2\nparameters:\n"
        '  a: "{{ body.total }}"\n  b: "{{ body.lines.0.price }}"\n  c: "{{ body.lines }}"\n'
        '  d: "{{ body.who }} pays {{ body.total }}"\n  e: "{{ query.years? }}"\n'
        '  f: "{{ query.none? }}"\n  g: "{{ body.note }}"\n  h: 5\n'
        '  i: "{{ headers.x-github-event }}"\n'
    )
    assert read_hook(text.encode(), RULES).request_of(CALL) == {
        "notebook": "a.ipynb",
        "name": "orders/7",
        "priority": 2,
        "parameters": {
            "a": 7,
            "b": 2.5,
            "c": [{"price": 2.5}],
            "d": "ü pays 7",
            "e": "3",
            "h": 5,
            "i": "push",
        },
    }


@pytest.mark.parametrize(
    "path", ["body.x", "body.lines.1", "body.total.x", "query.none", "body.lines.-1"]
)
def test_a_missing_part_is_named(path: str) -> None:
    """The call is refused, not run with something else."""
    text = f'{VERIFY}notebook: a.ipynb\nparameters: {{a: "{{{{ {path} }}}}"}}\n'
    with pytest.raises(PlaceholderError, match="has no such part"):
        read_hook(text.encode(), RULES).request_of(CALL)


@pytest.mark.parametrize(
    ("when", "why"),
    [
        ("{headers.x-github-event: push}", None),
        ("{headers.x-github-event: [ping, push], body.ok: true}", None),
        ("{headers.x-github-event: ping}", "headers.x-github-event is 'push'"),
        ("{body.total: 7}", None),
        ('{body.total: "7"}', "body.total is '7'"),
        ("{body.ok: 1}", "body.ok is 'True'"),
        ("{body.note: null}", None),
        ("{body.none: null}", "body.none is missing"),
    ],
)
def test_when_says_which_calls_are_wanted(when: str, why: str | None) -> None:
    """Values must be the same, of the same type."""
    hook = read_hook(f"{VERIFY}notebook: a.ipynb\nwhen: {when}\n".encode(), RULES)
    assert hook.why_ignored(CALL) == why
