"""Bodies and trailers: equal however they are segmented, equal to other parsers' results, and forwarded unchanged."""

from collections.abc import Hashable, Iterator
from random import Random
from typing import NamedTuple

from proxy.errors import BrokenBody
from proxy.http.fields import Lines
from proxy.http.headers import trailers_that_cross
from proxy.http.message import Framing
from proxy.http1.body import ChunkedBody, LengthBody, framed
from tests.fuzz.opinions import Message, h11_request, llhttp_request, lowered
from tests.fuzz.target import Target
from tests.fuzz.targets.words import HTTP
from tests.wire.test_hostile_answers import BROKEN_BODIES

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


class Read(NamedTuple):
    """What became of a body."""

    ending: str  # whole, unfinished or broken
    body: bytes = b""
    rest: bytes = b""
    trailers: Lines = ()


def read(pieces: Iterator[bytes]) -> Read:
    """Return a chunked body that arrives in these pieces."""
    decoder, body, rest = ChunkedBody(), b"", b""
    try:
        for piece in pieces:
            if decoder.done:
                rest += piece
            else:
                body += decoder.feed(piece)
                rest = decoder.rest
    except BrokenBody as broken:
        assert str(broken)
        return Read("broken")
    return Read("whole", body, rest, decoder.trailers) if decoder.done else Read("unfinished", body)


def cut(data: bytes, seed: int) -> Iterator[bytes]:
    """Yield the data in pieces of a few bytes."""
    random = Random(seed)
    at = 0
    while at < len(data):
        size = random.choice((1, 1, 2, 3, 17))
        yield data[at : at + size]
        at += size


def check_chunks(data: bytes) -> Hashable:
    """Check a chunked body; the first byte says how it is cut."""
    said = data[1:]
    found = read(iter((said,)))
    assert read(cut(said, data[0] if data else 0)) == found
    if found.ending == "whole":
        for opinion in (h11_request(HEAD + said), llhttp_request(HEAD + said)):
            if isinstance(opinion, Message):
                assert opinion.body == found.body, opinion
                assert opinion.after in (None, found.rest), opinion
        passed_on(found)
    return found.ending, bool(found.body), bool(found.rest), len(found.trailers), len(found.body) > 5


def passed_on(found: Read) -> None:
    """Check that the body is the same once it was framed anew, and that no trailer frames or routes."""
    crossing = trailers_that_cross(found.trailers)
    again = framed(found.body, Framing.CHUNKED, crossing)
    assert read(iter((again,))) == Read("whole", found.body, b"", crossing)
    other = h11_request(HEAD + again)
    assert isinstance(other, Message), other
    assert (other.body, other.after) == (found.body, b"")
    forbidden = {
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"authorization",
        b"cookie",
        b"trailer",
        b"connection",
    }
    assert forbidden.isdisjoint(name for name, _ in lowered(crossing))


def check_trailers(data: bytes) -> Hashable:
    """Check the lines after a last chunk."""
    return check_chunks(b"\7" + b"0\r\n" + data)


def check_length(data: bytes) -> Hashable:
    """Check a body of a known length: the first byte says it, the second how it is cut."""
    size, said = (data[0] if data else 0), data[2:]
    decoder, body, rest = LengthBody(size), b"", b""
    for piece in cut(said, data[1] if len(data) > 1 else 0):
        if decoder.done:
            rest += piece
        else:
            body += decoder.feed(piece)
            rest = decoder.rest
    assert (body, rest) == (said[:size], said[size:])
    assert decoder.done is (len(said) >= size)
    return decoder.done, bool(rest), bool(size)


TARGETS = (
    Target("chunked-bodies", check_chunks, HTTP, tuple(b"\0" + said for said in BROKEN_BODIES.values())),
    Target("length-bodies", check_length),
    Target("trailers", check_trailers, HTTP),
)
