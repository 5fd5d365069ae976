"""One connection to a session backend: sending a request and reading its response."""

import asyncio
from typing import Protocol, cast

from proxy.errors import BadResponse, BrokenBody, IllegalMove
from proxy.exchange.ports import Interim
from proxy.http.fields import Lines
from proxy.http.headers import trailers_that_cross
from proxy.http.message import (
    BY_CHUNKS,
    NO_BODY,
    BodyStream,
    Failure,
    Framing,
    Outcome,
    Request,
    Response,
)
from proxy.http.personal_credentials import are_personal
from proxy.http.problems import Reason
from proxy.http1.body import (
    chunk,
    decoder,
    framed,
    last_chunk,
)
from proxy.http1.head import ResponseHead, ResponseHeadReader, check_unfinished_response
from proxy.runtime.immediate_future import ImmediateFuture, immediate_future
from proxy.transport.flow_control import FlowControl
from proxy.transport.leftover import Leftover, Remainder, remainder
from proxy.transport.tunnel import Tunnel
from proxy.transport.write_batch import WriteBatch
from proxy.upstream.deadline_timer import DeadlineTimer
from proxy.upstream.pool_limits import PoolLimits
from proxy.upstream.response_body import ResponseBody, response, switched
from proxy.upstream.upstream_request import (
    LATE,
    NOT_TAKEN,
    STALE,
    UNSENT,
    UpstreamRequest,
)
from proxy.upstream.upstream_states import (
    CLOSED,
    EARLY,
    IDLE,
    QUEUED,
    READING,
    SENDING,
    TUNNEL,
    UPSTREAM_MOVES,
    WAITING,
    UpstreamState,
)

MAX_INTERIMS = 64  # interim responses (1xx) before the final one; each costs as much as a final one
# seconds; a request on a closed connection fails within a round trip. After a later failure it may have been read.
STALE_WITHIN_S = 0.1
GATHER_S = 0.005  # seconds after its head within which a response of unknown length counts as complete


class Owner(Protocol):
    """The pool, as its connections see it."""

    tick: float
    rules: PoolLimits
    outgoing: WriteBatch

    def release(self, connection: "UpstreamConnection") -> None:
        """Take back a connection after a complete response."""
        ...

    def lost(self, connection: "UpstreamConnection") -> None:
        """Unregister a closed connection."""
        ...


