"""Promises of requests: one schema in every form, and a refusal that names what is wrong."""

from datetime import date
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.contract.outcome import Refused
from runner.contract.request import (
    MAX_PARAMETER_DEPTH,
    MAX_PARAMETER_NODES,
    Form,
    Kind,
    Request,
    Resources,
    check_parameters,
    kind_of,
    library_path,
    read_document,
    read_request,
)
from runner.contract.states.status import ErrorType

ID = "0123456789abcdef0123456789abcdef"


def request_of(text: str | bytes, form: Form = Form.YAML) -> Request:
    """The request that a file of this content makes."""
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return read_request(read_document(raw, form), form)


def refusal(text: str | bytes, form: Form = Form.YAML) -> tuple[ErrorType, str]:
    """Why a file of this content is refused."""
    with pytest.raises(Refused) as caught:
        request_of(text, form)
    return caught.value.failure.error_type, caught.value.failure.message


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


# Keys


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("notebook: a/b.ipynb", {"notebook": "a/b.ipynb"}),
        ("parameters: {region: US, factor: 3}", {"parameters": {"region": "US", "factor": 3}}),
        ("parameters: {}", {"parameters": {}}),
        ("timeout_seconds: 5", {"timeout_seconds": 5.0}),
        ("timeout_seconds: 0.5", {"timeout_seconds": 0.5}),
        ("timeout_seconds:", {"timeout_seconds": None}),
        ("kernel: python3", {"kernel": "python3"}),
        ("retries: 10", {"retries": 10}),
        ("retries: 0", {"retries": 0}),
        ("{}", {}),
        ("# settings\r\nretries: 1\r\n", {"retries": 1}),
        (b"\xef\xbb\xbfretries: 1", {"retries": 1}),
    ],
)
def test_each_key_is_read_from_yaml(text: str | bytes, expected: dict[str, Any]) -> None:
    """What is not given has its default."""
    assert request_of(text) == Request(**expected)


@pytest.mark.parametrize("form", [Form.JSON])
def test_each_key_is_read_from_json(form: Form) -> None:
    """The same keys, and `id` besides."""
    text = f"""{{"notebook": "a.ipynb", "parameters": {{"n": null}}, "timeout_seconds": 1,
        "kernel": "python3", "retries": 2, "id": "{ID}"}}"""
    assert request_of(text, form) == Request(
        notebook="a.ipynb",
        parameters={"n": None},
        timeout_seconds=1,
        kernel="python3",
        retries=2,
        id=ID,
    )


def test_json_carries_a_notebook_itself() -> None:
    """So that every submit can be one file."""
    found = request_of('{"notebook": {"cells": []}}', Form.JSON)
    assert found.notebook == {"cells": []}


def test_yaml_carries_no_notebook() -> None:
    """YAML would change what is in it."""
    kind, message = refusal("notebook: {cells: []}")
    assert kind is ErrorType.INVALID_REQUEST
    assert "JSON" in message


@pytest.mark.parametrize("text", [f"id: '{ID}'", f"notebook: a\nid: {ID}"])
def test_yaml_has_no_id(text: str) -> None:
    """An id stands in JSON only; the refusal says so."""
    kind, message = refusal(text)
    assert kind is ErrorType.INVALID_REQUEST
    assert "`id`" in message
    assert "JSON" in message


@pytest.mark.parametrize(
    "value", [ID[:-1], ID + "0", ID.upper(), ID[:-1] + "g", ID + "\n", " " + ID, ""]
)
def test_id_is_32_hex_digits(value: str) -> None:
    """Lower case, nothing before or after them."""
    document = {"notebook": "a.ipynb", "id": value}
    with pytest.raises(Refused) as caught:
        read_request(document, Form.JSON)
    assert caught.value.failure.error_type is ErrorType.INVALID_REQUEST
    assert "`id`" in caught.value.failure.message


