"""Promises about the kinds of body that a `POST /run` takes."""

import pytest

from runner.gateway.http.media_types import BodyKind, body_kind
from runner.gateway.http.problems import headers_of, status_of
from runner.jobs.problem import Problem


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        ("application/json", BodyKind.JSON),
        ("Application/JSON; Charset=UTF-8", BodyKind.JSON),
        ('application/json; charset="utf-8"', BodyKind.JSON),
        ("application/json;profile=x; charset=utf8", BodyKind.JSON),
        ("application/x-ipynb+json", BodyKind.JSON),
        ("application/x-ipynb+json; charset=utf-8", BodyKind.JSON),
        ("application/vnd.api+json", BodyKind.JSON),
        ("application/octet-stream", BodyKind.JSON),
        ("text/json", BodyKind.JSON),
        ("application/vnd.google.colaboratory", BodyKind.JSON),
        ("multipart/form-data; boundary=x", BodyKind.FORM),
    ],
)
def test_what_carries_a_notebook_is_taken(content_type: str, kind: BodyKind) -> None:
    """What n8n, curl and this gateway itself call a notebook."""
    assert body_kind(content_type, None) is kind
    assert body_kind(content_type, "identity") is kind


@pytest.mark.parametrize(
    ("content_type", "coding", "said"),
    [
        (None, None, "without a Content-Type"),
        ("", None, "without a Content-Type"),
        ("text/plain;charset=UTF-8", None, "as `text/plain`. Many clients"),
        ("application/x-www-form-urlencoded", None, "-H 'Content-Type: application/json'"),
        ("multipart/mixed; boundary=x", None, "curl -F"),
        ("application/yaml", None, "`application/yaml`"),
        ("text/html", None, "`text/html`"),
        ("application/json; charset=utf-16", None, "'utf-16'"),
        ("application/json", "gzip", "compressed (gzip)"),
        ("x" * 10_000, None, "xxx"),
    ],
)
def test_what_does_not_is_named_with_what_does(
    content_type: str | None, coding: str | None, said: str
) -> None:
    """The answer says what came, what works, and stays short."""
    with pytest.raises(Problem) as caught:
        body_kind(content_type, coding)
    problem = caught.value
    assert status_of(problem) == 415
    assert said in problem.message
    assert "application/json, application/x-ipynb+json" in problem.message
    assert len(problem.message) < 500
    assert "multipart/form-data" in headers_of(problem)["Accept-Post"]
