"""The upstream leg: one connection to a session backend, what is sent and what is read on it."""

import asyncio
from math import inf
from typing import Protocol, cast

from proxy.answer import Answer
from proxy.errors import BadAnswer, BrokenBody, Reason
from proxy.fields import Fields, Lines
from proxy.message import Failure, Framing, Outcome, Reader, Request, Response
from proxy.parts import Interim
from proxy.wire.bodies import Decoder, chunk, decoder, framed, last_chunk
from proxy.wire.crossing import trailers_that_cross
from proxy.wire.heads import WHOLE_LIMIT, ResponseHead, ResponseReader, has_bare_line_end
from proxy.wire.relay import Relay
from proxy.wire.rules import PoolRules
from proxy.wire.tunnel import Tunnel
from proxy.wire.turns import Outgoing

MAX_INTERIMS = 64  # answers (1xx) before the final one; each costs as much as a final one
TICK_S = 0.001  # of the loop's clock
STALE_WITHIN_S = 0.1  # a request on a connection that had been closed is refused within a round trip; later it was read
GATHER_S = 0.005  # an answer of unknown length is whole if it is all here this long after its head


_PERSONAL = (b"ntlm", b"negotiate")  # these authenticate a connection, not a request (RFC 4559 section 6)
_PERSONAL_INITIALS = frozenset({b"", b"n", b"N", b" ", b"\t"})
STALE = Failure(
    Reason.CONNECTION_TERMINATED, sent=True, detail="a pooled connection was closed before it was used", telling=False
)


class Owner(Protocol):
    """The pool, as its connections see it."""

    tick: float
    rules: PoolRules
    outgoing: Outgoing

    def release(self, connection: "UpstreamConnection") -> None:
        """Take back a connection whose answer was read to its end."""
        ...

    def lost(self, connection: "UpstreamConnection") -> None:
        """Forget a closed connection."""
        ...


