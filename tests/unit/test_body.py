"""Promises about the body, the waiting time and the key of a `POST /run`."""

import json

import pytest

from runner.config import Settings
from runner.contract.job_ids import id_of_key
from runner.contract.outcome import Refused
from runner.contract.states.status import ErrorType
from runner.inbox.bundles.uploads import upload_of
from runner.jobs.body import FormFile, read_body, read_form, seconds_to_wait, with_key

CELLS = {"cells": [{"cell_type": "code", "source": "1"}]}


def refused(raw: bytes) -> tuple[ErrorType, str]:
    with pytest.raises(Refused) as caught:
        read_body(raw, Settings())
    return caught.value.failure.error_type, caught.value.failure.message


@pytest.mark.parametrize(
    "body",
    [
        CELLS,
        {"notebook": CELLS},
        [{"notebook": CELLS}],
        [CELLS],
        {"json": CELLS},
        {"json": {"notebook": CELLS}, "pairedItem": {"item": 0}},
        [{"json": CELLS, "pairedItem": {"item": 0}}],
        [{"json": {"notebook": CELLS}, "pairedItem": 0, "binary": {}}],
        {"notebook": json.dumps(CELLS)},
        [{"json": {"notebook": "\n " + json.dumps(CELLS)}}],
        json.dumps(CELLS),
        json.dumps([{"notebook": CELLS}]),
    ],
)
def test_every_form_of_body_is_the_same_request(body: object) -> None:
    """Bare, wrapped, and as n8n sends it."""
    asked = read_body(json.dumps(body).encode(), Settings())
    assert asked.request == {"notebook": CELLS}
    assert asked.name is None


def form_file(content: bytes, name: str = "a.ipynb", field: str = "file") -> FormFile:
    return FormFile(field, upload_of(name, content))


def test_a_body_may_name_what_a_file_may_and_its_name() -> None:
    """`name` is HTTP's alone, and not part of the request."""
    body = {"notebook": "a/b.ipynb", "parameters": {"x": 1}, "name": "sales/daily", "retries": 1}
    asked = read_body(json.dumps(body).encode(), Settings())
    assert asked.name == "sales/daily"
    assert asked.request == {"notebook": "a/b.ipynb", "parameters": {"x": 1}, "retries": 1}


@pytest.mark.parametrize(
    ("raw", "error_type", "said"),
    [
        (b"", "invalid_request", "JSON"),
        (b"{", "invalid_request", "JSON"),
        (b"\xff\xfe{}", "invalid_request", "UTF-8"),
        (b'{"notebook": 1e999}', "invalid_request", "too large"),
        (b'{"notebook": NaN}', "invalid_request", "NaN"),
        (b'{"notebook": "a", "notebook": "b"}', "invalid_request", "twice"),
        (b"[" * 100_000, "invalid_request", "deep"),
        (b"[]", "invalid_request", "one notebook"),
        (b"[{}, {}]", "invalid_request", "one notebook"),
        (b"3", "invalid_request", "object"),
        (b"{}", "invalid_request", "notebook"),
        (b'{"parameters": {}}', "invalid_request", "notebook"),
        (b'{"notebook": null}', "invalid_request", "notebook"),
        (b'{"notebook": "../x.ipynb"}', "invalid_request", ".."),
        (b'{"notebook": "/etc/x.ipynb"}', "invalid_request", "below"),
        (b'{"notebook": "x.ipynb", "colour": 1}', "invalid_request", "colour"),
        (b'{"notebook": "x.ipynb", "timeout_seconds": 4000}', "invalid_request", "max_run"),
        (b'{"notebook": "x", "resources": {"memory_mb": 1025}}', "invalid_request", "1024"),
        (b'{"notebook": "x", "resources": {"gpus": 1}}', "invalid_request", "cluster"),
        (b'{"notebook": "x.ipynb", "name": "../x"}', "invalid_request", "name"),
        (b'{"notebook": "x.ipynb", "name": 3}', "invalid_request", "name"),
        (b'{"notebook": "x.ipynb", "parameters": {"a b": 1}}', "invalid_parameters", "a b"),
    ],
)
def test_a_body_that_is_wrong_is_explained(raw: bytes, error_type: str, said: str) -> None:
    """Before anything is written, with the type that the runner would give."""
    found, message = refused(raw)
    assert found == error_type
    assert said in message


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"notebook": "x.ipynb", "nmae": "plan"}, "did you mean `name`?"),
        ({"notebook": "x" * 500_000}, "500000 characters"),
        ({"notebook": json.dumps(CELLS)[:-1] + " " * 500_000}, "begins as JSON"),
        ({"notebook": ["x" * 500_000]}, "must be a path"),
        ({"notebook": CELLS, "kernel": ["x" * 500_000]}, "kernel"),
        ({"notebook": CELLS, "x" * 500_000: 1}, "Unknown key"),
        ({"notebook": CELLS, "parameters": {"x" * 500_000 + " ": 1}}, "identifier"),
        ({"notebook": CELLS, "name": "x" * 500_000}, "name"),
        ({"notebook": CELLS, "name": 42}, "`name` must be a text. Without one, or with an empty"),
        ({"x" * 500_000: 1, "headers": {}}, "'headers'"),
    ],
)
def test_an_error_never_repeats_a_whole_notebook(body: object, said: str) -> None:
    """It says what is wrong with what stands where, and is short."""
    _, message = refused(json.dumps(body).encode())
    assert said in message
    assert len(message) < 1100


