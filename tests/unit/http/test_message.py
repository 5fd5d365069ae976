"""The values that are forwarded: field lines as received, and requests, responses and failures."""

import pytest

from proxy.http.fields import NO_FIELDS, Fields
from proxy.http.message import (
    Failure,
    Framing,
    Peer,
    Request,
    Response,
    discard,
    response_in,
)
from proxy.http.problems import Reason

LINES = (
    (b"Host", b"a"),
    (b"Set-Cookie", b"one"),
    (b"X-Odd", b"\xff\xfe"),
    (b"set-cookie", b"two"),
    (b"Cache-Control", b"No-Cache, max-age=0"),
    (b"cache-control", b" private ,,"),
)
PEER = Peer("10.0.0.1", 40000)


class Body:
    """A streamed body that notes whether it was dropped."""

    def __init__(self) -> None:
        self.discarded = 0

    def open(self) -> object:
        raise AssertionError("nobody reads it here")

    def discard(self) -> None:
        self.discarded += 1


def test_fields_keep_order_case_duplicates_and_bytes() -> None:
    """What came goes on as it came; look-ups go by lower-case name."""
    fields = Fields(LINES)
    assert fields.lines == LINES
    assert fields.get(b"set-cookie") == b"one"
    assert fields.all(b"set-cookie") == [b"one", b"two"]
    assert fields.get(b"x-odd") == b"\xff\xfe"
    assert b"host" in fields
    assert b"Host" not in fields
    assert (fields.get(b"none"), fields.all(b"none")) == (None, [])


def test_tokens_are_the_members_of_every_line() -> None:
    """RFC 9110 section 5.6.1: members of all lines, lower-case, empty ones dropped."""
    assert list(Fields(LINES).tokens(b"cache-control")) == [b"no-cache", b"max-age=0", b"private"]
    assert list(NO_FIELDS.tokens(b"cache-control")) == []


def test_fields_are_not_changed_but_made_anew() -> None:
    """A response is shared by many callers: whoever wants other lines gets other Fields."""
    fields = Fields(LINES)
    assert fields.without((b"set-cookie", b"cache-control")).lines == (LINES[0], LINES[2])
    assert fields.with_line(b"Set-Cookie", b"new").lines == (LINES[0], (b"Set-Cookie", b"new"), LINES[2], *LINES[4:])
    assert fields.with_line(b"Age", b"1").lines == (*LINES, (b"Age", b"1"))
    assert fields.lines == LINES


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/a?b=c", b"/a", b"b=c"),
        (b"/a?b?c", b"/a", b"b?c"),
        (b"/a?", b"/a", b""),
        (b"/a", b"/a", b""),
        (b"*", b"*", b""),
    ],
)
def test_a_target_is_path_and_query(target: bytes, path: bytes, query: bytes) -> None:
    """The first question mark divides, and nothing is decoded."""
    request = Request("GET", target, NO_FIELDS, PEER)
    assert (request.path, request.query, request.target) == (path, query, target)


@pytest.mark.parametrize(
    ("method", "safe"),
    [("GET", True), ("HEAD", True), ("OPTIONS", True), ("TRACE", True), ("POST", False), ("PUT", False),
     ("PATCH", False), ("DELETE", False), ("CONNECT", False), ("get", False), ("BREW", False)],
)  # fmt: skip
def test_which_methods_are_safe(method: str, safe: bool) -> None:
    """RFC 9110 section 9.2.1: methods are case-sensitive, and an unknown one is not safe."""
    assert Request(method, b"/", NO_FIELDS, PEER).safe is safe


def test_a_whole_body_can_be_sent_again() -> None:
    """Bytes are replayable, a stream is not."""
    assert Request("POST", b"/", NO_FIELDS, PEER, b"x").replayable
    assert not Request("POST", b"/", NO_FIELDS, PEER, Body()).replayable  # type: ignore[arg-type]
    assert Response(200, b"OK", NO_FIELDS).whole
    assert not Response(200, b"OK", NO_FIELDS, Body()).whole  # type: ignore[arg-type]


def test_the_client_is_the_peer_unless_trusted_proxies_say_otherwise() -> None:
    """The address that identifies a caller without credentials."""
    assert Request("GET", b"/", NO_FIELDS, PEER).client == "10.0.0.1"
    assert Request("GET", b"/", NO_FIELDS, PEER, client="203.0.113.7").client == "203.0.113.7"


def test_what_of_an_outcome_can_be_relayed() -> None:
    """An answer, or the part of one that broke off; a plain failure has neither."""
    answer = Response(200, b"OK", NO_FIELDS, b"half", Framing.LENGTH)
    assert response_in(answer) is answer
    assert response_in(Failure(Reason.RESPONSE_INCOMPLETE, sent=True, partial=answer)) is answer
    assert response_in(Failure(Reason.CONNECTION_REFUSED, sent=False)) is None


def test_an_outcome_that_nobody_gets_is_let_go() -> None:
    """A streamed body is dropped once, whether it is whole or the part of one; bytes need nothing."""
    body = Body()
    streamed = Response(200, b"OK", NO_FIELDS, body)  # type: ignore[arg-type]
    discard(streamed)
    discard(Failure(Reason.RESPONSE_INCOMPLETE, sent=True, partial=streamed))
    assert body.discarded == 2
    discard(Response(200, b"OK", NO_FIELDS, b"x"))
    discard(Failure(Reason.CONNECTION_REFUSED, sent=False))


def test_reprs_show_what_matters() -> None:
    """A log line names the request, never its fields."""
    request = Request("GET", b"/a?b", Fields(((b"Authorization", b"secret"),)), PEER)
    assert repr(request) == "<Request GET b'/a?'>"
