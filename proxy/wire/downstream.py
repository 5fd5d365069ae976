"""The downstream leg: one connection to a client, what is read on it, and what is answered, in order."""

import asyncio
from collections import deque
from typing import cast

from proxy.errors import BrokenBody, Refusal
from proxy.exchange import Exchange
from proxy.message import Fields, Framing, Lines, Peer, Reader, Request, Response
from proxy.wire.bodies import Decoder, chunk, decoder, framed, last_chunk
from proxy.wire.gate import Gate, reset
from proxy.wire.heads import RequestHead, read_request_head
from proxy.wire.relay import Relay

MAX_PIPELINED = 64
LINGER_S = 2.0  # how long a refused upload is still read, so that its answer is not lost to a reset
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_TOKEN_START = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz\r\n")


class Downstream(asyncio.Protocol):
    """One connection: head -> body -> head -> ... ; and beside it: exchange -> answer -> exchange -> ...

    Requests are read ahead, at most `MAX_PIPELINED`, and answered one at a time in their order (W12). It is the
    `Client` of whichever exchange is current.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self._peer = Peer("", 0)
        self._pending = b""  # of a head that is not whole yet
        self._held = b""  # not parsed: too many requests wait already
        self._decoder: Decoder | None = None
        self._incoming: Exchange | None = None  # the one whose body arrives
        self._collected: list[bytes] = []
        self._size = 0
        self._upload: Relay | None = None
        self._owes_continue = False
        self._queue: deque[Exchange | Refusal] = deque()
        self._current: Exchange | None = None
        self._writable: asyncio.Future[None] | None = None
        self._reading_paused = False
        self._lingering = False
        self._blocked_since = 0.0
        self.since = 0.0  # gate time of the last change of what is waited for
        self.heard_at = 0.0

    # the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it
        name = self.transport.get_extra_info("peername")
        self._peer = Peer(name[0], name[1]) if isinstance(name, tuple) else Peer("unix", 0)
        self.since = self.heard_at = self._gate.tick
        if not self._gate.enter(self):
            self._queue.append(Refusal(503, "max_connections", "too many connections; try again shortly"))
            self._next()

    def data_received(self, data: bytes) -> None:
        self.heard_at = self._gate.tick
        if self._lingering:
            return
        if self._held:
            self._held += data
            return
        self._feed(data)

    def eof_received(self) -> bool:
        return False  # a client that half-closes has left, as for nginx and Envoy

    def connection_lost(self, exc: Exception | None) -> None:
        self._gate.leave(self)
        self._lingering = True
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        if self._upload is not None:
            self._upload.break_off("the client left in mid-body")
        self._queue.clear()
        if self._current is not None:
            self._current.abandon()

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()
        self._blocked_since = self._gate.tick

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # reading

    def _feed(self, data: bytes) -> None:
        try:
            while data and not self._lingering:
                if self._decoder is not None:
                    data = self._feed_body(self._decoder, data)
                elif len(self._queue) >= MAX_PIPELINED:
                    self._held = data
                    self._pause(True)
                    return
                else:
                    data = self._feed_head(data)
        except Refusal as refusal:
            self._refuse(refusal)

    def _feed_head(self, data: bytes) -> bytes:
        start = max(0, len(self._pending) - 3)
        if self._pending:
            data = self._pending + data
            self._pending = b""
        else:
            data = data.lstrip(b"\r\n")  # RFC 9112 section 2.2: an empty line before a request is ignored
            self.since = self._gate.tick
        end = data.find(b"\r\n\r\n", start)
        if end >= 0:
            if end + 4 > self._gate.limits.head:
                self._too_large(data)
            self._open(read_request_head(data[: end + 4], self._gate.limits))
            return data[end + 4 :]
        self._pending = data
        self._check_unfinished(data)
        return b""

    def _check_unfinished(self, data: bytes) -> None:
        """Refuse early what can never become a head: not HTTP at all, bare line feeds, or too much (W10, W11)."""
        if data and data[0] not in _TOKEN_START:
            raise Refusal(400, "malformed", "this is not HTTP/1.1")
        if data.count(b"\n") != data.count(b"\r\n"):
            raise Refusal(400, "malformed", "a line of the head ends without CR")
        if len(data) > self._gate.limits.head:
            self._too_large(data)

    def _too_large(self, data: bytes) -> None:
        if len(data.split(b"\r\n", 1)[0]) > self._gate.limits.target:
            raise Refusal(414, "target_too_long", "the request line is too long")
        raise Refusal(431, "head_too_large", f"a request head may have at most {self._gate.limits.head} bytes")

    def _open(self, head: RequestHead) -> None:
        """Take a request whose head is here (steps 1 and 2), and decide how its body is taken."""
        client = self._gate.trusted.client(self._peer, head.fields)
        request = Request(
            head.method, head.target, head.fields, self._peer, framing=head.framing, authority=head.authority,
            minor=head.minor, client=client, keep_alive=head.keep_alive,
        )  # fmt: skip
        exchange = self._gate.open(request, self)
        if head.framing is Framing.NONE:
            self._ready(exchange)
            return
        route = exchange.route
        if route.max_body is not None and head.length > route.max_body:
            raise Refusal(413, "body_too_large", f"the body may have at most {route.max_body} bytes")
        self._expect(head.fields)
        self._decoder = decoder(head.framing, head.length)
        self._incoming, self._collected, self._size = exchange, [], 0
        self.since = self._gate.tick
        if head.length > route.replay_limit:
            self._stream(exchange)
        if self._decoder.done:
            self._body_done(self._decoder)

    def _expect(self, fields: Fields) -> None:
        expectation = fields.get(b"expect")
        if expectation is None:
            return
        if expectation.strip().lower() != b"100-continue":
            raise Refusal(417, "expectation", "100-continue is the only expectation known here")
        if self._current is None and not self._queue:
            self._write(CONTINUE)
        else:
            self._owes_continue = True

    def _feed_body(self, body: Decoder, data: bytes) -> bytes:
        try:
            piece = body.feed(data)
        except BrokenBody as broken:
            raise Refusal(400, "malformed_body", str(broken)) from None
        exchange = self._incoming
        assert exchange is not None
        self._size += len(piece)
        exchange.bytes_in = self._size
        route = exchange.route
        if route.max_body is not None and self._size > route.max_body:
            raise Refusal(413, "body_too_large", f"the body may have at most {route.max_body} bytes")
        if self._upload is not None:
            self._upload.push(piece)
        else:
            self._collected.append(piece)
            if self._size > route.replay_limit:
                self._stream(exchange)
        if body.done:
            self._body_done(body)
            return body.rest
        return b""

    def _stream(self, exchange: Exchange) -> None:
        """Begin the exchange while its body still arrives."""
        self._upload = Relay(self._pause, self._upload_unwanted)
        for piece in self._collected:
            self._upload.push(piece)
        self._collected = []
        exchange.request.body = self._upload
        self._ready(exchange)

    def _body_done(self, body: Decoder) -> None:
        exchange, upload = self._incoming, self._upload
        assert exchange is not None
        self._decoder = self._incoming = self._upload = None
        self._owes_continue = False
        if upload is not None:
            upload.finish(body.trailers)
        else:
            exchange.request.body = b"".join(self._collected)
            self._collected = []
            self._ready(exchange)

    def _upload_unwanted(self) -> None:
        """Let an upload that nobody reads any more run into the void until its answer is out."""

    # answering, in order

    def _ready(self, exchange: Exchange) -> None:
        self._queue.append(exchange)
        self._next()

    def _next(self) -> None:
        if self._current is not None or not self._queue:
            return
        following = self._queue.popleft()
        if isinstance(following, Refusal):
            self._write(self._gate.refusal(following, self._peer))
            self._close(linger=True)
            return
        self._current = following
        self._gate.begun += 1
        following.task = self._loop.create_task(following.run())
        if self._held and len(self._queue) < MAX_PIPELINED // 2:
            held, self._held = self._held, b""
            self._pause(False)
            self._feed(held)

    def _refuse(self, refusal: Refusal) -> None:
        """Answer what is refused on the wire after all that came before it, and read no further."""
        self._decoder = None
        self._held = self._pending = b""
        if self._upload is not None:  # its exchange has begun: this is its answer
            upload, self._upload = self._upload, None
            current, self._current = self._current, None
            if current is not None:
                current.abandon()
            upload.break_off(refusal.detail)
        self._incoming = None
        self._queue.append(refusal)
        self._next()

    def write(self, response: Response, more: Lines) -> None:
        """Write a whole answer at once; nothing if the client has left."""
        current = self._current
        if current is None or self.transport is None or self.transport.is_closing():
            return
        body = response.body
        assert isinstance(body, bytes)
        request, framing = current.request, response.framing
        if request.method == "HEAD" or framing is Framing.NONE:
            wire = b""
        elif framing is Framing.CHUNKED and request.minor:
            more = (*more, (b"Transfer-Encoding", b"chunked"))
            wire = framed(body, framing, response.trailers)
        else:
            wire = body
            if framing is not Framing.LENGTH:
                more = (*more, (b"Content-Length", b"%d" % len(body)))
        closing = self._closes(request)
        self._send(self._gate.head(response, more, request, closing=closing) + wire, closing=closing)

    async def relay(self, response: Response, reader: Reader, more: Lines) -> int:
        """Write a streamed answer as it comes; return its body's bytes. Raise BrokenBody once the client is cut off."""
        current = self._current
        if current is None or self.transport is None or self.transport.is_closing():
            reader.close()
            return 0
        request = current.request
        length_known = response.framing is Framing.LENGTH
        chunked = not length_known and request.minor == 1
        closing = self._closes(request) or not (length_known or chunked)
        if chunked:
            more = (*more, (b"Transfer-Encoding", b"chunked"))
        self._write(self._gate.head(response, more, request, closing=closing))
        try:
            size = await self._pump(reader, chunked=chunked)
        except BrokenBody:
            self._cut(plain_end_would_lie=not (length_known or chunked))
            raise
        finally:
            reader.close()
        self._send(last_chunk(reader.trailers) if chunked else b"", closing=closing)
        return size

    async def _pump(self, reader: Reader, *, chunked: bool) -> int:
        size = 0
        while piece := await reader.read():
            size += len(piece)
            self._write(chunk(piece) if chunked else piece)
            if self._writable is not None:
                await self._writable
        return size

    def _closes(self, request: Request) -> bool:
        early = self._decoder is not None and self._incoming is self._current
        return early or not request.keep_alive or self._gate.draining

    def _write(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def _send(self, data: bytes, *, closing: bool) -> None:
        """Write the end of an answer, and go on with the next request or close."""
        if data:
            self._write(data)
        self._current = None
        self.since = self._gate.tick
        if closing:
            self._close()
            return
        if self._owes_continue and not self._queue:
            self._owes_continue = False
            self._write(CONTINUE)
        self._next()

    def _cut(self, *, plain_end_would_lie: bool) -> None:
        """End an answer that is not whole, so that the client sees it (W6)."""
        if self.transport is not None:
            if plain_end_would_lie:
                reset(self.transport)
            else:
                self.transport.close()  # what was relayed still goes out; its framing shows what is missing

    def _close(self, *, linger: bool = False) -> None:
        """Close once everything is written. A client still sending is read for a while, so that it sees the answer."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        linger = linger or self._decoder is not None or bool(self._queue)
        self._queue.clear()
        if not linger:
            transport.close()
            return
        self._lingering = True
        self._pause(False)
        if transport.can_write_eof():
            transport.write_eof()
        self._loop.call_later(LINGER_S, transport.abort)

    def _pause(self, pause: bool) -> None:
        transport = self.transport
        if transport is None or transport.is_closing() or pause is self._reading_paused:
            return
        self._reading_paused = pause
        self.heard_at = self._gate.tick
        if pause:
            transport.pause_reading()
        else:
            transport.resume_reading()

    # timers: the gate's coarse sweep, never one of our own

    def sweep(self, now: float) -> None:
        """End what has waited too long (W11)."""
        rules = self._gate.rules
        if self._lingering:
            return
        if self._writable is not None:
            if now - self._blocked_since > rules.idle_timeout_s:
                self.abort()
        elif self._decoder is not None and self._incoming is not None:
            silent = not self._reading_paused and now - self.heard_at > self._incoming.route.idle_timeout_s
            if silent:
                self._refuse(Refusal(408, "slow_body", "the request body stopped arriving"))
        elif self._pending:
            if now - self.since > rules.head_timeout_s:
                self._refuse(Refusal(408, "slow_head", "the request head did not arrive in time"))
        elif now - self.since > rules.keepalive_timeout_s:
            self.close_if_idle()

    def close_if_idle(self) -> None:
        """Close a connection that waits for a next request."""
        if self._current is None and not self._queue and self._decoder is None and not self._pending:
            self._close()

    def abort(self) -> None:
        """Drop the connection."""
        if self.transport is not None:
            reset(self.transport)
