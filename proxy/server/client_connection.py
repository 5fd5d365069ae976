"""The downstream leg: one connection to a client, what is read on it, and what is answered, in order."""

import asyncio
from typing import Final, cast

from proxy.exchange.handler import RequestHandler
from proxy.exchange.state import Exchange
from proxy.http.fields import Lines
from proxy.http.message import (
    BodyReader,
    Framing,
    Request,
    Response,
)
from proxy.http.problems import Refusal
from proxy.server.connection_states import (
    CLOSED,
    FREE,
    HELD,
    LINGERING,
    OVER,
    PIPED,
    RUNNING,
    STARTED,
    TUNNEL,
)
from proxy.server.request_body import RequestBody
from proxy.server.request_reader import HELD_LIMIT, MAX_PIPELINED, RequestReader
from proxy.server.server_state import (
    ServerState,
    no_memory,
    peer_of,
    whole_body,
)
from proxy.server.streamed_response import StreamedResponse
from proxy.transport.tunnel import Tunnel

_COPIES: Final = 3  # of a head on its way: as it came, as lines, and as it goes on
REMEMBERED_S = 1.0  # an idle connection keeps what its last head said no longer than this


class ClientConnection(RequestReader):
    """One connection. `Reading` says what the client's next byte is, `Answering` what may be written to it.

    Requests are read ahead, at most `MAX_PIPELINED` and `READ_AHEAD` bytes, and answered one at a time in their order.
    After a 101 both sides are bytes. It is the `Client` of whichever exchange is current, and an `asyncio.Protocol` in
    all but descent: what inherits from Python is compiled to no plain structure.
    """

    def __init__(self, gate: ServerState, generation: int = 0) -> None:
        """Take the way in, and the generation of the TLS files that the handshake is made with."""
        super().__init__(gate)
        self._generation = generation
        self._current: RequestHandler | None = None
        self._streamed: StreamedResponse | None = None
        self._tunnel: Tunnel | None = None
        self._hung_up: asyncio.Future[None] | None = None  # of a tunnel: the client will say no more

    # the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it
        self._peer = peer_of(self.transport)
        self.since = self.heard_at = self._gate.tick
        refusal = self._gate.enter(self)
        if not self.vouched_for:  # a handshake that a reload overtook
            self.abort()
            return
        if refusal is not None:
            self._turn_away(refusal)

    def _turn_away(self, refusal: Refusal) -> None:
        """Tell the client that there is no room, unless too many are being told."""
        self._read_no_more()
        if self._gate.overrun:
            self._gate.refusal(refusal, self._peer)  # it is counted and on record all the same
            self.abort()
        else:
            self._queue.append(refusal)
            self._next()

    def eof_received(self) -> bool:
        if self._tunnel is None or self._hung_up is None:
            return False  # a client that half-closes has left, as for nginx and Envoy
        self._tunnel.hang_up()
        if not self._hung_up.done():
            self._hung_up.set_result(None)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._gate.leave(self)
        self._end()
        self.go_on()  # a request that is here is recorded, though its turn had not come
        current, incoming, unheard = self._current, self._incoming, self._unheard()
        self._read_no_more()
        self._queue.clear()
        self.flow.wake()
        self._current = self._tunnel = None  # they lead back here: a cycle would be the collector's work
        if current is not None:
            current.abandon(mid_upload=incoming is not None and incoming.handler is current)
        for handler in unheard:
            handler.abandon()
            self._begin(handler)

    def _unheard(self) -> list[RequestHandler]:
        """Return the requests whose turn has not come, one whose body still arrives with them."""
        waiting = [handler for handler in self._queue if isinstance(handler, RequestHandler)]
        incoming = self._incoming
        if incoming is not None and incoming.upload is None:
            waiting.append(incoming.handler)
        return waiting

    def resume_writing(self) -> None:
        super().resume_writing()
        self._next()

    def abort(self) -> None:
        """Drop the connection, and an answer that is on its way with it."""
        if self._streamed is not None:
            self._streamed.cut()
        super().abort()

    @property
    def vouched_for(self) -> bool:
        """Tell whether the authority of the client's certificate still counts, if it showed one."""
        return self._peer.certificate is None or self._generation >= self._gate.trusts_since

    def retire(self) -> None:
        """Begin nothing more for this client, and end with the answer that is under way."""
        if self.answering is TUNNEL or self.answering is LINGERING or self.answering is CLOSED:
            return
        current, incoming, unheard = self._current, self._incoming, self._unheard()
        if current is not None:
            current.exchange.request.keep_alive = False
        if current is None or incoming is None or incoming.handler is not current:
            self._read_no_more()
        self._queue.clear()
        for handler in unheard:
            handler.abandon()
            self._loop.call_soon(self._begin, handler)  # not from within the task that reloads
        if current is None:
            self._close()

    # answering, in order

    def _say(self, data: bytes) -> None:
        assert self._tunnel is not None
        self._tunnel.say(data)
        if self._current is not None:
            self._current.exchange.bytes_in += len(data)

    def _ready_soon(self, handler: RequestHandler) -> None:
        """Have its turn come once all that is here of its body is taken in."""
        self._queue.append(handler)
        self._loop.call_soon(self._take_next)

    def _next(self) -> None:
        if self.answering is not FREE or not self._queue or self.flow.writable is not None:
            return
        if len(self._unsent) > HELD_LIMIT:
            self._loop.call_soon(self._take_next)  # once that is written, which stands before it
            return
        following = self._queue.popleft()
        if isinstance(following, Refusal):
            self.write_now(self._gate.refusal(following, self._peer))
            self._finish(linger=True)
            return
        self._become(RUNNING)
        self._current = following
        self._begin(following)

    def _begin(self, handler: RequestHandler) -> None:
        self._gate.begun += 1
        handler.start(self._loop)

    def _go_on(self) -> None:
        """Read on where an answer made room."""
        full = self._queue and (len(self._queue) >= MAX_PIPELINED // 2 or self._has_enough())
        if self.reading is HELD and not self._switching and not full:
            self._release()

    def _refuse(self, refusal: Refusal) -> None:
        """Answer what is refused on the wire after all that came before it, and read no further."""
        incoming, self._incoming = self._incoming, None
        self._dropped = True
        self._read_no_more()
        if incoming is not None and incoming.handler is self._current:
            self._refuse_current(incoming, refusal)
            return
        if incoming is not None and incoming.upload is not None:  # its turn has not come
            self._queue.remove(incoming.handler)
        self._queue.append(refusal)
        self._next()

    def _refuse_current(self, incoming: RequestBody, refusal: Refusal) -> None:
        """Refuse the rest of an upload whose request runs: as its answer, or by a cut of the answer that has begun."""
        wanted = incoming.wanted
        if self._streamed is None:
            incoming.handler.refuse(refusal)
        elif wanted:
            self._streamed.cut()
        incoming.break_off(refusal.detail)

    def interim(self, response: Response) -> None:
        """Write an interim answer (1xx), unless the client could not read it, or is behind already."""
        current = self._current
        if self.answering is not RUNNING or current is None or self.flow.writable is not None:
            return
        if current.exchange.request.minor:
            self.write_now(self._gate.interim(response))

    def write(self, response: Response, more: Lines) -> None:
        """Write a whole answer at once; nothing if the client has left."""
        current, transport = self._current, self.transport
        if self.answering is not RUNNING or current is None or transport is None or transport.is_closing():
            return
        request = current.exchange.request
        framing, body = whole_body(response, request)
        closing = self._closes(request)
        if not self._unsent:
            self._gate.outgoing.add(self)
        self._unsent += self._gate.head(response, more + framing, request, closing=closing) + body
        self._answered(closing=closing)

    async def relay(self, response: Response, reader: BodyReader, more: Lines) -> int:
        """Write a streamed answer as it comes; return its body's bytes. Raise BrokenBody once the client is cut off."""
        current = self._current
        if self.answering is not RUNNING or current is None or self._is_closing():
            reader.close()
            return 0
        if isinstance(response.body, Tunnel):
            return await self._through(current.exchange, response, response.body, reader, more)
        request = current.exchange.request
        if request.method == "HEAD":  # an answer that recovery asked for with GET has a body
            reader.close()
            self.write(response._replace(body=b""), more)
            return 0
        length_known = response.framing is Framing.LENGTH
        chunked = not length_known and request.minor == 1
        closing = self._closes(request) or not (length_known or chunked)
        if chunked:
            more = (*more, (b"Transfer-Encoding", b"chunked"))
        self._become(STARTED)
        self.write_now(self._gate.head(response, more, request, closing=closing))
        streamed = StreamedResponse(self, current.exchange, reader, chunked=chunked, delimited=length_known or chunked)
        size = await self._stream(streamed)
        self._answered(closing=closing)
        return size

    async def _stream(self, streamed: StreamedResponse) -> int:
        """Let an answer, or a tunnel's, go out to its end; where it is cut, the connection ends."""
        self._streamed = streamed
        try:
            return await streamed.run()
        except BaseException:
            self._end()
            raise
        finally:
            self._streamed = None

    async def _through(self, x: Exchange, response: Response, tunnel: Tunnel, reader: BodyReader, more: Lines) -> int:
        """Be a tunnel until both sides have hung up; return the bytes that the backend said."""
        transport = self.transport
        assert transport is not None
        self._become(TUNNEL)
        self.write_now(self._gate.switched(response, more))
        self._tunnel, self._hung_up = tunnel, self._loop.create_future()
        tunnel.pace_client = self._pause
        held = bytes(self._held)
        self._held.clear()
        self._read_next(PIPED)
        self._pause(False)
        if held:
            self._say(held)
        try:
            size = await self._stream(StreamedResponse(self, x, reader, chunked=False, delimited=False))
            if transport.can_write_eof() and not self._hung_up.done():
                transport.write_eof()
                await self._hung_up
        finally:
            tunnel.hang_up()  # a client that was cut says no more either
        self._end()
        transport.close()
        return size

    def _closes(self, request: Request) -> bool:
        incoming = self._incoming
        early = incoming is not None and incoming.handler is self._current
        last = self.reading is OVER and not self._queue
        return early or last or not request.keep_alive or self._gate.draining

    def _is_closing(self) -> bool:
        return self.transport is None or self.transport.is_closing()

    def _answered(self, *, closing: bool) -> None:
        """Go on with the next request, or close: an answer's last byte is written."""
        self._current = None
        self._become(FREE)
        self.since = self._gate.tick
        if closing:
            self._close()
            return
        if not self._queue:
            self._switching = False
            if self._incoming is not None:
                self._continue()
        if self._queue or self.reading is HELD:
            self._loop.call_soon(self._take_next)  # not from within the task that answered

    def _take_next(self) -> None:
        self._next()
        self._go_on()

    def _close(self) -> None:
        """Close once everything is written."""
        if self._is_closing():
            return
        self._dropped = self._dropped or bool(self._queue)
        self._queue.clear()
        self._read_no_more()
        self._finish(linger=self._dropped)

    @property
    def held(self) -> int:
        """Return the bytes that it holds, about: heads and bodies stand in memory as they came and as they go on."""
        waiting = len(self._pending) + len(self._early) + len(self._held)
        arriving = 0 if self._incoming is None else self._incoming.held
        heads = 0 if self._is_idle() and self._incoming is None else self._ahead
        return waiting + _COPIES * heads + 2 * arriving + self._bodies() + self._unwritten()

    def _bodies(self) -> int:
        handlers = [handler for handler in (self._current, *self._queue) if isinstance(handler, RequestHandler)]
        bodies = [handler.exchange.request.body for handler in handlers]
        return sum([len(body) for body in bodies if isinstance(body, bytes)])

    def give_way(self) -> None:
        """Let go of what it holds. A request whose turn has not come is refused; anything else is cut."""
        if self._is_closing():
            return
        if self._is_idle() and self.reading is not OVER and not self._early:
            self._refuse(no_memory())
        else:
            self.abort()

    def sweep(self, now: float) -> None:
        """End what has waited too long (W11): there is no timer but this coarse one."""
        assert self.transport is not None
        if self.answering is LINGERING or self.answering is CLOSED:
            self._sweep_ending(now)
        elif self.flow.writable is not None:
            if self.flow.stalled_s(self.transport, now) > self._client_idle_s():
                self.abort()
        elif self.answering is TUNNEL:
            if now - self.heard_at > self._gate.rules.tunnel_idle_s:
                self.abort()
        elif self._incoming is not None:
            self._sweep_body(self._incoming, now)
        elif self._pending:
            if now - self.since > self._gate.rules.head_timeout_s:
                self._refuse(Refusal(408, "slow_head", "the request head did not arrive in time"))
        elif (
            now - self.since > self._gate.keepalive_s and self.answering is FREE and not self._queue and not self._early
        ):
            self._close()
        elif now - self.since > REMEMBERED_S:
            self._heads.forget()

    def _sweep_body(self, incoming: RequestBody, now: float) -> None:
        """Refuse the rest of a body that stopped arriving. Once its answer has begun, that is what has to go on."""
        begun = self.answering is STARTED and incoming.handler is self._current
        if (
            not begun
            and not self._reading_paused
            and now - self.heard_at > incoming.handler.exchange.route.client_idle_s
        ):
            self._refuse(Refusal(408, "slow_body", "the request body stopped arriving"))

    def _client_idle_s(self) -> float:
        """Return the seconds for which a client may take nothing of its answer."""
        return self._gate.rules.idle_timeout_s if self._current is None else self._current.exchange.route.client_idle_s
