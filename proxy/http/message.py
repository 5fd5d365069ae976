"""What crosses: requests, responses and failures as immutable values, shared freely between callers."""

from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple, Protocol

from proxy.http.fields import Fields, Lines
from proxy.http.headers import FORWARDED
from proxy.http.problems import Reason

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110 section 9.2.1
BODILESS: Final = frozenset({204, 304})  # statuses whose message ends with its head (RFC 9112 section 6.3)
NO_CONTENT = BODILESS | {205}  # statuses without content; a 205 is framed like any other (RFC 9110 section 15.3.6)
IDEMPOTENT_METHODS = SAFE_METHODS | {"PUT", "DELETE"}  # RFC 9110 section 9.2.2


class Lost(Enum):
    """Why a body could not be collected."""

    TOO_LARGE = "too large"
    BROKEN = "broken"


Collected = Callable[[bytes | Lost, Lines], None]  # a body and its trailers


class BodyReader(Protocol):
    """One reader's place in a body that arrives piece by piece."""

    @property
    def trailers(self) -> Lines:
        """Return the trailer lines, known once the body has ended."""
        ...

    @property
    def lost(self) -> bool:
        """Tell whether it fell too far behind the others and will read no more."""
        ...

    async def read(self) -> bytes:
        """Return the next piece, b"" at the end; raise BrokenBody if it will never be whole."""
        ...

    def cut(self) -> None:
        """Have it end: what waits for the next piece, or asks for one, gets BrokenBody."""
        ...

    def close(self) -> None:
        """Say that no more will be read."""
        ...


class BodyStream(Protocol):
    """A body that arrives piece by piece and may have several readers."""

    def open(self) -> BodyReader:
        """Return a new reader at the body's first byte."""
        ...

    def discard(self) -> None:
        """Say that nobody will read it."""
        ...

    def offer(self, over: Callable[[], None]) -> None:
        """Keep the beginning for newcomers, within bounds; call `over` once when they can be given it no more."""
        ...

    def withdraw(self) -> None:
        """Keep it no longer; `over` is not called."""
        ...

    def collect(self, limit: int, collected: "Collected") -> None:
        """Call `collected` once with all of it, or with why that is not to be had: it has more than `limit` bytes.

        It is read to its end, or up to the limit, though its readers leave.
        """
        ...


class Framing(Enum):
    """How a body's end is known (RFC 9112 section 6.3)."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


UNIX = "unix"  # the address of whoever connects through a Unix socket: there is no other


class Peer(NamedTuple):
    """Who is on the other end of a downstream connection."""

    address: str
    port: int
    scheme: str = "http"
    certificate: str | None = None


class Request:
    """One client request: raw target, raw field lines, and a body that is whole (replayable) or a stream."""

    __slots__ = (
        "authority", "body", "client", "fields", "framing", "hops", "keep_alive", "method", "minor", "path", "peer",
        "query", "queued", "safe", "target", "trailers", "tried", "upgrade",
    )  # fmt: skip

    def __init__(
        self,
        method: str,
        target: bytes,
        fields: Fields,
        peer: Peer,
        body: bytes | BodyStream = b"",
        framing: Framing = Framing.NONE,
        authority: bytes = b"",
        minor: int = 1,
        client: str | None = None,
        keep_alive: bool = True,
        upgrade: bytes = b"",
        hops: bytes = b"",
    ) -> None:
        self.method = method
        self.safe = method in SAFE_METHODS  # RFC 9110 section 9.2.1
        self.target = target
        self.path, _, self.query = target.partition(b"?")
        self.fields = fields
        self.peer = peer
        self.body = body
        self.framing = framing
        self.authority = authority
        self.minor = minor
        self.keep_alive = keep_alive
        self.upgrade = upgrade  # the protocols it asks to change to; b"": none
        self.trailers: Lines = ()  # of a whole body; a stream has its own
        self.tried: frozenset[int] = frozenset()  # the upstream's addresses, by number, that had an attempt
        self.queued = False  # it waits in line for a connection
        self.client = peer.address if client is None else client  # what trusted proxies say it is
        self.hops = hops  # the part of their X-Forwarded-For that ends with it

    @property
    def replayable(self) -> bool:
        """Tell whether the body is whole, so that a second attempt can send it again."""
        return isinstance(self.body, bytes)

    def said(self, name: bytes) -> list[bytes]:
        """Return what the backend is told in the field `name`: the client's values, and what is added about it."""
        values = self.fields.all(name)
        if name in FORWARDED:
            return [*values, self.peer.address.encode(), self.peer.scheme.encode(), self.authority]
        return values

    def __repr__(self) -> str:
        path, mark, _ = self.target.partition(b"?")  # a query may hold secrets, and this text goes into logs
        return f"<Request {self.method} {path + mark!r}>"


class Response(NamedTuple):
    """An answer from upstream without its hop-by-hop fields. Whole if `body` is bytes, else relayed as it comes."""

    status: int
    reason: bytes
    fields: Fields
    body: bytes | BodyStream = b""
    framing: Framing = Framing.LENGTH
    trailers: Lines = ()

    @property
    def whole(self) -> bool:
        """Tell whether the body is small and complete: shareable, storable, one write."""
        return isinstance(self.body, bytes)


LINE_BYTES = 160  # what CPython adds to a field line: a tuple, two objects, and a place in a dict


def held_bytes(response: Response) -> int:
    """Return how many bytes of memory a whole answer holds, about: its body and its field lines."""
    body = len(response.body) if isinstance(response.body, bytes) else 0
    lines = (*response.fields.lines, *response.trailers)
    return body + sum([len(name) + len(value) + LINE_BYTES for name, value in lines])


class Failure(NamedTuple):
    """No answer. `sent` tells whether the request may have reached the backend: it decides what may be repeated.

    `partial` is what had arrived of an answer that broke off, so that it can be relayed truncated and never look whole.
    `telling` is False where it says nothing of the backend: a kept connection that it had closed meanwhile.
    """

    reason: Reason
    sent: bool
    detail: str = ""
    partial: Response | None = None
    retry_after_s: float | None = None
    telling: bool = True


Outcome = Response | Failure


def answer_in(outcome: Outcome) -> Response | None:
    """Return the answer, or the part of one, that can be relayed."""
    return outcome.partial if isinstance(outcome, Failure) else outcome


def discard(outcome: Outcome) -> None:
    """Let go of an outcome that nobody will be given."""
    response = answer_in(outcome)
    if response is not None and not isinstance(response.body, bytes):
        response.body.discard()