class UpstreamConnection:
    """One connection. `UpstreamState` is its state, and `UPSTREAM_MOVES` has the allowed transitions.

    It carries one request at a time. `send` returns at the response head (streamed) or with the complete response. A
    streamed body continues into its relay, and the connection then returns to the pool or closes.
    """

    def __init__(self, pool: Owner) -> None:
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self.transport: asyncio.Transport | None = None
        self.state: UpstreamState = IDLE
        self.idle_since = 0.0
        self.taken_at = 0.0  # when the pool last gave it out
        self.moved_at = self.born = pool.tick  # pool time of the last byte that was read or written
        self.used = False  # at least one response was read on it
        self.reading_paused = False
        self._request: UpstreamRequest | None = None
        self._unsent_head = b""  # written at the end of the loop iteration
        self._upload: asyncio.Task[None] | None = None
        self._remainder: Remainder | None = None  # of a TLS connection, after an upload
        self.alarm = DeadlineTimer(self._loop, self._ring)  # for the response head
        self._flow = FlowControl(self._loop, pool.tick)
        self._single_use = False
        self._pending = bytearray()  # bytes of an incomplete head
        self._heads = ResponseHeadReader()
        self._body: ResponseBody | None = None
        self._tunnel: Tunnel | None = None

    def _become(self, state: UpstreamState) -> None:
        if state not in UPSTREAM_MOVES[self.state]:
            raise IllegalMove(self.state, state)
        self.state = state

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's class does not inherit from it

    def data_received(self, data: bytes) -> None:
        self.moved_at = self._pool.tick
        if self.state is WAITING or self.state is SENDING:
            self._read_heads(data)
        elif self._body is not None:
            self._read_body(self._body, data)
        else:
            self._end("the backend sent a response without a request")

    def eof_received(self) -> bool:
        if self._tunnel is not None:
            return self._tunnel.backend_hung_up()
        body = self._body
        if body is None:
            self._end("the backend closed the connection")
            return False
        try:
            body.decoder.end()
        except BrokenBody as broken:
            self._end(str(broken))
            return False
        self._single_use = True
        self._complete(body)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and self.transport is not None and self.state is not QUEUED:
            # a broken pipe is a write that failed after the reset
            left = Leftover(self.transport, ended=isinstance(exc, BrokenPipeError))
            self._read_rest(self._remainder or left)
        self._end("the backend reset the connection")
        if self._remainder is not None:
            self._remainder.close()
        self._pool.lost(self)
        self._flow.wake()
        self._tunnel = None  # break the reference cycle

    def _read_rest(self, rest: Leftover | Remainder) -> None:
        """Read what the backend sent before a reset. Close the connection first, as the waiter runs synchronously."""
        self._single_use = True
        if self._request is not None:
            self._request.at_once = False
        for data in rest.read():
            self.data_received(data)
        if rest.ended:
            self.eof_received()

    def pause_writing(self) -> None:
        self._flow.pause(self._pool.tick)
        if self._tunnel is not None:
            self._tunnel.backend_full(True)

    def resume_writing(self) -> None:
        if self._tunnel is not None:
            self._tunnel.backend_full(False)
        self._flow.resume()

    def send(
        self, request: Request, head: bytes, timeout_s: float, idle_s: float, interim: Interim
    ) -> ImmediateFuture[Outcome]:
        """Send the request; the outcome arrives at most `timeout_s` seconds after its last byte was sent.

        A body without progress for `idle_s` seconds ends the request. Cancelling the waiter closes the connection.
        """
        self._become(QUEUED)
        future: ImmediateFuture[Outcome] = immediate_future(self._loop)
        self._request = UpstreamRequest(request, future, interim, timeout_s, idle_s)
        if b"authorization" in request.fields:
            self._single_use = self._single_use or are_personal(request.fields, b"authorization")
        self.moved_at = self._pool.tick
        body = request.body
        if isinstance(body, bytes):
            if body or request.framing is BY_CHUNKS:
                head += framed(body, request.framing, request.trailers)
            self.alarm.set(timeout_s)
        else:
            self.alarm.put_off()
        self._unsent_head = head
        self._pool.outgoing.add(self)
        return future

    def flush(self) -> None:
        """Write the request at the end of the loop iteration. If that fails, no byte of it was sent."""
        request, transport = self._request, self.transport
        if self.state is not QUEUED or request is None or transport is None or transport.is_closing():
            return
        if request.large:
            self._remainder = self._remainder or remainder(transport)
        head_bytes, self._unsent_head = self._unsent_head, b""
        transport.write(head_bytes)
        if transport.is_closing():
            return
        if request.stream is not None:
            self._become(SENDING)
            self._upload = self._loop.create_task(self._send_body(request, request.stream))
        elif request.large and transport.get_write_buffer_size():
            self._become(SENDING)
        else:
            self._become(WAITING)

    def _ring(self) -> None:
        request = self._request
        if request is not None and self._body is not None:
            self._stream(self._body)  # the head was in time; idle timeouts apply to the rest
        elif request is not None and not request.future.done():
            self._end("", LATE)

    async def _send_body(self, request: UpstreamRequest, stream: BodyStream) -> None:
        """Relay a streamed request body; the response timeout starts after its last byte."""
        chunked, body = request.sent.framing is BY_CHUNKS, stream.open()
        try:
            while piece := await body.read():
                if not self._put(chunk(piece) if chunked else piece):
                    return
                if self._flow.writable is not None:
                    await self._flow.writable
            if (not chunked or self._put(last_chunk(body.trailers))) and self.state is SENDING:
                self.alarm.set(request.timeout_s)
        except BrokenBody as broken:  # the client left: the backend must not take a partial body as complete
            self._end(str(broken), Failure(Reason.CANCELLED, sent=True, detail=str(broken)))
        finally:
            body.close()

    def _put(self, data: bytes) -> bool:
        """Write a piece of the request body; return False if the backend has stopped reading."""
        if self.state is CLOSED or self.transport is None or self.transport.is_closing():
            return False
        self.moved_at = self._pool.tick
        self.transport.write(data)
        return True

    def _read_heads(self, data: bytes) -> None:
        """Read interim response heads and the final one."""
        request, pending, limit = self._request, self._pending, self._pool.rules.head_limit
        assert request is not None
        try:
            if pending:
                start = len(pending)
                pending += data
                if pending.find(b"\r\n\r\n", max(0, start - 3)) < 0:
                    check_unfinished_response(pending, start, limit)
                    return
                data = bytes(pending)
                pending.clear()
            while (end := data.find(b"\r\n\r\n")) >= 0 and end <= limit:
                head = self._heads.read(data[: end + 4], request.sent.method)
                data = data[end + 4 :]
                if head.status >= 200 or head.status == 101:
                    self._begin(request, head, data)
                    return
                self._pass_on(request, head)
            pending += data
            check_unfinished_response(pending, 0, limit)
        except BadResponse as bad:
            detail = f"the backend's response is not valid HTTP/1.1: {bad}"
            self._end(detail, Failure(Reason.PROTOCOL_ERROR, sent=True, detail=detail))

    def _pass_on(self, request: UpstreamRequest, head: ResponseHead) -> None:
        """Forward an interim response."""
        request.interims += 1
        if request.interims > MAX_INTERIMS:
            raise BadResponse(f"more than {MAX_INTERIMS} interim responses came before the final one")
        if not head.keep_alive:
            self._single_use = True
        request.interim(Response(head.status, head.reason, head.crossing))

    def _begin(self, request: UpstreamRequest, head: ResponseHead, rest: bytes) -> None:
        """Handle the final head and the part of the body that came with it."""
        if self.state is SENDING and self.transport is not None:
            uploading = self._upload is not None and not self._upload.done()
            self._become(EARLY if uploading or self.transport.get_write_buffer_size() else WAITING)
        if request.large and head.status >= 300:  # refused, perhaps unread: a reset may follow (RFC 9112 section 9.6)
            self._single_use = True
        if head.status == 101:
            self._switch(request, head, rest)
            return
        if b"www-authenticate" in head.fields:
            self._single_use = self._single_use or are_personal(head.fields, b"www-authenticate")
        size = len(rest)
        if head.bounded and (size == head.length or head.framing is NO_BODY):
            self._finish(head, b"" if head.framing is NO_BODY else rest, (), size > head.length)
            return
        if self.state is WAITING:
            self._become(READING)
        body = self._body = ResponseBody(head, decoder(head.framing, head.length), self.pace, self.close)
        if not head.bounded and (head.framing is Framing.LENGTH or head.events):
            self._stream(body)
        elif head.framing is not Framing.LENGTH:
            body.wait(self._loop.call_later(GATHER_S, self._stream, body))
        if rest or body.decoder.done:
            self._read_body(body, rest)

    def _switch(self, request: UpstreamRequest, head: ResponseHead, rest: bytes) -> None:
        """Become a tunnel; the data after the head is its first data."""
        assert self.transport is not None
        if not request.sent.upgrade or self.state is EARLY:
            raise BadResponse("it switches protocols without a request to do so")
        self._become(TUNNEL)
        body = self._body = ResponseBody(head, decoder(Framing.CLOSE, 0), self.pace, self.close)
        tunnel = self._tunnel = Tunnel(self.pace, self.close, self.transport)
        body.stream(tunnel)
        request.settle(switched(head, tunnel, request.sent.upgrade))
        if rest:
            self._read_body(body, rest)

    def _read_body(self, body: ResponseBody, data: bytes) -> None:
        try:
            body.feed(data)
        except BrokenBody as broken:
            self._end(str(broken))
            return
        if body.decoder.done:
            self._complete(body)
        elif body.outgrown:
            self._stream(body)

    def _stream(self, body: ResponseBody) -> None:
        """Hand over the received part as a stream; the rest follows."""
        if body.relay is None and self._request is not None:
            self._request.settle(body.stream())

    def _complete(self, body: ResponseBody) -> None:
        done, relay = body.decoder, body.relay
        if relay is None:
            self._finish(body.head, body.whole(), done.trailers, bool(done.rest))
        else:
            self._part(body.head, bool(done.rest))
            relay.finish(trailers_that_cross(done.trailers))

    def _finish(self, head: ResponseHead, body: bytes, trailers: Lines, surplus: bool) -> None:
        """Hand over a complete response. The waiter runs synchronously: nothing may follow here or in the caller."""
        request = self._request
        self._part(head, surplus)
        if request is not None:
            request.finish(response(head, body, trailers))

    def _part(self, head: ResponseHead, surplus: bool) -> None:
        """Detach from the request. Return to the pool only if nothing more can arrive on the connection."""
        single_use = surplus or self._single_use or not head.keep_alive or self.state is EARLY
        self._request = None
        if self._body is not None:
            self._forget(self._body)
        if single_use:
            self.close()
        else:
            self._upload, self.used = None, True
            self._become(IDLE)
            self._pool.release(self)

    def _forget(self, body: ResponseBody) -> None:
        """Release the response's body."""
        body.forget_timer()
        self._body = None

    def pace(self, pause: bool) -> None:
        """Pause or resume reading."""
        transport = self.transport
        if transport is None or transport.is_closing() or pause is self.reading_paused:
            return
        self.reading_paused = pause
        self.moved_at = self._pool.tick
        if pause:
            transport.pause_reading()
        else:
            transport.resume_reading()

    @property
    def usable(self) -> bool:
        """Tell whether a request may be sent, as far as is known."""
        return self.state is IDLE and self.transport is not None and not self.transport.is_closing()

    def sweep(self, now: float) -> None:
        """Apply the route's idle timeout, to whichever side must make progress."""
        request, transport = self._request, self.transport
        if request is None or transport is None:
            return
        behind = self._flow.writable is not None
        if behind and not self._flow.stalled_s(transport, now):
            self.moved_at = now
        if now - self.moved_at <= request.idle_s:
            return
        if self.state is SENDING and behind:
            self._end("", NOT_TAKEN)
        elif (self.state is READING or self.state is EARLY) and not self.reading_paused:
            self._end("the backend's response stalled")

    def close(self) -> None:
        """Close the connection at once, with its request."""
        self._end("the connection was closed")

    def _end(self, why: str, failure: Failure | None = None) -> None:
        """Close. A request without a response fails; a started body is broken, which its readers see."""
        if self.state is CLOSED:
            return
        request, body = self._request, self._body
        failure = failure or self._failure()
        self._become(CLOSED)
        self._request = None
        if body is not None:
            self._forget(body)
        self.alarm.cancel()
        upload, self._upload = self._upload, None
        if upload is not None and upload is not asyncio.current_task():
            upload.cancel()
        if self.transport is not None:
            self.transport.abort()
        if body is not None:
            failure = body.break_off(why)
        if request is not None:
            request.settle(failure)

    def _failure(self) -> Failure:
        """Return the failure of a request without a response when its connection ends now.

        Any byte of a response, also of an interim one, proves that the backend read the request.
        """
        if self.state is QUEUED:
            return UNSENT
        if self._pending or (self._request is not None and self._request.interims):
            return Failure(Reason.RESPONSE_INCOMPLETE, sent=True)
        stale = self.used and self.now() - self.taken_at < STALE_WITHIN_S
        return STALE if stale else Failure(Reason.CONNECTION_TERMINATED, sent=True)
