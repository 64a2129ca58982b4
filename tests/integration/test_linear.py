"""Text of strangers takes time in proportion to its length, whatever was made to be slow.

Each reader gets a hostile text, and the same eight times as long: a reader that is linear takes
eight times as long, one that is quadratic sixty-four times. Counted is the time of this thread.
"""

import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from runner.config import Settings
from runner.contract.advice.required_modules import required_modules
from runner.contract.names import job_name
from runner.contract.notebook import check, parse
from runner.contract.outcome import Refused
from runner.contract.parameters.signature import signature_of
from runner.contract.request import Form, library_path, read_document
from runner.contract.text.literals import value_of
from runner.contract.text.markup import html_text, svg_text
from runner.contract.text.plain_text import plain_text
from runner.contract.text.scalars import scalar_of
from runner.contract.text.strict_json import clean
from runner.gateway.http.negotiation import wants_page
from runner.gateway.page.fields import fields_of
from runner.gateway.page.job_view import _source
from runner.gateway.page.result_views import html_table, view_of
from runner.jobs.body import read_body, seconds_to_wait
from runner.system.door import host_name

LENGTH = 4_000
TIMES = 8
MOST = 3 * TIMES
NOISE_SECONDS = 0.05

Reader = Callable[[str], object]


def cell(source: str) -> object:
    """The parameters of a cell, with the fields that they become."""
    tagged = {"cell_type": "code", "source": source, "metadata": {"tags": ["parameters"]}}
    return fields_of(signature_of({"cells": [tagged]}).parameters)


def yaml(text: str) -> object:
    return read_document(text.encode(), Form.YAML)


def json_of(text: str) -> object:
    return read_document(text.encode(), Form.JSON)


def page(text: str) -> object:
    return view_of({"text/html": f"<table>{text}"}), html_table(f"<table><tr><th>a{text}")


def named(text: str) -> object:
    return read_body(b'{"notebook": "a.ipynb", "name": "%s"}' % text.encode(), Settings())


def annotated(annotation: str) -> object:
    return cell(f"a: {annotation!r} = None")


READERS: dict[Reader, list[str]] = {
    lambda text: seconds_to_wait(None, text, 0): [
        *("wait= |", "wait=|", 'wait="|', ";|", ",|", "a=|", "respond-async;| "),
    ],
    lambda text: wants_page(text): ["text/html;|", "a,|", ";q=|", "text/html;q=|1"],
    host_name: ["|[", "|a.", "[|:", "|1", "a:|1", "|@"],
    plain_text: ["\x1b[|", "\x1b[|0", "|\x1b", "\x1b[0| ", "\r|", "|\x1b[0"],
    scalar_of: ["|1", "0.|1", "1e|1", "-|1", "|:1", "0x|f", "|a", "1|_0"],
    yaml: [
        *("[|1,", "a: |1:", "|[", "|{a: ", "|- ", "|? ", "|- +\n", "a: '|''", 'a: "|\\n', "a:| "),
        *("|a: 1\n", "|&a ", "|!a ", "|%TAG !a! b\n", "a: >|\n\n", "|--- a\n", "|#\n", "a: |\\"),
        *("a: 0.|1", "a: 0x|f", "a: [|[],", "|{a},", "|\n- ", "'|\n"),
    ],
    json_of: ["[|1,", "|[", '{"a":|[', "|1", "0.|1", '"|\\ud800', '["|\\n', "1e|9", '[|"a",', "| "],
    value_of: [
        *("|(", "|[", "|-", "np.|a.", "[|1,", "{|'a':1,", "f'|{", "'|\\x", "|1", "array([|1.,"),
        *("<NA>|,<NA>", "Timestamp('|2", "Timedelta('|1 days", "defaultdict(<|a", "|not ", "a|=a"),
    ],
    page: [
        *("|<", "|<!--", "|<![", "<td>|1", "<td>|1,", "<td>|&#", "|<td>", "|<tr>", "<tr|<tr", "|&"),
        *("<td>1|<td>1", "<td>|1e", "</|", "<script>|</", "<td a=|'", "<![foo[|x"),
    ],
    html_text: [
        *("|<", "|<a ", "|<a '", '|<a "<', "<a |'\"", "|<!--", "|<td", "|</", "|&#", "&#|1"),
        *("|<![", "|<script>", "<script>|</", "<pre>|\n", "<img |alt=", "<img alt=|'a", "| "),
    ],
    svg_text: ["<svg |width=", '<svg |width="', '<svg width="1"| ', "|<text>", "|</text>"],
    lambda text: view_of({"image/png": text}): ["|A", "|A ", "|A=", "|\n"],
    lambda text: _source("a\n" * 10, text): ["|Cell In[", "Cell In[1], line |1", "|\n"],
    cell: ["a = |1", "a = '|'", "a: '|optional[' = 1", "a = 1 #|  ", "|#", "%|a\na = 1", "a =| 1"],
    annotated: ["|optional[", "| |", "|none", "| ", "list[|[", "a|| none "],
    lambda text: required_modules([f"!{text}", f"import os\n# {text}"]): [
        *("pip |-pip ", "pip| ", "|pip ", "pip -|a", "|uv -a ", "apt-get |-y ", "|=", "|?", "|!"),
    ],
    job_name: ["a|\u0327\u0301", "|/", "|.", "| ", "con|.", "|a/", "http/|0", "|\u202e"],
    named: ["a|\u0327\u0301", "|/", "a|b"],
    lambda text: library_path(text): ["|a/", "|./", "a|\\", "|a"],
    lambda text: clean(value_of(f"'{text}'")): ["|a", "|\\u0301", "|é"],
    lambda text: check(parse(text.encode())): ['{"cells":[|[],', '{"cells":[|{},', '{"|cells'],
}
CASES = [(reader, text) for reader, texts in READERS.items() for text in texts]


def seconds(reader: Reader, text: str) -> float:
    """What reading takes at the least; refusing it counts as well."""
    least = float("inf")
    for _ in range(2):
        begin = time.thread_time()
        with suppress(Refused, ValueError):
            reader(text)
        least = min(least, time.thread_time() - begin)
    return least


@pytest.mark.parametrize(("reader", "pattern"), CASES, ids=[repr(text) for _, text in CASES])
def test_a_text_that_is_longer_takes_longer_in_proportion(reader: Reader, pattern: str) -> None:
    """What stands behind the bar is repeated, what stands before it opens it."""
    before, _, repeated = pattern.partition("|")
    count = LENGTH // len(repeated or " ")
    short, long = (before + (repeated or " ") * (count * times) for times in (1, TIMES))
    once = seconds(reader, short)
    assert seconds(reader, long) <= MOST * once + NOISE_SECONDS
