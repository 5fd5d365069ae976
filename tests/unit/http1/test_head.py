"""Request heads at the edge of what is accepted: two parties must not see two different messages."""

import pytest

from proxy.http.message import Framing
from proxy.http.problems import Refusal
from proxy.http1.body import LengthBody
from proxy.http1.head import RequestHead, RequestHeadReader, ResponseHeadReader
from tests.settings import head_limits

POST = b"POST / HTTP/1.1\r\nHost: a\r\n"


def read(raw: bytes, **limits: int) -> RequestHead:
    """Return the head of a request."""
    return RequestHeadReader(head_limits(**limits)).read(raw + b"\r\n")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400),
        (POST + b"Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        (POST + b"Content-Length: 1" + b"0" * 18 + b"\r\n", 400),
        (POST + b"Transfer-Encoding:\tchunked\r\n", 501),
        (POST + b"Transfer-Encoding: chunked\t\r\n", 501),
        (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n", 400),
    ],
)
def test_a_body_of_doubtful_length_is_refused(raw: bytes, status: int) -> None:
    """Before anything of it goes upstream (RFC 9112 sections 6.1 and 6.3)."""
    with pytest.raises(Refusal) as refused:
        read(raw)
    assert refused.value.status == status


@pytest.mark.parametrize("digits", [b"9" * 18, b"0" * 40 + b"9" * 18])
def test_a_length_may_have_18_digits(digits: bytes) -> None:
    """Leading zeros are none of them."""
    parsed = read(POST + b"Content-Length: " + digits + b"\r\n").parsed
    assert (parsed.framing, parsed.length) == (Framing.LENGTH, int(digits))


def test_each_limit_is_the_largest_head_that_is_taken() -> None:
    """One field, or one byte, more is refused."""
    raw = b"GET /abc HTTP/1.1\r\nHost: a\r\nX-A: b\r\n"
    limits = {"fields": (2, 431), "target": (4, 414), "head": (len(raw) + 2, 431)}
    for name, (limit, status) in limits.items():
        assert read(raw, **{name: limit}).target == b"/abc"
        with pytest.raises(Refusal) as refused:
            read(raw, **{name: limit - 1})
        assert refused.value.status == status, name


def test_what_follows_a_body_of_known_length_is_not_lost() -> None:
    """It is the next request."""
    body = LengthBody(4)
    assert (body.feed(b"ab"), body.done, body.rest) == (b"ab", False, b"")
    assert (body.feed(b"cdGET"), body.done, body.rest) == (b"cd", True, b"GET")


def test_remembered_fields_are_read_again_for_another_version() -> None:
    """A connection remembers its last fields: in HTTP/1.0 the same lines mean another thing."""
    reader = RequestHeadReader(head_limits())
    lines = b"Host: a\r\n\r\n"
    versions = (b"1.1", b"1.0", b"1.1")
    assert [reader.read(b"GET / HTTP/%b\r\n%b" % (version, lines)).parsed.keep_alive for version in versions] == [
        True, False, True,
    ]  # fmt: skip


def test_a_remembered_response_is_read_again_for_another_method() -> None:
    """The response to HEAD has the length of a body that it has not (RFC 9110 section 9.3.2)."""
    reader = ResponseHeadReader()
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    heads = [reader.read(raw, method) for method in ("GET", "HEAD", "GET")]
    assert [(head.framing, head.length) for head in heads] == [
        (Framing.LENGTH, 5), (Framing.NONE, 0), (Framing.LENGTH, 5),
    ]  # fmt: skip
