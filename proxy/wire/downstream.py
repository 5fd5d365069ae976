"""The downstream leg: one connection to a client, what is read on it, and what is answered, in order."""

import asyncio
from collections import deque
from typing import cast

from proxy.eager import EagerTask
from proxy.errors import BrokenBody, Refusal
from proxy.exchange import Exchange
from proxy.fields import Lines
from proxy.message import Framing, Peer, Reader, Request, Response
from proxy.wire.bodies import chunk, last_chunk
from proxy.wire.gate import Gate, cut, peer_of, whole_body
from proxy.wire.heads import RequestHead, RequestReader, check_unfinished
from proxy.wire.incoming import CONTINUE, Incoming
from proxy.wire.outlet import Outlet
from proxy.wire.tunnel import Tunnel

MAX_PIPELINED = 64
READ_AHEAD = 65_536  # bytes of heads; what is read beyond that waits unread
HELD_LIMIT = 65_536  # bytes that wait for an answer that may change the protocol, or for the end of a turn (W8)
REMEMBERED_S = 1.0  # an idle connection keeps what its last head said no longer than this
LINGER_S = 2.0  # how long a refused upload is still read, so that its answer is not lost to a reset


class Downstream(Outlet):
    """One connection: head -> body -> head -> ... ; and beside it: exchange -> answer -> exchange -> ...

    Requests are read ahead, at most `MAX_PIPELINED` and `READ_AHEAD` bytes, and answered one at a time in their order.
    After a 101 both sides are bytes. It is the `Client` of whichever exchange is current, and an `asyncio.Protocol` in
    all but descent: what inherits from Python is compiled to no plain structure.
    """

    def __init__(self, gate: Gate) -> None:
        super().__init__(gate)
        self._peer = Peer("", 0)
        self._heads = RequestReader(gate.limits)
        self._pending = bytearray()  # of a head that is not whole yet
        self._ahead = 0  # bytes of the heads that were read since nothing waited
        self._held = bytearray()  # not parsed: too much waits already, or the protocol may change
        self._incoming: Incoming | None = None
        self._queue: deque[Exchange | Refusal] = deque()
        self._current: Exchange | None = None
        self._switching = False  # a request that asks for another protocol waits for its answer
        self._tunnel: Tunnel | None = None
        self._hung_up: asyncio.Future[None] | None = None  # of a tunnel: the client will say no more
        self._reading_paused = False
        self._lingering = self._left = False
        self._early = bytearray()  # data that came when enough was begun in that turn of the loop
        self.since = 0.0  # gate time of the last change of what is waited for
        self.heard_at = 0.0

    # the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it
        self._peer = peer_of(self.transport)
        self.since = self.heard_at = self._gate.tick
        if not self._gate.enter(self):
            self._queue.append(Refusal(503, "max_connections", "too many connections; try again shortly"))
            self._next()

    def data_received(self, data: bytes) -> None:
        self.heard_at = self._gate.tick
        if self._lingering:
            return
        if self._tunnel is not None:
            self._say(self._tunnel, data)
        elif self._early:
            self._early += data
            if len(self._early) > HELD_LIMIT:
                self._pause(True)
        elif self._held:
            self._hold(data)
        elif self._incoming is not None or self._gate.turns.take(self):
            self._feed(data)
        else:
            self._early += data

    def go_on(self) -> None:
        """Look at what came before it was this connection's turn."""
        early = bytes(self._early)
        self._early.clear()
        if early and not self._lingering:
            self._pause(False)
            self._feed(early)

    def eof_received(self) -> bool:
        if self._tunnel is None or self._hung_up is None:
            return False  # a client that half-closes has left, as for nginx and Envoy
        self._tunnel.hang_up()
        if not self._hung_up.done():
            self._hung_up.set_result(None)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._gate.leave(self)
        self._left = True
        self.go_on()  # who left before it was his turn leaves a record like anybody else
        self._lingering = True
        self._wake()
        if self._incoming is not None:
            self._incoming.break_off("the client left in mid-body")
        self._queue.clear()
        if self._current is not None:
            self._current.abandon()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._next()

    # reading

    def _feed(self, data: bytes) -> None:
        try:
            while data and not self._lingering:
                if self._incoming is not None:
                    data = self._feed_body(self._incoming, data)
                elif self._switching or (self._queue and self._has_enough()):
                    self._hold(data)
                    return
                else:
                    data = self._feed_head(data)
        except Refusal as refusal:
            self._refuse(refusal)

    def _has_enough(self) -> bool:
        """Tell whether nothing more is read ahead: enough requests wait, or one with a body does (W8)."""
        last = self._queue[-1]
        full = len(self._queue) >= MAX_PIPELINED or self._ahead > READ_AHEAD
        return full or (isinstance(last, Exchange) and last.bytes_in > 0)

    def _hold(self, data: bytes) -> None:
        self._held += data
        if not self._switching or len(self._held) > HELD_LIMIT:
            self._pause(True)

    def _release(self) -> None:
        """Go on with what was held."""
        held = bytes(self._held)
        self._held.clear()
        self._pause(False)
        if self._tunnel is None:
            self._feed(held)
        elif held:
            self._say(self._tunnel, held)

    def _say(self, tunnel: Tunnel, data: bytes) -> None:
        tunnel.say(data)
        if self._current is not None:
            self._current.bytes_in += len(data)

    def _feed_head(self, data: bytes) -> bytes:
        pending = self._pending
        if not pending:
            data = data.lstrip(b"\r\n")  # RFC 9112 section 2.2: an empty line before a request is ignored
            if not data:
                return b""
            self.since = self._gate.tick
            end = data.find(b"\r\n\r\n")
            if end >= 0:
                return self._take_head(data, end + 4)
        start = max(0, len(pending) - 3)
        pending += data
        end = pending.find(b"\r\n\r\n", start)
        if end < 0:
            check_unfinished(pending, start, self._gate.limits)
            return b""
        data = bytes(pending)
        pending.clear()
        return self._take_head(data, end + 4)

    def _take_head(self, data: bytes, end: int) -> bytes:
        """Take the request whose head ends at `end`; return what follows it."""
        self._ahead = self._ahead + end if self._queue else end
        self._open(self._heads.read(data[:end]))
        return data[end:]

    def _open(self, head: RequestHead) -> None:
        """Take a request whose head is here (steps 1 and 2), and wait for its body if it has one."""
        said = head.said
        fields, client, hops = self._gate.trusted.look(self._peer, head.fields)
        request = Request(
            head.method, head.target, fields, self._peer, framing=said.framing, authority=head.authority, client=client,
            minor=head.minor, keep_alive=said.keep_alive, upgrade=said.upgrade, hops=hops,
        )  # fmt: skip
        exchange = self._gate.open(request, self)
        self._switching = bool(said.upgrade)
        if said.framing is Framing.NONE:
            self._queue.append(exchange)
            self._next()
            return
        self.since = self._gate.tick
        incoming = self._incoming = Incoming(exchange, said.length, self._pause, self._ready_soon)
        if incoming.done:
            self._incoming = None
            incoming.finish()
        elif self._current is None and not self._queue:
            self._continue()

    def _feed_body(self, incoming: Incoming, data: bytes) -> bytes:
        rest = incoming.feed(data)
        if incoming.done:
            self._incoming = None
            self._go_on()
        return rest

    def _continue(self) -> None:
        """Let a client that waits for it send the body that we keep: it is this request's turn (W7)."""
        incoming = self._incoming
        if incoming is not None and incoming.owes_continue:
            incoming.owes_continue = False
            self._write(CONTINUE)

    # answering, in order

    def _ready_soon(self, exchange: Exchange) -> None:
        """Have its turn come once all that is here of its body is taken in."""
        self._queue.append(exchange)
        self._loop.call_soon(self._take_next)

    def _next(self) -> None:
        if self._current is not None or not self._queue or self._writable is not None or self._lingering:
            return
        if len(self._unsent) > HELD_LIMIT:
            self._loop.call_soon(self._take_next)  # once that is written, which stands before it
            return
        following = self._queue.popleft()
        if isinstance(following, Refusal):
            self._write(self._gate.refusal(following, self._peer))
            self._close(linger=True)
            return
        self._current = following
        if self._left:
            following.abandon()
        self._gate.begun += 1
        following.task = task = EagerTask(following.run(), self._loop)
        task.go_on()

    def _go_on(self) -> None:
        """Read on where an answer, or a body's end, made room."""
        full = self._queue and (len(self._queue) >= MAX_PIPELINED // 2 or self._has_enough())
        if self._held and not self._switching and not full:
            self._release()

    def _refuse(self, refusal: Refusal) -> None:
        """Answer what is refused on the wire after all that came before it, and read no further."""
        self._held.clear()
        self._pending.clear()
        incoming, self._incoming = self._incoming, None
        if incoming is not None and incoming.upload is not None:  # its exchange is on its way: this is its answer
            incoming.break_off(refusal.detail)
            if incoming.exchange is self._current:
                self._current = None
                incoming.exchange.abandon()
            else:
                self._queue.remove(incoming.exchange)
        self._queue.append(refusal)
        self._next()

    def interim(self, response: Response) -> None:
        """Write an interim answer (1xx), unless the client could not read it, or is behind already."""
        current = self._current
        if current is not None and current.request.minor and self._writable is None:
            self._write(self._gate.interim(response))

    def write(self, response: Response, more: Lines) -> None:
        """Write a whole answer at once; nothing if the client has left."""
        current = self._current
        if current is None or self.transport is None or self.transport.is_closing():
            return
        request = current.request
        framing, body = whole_body(response, request)
        closing = self._closes(request)
        if not self._unsent:
            self._gate.outgoing.add(self)
        self._unsent += self._gate.head(response, more + framing, request, closing=closing) + body
        self._answered(closing=closing)

    async def relay(self, response: Response, reader: Reader, more: Lines) -> int:
        """Write a streamed answer as it comes; return its body's bytes. Raise BrokenBody once the client is cut off."""
        current = self._current
        if current is None or self.transport is None or self.transport.is_closing():
            reader.close()
            return 0
        if isinstance(response.body, Tunnel):
            return await self._through(response, response.body, reader, more)
        request = current.request
        if request.method == "HEAD":  # an answer that recovery asked for with GET has a body
            reader.close()
            self.write(response._replace(body=b""), more)
            return 0
        length_known = response.framing is Framing.LENGTH
        chunked = not length_known and request.minor == 1
        closing = self._closes(request) or not (length_known or chunked)
        if chunked:
            more = (*more, (b"Transfer-Encoding", b"chunked"))
        self._write(self._gate.head(response, more, request, closing=closing))
        try:
            size = await self._pump(reader, chunked=chunked)
        except BrokenBody:
            cut(self.transport, plain_end_would_lie=not (length_known or chunked))
            raise
        finally:
            reader.close()
        if chunked:
            self._write(last_chunk(reader.trailers))
        self._answered(closing=closing)
        return size

    async def _through(self, response: Response, tunnel: Tunnel, reader: Reader, more: Lines) -> int:
        """Be a tunnel until both sides have hung up; return the bytes that the backend said."""
        assert self.transport is not None
        self._write(self._gate.switched(response, more))
        self._tunnel, self._hung_up = tunnel, self._loop.create_future()
        tunnel.pace_client = self._pause
        self._release()
        try:
            size = await self._pump(reader, chunked=False)
            if self.transport.can_write_eof() and not self._hung_up.done():
                self.transport.write_eof()
                await self._hung_up
        except BrokenBody:
            cut(self.transport, plain_end_would_lie=True)
            raise
        finally:
            reader.close()
        self.transport.close()
        return size

    async def _pump(self, reader: Reader, *, chunked: bool) -> int:
        size = 0
        while piece := await reader.read():
            size += len(piece)
            self._write(chunk(piece) if chunked else piece)
            if self._writable is not None:
                await self._writable
            if self._tunnel is not None:
                self.heard_at = self._gate.tick
        return size

    def _closes(self, request: Request) -> bool:
        incoming = self._incoming
        early = incoming is not None and incoming.exchange is self._current
        return early or not request.keep_alive or self._gate.draining

    def _answered(self, *, closing: bool) -> None:
        """Go on with the next request, or close: an answer's last byte is written."""
        self._current = None
        self.since = self._gate.tick
        if closing:
            self._close()
            return
        if not self._queue:
            self._switching = False
            if self._incoming is not None:
                self._continue()
        if self._queue or self._held:
            self._loop.call_soon(self._take_next)  # not from within the task that answered

    def _take_next(self) -> None:
        self._next()
        if self._held:
            self._go_on()

    def _close(self, *, linger: bool = False) -> None:
        """Close once everything is written. A client still sending is read for a while, so that it sees the answer."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        self.flush()
        linger = linger or self._incoming is not None or bool(self._queue)
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

    def sweep(self, now: float) -> None:
        """End what has waited too long (W11): there is no timer but this coarse one."""
        rules = self._gate.rules
        if self._lingering:
            return
        if self._writable is not None:
            self._sweep_reader(now)
        elif self._tunnel is not None:
            if now - self.heard_at > rules.tunnel_idle_s:
                self.abort()
        elif self._incoming is not None:
            idle_s = self._incoming.exchange.route.idle_timeout_s
            if not self._reading_paused and now - self.heard_at > idle_s:
                self._refuse(Refusal(408, "slow_body", "the request body stopped arriving"))
        elif self._pending:
            if now - self.since > rules.head_timeout_s:
                self._refuse(Refusal(408, "slow_head", "the request head did not arrive in time"))
        elif now - self.since > self._gate.keepalive_s and not (self._current or self._queue or self._early):
            self._close()
        elif now - self.since > REMEMBERED_S:
            self._heads.forget()