@pytest.mark.parametrize(
    "key", ["timeout", "Notebook", "notebooks", "cells", "", "parameter", "a b"]
)
def test_unknown_key_is_named(key: str) -> None:
    """A misspelt key never goes unseen, and the message lists the right ones."""
    with pytest.raises(Refused) as caught:
        read_request({"notebook": "a.ipynb", key: 1}, Form.JSON)
    assert caught.value.failure.error_type is ErrorType.INVALID_REQUEST
    assert f"`{key}`" in caught.value.failure.message
    assert "timeout_seconds" in caught.value.failure.message


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ({"parametres": {}}, "parameters"),
        ({"timeout": 1}, "timeout_seconds"),
        ({"nmae": "plan"}, "name"),
        ({"resources": {"gpu": 1}}, "gpus"),
    ],
)
def test_of_an_unknown_key_the_message_says_what_was_probably_meant(
    wrong: dict[str, Any], meant: str
) -> None:
    """Also of a key that only this way of asking has, which is in the list then."""
    with pytest.raises(Refused) as caught:
        read_request({"notebook": "a.ipynb", **wrong}, Form.JSON, beside=("name",))
    assert f"(did you mean `{meant}`?)" in caught.value.failure.message
    assert ", name." in caught.value.failure.message or "resources" in wrong


@pytest.mark.parametrize("key", ["gpu", "memory", "Labels", "", "a b"])
def test_unknown_key_of_resources_is_named_with_its_place(key: str) -> None:
    """The message lists the keys that are legal there, and not those of a request."""
    with pytest.raises(Refused) as caught:
        read_request({"notebook": "a.ipynb", "resources": {key: 1}}, Form.JSON)
    assert caught.value.failure.error_type is ErrorType.INVALID_REQUEST
    message = caught.value.failure.message
    assert f"Unknown key `resources.{key}`" in message
    assert "memory_mb, gpus, labels" in message
    assert "timeout_seconds" not in message


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("resources: {memory_mb: 0}", "resources.memory_mb"),
        ("resources: {memory_mb: '200'}", "resources.memory_mb"),
        ("resources: {memory_mb: 1.5}", "resources.memory_mb"),
        ("resources: {memory_mb: true}", "resources.memory_mb"),
        (f"resources: {{memory_mb: 0x{'f' * 3_000}}}", "resources.memory_mb"),
        ("resources: {gpus: -1}", "resources.gpus"),
        ("resources: {labels: ssd}", "resources.labels"),
        ("resources: {labels: [ssd, 1]}", "resources.labels"),
        ("resources: {labels: ['a b']}", "resources.labels"),
        (f"resources: {{labels: {['x'] * 21}}}", "resources.labels"),
        ("resources: 200", "resources"),
        ("resources: [memory_mb]", "resources"),
    ],
)
def test_wrong_resources_are_refused_by_name(text: str, key: str) -> None:
    """By the key inside where it is one, and with the legal keys where it is no mapping."""
    error_type, message = refusal(text)
    assert error_type is ErrorType.INVALID_REQUEST
    assert f"`{key}`" in message
    assert key != "resources" or "memory_mb, gpus, labels" in message


def test_resources_are_the_same_in_every_form() -> None:
    """And cost nothing where they are not asked for."""
    wanted = Resources(memory_mb=200, gpus=1, labels=["ssd", "big.disk_1"])
    text = "resources:\n  memory_mb: 200\n  gpus: 1\n  labels: [ssd, big.disk_1]"
    assert request_of(text).resources == wanted
    asked = {"notebook": "a", "resources": wanted.model_dump()}
    assert read_request(asked, Form.JSON).resources == wanted
    assert Request().model_dump(exclude_defaults=True) == {}


@pytest.mark.parametrize("text", ["name: daily", "notebook: a.ipynb\nname: daily"])
def test_name_in_the_inbox_is_explained(text: str) -> None:
    """There, the file's name is the request's."""
    kind, message = refusal(text)
    assert kind is ErrorType.INVALID_REQUEST
    assert "`name`" in message
    assert "file's name" in message


