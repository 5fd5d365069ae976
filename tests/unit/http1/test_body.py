"""Chunked bodies (RFC 9112 section 7.1): the same result however they are segmented, and bounded cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import BrokenBody
from proxy.http1.body import ChunkedBody

pieces = st.lists(st.binary(min_size=1, max_size=20) | st.sampled_from([b"\r", b"\n", b"\r\n", b"\n\n", b"x" * 300]))
spellings = st.sampled_from(["%x", "%X", "0%x", "000%X", "%x;a", '%x \t; a="b"'])
cuts = st.lists(st.integers(1, 40), max_size=60)


def fed(body: ChunkedBody, *segments: bytes) -> bytes:
    """Feed segments, and return what was decoded."""
    return b"".join([body.feed(segment) for segment in segments])


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """Cut into segments of these sizes, and one of the rest."""
    segments, at = [], 0
    for size in sizes:
        segments.append(data[at : at + size])
        at += size
    return [segment for segment in (*segments, data[at:]) if segment]


@given(st.lists(st.tuples(pieces, spellings)), cuts)
def test_the_data_comes_out_however_it_is_cut(groups: list[tuple[list[bytes], str]], sizes: list[int]) -> None:
    chunks = [(piece, spelling) for group, spelling in groups for piece in group]
    raw = b"".join((spelling % len(piece)).encode() + b"\r\n" + piece + b"\r\n" for piece, spelling in chunks)
    body = ChunkedBody()
    assert fed(body, *cut(raw + b"0\r\nT: v\r\n\r\nGET", sizes)) == b"".join(piece for piece, _ in chunks)
    assert body.trailers == ((b"T", b"v"),)


@pytest.mark.parametrize("run", [1, 31, 32, 33, 1000])
def test_a_run_of_tiny_chunks_ends_where_another_begins(run: int) -> None:
    body = ChunkedBody()
    assert body.feed(b"1\r\na\r\n" * run + b"10\r\n" + b"b" * 16 + b"\r\n" + b"2\r\nc") == b"a" * run + b"b" * 16 + b"c"
    assert body.feed(b"d\r\n0\r\n\r\nnext") == b"d"
    assert body.rest == b"next"


@pytest.mark.parametrize(
    "raw",
    [
        b"\nxx\r\n", b"\r\nx", b"1\n", b"1\r\nab\r\n", b"1\r\na\n\r\n", b"1\r\na\r\n\n", b"2\r\nab\n", b" 1\r\n",
        b"-1\r\n", b"1_0\r\n", b"0x1\r\n", b"1;a\x01\r\n", b"1\ra\r\n", b"g\r\n", b"1" * 16 + b"\r\n",
        b"0\r\n\n", b"0\r\na\r\n", b"0\r\na b:c\r\n", b"0\r\n: c\r\n", b"0\r\na: \x01\r\n", b"0\r\na:\r \r\n",
        b"0\r\n b: c\r\n", b"50\nhello\r\n", b"5;a\nhello\r\n", b"00\n\r\n", b"0\r\na: b\n\r\n",
    ],
)  # fmt: skip
def test_what_is_not_strictly_chunked_is_broken_in_one_segment_and_in_many(raw: bytes) -> None:
    with pytest.raises(BrokenBody):
        ChunkedBody().feed(raw)
    with pytest.raises(BrokenBody):
        fed(ChunkedBody(), *cut(raw, [1] * len(raw)))


def test_a_value_in_a_trailer_loses_only_its_white_space() -> None:
    body = ChunkedBody()
    body.feed(b"0\r\na: \t b \t c\t \r\nd:\r\n\r\n")
    assert body.trailers == ((b"a", b"b \t c"), (b"d", b""))


@pytest.mark.parametrize("lines", [b"a:\r\n" * 129, b"a: " + b"b" * 16_400 + b"\r\n", b"a: " + b"b" * 16_400])
def test_trailers_are_bounded_in_lines_and_bytes(lines: bytes) -> None:
    with pytest.raises(BrokenBody):
        ChunkedBody().feed(b"0\r\n" + lines)


def test_extensions_are_bounded_beside_the_data() -> None:
    with pytest.raises(BrokenBody, match="extensions"):
        ChunkedBody().feed(b"1;a\r\nx\r\n" * 1000)
    with pytest.raises(BrokenBody, match="extensions"):
        ChunkedBody().feed((b"1;" + b"a" * 4000 + b"\r\nx\r\n") * 10)
    endless = b"40;a\r\n" + b"x" * 64 + b"\r\n"
    assert len(ChunkedBody().feed(endless * 1000)) == 64_000
