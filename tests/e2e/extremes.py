"""Numbers, lists and fields at their limits, on both legs: negative, huge, empty, missing.

Compiled code takes a type as it is written: an integer that does not fit, a slice of nothing or a None where there is
always a value fail there, or fail differently. What every build must do with them is the same.
"""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from tests.e2e.sidecar import PATIENCE, Child
from tests.fuzz.opinions import Message, h11_answer, h11_request

NUMBERS = (
    b"", b"-1", b"+1", b"0", b"00", b"0x10", b"1e9", b"1.5", b"nan", b"\xb2", b"2147483648", b"%d" % (1 << 62),
    b"%d" % (1 << 63), b"9" * 400, b",", b'"', b"=",
)  # fmt: skip
ASKED = (
    b"Content-Length: ", b"X-Request-Deadline-Ms: ", b"Cache-Control: max-age=", b"Cache-Control: min-fresh=",
    b"Range: bytes=", b"Max-Forwards: ", b"Priority: u=", b"Keep-Alive: timeout=", b"Idempotency-Key: ",
    b"If-None-Match: ", b"If-Modified-Since: ", b"Cookie: ", b"Authorization: ", b"X-Forwarded-For: ",
    b"Forwarded: for=", b"traceparent: ", b"tracestate: ", b"Connection: close,", b"TE: ", b"Trailer: ", b"Expect: ",
    b"X-Backstay-Explain: ", b"Content-Type: ",
)  # fmt: skip
ANSWERED = (
    b"Content-Length: ", b"Retry-After: ", b"Age: ", b"Date: ", b"Expires: ", b"Cache-Control: max-age=",
    b"Cache-Control: s-maxage=", b"Cache-Control: stale-if-error=", b"Vary: ", b"ETag: ", b"Last-Modified: ",
    b"Set-Cookie: a=b; Max-Age=", b"Content-Range: bytes ", b"Content-Encoding: ", b"Connection: close,", b"Via: ",
)  # fmt: skip
CONFIG = """
[upstreams.sessions]
url = "{url}"
connect_timeout = "60s"
max_idle = 0
breaker = {{ failure_threshold = 1000000 }}
[listen]
trusted_proxies = ["127.0.0.1"]
[defaults]
explain = true
retry = {{ initial_delay = "0ms", max_delay = "1ms", max_retries = 1, budget = 1.0 }}  # what time has no part in
[[routes]]
operation = "kept"
match = "GET /kept/{{n}}"
subject = "path:n"
reuse = "1h"
stale_if_error = "2h"
[[routes]]
operation = "keyed"
match = "POST /keyed/{{n}}"
subject = "body:/a/0/b"
idempotency = "replay"
upstream_honours_idempotency = true
"""
_OWN = {b"date", b"x-correlation-id", b"server-timing", b"x-backstay-explain"}  # what two answers never share
_ID = re.compile(rb"[a-z-]+-[0-9a-f]{8}-\d{10}")


class Case(NamedTuple):
    """One request, the answer of the backend to it, and whether the client then says that it has no more to say."""

    said: bytes
    answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    unfinished: bool = False


def cases() -> Iterator[Case]:
    """Yield every case."""
    for place, number in enumerate(NUMBERS):
        yield from _asked(number)
        yield from _answered(number, place)
    for target in (
        b"/kept/",
        b"/kept/?",
        b"//",
        b"/?",
        b"/%",
        b"*",
        b"/kept/%00",
        b"http://a",
        b"http://:0/",
        b"/" * 900,
    ):
        yield Case(b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % target)
    for body in (
        b"",
        b"{}",
        b"null",
        b'{"a":[]}',
        b'{"a":[{"b":%d}]}' % (1 << 64),
        b"[" * 3000,
        b'{"a":[{"b":-1e400}]}',
    ):
        yield Case(_post(b"/keyed/1", b"Content-Length: %d\r\n" % len(body), body))