@pytest.mark.parametrize("text", ["1: 2", "on: 2", "null: 3", "1.5: x"])
def test_key_that_is_no_text_is_refused(text: str) -> None:
    """YAML knows keys of other types."""
    assert refusal(text)[0] is ErrorType.INVALID_REQUEST


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("timeout_seconds", "0"),
        ("timeout_seconds", "-1"),
        ("timeout_seconds", "'5'"),
        ("timeout_seconds", "true"),
        ("timeout_seconds", "[5]"),
        ("timeout_seconds", "9" * 400),
        ("retries", "-1"),
        ("retries", "11"),
        ("retries", "1.0"),
        ("retries", "true"),
        ("retries", "'1'"),
        ("kernel", "''"),
        ("kernel", "5"),
        ("kernel", "[python3]"),
        ("notebook", "5"),
        ("notebook", "[a.ipynb]"),
        ("notebook", "true"),
    ],
)
def test_value_of_the_wrong_kind_is_refused_by_its_key(key: str, value: str) -> None:
    """Nothing is converted in silence; the message names the key and stays short."""
    kind, message = refusal(f"{key}: {value}")
    assert kind is ErrorType.INVALID_REQUEST
    assert f"`{key}`" in message
    assert len(message) <= 500


@pytest.mark.parametrize("document", [None, [], "notebook", 5, True])
def test_document_that_is_no_mapping_is_refused(document: object) -> None:
    """A request is a mapping."""
    with pytest.raises(Refused) as caught:
        read_request(document, Form.JSON)
    assert caught.value.failure.error_type is ErrorType.INVALID_REQUEST


@pytest.mark.parametrize("form", list(Form))
@pytest.mark.parametrize("key", list(Request.model_fields))
def test_a_key_that_is_null_is_not_there(form: Form, key: str) -> None:
    """It means the default, like a key with nothing below it."""
    assert request_of(f'{{"{key}": null}}', form) == Request()
    if form is Form.YAML:
        assert request_of(f"{key}:") == Request()


@pytest.mark.parametrize("key", list(Resources.model_fields))
def test_a_null_among_the_resources_is_not_there(key: str) -> None:
    """The same one level below; an unknown key is an error all the same."""
    assert request_of(f'{{"resources": {{"{key}": null}}}}', Form.JSON) == Request()
    assert "`resources.gpu`" in refusal("resources: {gpu: null}")[1]
    assert "`timeout`" in refusal("timeout:")[1]


@pytest.mark.parametrize(
    "text", ["", "\n\n", "# nothing yet\n# parameters:\n", "---\n", "---\n..."]
)
def test_settings_that_say_nothing_are_no_settings(text: str) -> None:
    """Whoever comments out the last line means the defaults."""
    assert request_of(text) == Request()


def test_a_null_among_the_parameters_is_a_value() -> None:
    """The notebook gets None there: that is what was asked for."""
    assert request_of("parameters: {a: null, b: }").parameters == {"a": None, "b": None}


def test_request_is_frozen() -> None:
    """Change is a new value."""
    with pytest.raises(ValueError, match="frozen"):
        Request().retries = 1  # type: ignore[misc]


# YAML


def test_dates_stay_text() -> None:
    """Papermill could not inject a date; and who writes one means what is written."""
    text = "parameters: {day: 2026-01-02, at: 2026-01-02 03:04:05, zone: 2026-01-02T03:04:05Z}"
    assert request_of(text).parameters == {
        "day": "2026-01-02",
        "at": "2026-01-02 03:04:05",
        "zone": "2026-01-02T03:04:05Z",
    }


