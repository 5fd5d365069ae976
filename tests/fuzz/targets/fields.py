"""Field lines: parsed as other parsers do, kept byte for byte, and changed only on purpose."""

from collections.abc import Hashable

from proxy.errors import MalformedFieldLines, TooManyFieldLines
from proxy.http.fields import Fields, Lines, encoded
from proxy.http.headers import HOP_BY_HOP, hop_only, trailers_that_cross
from proxy.http1.field_lines import read_lines
from tests.fuzz.opinions import Message, h11_answer, llhttp_answer, lowered
from tests.fuzz.target import Target
from tests.fuzz.targets.words import HTTP

MOST = 100


def check(data: bytes) -> Hashable:
    """Check a block of lines."""
    block = data if data.endswith(b"\r\n") or not data else data + b"\r\n"
    try:
        fields = read_lines(block, MOST)
    except (MalformedFieldLines, TooManyFieldLines) as error:
        return type(error).__name__
    assert read_lines(fields.encode(), MOST).lines == fields.lines
    for opinion in (h11_answer(answer(block), "HEAD"), llhttp_answer(answer(block))):
        if isinstance(opinion, Message):
            assert unframed(lowered(fields.lines)) == unframed(opinion.lines), opinion
    looked_up(fields)
    changed(fields)
    return min(len(fields.lines), 4), len(fields) < len(fields.lines), b"connection" in fields


def unframed(lines: Lines) -> Lines:
    """Return the lines without lengths: h11 makes one of several."""
    return tuple(line for line in lines if line[0] != b"content-length")


def answer(block: bytes) -> bytes:
    """Return an answer with these lines."""
    return b"HTTP/1.1 200 OK\r\n" + block + b"\r\n"


def looked_up(fields: Fields) -> None:
    """Check look-ups against a plain walk over the lines."""
    for name in {name.lower() for name, _ in fields.lines}:
        values = [value for key, value in fields.lines if key.lower() == name]
        assert fields.all(name) == values
        assert fields.get(name) == values[0]
        assert fields.repeats(name) is (len(values) > 1)
        assert fields.tokens(name) == [
            token for value in values for token in map(bytes.strip, value.lower().split(b",")) if token
        ]


def changed(fields: Fields) -> None:
    """Check that a change touches the named lines alone."""
    names = hop_only(fields, HOP_BY_HOP)
    assert fields.without(names).lines == tuple(line for line in fields.lines if line[0].lower() not in names)
    assert {b"host", b"authorization", b"cookie", b"content-length", b"x-forwarded-user"}.isdisjoint(names)
    for name, _ in fields.lines[:3]:
        with_line = fields.with_line(name, b"new")
        assert with_line.all(name.lower()) == [b"new"]
        assert len(with_line.lines) == len(fields.lines) - len(fields.all(name.lower())) + 1
    assert set(trailers_that_cross(fields.lines)) <= set(fields.lines)
    assert encoded(fields.lines) == fields.encode()


TARGETS = (Target("fields", check, HTTP),)
