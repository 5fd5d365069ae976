"""llhttp as a second opinion: every head that the parser accepts, llhttp accepts with the same result."""

from typing import Any

import httptools
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.errors import BadResponse
from proxy.http.fields import Lines
from proxy.http.problems import Refusal
from proxy.http1.head import RequestHeadReader, ResponseHeadReader
from tests.settings import head_limits
from tests.wire.test_hostile_answers import HOSTILE as HOSTILE_ANSWERS
from tests.wire.test_hostile_requests import HOSTILE as HOSTILE_REQUESTS

PARTS = [
    b"Host: a", b"X-A", b"x", b":", b": ", b" ", b"\t", b"\r\n", b"\r", b"\n", b"\0", b"\x0b", b"\x7f", b"\xe9", b",",
    b"Content-Length: 5", b"content-length:5", b"Transfer-Encoding: chunked", b"Connection: close", b"/", b"a b",
    b"Upgrade: websocket", b"Connection: Upgrade", b"Set-Cookie: a=b", b"Set-Cookie: c=d", b'"', b"(", b"[", b"@", b"_",
]  # fmt: skip
STARTS = [
    b"GET / HTTP/1.1", b"POST /a?b HTTP/1.1", b"GET http://a/b HTTP/1.1", b"OPTIONS * HTTP/1.1", b"PUT / HTTP/1.0",
]  # fmt: skip
STATUS_LINES = [b"HTTP/1.1 200 OK", b"HTTP/1.1 204 ", b"HTTP/1.0 404 Not Found", b"HTTP/1.1 304", b"HTTP/1.1 500 \xe9"]
lines = st.lists(st.lists(st.sampled_from(PARTS), min_size=1, max_size=4).map(b"".join), max_size=5)
many = settings(max_examples=1500, deadline=None)


class Sink:
    """What llhttp tells of a head."""

    def __init__(self) -> None:
        self.url = b""
        self.told: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.told.append((name, value.strip()))

    def on_headers_complete(self) -> None:
        self.complete = True


def first_head(raw: bytes) -> bytes:
    """Return what a leg would hand to its reader: the bytes up to the first empty line."""
    head, _, _ = raw.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n"


def opinion(parser_type: Any, raw: bytes) -> tuple[Any, Sink]:
    """Return llhttp's parser and what it told; its errors are the caller's."""
    sink = Sink()
    parser = parser_type(sink)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:  # the head itself was fine
        sink.complete = True
    assert sink.complete, raw
    return parser, sink


def agree_on_request(raw: bytes) -> None:
    """Check that llhttp reads the same where our reader reads anything."""
    try:
        head = RequestHeadReader(head_limits()).read(raw)
    except Refusal:
        return
    parser, sink = opinion(httptools.HttpRequestParser, raw)
    assert parser.get_method().decode() == head.method
    assert parser.get_http_version() == f"1.{head.minor}"
    if sink.url.startswith((b"/", b"*")):
        assert sink.url == head.target
        assert not sink.told or set(head.parsed.fields.lines) <= set(sink.told)


def agree_on_answer(raw: bytes) -> Lines | None:
    """Check the same of an answer."""
    try:
        head = ResponseHeadReader().read(raw, "GET")
    except BadResponse:
        return None
    if (
        raw.lower().count(b"content-length") > 1
    ):  # one length, said twice: RFC 9110 section 8.6 allows it, llhttp does not
        return head.fields.lines
    parser, sink = opinion(httptools.HttpResponseParser, raw)
    assert parser.get_status_code() == head.status
    assert tuple(sink.told) == head.fields.lines
    return head.fields.lines


@many
@given(st.sampled_from(STARTS), lines)
@example(b"GET / HTTP/1.1", [b"Host: a", b"X-A: \t b \t", b"x:"])
def test_llhttp_reads_a_request_that_we_read_and_reads_the_same(start: bytes, said: list[bytes]) -> None:
    """There is nothing that we take and a stricter parser behind us would take for something else."""
    agree_on_request(first_head(b"\r\n".join([start, b"Host: a", *said, b"", b""])))


@many
@given(st.sampled_from(STATUS_LINES), lines)
@example(b"HTTP/1.1 200 OK", [b"X-A: \t b \t", b"x:"])
def test_llhttp_reads_an_answer_that_we_read_and_reads_the_same(start: bytes, said: list[bytes]) -> None:
    """The same for what a backend says."""
    agree_on_answer(first_head(b"\r\n".join([start, *said, b"", b""])))


@pytest.mark.parametrize("name", HOSTILE_REQUESTS)
def test_we_agree_on_what_is_hostile_too(name: str) -> None:
    """Heads of the list of hostile requests: those that are only refused later are read alike."""
    agree_on_request(first_head(HOSTILE_REQUESTS[name][1]))


@pytest.mark.parametrize("name", HOSTILE_ANSWERS)
def test_we_agree_on_what_is_a_hostile_answer_too(name: str) -> None:
    """And of the list of hostile answers."""
    agree_on_answer(first_head(HOSTILE_ANSWERS[name]))


def test_a_plain_answer_is_read() -> None:
    """The agreement is not that nobody reads anything."""
    read = agree_on_answer(b"HTTP/1.1 200 OK\r\nA: b\r\nSet-Cookie:  c \r\n\r\n")
    assert read == ((b"A", b"b"), (b"Set-Cookie", b"c"))