def test_anchor_alone_is_harmless() -> None:
    """Only what an alias multiplies is refused."""
    assert request_of("retries: &few 2").retries == 2


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("parameters: {a: &x 1, b: *x}", "alias"),
        ("parameters: &x\n  a: *x", "alias"),
        ("base: &b {a: 1}\nparameters:\n  <<: *b", "merge"),
        ("retries: 1\nretries: 2", "'retries'"),
        ("parameters: {a: 1, a: 2}", "'a'"),
        ("parameters: {a: {b: 1, 'b': 2}}", "'b'"),
        ("parameters: {<<: {a: 1}}", "merge"),
        ("parameters: {a: !!python/object/apply:os.system [ls]}", "python"),
        ("parameters: {a: !own 1}", "own"),
        ("? [a]\n: b", "unhashable"),
        ("retries: [", "line"),
        ("retries: 1\n---\nretries: 2", "document"),
        ("retries: 1\n  kernel: x", "line"),
        ("\tretries: 1", "line"),
        ("retries: \x00", "character"),
        (b"retries: 1 # \xff", "UTF-8"),
        ("retries: 1".encode("utf-16"), "UTF-8"),
        ("[" * 600, "recursion"),
        ("timeout_seconds: " + "9" * 5_000, "digits"),
        ("kernel: !!int '0x'", "int"),
        ("timeout_seconds: .inf", "JSON"),
        ("parameters: {a: .nan}", "JSON"),
        ("parameters: {a: -.inf}", "JSON"),
        ("parameters: {a: 1e999}", "too large"),
        ("parameters: {a: !!timestamp 2026-01-02}", "timestamp"),
        ("parameters: {a: !!binary AAAA}", "binary"),
        ("parameters: {a: !!set {b}}", "set"),
        ("parameters: {a: {1: 2}}", "'1' is no text"),
        ("parameters: {1: 2}", "'1' is no text"),
        ("parameters: {null: 2}", "'null' is no text"),
    ],
)
def test_yaml_beyond_plain_values_is_refused(text: str | bytes, part: str) -> None:
    """No aliases, no double keys, no tags of one's own: one line says what and where."""
    kind, message = refusal(text)
    assert kind is ErrorType.INVALID_REQUEST
    assert message.startswith("This is no valid YAML: ")
    assert part in message
    assert "\n" not in message


@pytest.mark.parametrize("value", ["!!timestamp x", "!!bool x", "!!int ''", "!!float ''"])
def test_tag_that_does_not_fit_its_value_is_refused(value: str) -> None:
    """Whatever a file says, reading it ends in a document or in `Refused`."""
    assert refusal(f"retries: {value}")[0] is ErrorType.INVALID_REQUEST


@pytest.mark.parametrize("key", ["retries", "timeout_seconds", "kernel"])
def test_huge_hexadecimal_number_is_refused(key: str) -> None:
    """YAML's hexadecimal integers have no limit of digits, so messages cannot print them."""
    assert refusal(f"{key}: 0x{'f' * 5_000}")[0] is ErrorType.INVALID_REQUEST


def test_huge_number_as_a_parameter_name_is_refused() -> None:
    """The same in the place of a parameter's name."""
    text = f"parameters:\n  ? 0x{'f' * 5_000}\n  : 1"
    assert refusal(text)[0] is ErrorType.INVALID_REQUEST


@pytest.mark.parametrize(
    "text",
    [
        r'parameters: {a: "\ud800"}',
        r'parameters: {a: [{"\ud800": 1}]}',
        r'notebook: "\ud800.ipynb"',
    ],
)
def test_lone_surrogate_in_yaml_is_refused(text: str) -> None:
    """JSON refuses it as well; every request can be written down as strict JSON."""
    refusal(text)


def test_huge_hexadecimal_parameter_is_refused() -> None:
    """What is accepted can be read again from the ledger; JSON has a limit of digits."""
    assert refusal(f"parameters: {{a: 0x{'f' * 4_000}}}")[0] is ErrorType.INVALID_PARAMETERS