def test_texts_are_read_as_what_they_stand_for() -> None:
    """n8n's key/value bodies and forms have nothing but texts."""
    body = {"notebook": "a.ipynb", "parameters": '{"years": 3}', "timeout_seconds": "60"}
    body |= {"retries": " 1 ", "resources": '{"memory_mb": 100}'}
    assert read_body(json.dumps(body).encode(), Settings()).request == {
        "notebook": "a.ipynb",
        "parameters": {"years": 3},
        "timeout_seconds": 60,
        "retries": 1,
        "resources": {"memory_mb": 100},
    }
    nested = {**body, "resources": {"memory_mb": "100"}}
    needs = read_body(json.dumps(nested).encode(), Settings()).request["resources"]
    assert needs == {"memory_mb": 100}
    for wrong in ({"timeout_seconds": "1m"}, {"retries": "01"}, {"parameters": "{years: 3}"}):
        assert next(iter(wrong)) in refused(json.dumps({**body, **wrong}).encode())[1]


def test_an_empty_text_is_none() -> None:
    """As in a form: n8n sends one for a field in which nothing stands."""
    keys = ("parameters", "timeout_seconds", "kernel", "retries", "resources", "id", "name")
    body = {"notebook": "a.ipynb", **dict.fromkeys(keys, " ")}
    asked = read_body(json.dumps(body).encode(), Settings())
    assert (asked.request, asked.name, asked.job_id) == ({"notebook": "a.ipynb"}, None, None)


def test_a_form_brings_files() -> None:
    """What is neither request nor notebook goes along, under its own name."""
    notebook, data = form_file(json.dumps(CELLS).encode()), form_file(b"1,2", "in/data.csv", "x")
    odd = form_file(b"", "in/.DS_Store")
    asked = read_form({"parameters": '{"x": 1}'}, [data, notebook, odd], Settings())
    assert asked.request == {"notebook": CELLS, "parameters": {"x": 1}}
    assert [(one.path, one.size) for one in asked.files] == [("in/data.csv", 3)]
    by_path = read_form({"notebook": "a.ipynb"}, [data], Settings())
    assert (by_path.request, len(by_path.files)) == ({"notebook": "a.ipynb"}, 1)
    text = {"request": '{"notebook": "a.ipynb", "retries": 2}', "name": "n"}
    by_text = read_form(text, [data], Settings())
    assert by_text.request == {"notebook": "a.ipynb", "retries": 2}
    assert (by_text.name, len(by_text.files)) == ("n", 1)
    settings = form_file(b"retries: 2", "request.yaml", "request")
    named = form_file(json.dumps(CELLS).encode(), "whatever", "notebook")
    both = read_form({}, [settings, data, named], Settings())
    assert both.request == {"notebook": CELLS, "retries": 2}
    assert len(both.files) == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sales.csv", "'sales.csv' is no notebook. A notebook ends in .ipynb. Send data beside it"),
        ("total.zip", "'total.zip' is no notebook. ZIP files go into the inbox folder."),
        ("a.ipynb", "'a.ipynb': This is no valid JSON"),
    ],
)
@pytest.mark.parametrize("field", ["notebook", "file"])
def test_a_file_that_is_no_notebook_is_named(name: str, said: str, field: str) -> None:
    """With what to send instead."""
    with pytest.raises(Refused) as caught:
        read_form({}, [form_file(b"a,b\n1,2", name, field)], Settings())
    assert caught.value.failure.message.startswith(said)


def test_a_form_has_its_notebook_as_a_file() -> None:
    """Whatever the field is called, with the other keys beside it; empty fields are not there."""
    raw = json.dumps(CELLS).encode()
    texts = {"parameters": '{"x": 1}', "name": "daily", "kernel": "", "timeout_seconds": "5"}
    asked = read_form(texts, [form_file(raw)], Settings())
    assert asked.name == "daily"
    assert asked.request == {"notebook": CELLS, "parameters": {"x": 1}, "timeout_seconds": 5}
    whole = json.dumps({"notebook": CELLS, "retries": 2}).encode()
    assert read_form({}, [form_file(whole)], Settings()).request == {
        "notebook": CELLS,
        "retries": 2,
    }
    by_path = read_form({"notebook": "a.ipynb"}, [], Settings())
    assert by_path.request == {"notebook": "a.ipynb"}
    for field in ("file", "data"):  # a part without a file name is no file to who reads the form
        nameless = {field: f"\ufeff{raw.decode()}", "retries": "1", "parameters": '{"x": 1}'}
        expected = {"notebook": CELLS, "retries": 1, "parameters": {"x": 1}}
        assert read_form(nameless, [], Settings()).request == expected


