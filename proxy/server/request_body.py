"""Receive a request body: collect it up to its route's replay limit, stream a larger one (step 1)."""

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
    """One request from its head to its body's last byte: collecting -> done, or collecting -> streaming -> done.

    `begin` is called once when the request may run: at the end of a collected body, at the start of a streamed one.
    `pace(True)` pauses the sender, `pace(False)` resumes it.
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
            self.owes_continue = False  # the backend decides, and its 100 is forwarded (RFC 9110 section 10.1.1)
            self._stream()

    def _check_size(self, size: int) -> None:
        most = self._x.route.max_body
        if most is not None and size > most:
            raise Refusal(413, "body_too_large", f"the body may have at most {most} bytes")

    @property
    def done(self) -> bool:
        """Tell whether the body is complete."""
        return self._decoder.done

    @property
    def held(self) -> int:
        """Return the received bytes that were not forwarded."""
        return self._collected.size if self.upload is None else self.upload.held

    @property
    def wanted(self) -> bool:
        """Tell whether the body has a reader, or may get one."""
        return self.upload is None or not self.upload.ended

    def feed(self, data: bytes) -> bytes:
        """Consume the body's part of `data`; return the rest. Raise Refusal for an invalid or too large body."""
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
        """Stream a body that exceeds the replay limit; the sidecar already sent 100 Continue."""
        request = self._x.request
        if b"expect" in request.fields:
            request.fields = request.fields.without((b"expect",))
        self._stream()

    def _stream(self) -> None:
        """Start the request while its body still arrives."""
        self.upload = Broadcast(self._pace, _unread)
        self.upload.push(self._collected.take())
        self._x.request.body = self.upload
        self._begin(self.handler)

    def finish(self) -> None:
        """Mark the body complete."""
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
        """Mark the body broken: the rest will never arrive."""
        if self.upload is not None:
            self.upload.break_off(why)


def _unread() -> None:
    """Drop the data of an upload without a reader until its response is sent."""