def test_every_yaml_request_can_be_written_down() -> None:
    """The ledger keeps requests as JSON."""
    found = request_of('parameters: {a: 0x10, b: "é☃", c: [1.5, null, {d: yes}]}')
    assert Request.model_validate_json(found.model_dump_json()) == found


# JSON


@pytest.mark.parametrize("form", [Form.JSON])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"retries": 1, "retries": 1}',
        '{"parameters": {"a": NaN}}',
        '{"parameters": {"a": 1e999}}',
        '{"parameters": {"a": "\\ud800"}}',
        "notebook: a.ipynb",
        '{"retries": 1} x',
        "[" * 100_000,
        b"\xff",
    ],
)
def test_json_that_is_not_strict_is_refused(text: str | bytes, form: Form) -> None:
    """Double keys, NaN and half surrogates mean something else to each reader."""
    kind, message = refusal(text, form)
    assert kind is ErrorType.INVALID_REQUEST
    assert message.startswith("This is no valid JSON: ")


# What a document is


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ({"cells": []}, Kind.NOTEBOOK),
        ({"cells": [], "parameters": {}}, Kind.NOTEBOOK),
        ({"notebook": "a.ipynb"}, Kind.REQUEST),
        ({"notebook": {"cells": []}}, Kind.REQUEST),
        ({"notebook": "a.ipynb", "cells": []}, Kind.REQUEST),
        ({"parameters": {}}, Kind.SETTINGS),
        ({}, Kind.SETTINGS),
        ({"anything": 1}, Kind.SETTINGS),
        ({"notebok": "a.ipynb", "parameters": {}}, Kind.REQUEST),
        ({"Notebook": "a.ipynb"}, Kind.REQUEST),
        ({"notebooks": ["a"], "name": "somebody's"}, Kind.SETTINGS),
        ([], Kind.FOREIGN),
        ("text", Kind.FOREIGN),
        (None, Kind.FOREIGN),
    ],
)
def test_kind_is_told_by_keys_alone(document: object, kind: Kind) -> None:
    """`notebook`, also misspelt, makes a request, `cells` a notebook; others are settings."""
    assert kind_of(document) is kind


# Parameters


@pytest.mark.parametrize("name", ["a", "_", "region_2", "é", "match", "print", "A" * 300])
def test_identifier_is_a_parameter_name(name: str) -> None:
    """Papermill writes it in front of an equals sign."""
    check_parameters({name: 1})


@pytest.mark.parametrize(
    "name",
    [
        "a=1\nimport os",
        "a\n",
        "a b",
        "a.b",
        "a[0]",
        "a;b",
        "a#",
        "1a",
        "",
        " a",
        "a-b",
        "import",
        "None",
        "True",
        "class",
        "a:int",
        "*a",
        "\ud800",
        1,
        None,
        True,
        ("a",),
        pytest.param(
            "__debug__",
        ),
    ],
)
def test_name_that_is_code_is_refused(name: object) -> None:
    """Names become code as they stand, so only plain identifiers are names."""
    with pytest.raises(Refused) as caught:
        check_parameters({"fine": 1, name: 1})
    assert caught.value.failure.error_type is ErrorType.INVALID_PARAMETERS
    assert repr(name) in caught.value.failure.message


@pytest.mark.parametrize(
    "value",
    [None, True, 1, 10**30, -1.5, "text", [], {}, [1, [2, {"a": None}]], {"any key": [1]}],
)
def test_json_value_is_a_parameter(value: object) -> None:
    """All that JSON has."""
    check_parameters({"a": value})


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        ([{"a": float("-inf")}], "-inf"),
        (date(2026, 1, 2), "date"),
        (b"x", "bytes"),
        ((1,), "tuple"),
        ({1}, "set"),
        (object(), "object"),
        ({1: 2}, "key"),
        ([{"a": {None: 1}}], "key"),
        (nested(MAX_PARAMETER_DEPTH + 2), "deep"),
        ([0] * MAX_PARAMETER_NODES, "too large"),
    ],
)
def test_value_that_json_cannot_express_is_refused(value: object, part: str) -> None:
    """The parameter is named, and what is wrong with it."""
    with pytest.raises(Refused) as caught:
        check_parameters({"fine": 1, "odd": value})
    assert caught.value.failure.error_type is ErrorType.INVALID_PARAMETERS
    assert "'odd'" in caught.value.failure.message
    assert part in caught.value.failure.message