@pytest.mark.parametrize(
    ("texts", "files", "said"),
    [
        ({}, [], "notebook"),
        ({}, [form_file(b"{}", "a.csv"), form_file(b"{}", "b.csv")], "2 files"),
        ({}, [form_file(b"{}", "a.ipynb"), form_file(b"{}", "b.ipynb")], "'b.ipynb'"),
        ({}, [form_file(b"PK\x03\x04")], "JSON"),
        ({"colour": "red"}, [form_file(json.dumps(CELLS).encode())], "colour"),
        ({"notebook": "a.ipynb"}, [form_file(b"1", "../x")], "'../x'"),
        ({"notebook": "a.ipynb"}, [form_file(b"1", "x"), form_file(b"1", "X")], "one name"),
        ({"notebook": "a.ipynb"}, [form_file(b"1", "request.json")], "the request itself"),
        ({"request": "{"}, [], "JSON"),
        ({}, [form_file(b"{}", field="request"), form_file(b"{}", field="request")], "more than"),
        ({"a": "{}", "b": "{}"}, [], "'a'"),
    ],
)
def test_a_form_that_is_wrong_is_explained(
    texts: dict[str, str], files: list[FormFile], said: str
) -> None:
    """As a body is."""
    with pytest.raises(Refused) as caught:
        read_form(texts, files, Settings())
    assert said in caught.value.failure.message


def test_keys_are_told_apart_in_every_script() -> None:
    """A workflow may make them of a customer's name."""
    keys = ("Иван-1", "Олег-1", "????-1", "田中-1", "山本-1", "Zoë-1")
    assert len({id_of_key(key) for key in keys}) == len(keys)


def test_a_key_is_always_the_same_id() -> None:
    """Across restarts, without a store; the id is one that a request may have."""
    assert id_of_key("order-7") == id_of_key("order-7") != id_of_key("order-8")
    asked = read_body(json.dumps({"notebook": "x.ipynb"}).encode(), Settings())
    found = with_key(asked, "order-7")
    assert found is not None
    assert len(found) == 32
    assert set(found) <= set("0123456789abcdef")
    assert with_key(asked, None) is None


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_that_is_none_is_refused(key: str) -> None:
    """Empty or endless."""
    asked = read_body(json.dumps({"notebook": "x.ipynb"}).encode(), Settings())
    with pytest.raises(Refused):
        with_key(asked, key)


def test_an_id_and_a_key_are_too_much() -> None:
    """Which of them counts would be a guess."""
    asked = read_body(json.dumps({"notebook": "x.ipynb", "id": "a" * 32}).encode(), Settings())
    assert with_key(asked, None) == "a" * 32
    with pytest.raises(Refused):
        with_key(asked, "order-7")


@pytest.mark.parametrize(
    ("wait", "prefer", "seconds"),
    [
        (None, None, 330),
        ("0", None, 0),
        ("2.5", "wait=9", 2.5),
        (None, "respond-async", 0),
        (None, "respond-async, wait=10", 10),
        (None, "Wait=7; foo", 7),
        (None, 'wait="7"', 7),
        (None, "handling=lenient", 330),
        (None, ",,;", 330),
    ],
)
def test_the_client_says_how_long_it_waits(
    wait: str | None, prefer: str | None, seconds: float
) -> None:
    """In the address, or as RFC 7240 has it."""
    assert seconds_to_wait(wait, prefer, 330) == seconds


@pytest.mark.parametrize("wait", ["", "x", "-1", "nan", "inf", "1e9", "86401"])
def test_a_waiting_time_that_is_none_is_refused(wait: str) -> None:
    """Rather than taken for another one."""
    with pytest.raises(Refused):
        seconds_to_wait(wait, None, 330)


def test_a_misspelt_notebook_is_told_as_what_was_meant() -> None:
    """And nothing where no key is like it."""
    _, message = refused(b'{"notebok": "loan.ipynb", "parameters": {}}')
    assert "Did you mean `notebook` by `notebok`?" in message
    assert "Did you mean" not in refused(b'{"path": "loan.ipynb"}')[1]


def test_a_notebook_that_came_empty_is_told() -> None:
    """As by an expression of n8n that found nothing."""
    assert "`notebook` is null" in refused(b'{"notebook": null, "parameters": {}}')[1]
