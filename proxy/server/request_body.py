"""A request whose body arrives: collected up to its route's replay limit, beyond that relayed as it comes (step 1)."""

from collections.abc import Callable

from proxy.errors import BrokenBody
from proxy.exchange.handler import RequestHandler
from proxy.http.headers import trailers_that_cross
from proxy.http.problems import Refusal
from proxy.http1.body import decoder
from proxy.http1.gathered import Gathered
from proxy.policy.retry import sent_once
from proxy.transport.broadcast import Broadcast

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class RequestBody:
    """One request between its head and its body's last byte: collecting -> done, or collecting -> streaming -> done.

    `begin` is called once, when the request may run: with a whole body at its end, with a streamed one at its start.
    `pace(True)` asks for no more, `pace(False)` for more.
    """

    __slots__ = ("_begin", "_collected", "_decoder", "_pace", "_size", "_x", "handler", "owes_continue", "upload")

    def __init__(
        self,
        handler: RequestHandler,
        length: int,
        pace: Callable[[bool], None],
        begin: Callable[[RequestHandler], None],
    ) -> None:
        self.handler = handler
        self._x = exchange = handler.exchange
        self.upload: Broadcast | None = None
        self._pace = pace
        self._begin = begin
        self._decoder = decoder(exchange.request.framing, length)
        self._collected = Gathered()
        self._size = 0
        self._check_size(length)
        self.owes_continue = b"expect" in exchange.request.fields and not self.done
        if length > exchange.route.replay_limit or (self.owes_continue and sent_once(exchange.route, exchange.request)):
            self.owes_continue = False  # the backend is asked, and its 100 is passed on (RFC 9110 section 10.1.1)
            self._stream()

    def _check_size(self, size: int) -> None:
        most = self._x.route.max_body
        if most is not None and size > most:
            raise Refusal(413, "body_too_large", f"the body may have at most {most} bytes")

    @property
    def done(self) -> bool:
        """Tell whether the body's last byte is here."""
        return self._decoder.done

    @property
    def held(self) -> int:
        """Return the bytes that are here of what was not passed on."""
        return self._collected.size if self.upload is None else self.upload.held

    @property
    def wanted(self) -> bool:
        """Tell whether somebody still reads the body, or will."""
        return self.upload is None or not self.upload.ended

    def feed(self, data: bytes) -> bytes:
        """Take the body's share of `data`; return what follows it. Raise Refusal for what must not go on."""
        body = self._decoder
        try:
            piece = body.feed(data)
        except BrokenBody as broken:
            raise Refusal(400, "malformed_body", str(broken)) from None
        self._size += len(piece)
        self._x.bytes_in = self._size
        self._check_size(self._size)
        if self.upload is not None:
            self.upload.push(piece)
        else:
            self._collected.add(piece)
            if self._size > self._x.route.replay_limit:
                self._outgrow()
        if not body.done:
            return b""
        self.finish()
        return body.rest

    def _outgrow(self) -> None:
        """Stream what turned out to be too long to keep; its 100 was ours and is not asked for again."""
        request = self._x.request
        if b"expect" in request.fields:
            request.fields = request.fields.without((b"expect",))
        self._stream()

    def _stream(self) -> None:
        """Begin the request while its body still arrives."""
        self.upload = Broadcast(self._pace, _unread)
        self.upload.push(self._collected.take())
        self._x.request.body = self.upload
        self._begin(self.handler)

    def finish(self) -> None:
        """Take note that the body is whole."""
        self.owes_continue = False
        trailers = trailers_that_cross(self._decoder.trailers) if self._decoder.trailers else ()
        if self.upload is not None:
            self.upload.finish(trailers)
            return
        request = self._x.request
        request.body = self._collected.take()
        request.trailers = trailers
        self._begin(self.handler)

    def break_off(self, why: str) -> None:
        """Take note that the rest will never come."""
        if self.upload is not None:
            self.upload.break_off(why)


def _unread() -> None:
    """Let an upload that nobody reads any more run into the void until its answer is out."""