def test_values_count_over_all_parameters() -> None:
    """The bound is one for the whole request."""
    half = [0] * (MAX_PARAMETER_NODES // 2)
    check_parameters({"a": half})
    with pytest.raises(Refused):
        check_parameters({"a": half, "b": half})


def test_nesting_up_to_the_bound_is_accepted() -> None:
    """The bound itself is allowed."""
    check_parameters({"a": nested(MAX_PARAMETER_DEPTH + 1)})


@pytest.mark.parametrize(
    "text",
    [
        "parameters: {a b: 2}",
        "parameters: [a]",
        "parameters: a",
    ],
)
def test_parameters_of_a_file_are_checked(text: str) -> None:
    """It is `invalid_parameters`, whatever form it came in."""
    assert refusal(text)[0] is ErrorType.INVALID_PARAMETERS


# Path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.ipynb", "a.ipynb"),
        ("a/b c/ü.ipynb", "a/b c/ü.ipynb"),
        ("./a.ipynb", "a.ipynb"),
        ("a//b", "a/b"),
        ("..a", "..a"),
        ("a..b/...", "a..b/..."),
        ("~/a", "~/a"),
        ("-", "-"),
        ("{pm}.ipynb", "{pm}.ipynb"),
    ],
)
def test_path_below_the_library_is_accepted(path: str, expected: str) -> None:
    """Relative, whatever its names are."""
    assert library_path(path) == PurePosixPath(expected)


@pytest.mark.parametrize(
    "path",
    ["", ".", "..", "./", "../a", "a/..", "a/../b", "/a", "//a", "/", "a\\b", "..\\a", "a\0b"],
)
def test_path_out_of_the_library_is_refused(path: str) -> None:
    """Also where it would come back again."""
    with pytest.raises(Refused) as caught:
        library_path(path)
    assert caught.value.failure.error_type is ErrorType.INVALID_REQUEST
    assert repr(path) in caught.value.failure.message


@given(st.text(alphabet="ab./\\\0", max_size=10))
@settings(max_examples=100)
def test_accepted_path_never_leads_out(path: str) -> None:
    """Every path is refused, or relative and without steps up."""
    try:
        found = library_path(path)
    except Refused:
        return
    assert not found.is_absolute()
    assert ".." not in found.parts
    assert found.name


# Any bytes


@given(
    st.lists(
        st.sampled_from(
            "notebook: |parameters:|retries: 1|kernel|{|}|[|]|\n|  |- |? |'|\"|\\|&a|!!str|,|#|"
            "|||>|%|@|=|---|é|1e5|0x1|.nan|id".split("|")
        ),
        max_size=10,
    ).map(lambda parts: "".join(parts).encode())
    | st.binary(max_size=20),
    st.sampled_from(Form),
)
@settings(max_examples=100)
def test_any_bytes_make_a_request_or_are_refused(raw: bytes, form: Form) -> None:
    """Nothing else is ever raised, and what is accepted can be written down."""
    try:
        found = request_of(raw, form)
    except Refused:
        return
    assert Request.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize("wrong", [20, "soon", True])
def test_a_wrong_time_is_refused_with_an_example(wrong: object) -> None:
    """Whatever its type."""
    with pytest.raises(Refused, match=r"`not_before`: must be a time .* 2026-12-01T05:00:00Z"):
        read_request({"notebook": "a.ipynb", "not_before": wrong}, Form.JSON)
