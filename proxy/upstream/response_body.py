"""The body of a backend's answer while it is read: whole where it is small, else handed on piece by piece."""

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
    """What is here of one answer's body. It is gathered until `stream` names the relay that all of it goes to.

    `pace` and `deserted` are for that relay: they pause its sender, and tell it that nobody reads any more.
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
        """Take bytes. Raises BrokenBody for what is not the body that the head announced."""
        piece = self.decoder.feed(data)
        if self.relay is not None:
            self.relay.push(piece)
            return
        self._gathered.add(piece)

    @property
    def outgrown(self) -> bool:
        """Tell whether more is gathered than is handed over whole."""
        return self.relay is None and self._gathered.size > WHOLE_LIMIT

    def whole(self) -> bytes:
        """Return what was gathered; nothing of it is held here any more."""
        return self._gathered.take()

    def stream(self, relay: Broadcast | None = None) -> Response:
        """Return the answer as a stream of what is here and what follows; `relay` for one that is a tunnel."""
        self.relay = relay = relay or Broadcast(self._pace, self._deserted)
        relay.push(self._gathered.take())
        return response(self.head, relay)

    def break_off(self, why: str) -> Failure:
        """End a body that will never be whole: what is here goes out, and no client may take it for all."""
        partial = response(self.head, self.relay) if self.relay is not None else self.stream()
        assert self.relay is not None
        self.relay.break_off(why)
        return Failure(Reason.RESPONSE_INCOMPLETE, sent=True, partial=partial)

    def wait(self, timer: asyncio.TimerHandle) -> None:
        """Keep the timer that ends the gathering."""
        self._timer = timer

    def forget_timer(self) -> None:
        """Let the gathering end by itself: the body is whole, or broken."""
        if self._timer is not None:
            self._timer.cancel()


def response(head: ResponseHead, body: bytes | Broadcast, trailers: Lines = ()) -> Response:
    """Return an answer as it crosses to the client."""
    trailers = trailers_that_cross(trailers) if trailers else ()
    return Response(head.status, head.reason, head.crossing, body, head.framing, trailers)


def switched(head: ResponseHead, tunnel: Broadcast, asked: bytes) -> Response:
    """Return a 101 as it crosses: the backend's own choice, or what was `asked` for where it names none."""
    protocol = head.fields.get(b"upgrade") or asked
    fields = Fields((*head.crossing.lines, (b"Connection", b"Upgrade"), (b"Upgrade", protocol)))
    return Response(head.status, head.reason, fields, tunnel, Framing.CLOSE)