class UpstreamConnection:
    """One connection: idle -> asked -> head -> body -> idle, or closed.

    One question at a time. `ask` returns at the response head (streamed) or the whole answer; a streamed body goes on
    into its relay, and the connection goes back to the pool, or is closed, by itself.
    """

    def __init__(self, pool: Owner) -> None:
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self.transport: asyncio.Transport | None = None
        self.idle_since = 0.0
        self.taken_at = 0.0  # from among the idle ones
        self.heard_at = self.born = pool.tick
        self.used = False  # at least one answer was read on it
        self.reading_paused = False
        self._answer: Answer[Outcome] | None = None
        self.until = inf  # the question's deadline, in the loop's seconds; none before its last byte is sent
        self._alarm: asyncio.TimerHandle | None = None
        self._writable: asyncio.Future[None] | None = None
        self._asked = b""  # what is written at the end of the loop's turn
        self._method = ""
        self._upgrade = b""
        self._interim: Interim | None = None
        self._personal = False
        self._tunnel: Tunnel | None = None
        self._pending = bytearray()  # of a head that is not whole yet
        self._interims = 0  # heads before the final one
        self._heads = ResponseReader()
        self._head: ResponseHead | None = None
        self._decoder: Decoder | None = None
        self._gathered: list[bytes] = []
        self._size = 0
        self._relay: Relay | None = None
        self._gathering: asyncio.TimerHandle | None = None
        self._upload: asyncio.Task[None] | None = None
        self._ended = False

    # the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it

    def data_received(self, data: bytes) -> None:
        self.heard_at = self._pool.tick
        if self._decoder is not None:
            self._body(data)
        elif self._answer is None:
            self.close()  # an answer to no question
        else:
            self._read_heads(data)

    def eof_received(self) -> bool:
        self._ended = True
        return self._tunnel is not None and self._tunnel.backend_hung_up()

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.lost(self)
        if self._alarm is not None:
            self._alarm.cancel()
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        if self._decoder is None:
            nothing = self._head is None and not self._pending
            stale = nothing and self.used and self.now() - self.taken_at < STALE_WITHIN_S
            reason = Reason.CONNECTION_TERMINATED if nothing else Reason.RESPONSE_INCOMPLETE
            self._settle(STALE if stale else Failure(reason, sent=True))
            return
        try:
            if exc is not None or not self._ended:
                raise BrokenBody("the backend reset the connection")
            self._decoder.end()
        except BrokenBody as broken:
            self._broke_off(str(broken))
        else:
            self._complete(self._decoder)

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()
        if self._tunnel is not None:
            self._tunnel.backend_full(True)

    def resume_writing(self) -> None:
        if self._tunnel is not None:
            self._tunnel.backend_full(False)
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # one question

    def ask(self, request: Request, head: bytes, timeout_s: float, interim: Interim) -> "Answer[Outcome]":
        """Send the request; the outcome comes at the latest `timeout_s` after its last byte was sent.

        Who waits for it and is cancelled closes the connection.
        """
        assert self.transport is not None
        answer: Answer[Outcome] = Answer(loop=self._loop)
        self._answer = answer
        self._method, self._upgrade, self._interim = request.method, request.upgrade, interim
        if b"authorization" in request.fields:
            self._note_personal(request.fields, b"authorization")
        self.heard_at = self._pool.tick
        body = request.body
        if isinstance(body, bytes):
            if body or request.framing is Framing.CHUNKED:
                head += framed(body, request.framing, request.trailers)
            self._asked = head
            self._pool.outgoing.add(self)
            self._limit(timeout_s)
        else:
            self.transport.write(head)
            self.until = inf
            self._upload = self._loop.create_task(self._send_body(body.open(), request.framing, timeout_s))
        return answer

    def flush(self) -> None:
        """Write the question that waits for the end of the loop's turn."""
        asked, self._asked = self._asked, b""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(asked)

    def _limit(self, timeout_s: float) -> None:
        """Let the question end in time. An alarm that is set stays for the next ones: most end long before."""
        self.until = self.now() + timeout_s
        if self._alarm is not None and self._alarm.when() > self.until:
            self._alarm.cancel()
            self._alarm = None
        if self._alarm is None:
            self._alarm = self._loop.call_at(self.until, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        if self._answer is None or self._answer.done() or self.until == inf:
            return
        if self.now() < self.until - TICK_S:
            self._alarm = self._loop.call_at(self.until, self._ring)
        elif self._head is None:
            self._settle(Failure(Reason.RESPONSE_TIMEOUT, sent=True))
            self.close()
        else:
            self._stream()  # the head was in time; the rest is a matter of idle timeouts

    async def _send_body(self, body: Reader, framing: Framing, timeout_s: float) -> None:
        """Relay a streamed request body; the clock of the answer starts when its last byte is sent (T3)."""
        assert self.transport is not None
        chunked = framing is Framing.CHUNKED
        try:
            while piece := await body.read():
                if self.transport.is_closing():  # the backend answered early, or broke off: it wants no more
                    return
                self.transport.write(chunk(piece) if chunked else piece)
                if self._writable is not None:
                    await self._writable
            if self.transport.is_closing():
                return
            if chunked:
                self.transport.write(last_chunk(body.trailers))
            self._limit(timeout_s)
        except BrokenBody as broken:  # the client left: the backend must not take half a body for a whole one
            self._settle(Failure(Reason.CANCELLED, sent=True, detail=str(broken)))
            self.close()
        finally:
            body.close()

    def _settle(self, outcome: Outcome) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(outcome)

    # reading

    def _read_heads(self, data: bytes) -> None:
        """Read interim heads and the final one."""
        pending = self._pending
        if pending:
            start = len(pending)
            pending += data
            if pending.find(b"\r\n\r\n", max(0, start - 3)) < 0:
                self._check_unfinished(start)
                return
            data = bytes(pending)
            pending.clear()
        while (end := data.find(b"\r\n\r\n")) >= 0 and end <= self._pool.rules.head_limit:
            try:
                head = self._heads.read(data[: end + 4], self._method)
                if head.status == 101 and not self._upgrade:
                    raise BadAnswer("it changes the protocol, and nobody asked for that")
            except BadAnswer as bad:
                self._not_http(str(bad))
                return
            data = data[end + 4 :]
            if head.status >= 200 or head.status == 101:
                self._interims = 0
                self._begin(head, data)
                return
            self._interims += 1
            if self._interims > MAX_INTERIMS:
                self._not_http(f"more than {MAX_INTERIMS} interim answers come before the final one")
                return
            if self._interim is not None:
                self._interim(Response(head.status, head.reason, head.crossing))
        pending += data
        self._check_unfinished(0)

    def _check_unfinished(self, start: int) -> None:
        """Give up early on what can never become a head. `start`: what is new."""
        pending = self._pending
        if len(pending) > self._pool.rules.head_limit or not b"HTTP/1.".startswith(pending[:7]):
            self._not_http("not a response head")
        elif has_bare_line_end(pending, start):
            self._not_http("a line of the head does not end in CRLF")

    def _not_http(self, why: str) -> None:
        detail = f"the backend's answer is not valid HTTP/1.1: {why}"
        self._settle(Failure(Reason.PROTOCOL_ERROR, sent=True, detail=detail))
        self.close()

    def _begin(self, head: ResponseHead, rest: bytes) -> None:
        self._head = head
        if head.status == 101:
            self._switch(head, rest)
            return
        if b"www-authenticate" in head.fields:
            self._note_personal(head.fields, b"www-authenticate")
        if len(rest) == head.length and head.bounded:
            self._finish(head, rest)
            return
        self._decoder = decoder(head.framing, head.length)
        if head.framing is Framing.NONE:
            self._decoder.rest = rest
            self._complete(self._decoder)
            return
        if not head.bounded and (head.framing is Framing.LENGTH or head.events):
            self._stream()
        elif head.framing is not Framing.LENGTH:
            self._gathering = self._loop.call_later(GATHER_S, self._stream)
        if rest or self._decoder.done:
            self._body(rest)

    def _switch(self, head: ResponseHead, rest: bytes) -> None:
        """Become a tunnel; what came with the head is its first data."""
        assert self.transport is not None
        self._decoder = decoder(Framing.CLOSE, 0)
        self._tunnel = self._relay = Tunnel(self.pace, self.close, self.transport)
        answer = self._response(head, self._relay)
        protocol = head.fields.get(b"upgrade") or self._upgrade
        fields = Fields((*answer.fields.lines, (b"Connection", b"Upgrade"), (b"Upgrade", protocol)))
        self._settle(answer._replace(fields=fields, framing=Framing.CLOSE))
        if rest:
            self._body(rest)

    def _note_personal(self, fields: Fields, name: bytes) -> None:
        """Take note of credentials that hold for a connection: nobody else may be given it (W15)."""
        if fields[name][:1] not in _PERSONAL_INITIALS and not fields.repeats(name):
            return
        if any(value.lstrip().lower().startswith(_PERSONAL) for value in fields.all(name)):
            self._personal = True

    def _body(self, data: bytes) -> None:
        decoder_ = self._decoder
        assert decoder_ is not None
        try:
            piece = decoder_.feed(data)
        except BrokenBody as broken:
            self._broke_off(str(broken))
            self.close()
            return
        if self._relay is None:
            self._gathered.append(piece)
            self._size += len(piece)
            if self._size > WHOLE_LIMIT and not decoder_.done:
                self._stream()
        else:
            self._relay.push(piece)
        if decoder_.done:
            self._complete(decoder_)

    def _stream(self) -> None:
        """Hand over what is here as a stream; the rest follows as it comes."""
        if self._relay is None and self._head is not None:
            self._relay = self._relay_gathered()
            self._settle(self._response(self._head, self._relay))

    def _relay_gathered(self) -> Relay:
        relay = Relay(self.pace, self.close)
        for piece in self._gathered:
            relay.push(piece)
        self._gathered = []
        return relay

    def _complete(self, done: Decoder) -> None:
        head, relay = self._head, self._relay
        assert head is not None
        if relay is None:
            self._finish(head, b"".join(self._gathered), done.trailers, surplus=bool(done.rest))
        else:
            self._part(head, surplus=bool(done.rest))
            relay.finish(trailers_that_cross(done.trailers))

    def _finish(self, head: ResponseHead, body: bytes, trailers: Lines = (), *, surplus: bool = False) -> None:
        """Hand over a whole answer, as the last thing: whoever waits for it goes on at once."""
        answer = self._answer
        self._part(head, surplus=surplus)
        if answer is not None and not answer.done():
            answer.tell(self._response(head, body, trailers))

    def _part(self, head: ResponseHead, *, surplus: bool) -> None:
        """Be done with the question; go back to the pool if nothing speaks against it."""
        reusable = head.keep_alive and not surplus and (self._upload is None or self._upload.done())
        self._forget()
        if reusable and not self._personal:
            self._pool.release(self)
        else:
            self.close()

    def _broke_off(self, why: str) -> None:
        """The body will never be whole: what is here goes out, and no client may take it for all (W6)."""
        assert self._head is not None
        relay = self._relay or self._relay_gathered()
        relay.break_off(why)
        if self._relay is None:
            partial = self._response(self._head, relay)
            self._settle(Failure(Reason.RESPONSE_INCOMPLETE, sent=True, partial=partial))
        self._forget()

    def _response(self, head: ResponseHead, body: "bytes | Relay", trailers: Lines = ()) -> Response:
        trailers = trailers_that_cross(trailers) if trailers else ()
        return Response(head.status, head.reason, head.crossing, body, head.framing, trailers)

    def _forget(self) -> None:
        """Make ready for the next question."""
        if self._gathering is not None:
            self._gathering.cancel()
        self._head = self._decoder = self._answer = self._relay = self._gathering = self._upload = self._interim = None
        self._gathered = []
        self._size = 0
        self.used = True

    # flow and end

    def pace(self, pause: bool) -> None:
        """Pause reading, or go on."""
        transport = self.transport
        if transport is None or transport.is_closing() or pause is self.reading_paused:
            return
        self.reading_paused = pause
        self.heard_at = self._pool.tick
        if pause:
            transport.pause_reading()
        else:
            transport.resume_reading()

    @property
    def usable(self) -> bool:
        """Tell whether the other side, as far as we know, still listens."""
        return self.transport is not None and not self.transport.is_closing() and not self._ended

    @property
    def stalled(self) -> bool:
        """Tell whether a body that began has been silent for too long."""
        silent = self._pool.tick - self.heard_at > self._pool.rules.body_idle_s
        return silent and self._decoder is not None and self._tunnel is None and not self.reading_paused

    def close(self) -> None:
        """Drop the connection, and an upload that is still under way."""
        if self._upload is not None and self._upload is not asyncio.current_task():
            self._upload.cancel()
        if self.transport is not None:
            self.transport.abort()
