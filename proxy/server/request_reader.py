"""The reading half of a connection to a client: requests, read ahead within bounds, and their bodies."""

from collections import deque
from typing import Final

from proxy.errors import IllegalMove
from proxy.exchange.handler import RequestHandler
from proxy.exchange.ports import Client
from proxy.http.message import LINE_BYTES, Framing, Peer, Request
from proxy.http.problems import Refusal
from proxy.http1.head import RequestHead, RequestHeadReader, check_unfinished
from proxy.server.connection_states import BODY, HEAD, HELD, OVER, READING_MOVES, ReadState
from proxy.server.request_body import RequestBody
from proxy.server.response_writer import ResponseWriter
from proxy.server.server_state import ServerState

MAX_PIPELINED = 64
READ_AHEAD = 16_384  # bytes of heads, as they are held; what is read beyond that waits unread
HELD_LIMIT: Final = 65_536  # bytes that wait for an answer that may change the protocol, or for the end of a turn
_COPIES: Final = 3  # of a head on its way: as it came, as lines, and as it goes on


class RequestReader:
    """head -> body -> head -> ... ; `ReadState` says what the next byte is. Requests and refusals are queued.

    It begins nothing: its connection takes from `queue` what has its turn.
    """

    def __init__(self, server: ServerState, writer: ResponseWriter) -> None:
        self._server = server
        self._writer = writer
        self.peer = Peer("", 0)
        self.state: ReadState = HEAD
        self.heads = RequestHeadReader(server.limits)
        self._pending = bytearray()  # of a head that is not whole yet
        self._ahead = 0  # what the heads weigh that were read since nothing waited
        self.held = bytearray()  # not parsed: too much waits already, or the protocol may change
        self.early = bytearray()  # data that came when enough was begun in that turn of the loop
        self.dropped = False  # bytes came that nobody looks at
        self.incoming: RequestBody | None = None
        self.queue: deque[RequestHandler | Refusal] = deque()
        self.switching = False  # a request that asks for another protocol waits for its answer
        self.paused = False
        self.since = 0.0  # when what is waited for last changed, in the server's coarse time

    def read_next(self, state: ReadState) -> None:
        """Go to a state that may follow; raise IllegalMove for any other."""
        if state not in READING_MOVES[self.state]:
            raise IllegalMove(self.state, state)
        self.state = state

    @property
    def in_head(self) -> bool:
        """Tell whether a head has begun and is not whole."""
        return bool(self._pending)

    def come_early(self, data: bytes) -> None:
        """Keep what came while enough is begun in this turn of the loop, within bounds."""
        self.early += data
        if len(self.early) > HELD_LIMIT:
            self.pause(True)

    def take_early(self) -> bytes:
        """Return what was kept, to be read now."""
        early = bytes(self.early)
        self.early.clear()
        if early:
            self.pause(False)
        return early

    def take(self, data: bytes, client: Client) -> bytes:
        """Take a head, or a part of a body, from the beginning of `data`; return what follows it.

        What is not read now is held, or dropped where nothing is read any more. Raise Refusal for what must not go on.
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
        """Tell whether nothing more is read ahead: enough requests wait, or one with a body does."""
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
        """Return what was held, and go to `state`."""
        held = bytes(self.held)
        self.held.clear()
        self.read_next(state)
        self.pause(False)
        return held

    def read_no_more(self) -> None:
        """Look at nothing that still comes, and let go of what is here; the requests that are whole are answered."""
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
        """Take the request whose head ends at `end`; return what follows it."""
        server = self._server
        if server.crowded and (refusal := server.no_room()) is not None:
            raise refusal
        head = self.heads.read(data[:end])
        weight = end + LINE_BYTES * len(head.fields.lines)
        self._ahead = self._ahead + weight if self.queue else weight
        self._open(head, client)
        return data[end:]

    def _open(self, head: RequestHead, client: Client) -> None:
        """Take a request whose head is here (steps 1 and 2): it waits for its turn, or for its body first."""
        parsed = head.parsed
        fields, address, hops = self._server.trusted.look(self.peer, head.fields)
        # by position: to name them costs the plain build 1 % of a request
        request = Request(
            head.method, head.target, fields, self.peer, b"", parsed.framing, head.authority, head.minor, address,
            parsed.keep_alive, parsed.upgrade, hops,
        )  # fmt: skip
        handler = self._server.open(request, client)
        self.switching = bool(parsed.upgrade)
        if parsed.framing is Framing.NONE:
            self._expect_another(request)
            self.queue.append(handler)
            return
        self.since = self._server.tick
        incoming = RequestBody(handler, parsed.length, self.pause, self.queue.append)
        if incoming.done:
            self._expect_another(request)
            incoming.finish()
            return
        self.incoming = incoming
        self.read_next(BODY)

    def _expect_another(self, request: Request) -> None:
        """Look at nothing that follows a request whose client says that it is the last."""
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
        """Return the requests whose turn has not come, one whose body still arrives with them."""
        waiting = [handler for handler in self.queue if isinstance(handler, RequestHandler)]
        incoming = self.incoming
        if incoming is not None and incoming.upload is None:
            waiting.append(incoming.handler)
        return waiting

    def weight(self, *, idle: bool) -> int:
        """Return the bytes that it holds, about: a head stands in memory as it came, as lines, and as it goes on."""
        waiting = len(self._pending) + len(self.early) + len(self.held)
        arriving = 0 if self.incoming is None else self.incoming.held
        heads = 0 if idle and self.incoming is None else self._ahead
        return waiting + _COPIES * heads + 2 * arriving

    def pause(self, pause: bool) -> None:
        """Have the system hold what the client sends, or take it again."""
        transport = self._writer.transport
        if transport is None or transport.is_closing() or pause is self.paused:
            return
        self.paused = pause
        self._writer.received_at = self._server.tick
        if pause:
            transport.pause_reading()
        else:
            transport.resume_reading()
