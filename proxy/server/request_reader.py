"""The reading half of a downstream connection: requests, read ahead within bounds, and their bodies."""

from collections import deque
from typing import Final

from proxy.errors import IllegalMove
from proxy.exchange.handler import RequestHandler
from proxy.http.message import (
    LINE_BYTES,
    Framing,
    Peer,
    Request,
)
from proxy.http.problems import Refusal
from proxy.http1.head import RequestHead, RequestHeadReader, check_unfinished
from proxy.server.connection_states import (
    BODY,
    FREE,
    HEAD,
    HELD,
    OVER,
    PIPED,
    READING_MOVES,
    ReadState,
)
from proxy.server.request_body import CONTINUE, RequestBody
from proxy.server.response_writer import ResponseWriter
from proxy.server.server_state import ServerState

MAX_PIPELINED = 64
READ_AHEAD = 65_536  # bytes of heads, as they are held; what is read beyond that waits unread
HELD_LIMIT: Final = 65_536  # bytes that wait for an answer that may change the protocol, or for the end of a turn (W8)


class RequestReader(ResponseWriter):
    """head -> body -> head -> ... ; `ReadState` says what the next byte is. Requests and refusals are queued."""

    def __init__(self, gate: ServerState) -> None:
        super().__init__(gate)
        self._peer = Peer("", 0)
        self.reading: ReadState = HEAD
        self._heads = RequestHeadReader(gate.limits)
        self._pending = bytearray()  # of a head that is not whole yet
        self._ahead = 0  # what the heads weigh that were read since nothing waited
        self._held = bytearray()  # not parsed: too much waits already, or the protocol may change
        self._early = bytearray()  # data that came when enough was begun in that turn of the loop
        self._dropped = False  # bytes came that nobody looks at
        self._incoming: RequestBody | None = None
        self._queue: deque[RequestHandler | Refusal] = deque()
        self._switching = False  # a request that asks for another protocol waits for its answer
        self._reading_paused = False
        self.since = 0.0  # gate time of the last change of what is waited for

    @property
    def address(self) -> str:
        """Return the address of the other end."""
        return self._peer.address

    def _is_idle(self) -> bool:
        return self.answering is FREE and not self._queue and not self._early

    def _read_next(self, reading: ReadState) -> None:
        if reading not in READING_MOVES[self.reading]:
            raise IllegalMove(self.reading, reading)
        self.reading = reading

    # what the answering half does

    def _next(self) -> None:
        """Begin the next request, if its turn has come."""
        raise NotImplementedError

    def _refuse(self, refusal: Refusal) -> None:
        """Answer what is refused on the wire after all that came before it, and read no further."""
        raise NotImplementedError

    def _ready_soon(self, handler: RequestHandler) -> None:
        """Have its turn come once all that is here of its body is taken in."""
        raise NotImplementedError

    def _say(self, data: bytes) -> None:
        """Pass on what the client says in a tunnel."""
        raise NotImplementedError

    # reading

    def data_received(self, data: bytes) -> None:
        self.heard_at = self._gate.tick
        if self._early:
            self._early += data
            if len(self._early) > HELD_LIMIT:
                self._pause(True)
        elif self.reading is not HEAD:
            self._take_in(data)
        elif self._gate.turns.take(self):
            self._feed(data)
        else:
            self._early += data

    def go_on(self) -> None:
        """Look at what came before it was this connection's turn."""
        early = bytes(self._early)
        self._early.clear()
        if early:
            self._pause(False)
            self._take_in(early)

    def _take_in(self, data: bytes) -> None:
        if self.reading is HEAD or self.reading is BODY:
            self._feed(data)
        elif self.reading is HELD:
            self._hold(data)
        elif self.reading is PIPED:
            self._say(data)
        else:
            self._dropped = True

    def _feed(self, data: bytes) -> None:
        try:
            while data:
                if self._incoming is not None:
                    data = self._feed_body(self._incoming, data)
                elif self.reading is OVER:
                    self._dropped = True
                    return
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
        return full or (isinstance(last, RequestHandler) and last.exchange.bytes_in > 0)

    def _hold(self, data: bytes) -> None:
        if self.reading is not HELD:
            self._read_next(HELD)
        self._held += data
        if not self._switching or len(self._held) > HELD_LIMIT:
            self._pause(True)

    def _release(self) -> None:
        """Go on with what was held."""
        held = bytes(self._held)
        self._held.clear()
        self._read_next(HEAD)
        self._pause(False)
        self._feed(held)

    def _read_no_more(self) -> None:
        """Look at nothing that still comes, and let go of what is here; the requests that are whole are answered."""
        incoming, self._incoming = self._incoming, None
        self._dropped = self._dropped or bool(incoming or self._held or self._pending or self._early)
        for waiting in (self._held, self._pending, self._early):
            waiting.clear()
        if self.reading is not OVER:
            self._read_next(OVER)
        if incoming is not None:
            incoming.break_off("the rest of the request's body is not read")
        self._pause(False)

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
        if self._gate.crowded and (refusal := self._gate.no_room()) is not None:
            raise refusal
        head = self._heads.read(data[:end])
        weight = end + LINE_BYTES * len(head.fields.lines)
        self._ahead = self._ahead + weight if self._queue else weight
        self._open(head)
        return data[end:]

    def _open(self, head: RequestHead) -> None:
        """Take a request whose head is here (steps 1 and 2), and wait for its body if it has one."""
        said = head.said
        fields, client, hops = self._gate.trusted.look(self._peer, head.fields)
        # by position: to name them costs the plain build 1 % of a request
        request = Request(
            head.method, head.target, fields, self._peer, b"", said.framing, head.authority, head.minor, client,
            said.keep_alive, said.upgrade, hops,
        )  # fmt: skip
        handler = self._gate.open(request, self)  # type: ignore[arg-type]  # the answering half makes it a client
        self._switching = bool(said.upgrade)
        if said.framing is Framing.NONE:
            self._expect_another(request)
            self._queue.append(handler)
            self._next()
            return
        self.since = self._gate.tick
        incoming = RequestBody(handler, said.length, self._pause, self._ready_soon)
        if incoming.done:
            self._expect_another(request)
            incoming.finish()
            return
        self._incoming = incoming
        self._read_next(BODY)
        if self.answering is FREE and not self._queue:
            self._continue()

    def _expect_another(self, request: Request) -> None:
        """Look at nothing that follows a request whose client says that it is the last."""
        if not request.keep_alive and not request.upgrade:
            self._read_next(OVER)

    def _feed_body(self, incoming: RequestBody, data: bytes) -> bytes:
        rest = incoming.feed(data)
        if incoming.done:
            self._incoming = None
            self._read_next(HEAD)
            self._expect_another(incoming.handler.exchange.request)
        return rest

    def _continue(self) -> None:
        """Let a client that waits for it send the body that we keep: it is this request's turn (W7)."""
        incoming = self._incoming
        if incoming is not None and incoming.owes_continue:
            incoming.owes_continue = False
            self.write_now(CONTINUE)

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
