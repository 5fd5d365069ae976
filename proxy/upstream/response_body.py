"""The body of a backend's response: complete if it is small, otherwise streamed."""

import asyncio
from collections.abc import Callable

from proxy.http.fields import Fields, Lines
from proxy.http.headers import trailers_that_cross
from proxy.http.message import Failure, Framing, Response
from proxy.http.problems import Reason
from proxy.http1.body import Decoder
from proxy.http1.gathered import Gathered
from proxy.http1.head import WHOLE_LIMIT, ResponseHead
from proxy.transport.broadcast import Broadcast


class ResponseBody:
    """The received part of one response body. It is buffered until `stream` chooses the relay for all of it.

    `pace` and `deserted` are for that relay: they pause its sender, and report that its last reader left.
    """

    __slots__ = ("_deserted", "_gathered", "_pace", "_timer", "decoder", "head", "relay")

    def __init__(
        self, head: ResponseHead, decoder: Decoder, pace: Callable[[bool], None], deserted: Callable[[], None]
    ) -> None:
        self.head = head
        self.decoder = decoder
        self.relay: Broadcast | None = None
        self._pace = pace
        self._deserted = deserted
        self._gathered = Gathered()
        self._timer: asyncio.TimerHandle | None = None

    def feed(self, data: bytes) -> None:
        """Decode received bytes. Raise BrokenBody if they do not match the announced framing."""
        piece = self.decoder.feed(data)
        if self.relay is not None:
            self.relay.push(piece)
            return
        self._gathered.add(piece)

    @property
    def outgrown(self) -> bool:
        """Tell whether the buffered body is too large to be handed over as a whole."""
        return self.relay is None and self._gathered.size > WHOLE_LIMIT

    def whole(self) -> bytes:
        """Return the buffered body and release it."""
        return self._gathered.take()

    def stream(self, relay: Broadcast | None = None) -> Response:
        """Return the response as a stream of the received and later data; `relay` is given for a tunnel."""
        self.relay = relay = relay or Broadcast(self._pace, self._deserted)
        relay.push(self._gathered.take())
        return response(self.head, relay)

    def break_off(self, why: str) -> Failure:
        """End an incomplete body: its received part is relayed as truncated."""
        partial = response(self.head, self.relay) if self.relay is not None else self.stream()
        assert self.relay is not None
        self.relay.break_off(why)
        return Failure(Reason.RESPONSE_INCOMPLETE, sent=True, partial=partial)

    def wait(self, timer: asyncio.TimerHandle) -> None:
        """Store the timer that limits the buffering time."""
        self._timer = timer

    def forget_timer(self) -> None:
        """Cancel that timer: the body is complete or broken."""
        if self._timer is not None:
            self._timer.cancel()


def response(head: ResponseHead, body: bytes | Broadcast, trailers: Lines = ()) -> Response:
    """Return a response as it is forwarded to the client."""
    trailers = trailers_that_cross(trailers) if trailers else ()
    # the constructor of a NamedTuple is a Python function: this takes half its time and saves 0.15 µs a request
    return tuple.__new__(Response, (head.status, head.reason, head.crossing, body, head.framing, trailers))


def switched(head: ResponseHead, tunnel: Broadcast, requested: bytes) -> Response:
    """Return a 101 as it is forwarded: with the backend's protocol, or the requested one if it names none."""
    protocol = head.fields.get(b"upgrade") or requested
    fields = Fields((*head.crossing.lines, (b"Connection", b"Upgrade"), (b"Upgrade", protocol)))
    return Response(head.status, head.reason, fields, tunnel, Framing.CLOSE)
