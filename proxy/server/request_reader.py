"""The reading half of a client connection: request heads, read ahead within bounds, and bodies."""

from collections import deque
from typing import Final

from proxy.errors import IllegalMove
from proxy.exchange.handler import RequestHandler
from proxy.exchange.ports import Client
from proxy.http.message import LINE_BYTES, NO_BODY, Peer, Request
from proxy.http.problems import Refusal
from proxy.http1.head import RequestHead, RequestHeadReader, check_unfinished
from proxy.policy.event_source import is_event_source
from proxy.server.connection_states import BODY, HEAD, HELD, OVER, READING_MOVES, ReadState
from proxy.server.request_body import RequestBody
from proxy.server.response_writer import ResponseWriter
from proxy.server.server_state import ServerState

MAX_PIPELINED = 64
# bytes of heads that are read ahead, counted with their copies; further data is not read from the socket
READ_AHEAD = 16_384
HELD_LIMIT: Final = 65_536  # bytes that wait for a possible protocol switch or for the end of a loop iteration
_COPIES: Final = 3  # copies of a head in memory: as received, as lines, and as forwarded


class RequestReader:
    """head -> body -> head -> ... ; `ReadState` names the part of the next byte. Requests and refusals are queued.

    It starts no request: the connection takes the next one from `queue`.
    """

    def __init__(self, server: ServerState, writer: ResponseWriter) -> None:
        self._server = server
        self._writer = writer
        self.peer = Peer("", 0)
        self.state: ReadState = HEAD
        self.heads = RequestHeadReader(server.limits)
        self._pending = bytearray()  # bytes of an incomplete head
        self._ahead = 0  # bytes of the heads that were read ahead
        self.held = bytearray()  # unparsed data: enough is queued, or the protocol may switch
        self.early = bytearray()  # data that arrived after this loop iteration had started enough requests
        self.dropped = False  # data was received and dropped
        self.incoming: RequestBody | None = None
        self.queue: deque[RequestHandler | Refusal] = deque()
        self.switching = False  # a request with Upgrade waits for its response
        self.paused = False
        self.since = 0.0  # time of the last change of state, in the server's coarse time

    def read_next(self, state: ReadState) -> None:
        """Change the state. Raise IllegalMove for a transition that is not allowed."""
        if state not in READING_MOVES[self.state]:
            raise IllegalMove(self.state, state)
        self.state = state

    @property
    def in_head(self) -> bool:
        """Tell whether a head is incomplete."""
        return bool(self._pending)

    def come_early(self, data: bytes) -> None:
        """Keep data that arrived after this loop iteration had started enough requests, within bounds."""
        self.early += data
        if len(self.early) > HELD_LIMIT:
            self.pause(True)

    def take_early(self) -> bytes:
        """Return and clear the data that was kept."""
        early = bytes(self.early)
        self.early.clear()
        if early:
            self.pause(False)
        return early

    def take(self, data: bytes, client: Client) -> bytes:
        """Consume a head or a part of a body from `data`; return the rest.

        Data that may not be read yet is held; after the last request it is dropped. Raise Refusal for an
        invalid message.
        """
        if self.incoming is not None:
            return self._feed_body(self.incoming, data)
        if self.state is OVER:
            self.dropped = True
            return b""
        if self.state is HELD or self.switching or (self.queue and self.has_enough()):
            self._hold(data)
            return b""
        return self._feed_head(data, client)

    def has_enough(self) -> bool:
        """Tell whether to stop reading ahead: enough requests are queued, or one has a body."""
        last = self.queue[-1]
        full = len(self.queue) >= MAX_PIPELINED or self._ahead > READ_AHEAD
        return full or (isinstance(last, RequestHandler) and last.exchange.bytes_in > 0)

    def _hold(self, data: bytes) -> None:
        if self.state is not HELD:
            self.read_next(HELD)
        self.held += data
        if not self.switching or len(self.held) > HELD_LIMIT:
            self.pause(True)

    def release(self, state: ReadState) -> bytes:
        """Return the held data and change to `state`."""
        held = bytes(self.held)
        self.held.clear()
        self.read_next(state)
        self.pause(False)
        return held

    def read_no_more(self) -> None:
        """Drop all further data; complete requests still get their responses."""
        incoming, self.incoming = self.incoming, None
        self.dropped = self.dropped or bool(incoming or self.held or self._pending or self.early)
        for waiting in (self.held, self._pending, self.early):
            waiting.clear()
        if self.state is not OVER:
            self.read_next(OVER)
        if incoming is not None:
            incoming.break_off("the rest of the request's body is not read")
        self.pause(False)

    def _feed_head(self, data: bytes, client: Client) -> bytes:
        pending = self._pending
        if not pending:
            data = data.lstrip(b"\r\n")  # RFC 9112 section 2.2: an empty line before a request is ignored
            if not data:
                return b""
            self.since = self._server.tick
            end = data.find(b"\r\n\r\n")
            if end >= 0:
                return self._take_head(data, end + 4, client)
        start = max(0, len(pending) - 3)
        pending += data
        end = pending.find(b"\r\n\r\n", start)
        if end < 0:
            check_unfinished(pending, start, self._server.limits)
            return b""
        data = bytes(pending)
        pending.clear()
        return self._take_head(data, end + 4, client)

    def _take_head(self, data: bytes, end: int, client: Client) -> bytes:
        """Parse the request whose head ends at `end`; return the data after it."""
        server = self._server
        head = self.heads.read(data[:end])
        if server.crowded and (refusal := server.no_room()) is not None:
            server.name(refusal, head.fields)
            refusal.hangs_up = is_event_source(head.method, head.fields)
            raise refusal
        weight = end + LINE_BYTES * len(head.fields.lines)
        self._ahead = self._ahead + weight if self.queue else weight
        self._open(head, client)
        return data[end:]

    def _open(self, head: RequestHead, client: Client) -> None:
        """Open a request with a complete head (steps 1 and 2): it is queued, or its body is read first."""
        parsed = head.parsed
        fields, address, hops = self._server.trusted.look(self.peer, head.fields)
        # positional: keyword arguments cost the plain build 1 % of a request
        request = Request(
            head.method, head.target, fields, self.peer, b"", parsed.framing, head.authority, head.minor, address,
            parsed.keep_alive, parsed.upgrade, hops,
        )  # fmt: skip
        handler = self._server.open(request, client)
        self.switching = bool(parsed.upgrade)
        if parsed.framing is NO_BODY:
            if not parsed.keep_alive:
                self._expect_another(request)
            self.queue.append(handler)
            return
        self.since = self._server.tick
        try:
            incoming = RequestBody(handler, parsed.length, self.pause, self.queue.append)
        except Refusal as refusal:
            self._server.name(refusal, fields)
            raise
        if incoming.done:
            self._expect_another(request)
            incoming.finish()
            return
        self.incoming = incoming
        self.read_next(BODY)

    def _expect_another(self, request: Request) -> None:
        """Stop reading after a request that is the client's last."""
        if not request.keep_alive and not request.upgrade:
            self.read_next(OVER)

    def _feed_body(self, incoming: RequestBody, data: bytes) -> bytes:
        rest = incoming.feed(data)
        if incoming.done:
            self.incoming = None
            self.read_next(HEAD)
            self._expect_another(incoming.handler.exchange.request)
        return rest

    def take_unread(self) -> list[RequestHandler]:
        """Return and clear the requests that were not started, with one whose body is incomplete."""
        waiting = [handler for handler in self.queue if isinstance(handler, RequestHandler)]
        incoming = self.incoming
        if incoming is not None and incoming.upload is None:
            waiting.append(incoming.handler)
        return waiting

    def weight(self, *, idle: bool) -> int:
        """Return the approximate bytes in memory: a head is held as received, as lines and as forwarded."""
        waiting = len(self._pending) + len(self.early) + len(self.held)
        arriving = 0 if self.incoming is None else self.incoming.held
        heads = 0 if idle and self.incoming is None else self._ahead
        return waiting + _COPIES * heads + 2 * arriving

    def pause(self, pause: bool) -> None:
        """Pause or resume reading from the socket."""
        transport = self._writer.transport
        if transport is None or transport.is_closing() or pause is self.paused:
            return
        self.paused = pause
        self._writer.received_at = self._server.tick
        if pause:
            transport.pause_reading()
        else:
            transport.resume_reading()
