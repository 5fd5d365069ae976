"""One connection to a client: requests are read ahead, started one at a time, and the responses are sent in order."""

import asyncio
from typing import cast

from proxy.exchange.handler import RequestHandler
from proxy.exchange.state import Exchange
from proxy.http.fields import Lines
from proxy.http.message import BodyReader, Framing, Request, Response
from proxy.http.problems import Refusal
from proxy.server.client_tunnel import ClientTunnel
from proxy.server.connection_states import CLOSED, FREE, HEAD, HELD, LINGERING, OVER, PIPED, RUNNING, STARTED, TUNNEL
from proxy.server.request_body import CONTINUE, RequestBody
from proxy.server.request_reader import HELD_LIMIT, MAX_PIPELINED, RequestReader
from proxy.server.response_writer import ResponseWriter
from proxy.server.server_state import ServerState, no_memory, peer_of, whole_body
from proxy.server.streamed_response import StreamedResponse
from proxy.transport.tunnel import Tunnel

REMEMBERED_S = 1.0  # seconds for which an idle connection caches its last parsed head


class ClientConnection:
    """One client connection. Its reader tracks what the client sends next, its writer what may be written.

    At most `MAX_PIPELINED` requests and `READ_AHEAD` bytes are read ahead; responses are sent one at a time, in order.
    After a 101 both directions are raw bytes. It is the `Client` of the current exchange. It implements
    `asyncio.Protocol` without inheriting from it: mypyc compiles a subclass of a Python class less efficiently.
    """

    def __init__(self, server: ServerState, generation: int = 0) -> None:
        """Take the shared state and the generation of the TLS files that the handshake uses."""
        self._server = server
        self._generation = generation
        self._loop = asyncio.get_running_loop()
        self.writer = ResponseWriter(server)
        self.reader = RequestReader(server, self.writer)
        self._current: RequestHandler | None = None
        self._streamed: StreamedResponse | None = None
        self._tunnel: ClientTunnel | None = None

    @property
    def address(self) -> str:
        """Return the client's address."""
        return self.reader.peer.address

    @property
    def vouched_for(self) -> bool:
        """Tell whether the authority of the client's certificate, if it sent one, is still trusted."""
        return self.reader.peer.certificate is None or self._generation >= self._server.trusts_since

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.writer.transport = made = cast(asyncio.Transport, transport)  # uvloop's class does not inherit from it
        self.reader.peer = peer_of(made)
        self.reader.since = self.writer.received_at = self._server.tick
        refusal = self._server.enter(self)
        if not self.vouched_for:  # the TLS files were reloaded during the handshake
            self.abort()
            return
        if refusal is not None:
            self._turn_away(refusal)

    def _turn_away(self, refusal: Refusal) -> None:
        """Send a 503 for lack of capacity, unless too many connections are being refused."""
        self.reader.read_no_more()
        if self._server.overrun:
            self._server.refusal(refusal, self.reader.peer)  # count and record it anyway
            self.abort()
        else:
            self.reader.queue.append(refusal)
            self._next()

    def data_received(self, data: bytes) -> None:
        reader = self.reader
        self.writer.received_at = self._server.tick
        if not reader.early and (reader.state is not HEAD or self._server.turns.take(self, len(data))):
            self._take_in(data)
        else:
            reader.come_early(data)

    def eof_received(self) -> bool:
        if self._tunnel is None:
            return False  # a half-closed client has left, as in nginx and Envoy
        self._tunnel.hang_up()
        return True

    def pause_writing(self) -> None:
        self.writer.pause_writing()

    def resume_writing(self) -> None:
        self.writer.resume_writing()
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        reader = self.reader
        self._server.leave(self)
        self.writer.end()
        self.go_on()  # a complete request is recorded even if it was not started
        current, incoming, take_unread = self._current, reader.incoming, reader.take_unread()
        reader.read_no_more()
        reader.queue.clear()
        self.writer.flow.wake()
        self._current = self._tunnel = None  # break the reference cycle
        if current is not None:
            current.abandon(mid_upload=incoming is not None and incoming.handler is current)
        for handler in take_unread:
            handler.abandon()
            self._begin(handler)

    def abort(self) -> None:
        """Close the connection at once, even during a response."""
        if self._streamed is not None:
            self._streamed.cut()
        self.writer.abort()

    def retire(self) -> None:
        """Start no further request for this client. Close after the current response."""
        reader, state = self.reader, self.writer.state
        if state is TUNNEL or state is LINGERING or state is CLOSED:
            return
        current, incoming, take_unread = self._current, reader.incoming, reader.take_unread()
        if current is not None:
            current.exchange.request.keep_alive = False
        if current is None or incoming is None or incoming.handler is not current:
            reader.read_no_more()
        reader.queue.clear()
        for handler in take_unread:
            handler.abandon()
            self._loop.call_soon(self._begin, handler)  # not inside the task that reloads
        if current is None:
            self._close()

    # reading

    @property
    def waiting(self) -> int:
        """Return how many bytes wait for this connection's turn."""
        return len(self.reader.early)

    def go_on(self) -> None:
        """Process the data that had to wait for a later loop iteration."""
        early = self.reader.take_early()
        if early:
            self._take_in(early)

    def _take_in(self, data: bytes) -> None:
        """Read requests and body data; start a request if no other is running, a body's after all its data is read."""
        reader = self.reader
        if self._tunnel is not None:
            self._tunnel.send(data)
            return
        try:
            while data:
                data = reader.take(data, self)
                if reader.incoming is not None:
                    self._continue()
                elif reader.queue:
                    self._next()
        except Refusal as refusal:
            self._refuse(refusal)
        if reader.incoming is not None and reader.queue:
            self._loop.call_soon(self._take_next)

    def _continue(self) -> None:
        """Send 100 Continue if the client waits for it and its request is the current one (RFC 9110 section 10.1.1)."""
        incoming = self.reader.incoming
        if incoming is not None and incoming.owes_continue and self.writer.state is FREE and not self.reader.queue:
            incoming.owes_continue = False
            self.writer.write_now(CONTINUE)

    def _refuse(self, refusal: Refusal) -> None:
        """Respond to a refused message after all responses before it, and read no further."""
        reader = self.reader
        incoming, reader.incoming = reader.incoming, None
        reader.dropped = True
        reader.read_no_more()
        if incoming is not None and incoming.handler is self._current:
            self._refuse_current(incoming, refusal)
            return
        if incoming is not None:
            self._server.name(refusal, incoming.handler.exchange.request.fields)
            if incoming.upload is not None:  # it has not been started
                reader.queue.remove(incoming.handler)
        reader.queue.append(refusal)
        self._next()

    def _refuse_current(self, incoming: RequestBody, refusal: Refusal) -> None:
        """Refuse the rest of an upload whose request runs: as its response, or by cutting a response that has begun."""
        wanted = incoming.wanted
        if self._streamed is None:
            incoming.handler.refuse(refusal)
        elif wanted:
            self._streamed.cut()
        incoming.break_off(refusal.detail)

    # responses, in order

    def _next(self) -> None:
        """Start the next request if none is running."""
        writer, queue = self.writer, self.reader.queue
        if writer.state is not FREE or not queue or writer.flow.writable is not None:
            return
        if len(writer.unsent) > HELD_LIMIT:
            self._loop.call_soon(self._take_next)  # after the buffered response before it is written
            return
        following = queue.popleft()
        if isinstance(following, Refusal):
            writer.write_now(self._server.refusal(following, self.reader.peer))
            writer.finish(linger=True)
            return
        writer.become(RUNNING)
        self._current = following
        self._begin(following)

    def _begin(self, handler: RequestHandler) -> None:
        self._server.begun += 1
        handler.start(self._loop)

    def _read_on(self) -> None:
        """Resume reading after a response made room."""
        reader = self.reader
        full = reader.queue and (len(reader.queue) >= MAX_PIPELINED // 2 or reader.has_enough())
        if reader.state is HELD and not reader.switching and not full:
            self._take_in(reader.release(HEAD))

    def interim(self, response: Response) -> None:
        """Write an interim response (1xx), unless the client is HTTP/1.0 or already behind."""
        current = self._current
        if self.writer.state is not RUNNING or current is None or self.writer.flow.writable is not None:
            return
        if current.exchange.request.minor:
            self.writer.write_now(self._server.interim(response))

    def write(self, response: Response, more: Lines) -> None:
        """Write a complete response at once; do nothing if the client has left."""
        current, writer = self._current, self.writer
        transport = writer.transport
        if writer.state is not RUNNING or current is None or transport is None or transport.is_closing():
            return
        request = current.exchange.request
        framing, body = whole_body(response, request)
        closing = self._closes(request)
        if not writer.unsent:
            self._server.outgoing.add(writer)
        writer.unsent += self._server.head(response, more + framing, request, closing) + body
        self._answered(closing)

    def hang_up(self) -> None:
        """Close the connection instead of a response, after all responses before it."""
        if self.writer.state is RUNNING and self._current is not None:
            self._answered(closing=True)

    async def relay(self, response: Response, reader: BodyReader, more: Lines) -> int:
        """Relay a streamed response; return its body's bytes. Raise BrokenBody if the client was cut off."""
        current = self._current
        if self.writer.state is not RUNNING or current is None or self._is_closing():
            reader.close()
            return 0
        if isinstance(response.body, Tunnel):
            return await self._through(current.exchange, response, response.body, reader, more)
        request = current.exchange.request
        if request.method == "HEAD":  # recovery may have used GET
            reader.close()
            self.write(response._replace(body=b""), more)
            return 0
        length_known = response.framing is Framing.LENGTH
        chunked = not length_known and request.minor == 1
        closing = self._closes(request) or not (length_known or chunked)
        if chunked:
            more = (*more, (b"Transfer-Encoding", b"chunked"))
        self.writer.become(STARTED)
        self.writer.write_now(self._server.head(response, more, request, closing))
        streamed = StreamedResponse(
            self.writer, current.exchange, reader, chunked=chunked, delimited=length_known or chunked
        )
        size = await self._stream(streamed)
        self._answered(closing)
        return size

    async def _stream(self, streamed: StreamedResponse) -> int:
        """Write a streamed response or a tunnel's data to its end; a cut response closes the connection."""
        self._streamed = streamed
        try:
            return await streamed.run()
        except BaseException:
            self.writer.end()
            raise
        finally:
            self._streamed = None

    async def _through(self, x: Exchange, response: Response, tunnel: Tunnel, reader: BodyReader, more: Lines) -> int:
        """Run a tunnel until both sides have closed; return the bytes from the backend."""
        self.writer.become(TUNNEL)
        self.writer.write_now(self._server.switched(response, more))
        self._tunnel = through = ClientTunnel(tunnel, x, self.writer)
        tunnel.pace_client = self.reader.pause
        held = self.reader.release(PIPED)
        if held:
            through.send(held)
        return await through.run(self._stream(StreamedResponse(self.writer, x, reader, chunked=False, delimited=False)))

    def _closes(self, request: Request) -> bool:
        """Tell whether the connection ends with this response: it comes early, or no other can follow."""
        reader = self.reader
        if not request.keep_alive or self._server.draining:
            return True
        if reader.incoming is not None and reader.incoming.handler is self._current:
            return True
        return reader.state is OVER and not reader.queue

    def _is_closing(self) -> bool:
        return self.writer.transport is None or self.writer.transport.is_closing()

    def _answered(self, closing: bool) -> None:
        """Continue with the next request or close, after the last byte of a response is written."""
        reader = self.reader
        self._current = None
        self.writer.become(FREE)
        reader.since = self._server.tick
        if closing:
            self._close()
            return
        if not reader.queue:
            reader.switching = False
            if reader.incoming is not None:
                self._continue()
        if reader.queue or reader.state is HELD:
            self._loop.call_soon(self._take_next)  # not inside the task that responded

    def _take_next(self) -> None:
        self._next()
        self._read_on()

    def _close(self) -> None:
        """Close after all data is written."""
        if self._is_closing():
            return
        self.reader.dropped = self.reader.dropped or bool(self.reader.queue)
        self.reader.queue.clear()
        self.reader.read_no_more()
        self.writer.finish(linger=self.reader.dropped)

    @property
    def held(self) -> int:
        """Return the approximate bytes in memory: heads and bodies, both as received and as forwarded."""
        return self.reader.weight(idle=self._is_idle()) + self._bodies() + self.writer.unwritten()

    def _is_idle(self) -> bool:
        return self.writer.state is FREE and not self.reader.queue and not self.reader.early

    def _bodies(self) -> int:
        waiting = (self._current, *self.reader.queue)
        bodies = [handler.exchange.request.body for handler in waiting if isinstance(handler, RequestHandler)]
        return sum([len(body) for body in bodies if isinstance(body, bytes)])

    def give_way(self) -> None:
        """Release memory: refuse a request that was not started; cut off any other."""
        if self._is_closing():
            return
        if self._is_idle() and self.reader.state is not OVER:
            self._refuse(no_memory())
        else:
            self.abort()

    def sweep(self, now: float) -> None:
        """Apply all timeouts: this coarse timer is the only one."""
        reader, writer, rules = self.reader, self.writer, self._server.rules
        assert writer.transport is not None
        if writer.state is LINGERING or writer.state is CLOSED:
            writer.sweep_ending(now)
        elif writer.flow.writable is not None:
            if writer.flow.stalled_s(writer.transport, now) > self._client_idle_s():
                self.abort()
        elif writer.state is TUNNEL:
            if now - writer.received_at > rules.tunnel_timeout:
                self.abort()
        elif reader.incoming is not None:
            self._sweep_body(reader.incoming, now)
        elif reader.in_head:
            if now - reader.since > rules.head_timeout:
                self._refuse(Refusal(408, "slow_head", "the request head did not arrive in time"))
        elif now - reader.since > self._server.keepalive_s and self._is_idle():
            self._close()
        elif now - reader.since > REMEMBERED_S:
            reader.heads.forget()

    def _sweep_body(self, incoming: RequestBody, now: float) -> None:
        """Refuse the rest of a stalled body. After its response has begun, only the response must make progress."""
        begun = self.writer.state is STARTED and incoming.handler is self._current
        silent_s = now - self.writer.received_at
        if not begun and not self.reader.paused and silent_s > incoming.handler.exchange.route.client_idle_s:
            self._refuse(Refusal(408, "slow_body", "the request body stopped arriving"))

    def _client_idle_s(self) -> float:
        """Return for how many seconds a client may read nothing of its response."""
        rules = self._server.rules
        return rules.idle_timeout if self._current is None else self._current.exchange.route.client_idle_s
