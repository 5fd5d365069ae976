"""Both ends of hostile connections: what each has sent, received, and has still to send."""

import asyncio
import socket
import struct
from collections import defaultdict

from tests.fuzz.opinions import Message, h11_answer, h11_request
from tests.fuzz.scripts import Answer, Request

_TOO_SLOW = b"HTTP/1.1 408 "  # to a head that is not whole: nobody knows that it asks for HEAD


class Notes:
    """What all ends of one play note together."""

    def __init__(self) -> None:
        self.moved = 0  # how often anything was heard
        self.whole: dict[bytes, set[tuple[int, bytes]]] = defaultdict(set)  # what was answered to the end, by target


class Peer(asyncio.Protocol):
    """One end of a connection."""

    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        self.transport: asyncio.Transport | None = None
        self.heard = b""
        self.ended = False  # the other side says no more
        self.left = False  # this side hung up

    def __repr__(self) -> str:
        return f"<{type(self).__name__} left={self.left} ended={self.ended} heard={self.heard[-400:]!r}>"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's does not inherit from it
        self.notes.moved += 1
        if self.left:  # it hung up between the accept and this call
            transport.close()

    def data_received(self, data: bytes) -> None:
        self.heard += data
        self.notes.moved += 1

    def eof_received(self) -> bool:
        self.ended = True
        self.notes.moved += 1
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self.notes.moved += 1

    def send(self, data: bytes) -> None:
        """Send bytes, unless this side hung up."""
        if self.transport is not None and not self.left and not self.transport.is_closing():
            self.transport.write(data)

    def finish(self) -> None:
        """Say that no more will be said."""
        if self.transport is not None and not self.left and not self.transport.is_closing():
            self.left = True
            self.transport.write_eof()

    def close(self) -> None:
        """Hang up."""
        self.left = True
        if self.transport is not None:
            self.transport.close()

    def reset(self) -> None:
        """Hang up with a reset."""
        self.left = True
        if self.transport is not None:
            raw = self.transport.get_extra_info("socket")
            if raw is not None and not self.transport.is_closing():
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()

    def read(self, on: bool) -> None:
        """Stop reading, or go on."""
        if self.transport is not None and not self.transport.is_closing() and self.transport.is_reading() is not on:
            (self.transport.resume_reading if on else self.transport.pause_reading)()


class Client(Peer):
    """A client: what it asked, and what it has still to say of its last request."""

    def __init__(self, notes: Notes) -> None:
        super().__init__(notes)
        self.asked: list[Request] = []
        self.unsaid: list[bytes] = []
        self.noisy = False  # it said what is no request: what comes then is only bounded

    def go_on(self) -> None:
        """Say the next piece."""
        if self.unsaid:
            self.send(self.unsaid.pop(0))

    def answers(self) -> tuple[list[Message], bytes]:
        """Return the whole answers in their order, and what follows them."""
        found, rest = list[Message](), self.heard
        for request in [*self.asked, Request("GET", b"/noise")]:
            answer = h11_answer(rest, "GET" if rest.startswith(_TOO_SLOW) else request.method)
            if not isinstance(answer, Message) or answer.after is None:
                break
            found.append(answer)
            rest = answer.after
        return found, rest

    @property
    def served(self) -> bool:
        """Tell whether nothing more can come."""
        return self.ended or self.left or len(self.answers()[0]) >= len(self.asked)


class Line(Peer):
    """A connection to the backend: where its current request begins, and what is still to be said in answer to it."""

    def __init__(self, notes: Notes) -> None:
        super().__init__(notes)
        self.at = 0
        self.unsaid: list[bytes] = []
        self.answer: Answer | None = None
        self.spent_at: int | None = None  # what it had heard when it said what must end it
        self.spliced = False  # that stood in an answer of its own, and may be a part of it: a 204's reason and fields

    @property
    def spent(self) -> bool:
        """Tell whether it must not be used again."""
        return self.spent_at is not None

    def spend(self) -> None:
        """Take note that what it says now must be its last."""
        self.spent_at = len(self.heard) if self.spent_at is None else self.spent_at

    def current(self) -> tuple[Request, int | None] | None:
        """Return the request that is to be answered, and where it ends if it is whole."""
        rest = self.heard[self.at :]
        head, end, _ = rest.partition(b"\r\n\r\n")
        if not end:
            return None
        method, target, _ = head.split(b"\r\n")[0].split(b" ")
        message = h11_request(rest)
        whole = isinstance(message, Message) and message.after is not None
        ends = len(self.heard) - len(message.after or b"") if isinstance(message, Message) and whole else None
        return Request(method.decode(), target, body=message.body if isinstance(message, Message) else b""), ends

    def go_on(self) -> None:
        """Say the next piece of the answer."""
        current = self.current()
        if self.answer is None or current is None:
            return
        if self.unsaid:
            self.send(self.unsaid.pop(0))
        if not self.unsaid and not self.answer.until_end:
            self._said(self.answer, *current)

    def _said(self, answer: Answer, request: Request, ends: int | None) -> None:
        self.answer = None
        self.notes.whole[request.target].add((answer.status, answer.body))
        if answer.last or ends is None:
            self.spend()
        if ends is not None:
            self.at = ends

    def end(self) -> None:
        """End with a FIN; that ends an answer which lasts until then."""
        current = self.current()
        if self.answer is not None and self.answer.until_end and current is not None:
            said = self.answer.said(b"".join(self.unsaid))
            if said is not None:
                self.notes.whole[current[0].target].add((self.answer.status, said))
        self.answer = None
        self.finish()
        self.close()
