"""The messages of hostile peers: requests and responses in pieces, tagged with their target, and other bytes."""

from collections.abc import Callable
from typing import NamedTuple

SMALL, LARGE = 5, 70_000  # bytes of a body: one that is kept, and one that is relayed
UNREQUESTED = b"HTTP/1.1 200 OK\r\nX-For: /stray\r\nContent-Length: 5\r\n\r\nSTRAY"
NOISE = (
    b"\0noise\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\nHost: a\n\n", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", b"\r\n\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-L",
)  # fmt: skip
JUNK = (
    b"\0junk\r\n\r\n", b"HTTP/1.1 200\nA: b\n\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"g\r\njunk\r\n",
    b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    b"HTTP/1.1 103 Early\r\n\r\n" * 50 + b"HTTP",
    b"HTTP/1.1 99 Low\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
)  # fmt: skip


class Request(NamedTuple):
    """A request: its pieces are said one after another."""

    method: str
    target: bytes
    pieces: tuple[bytes, ...] = ()
    body: bytes = b""


class Answer(NamedTuple):
    """An answer: `body` is what of it a client should see.

    `until_end`: the body ends with its connection; `last`: the connection must not be used again.
    """

    status: int
    pieces: tuple[bytes, ...]
    body: bytes
    until_end: bool = False
    last: bool = False

    def said(self, unsaid: bytes) -> bytes | None:
        """Return the body so far, for an answer that lasts until the end; None before it began."""
        whole = b"".join(self.pieces)
        head, _, _ = whole.partition(b"\r\n\r\n")
        said = whole[: len(whole) - len(unsaid)]
        return said[len(head) + 4 :] if len(said) >= len(head) + 4 else None


def tagged(target: bytes, size: int) -> bytes:
    """Return a body that shows whose it is."""
    tag = b"<%b>" % target
    return tag * (1 + size // len(tag))


def cut(head: bytes, body: bytes = b"") -> tuple[bytes, ...]:
    """Return a message in pieces: half a head, the rest of it, half a body, the rest of it."""
    pieces = (head[: len(head) // 2], head[len(head) // 2 :], body[: len(body) // 2], body[len(body) // 2 :])
    return tuple(piece for piece in pieces if piece)


def _chunks(body: bytes, *, trailers: bytes = b"") -> bytes:
    half = len(body) // 2
    parts = (body[:half], body[half:])
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n" + trailers + b"\r\n"


# requests


def _bare(method: str, path: bytes) -> Callable[[int], Request]:
    def request(n: int) -> Request:
        target = path if path == b"/shared" else b"%b%d" % (path, n)
        return Request(method, target, cut(b"%b %b HTTP/1.1\r\nHost: a\r\n\r\n" % (method.encode(), target)))

    return request


def _upload(method: str, size: int, *, chunked: bool = False, expect: bool = False) -> Callable[[int], Request]:
    def request(n: int) -> Request:
        target = b"/upload%d" % n
        body = tagged(target, size)
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
        more = b"\r\nExpect: 100-continue" if expect else b""
        head = b"%b %b HTTP/1.1\r\nHost: a\r\n%b%b\r\n\r\n" % (method.encode(), target, framing, more)
        return Request(method, target, cut(head, _chunks(body) if chunked else body), body)

    return request


REQUESTS: tuple[Callable[[int], Request], ...] = (
    _bare("GET", b"/r"), _bare("HEAD", b"/r"), _bare("GET", b"/shared"), _bare("GET", b"/again/"), _bare("DELETE",
    b"/r"),
    _upload("POST", SMALL), _upload("PUT", LARGE), _upload("POST", SMALL, chunked=True),
    _upload("POST", LARGE, chunked=True), _upload("PUT", SMALL, expect=True), _upload("POST", LARGE, expect=True),
)  # fmt: skip


# answers


def _plain(status: int, size: int, fields: bytes = b"", *, last: bool = False) -> Callable[[Request], Answer]:
    def answer(to: Request) -> Answer:
        body = tagged(to.target, size)
        head = _head(status, to, fields + b"Content-Length: %d\r\n" % len(body))
        body = b"" if to.method == "HEAD" else body
        return Answer(status, cut(head, body), body, last=last)

    return answer


def _head(status: int, to: Request, fields: bytes) -> bytes:
    return b"HTTP/1.1 %d Said\r\nX-For: %b\r\n%b\r\n" % (status, to.target, fields)


def _chunked(trailers: bytes) -> Callable[[Request], Answer]:
    def answer(to: Request) -> Answer:
        body = b"" if to.method == "HEAD" else tagged(to.target, SMALL)
        head = _head(200, to, b"Transfer-Encoding: chunked\r\n")
        return Answer(200, cut(head, _chunks(body, trailers=trailers) if body else b""), body)

    return answer


def _until_end(to: Request) -> Answer:
    body = b"" if to.method == "HEAD" else tagged(to.target, 300)
    return Answer(200, cut(_head(200, to, b""), body), body, until_end=to.method != "HEAD", last=to.method != "HEAD")


def _empty(status: int) -> Callable[[Request], Answer]:
    return lambda to: Answer(status, cut(_head(status, to, b"")), b"")


def _hinted(to: Request) -> Answer:
    answer = ANSWERS[0](to)
    return answer._replace(pieces=(b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n", *answer.pieces))


def _with_unrequested(size: int, status: int = 200) -> Callable[[Request], Answer]:
    """Return answers that say more than they may: another answer, or a body where none belongs."""

    def answer(to: Request) -> Answer:
        plain = _plain(status, size)(to) if status == 200 else _empty(status)(to)
        return plain._replace(pieces=(*plain.pieces[:-1], plain.pieces[-1] + UNREQUESTED), last=True)

    return answer


ANSWERS: tuple[Callable[[Request], Answer], ...] = (
    _plain(200, SMALL), _plain(200, LARGE), _plain(503, SMALL), _plain(413, SMALL, b"Connection: close\r\n", last=True),
    _chunked(b""), _chunked(b"X-Sum: 5\r\n"), _until_end, _empty(204), _empty(304), _hinted, _with_unrequested(SMALL),
    _with_unrequested(LARGE), _with_unrequested(0, 204), _with_unrequested(0, 304),
    _plain(200, SMALL, b"Connection: close\r\n", last=True),
)  # fmt: skip
