"""Where a body ends (RFC 9112 sections 6 and 7). Both legs decode with these three.

By our own hand: llhttp cannot say at which byte a message ended, so the next head of a pipeline would be parsed before
it was bounded, and its response parser takes the answer after a HEAD for a body.
"""

import re

from proxy.errors import BrokenBody
from proxy.fields import Lines
from proxy.message import Framing

_SIZE_DIGITS = re.compile(rb"[0-9A-Fa-f]+")
_SIZE_LIMIT = 15  # digits that count
_EXTENSION = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_TRAILER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
_LINE_LIMIT = 4096
_TRAILERS_LIMIT = 16_384


class LengthBody:
    """A body of known length."""

    __slots__ = ("done", "remaining", "rest", "trailers")

    def __init__(self, length: int) -> None:
        self.remaining = length
        self.done = length == 0
        self.rest = b""
        self.trailers: Lines = ()

    def feed(self, data: bytes) -> bytes:
        """Return the body's share of `data`; what follows the body is left in `rest`."""
        size = len(data)
        if size < self.remaining:
            self.remaining -= size
            return data
        piece, self.rest = data[: self.remaining], data[self.remaining :]
        self.remaining = 0
        self.done = True
        return piece

    def end(self) -> None:
        """Take the end of the connection: broken unless the body is done."""
        raise BrokenBody(f"{self.remaining} bytes are missing")


class ChunkedBody:
    """A chunked body: size line -> data -> CRLF -> ... -> last chunk -> trailers -> end."""

    __slots__ = ("_pending", "_remaining", "_step", "_trailer_bytes", "_trailers", "done", "rest")

    def __init__(self) -> None:
        self.done = False
        self.rest = b""
        self._pending = b""
        self._remaining = 0
        self._step = self._size
        self._trailer_bytes = 0
        self._trailers: list[tuple[bytes, bytes]] = []

    @property
    def trailers(self) -> Lines:
        """Return the trailer lines."""
        return tuple(self._trailers)

    def feed(self, data: bytes) -> bytes:
        """Return the decoded share of `data`. Raise BrokenBody at the first byte that is not strict chunked coding."""
        if self._pending:
            data, self._pending = self._pending + data, b""
        pieces: list[bytes] = []
        at = 0
        while not self.done:
            after = self._step(data, at, pieces)
            if after is None:
                self._pending = data[at:]
                break
            at = after
        else:
            self.rest = data[at:]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _line(self, data: bytes, at: int, limit: int) -> bytes | None:
        end = data.find(b"\n", at)
        if end < 0:
            if len(data) - at > limit:
                raise BrokenBody("a chunk line is too long")
            return None
        if end - at > limit or data[end - 1 : end] != b"\r" or end == at:
            raise BrokenBody("a chunk line does not end in CRLF")
        return data[at : end - 1]

    def _size(self, data: bytes, at: int, pieces: list[bytes]) -> int | None:
        line = self._line(data, at, _LINE_LIMIT)
        if line is None:
            return None
        self._remaining = _chunk_size(line)
        self._step = self._data if self._remaining else self._trailer
        return at + len(line) + 2

    def _data(self, data: bytes, at: int, pieces: list[bytes]) -> int | None:
        piece = data[at : at + self._remaining]
        if not piece:
            return None
        pieces.append(piece)
        self._remaining -= len(piece)
        if not self._remaining:
            self._step = self._data_end
        return at + len(piece)

    def _data_end(self, data: bytes, at: int, pieces: list[bytes]) -> int | None:
        end = data[at : at + 2]
        if end != b"\r\n"[: len(end)]:
            raise BrokenBody("a chunk is longer than its size")
        if len(end) < 2:
            return None
        self._step = self._size
        return at + 2

    def _trailer(self, data: bytes, at: int, pieces: list[bytes]) -> int | None:
        line = self._line(data, at, _TRAILERS_LIMIT)
        if line is None:
            return None
        if not line:
            self.done = True
            return at + 2
        match = _TRAILER.fullmatch(line)
        self._trailer_bytes += len(line)
        if match is None or self._trailer_bytes > _TRAILERS_LIMIT:
            raise BrokenBody("the trailers are malformed")
        self._trailers.append((match[1], match[2]))
        return at + len(line) + 2

    def end(self) -> None:
        """Take the end of the connection: always before ours."""
        raise BrokenBody("the last chunk is missing")


def _chunk_size(line: bytes) -> int:
    """Return the size that a chunk begins with; any number of zeros may stand before it (RFC 9112 section 7.1)."""
    size, semicolon, extension = line.partition(b";")
    if semicolon:
        size = size.rstrip(b" \t")
    if _SIZE_DIGITS.fullmatch(size) is None or _EXTENSION.fullmatch(extension) is None:
        raise BrokenBody("a chunk size is not a number")
    if len(size) > _SIZE_LIMIT and len(size.lstrip(b"0")) > _SIZE_LIMIT:
        raise BrokenBody("a chunk is too large")
    return int(size, 16)


class CloseBody:
    """A response body that ends with its connection."""

    __slots__ = ("done", "rest", "trailers")

    def __init__(self) -> None:
        self.done = False
        self.rest = b""
        self.trailers: Lines = ()

    def feed(self, data: bytes) -> bytes:
        """Return all of it."""
        return data

    def end(self) -> None:
        """Take the end of the connection: it is the body's."""
        self.done = True


Decoder = LengthBody | ChunkedBody | CloseBody


def decoder(framing: Framing, length: int) -> Decoder:
    """Return the decoder for a body framed so."""
    if framing is Framing.CHUNKED:
        return ChunkedBody()
    return CloseBody() if framing is Framing.CLOSE else LengthBody(length)


LAST_CHUNK = b"0\r\n\r\n"


def chunk(piece: bytes) -> bytes:
    """Return one chunk that carries `piece`."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def last_chunk(trailers: Lines) -> bytes:
    """Return the end of a chunked body."""
    if not trailers:
        return LAST_CHUNK
    return b"0\r\n" + b"".join(b"%b: %b\r\n" % line for line in trailers) + b"\r\n"


def framed(body: bytes, framing: Framing, trailers: Lines = ()) -> bytes:
    """Return a whole body as it stands on the wire."""
    if framing is not Framing.CHUNKED:
        return body
    return (chunk(body) if body else b"") + last_chunk(trailers)