def _asked(number: bytes) -> Iterator[Case]:
    """Yield requests with this number in every place."""
    for name in ASKED:
        long = name == b"Content-Length: " and number.isdigit() and 2 < int(number) < 10**18
        target = b"/unfinished" if long else b"/asked"
        yield Case(_post(target, b"%b%b\r\n" % (name, number), b"hi" if name != ASKED[0] else b""), unfinished=long)
        if name != b"Content-Length: ":
            yield Case(b"GET /kept/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%b%b\r\n\r\n" % (name, number))
    yield Case(b"GET /host HTTP/1.1\r\nHost: a:%b\r\nConnection: close\r\n\r\n" % number)
    yield Case(b"GET /%b HTTP/1.%b\r\nHost: a\r\n\r\n" % (number, number), unfinished=True)
    chunks = (number, b"2;a=%b" % number, b"0" * 20 + number, b"\n" + number)
    yield from (_chunked_request(size + b"\r\nhi\r\n0\r\n\r\n") for size in chunks)
    yield _chunked_request(b"0\r\nX: %b\r\n%b\r\n\r\n" % (number, number))


def _chunked_request(body: bytes) -> Case:
    return Case(_post(b"/chunks", b"Transfer-Encoding: chunked\r\n", body), unfinished=True)


def _post(target: bytes, lines: bytes, body: bytes) -> bytes:
    length = b"" if b"Content-Length" in lines or b"Transfer" in lines else b"Content-Length: %d\r\n" % len(body)
    return b"POST %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%b%b\r\n%b" % (target, length, lines, body)


def _answered(number: bytes, place: int) -> Iterator[Case]:
    """Yield answers with this number in every place: to a request that is kept, and to one that is sent once."""
    asked = (
        b"GET /kept/%b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", _post(b"/keyed/%b", b"", b'{"a":[{"b":1}]}'),
    )  # fmt: skip
    heads = [b"HTTP/1.1 200 OK\r\n%b%b\r\n%b" % (name, number, _framed(name)) for name in ANSWERED]
    heads += [b"HTTP/1.1 503 Busy\r\nRetry-After: %b\r\nContent-Length: 2\r\n\r\nhi" % number]
    heads += [b"HTTP/1.1 %b\r\n\r\n" % number, b"HTTP/1.1 200 %b\r\nContent-Length: 0\r\n\r\n" % number]
    for size in (number, b"2;a=%b" % number, b"\n" + number):
        heads.append(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%b\r\nhi\r\n0\r\nX: %b\r\n\r\n" % (size, number)
        )
    for n, head in enumerate(heads):
        yield from (Case(said % (b"%d-%d" % (place, n)), head) for said in asked)


def _framed(name: bytes) -> bytes:
    return b"\r\nhi" if name == b"Content-Length: " else b"Content-Length: 2\r\n\r\nhi"


class Backend(asyncio.Protocol):
    """A backend that answers each whole request with what the case says, and hangs up."""

    def __init__(self) -> None:
        self.answer = b""
        self.calls = Counter[bytes]()  # by target

    def line(self) -> "_Line":
        """Return a new connection."""
        return _Line(self)


class _Line(asyncio.Protocol):
    def __init__(self, backend: Backend) -> None:
        self._backend, self._heard = backend, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._heard += data
        if isinstance(message := h11_request(self._heard), Message) and message.after is not None:
            self._backend.calls[message.start[1]] += 1
            assert isinstance(self._transport, asyncio.WriteTransport)
            self._transport.write(self._backend.answer)
            self._transport.close()


@asynccontextmanager
async def backend() -> AsyncIterator[tuple[Backend, str]]:
    """Run the backend; yield it and its URL."""
    one = Backend()
    server = await asyncio.get_running_loop().create_server(one.line, "127.0.0.1", 0)
    try:
        yield one, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def converse(child: Child, backend: Backend) -> list[tuple[bytes, object]]:
    """Hold every case's conversation; return what each client said and heard, and how often the backend was asked."""
    port, found = int(child.url.rpartition(":")[2]), list[tuple[bytes, object]]()
    for case in cases():
        target, backend.answer = case.said.split(b" ", 2)[1], case.answer
        before = backend.calls[target]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(case.said)
        if case.unfinished:
            writer.write_eof()
        async with asyncio.timeout(PATIENCE):
            heard = await reader.read()
        writer.close()
        found.append(
            (case.said + case.answer, (_shown(heard, case.said), case.unfinished or backend.calls[target] - before))
        )
    return found


def _shown(heard: bytes, said: bytes) -> object:
    """Return an answer without what no two answers share; of one that is cut, its first line."""
    answer = h11_answer(heard, said.partition(b" ")[0].decode())
    if not isinstance(answer, Message):
        return heard.partition(b"\r\n")[0]
    lines = tuple(line for line in answer.lines if line[0] not in _OWN)
    return answer.start, lines, _ID.sub(b"ID", answer.body)
