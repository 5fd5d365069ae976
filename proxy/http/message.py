"""Requests, responses and failures as immutable values, which callers may share."""

from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple, Protocol

from proxy.http.caller import Standing
from proxy.http.fields import Fields, Lines
from proxy.http.headers import FORWARDED
from proxy.http.problems import Reason
from proxy.http.redacted_target import redacted_path

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110 section 9.2.1
BODILESS: Final = frozenset({204, 304})  # statuses of messages that end with the head (RFC 9112 section 6.3)
NO_CONTENT = BODILESS | {205}  # statuses without content; a 205 is framed like any other (RFC 9110 section 15.3.6)
IDEMPOTENT_METHODS = SAFE_METHODS | {"PUT", "DELETE"}  # RFC 9110 section 9.2.2


class Lost(Enum):
    """Why a body could not be collected."""

    TOO_LARGE = "too large"
    BROKEN = "broken"


Collected = Callable[[bytes | Lost, Lines], None]  # a body and its trailers


class BodyReader(Protocol):
    """One reader of a body that arrives in pieces."""

    @property
    def trailers(self) -> Lines:
        """Return the trailer lines, known once the body has ended."""
        ...

    @property
    def lost(self) -> bool:
        """Tell whether the reader fell too far behind the others and was cut off."""
        ...

    async def read(self) -> bytes:
        """Return the next piece, b"" at the end. Raise BrokenBody if the body will never be complete."""
        ...

    def cut(self) -> None:
        """End the reader: a pending or later read raises BrokenBody."""
        ...

    def close(self) -> None:
        """Stop reading."""
        ...


class BodyStream(Protocol):
    """A body that arrives in pieces and may have several readers."""

    def open(self) -> BodyReader:
        """Return a new reader at the body's first byte."""
        ...

    def discard(self) -> None:
        """Mark the body as unread: no reader will open it."""
        ...

    def offer(self, over: Callable[[], None]) -> None:
        """Keep the beginning for late readers, within bounds; call `over` once when it is outgrown or complete."""
        ...

    def withdraw(self) -> None:
        """Stop keeping the beginning. `over` is not called."""
        ...

    def collect(self, limit: int, collected: "Collected") -> None:
        """Call `collected` once: with the whole body, or with the reason why it is lost (more than `limit` bytes).

        The body is read to its end or to the limit even if its readers leave.
        """
        ...


class Framing(Enum):
    """How the end of a body is found (RFC 9112 section 6.3)."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


# module constants: an Enum member look-up costs 0.1 µs in Python 3.11
NO_BODY: Final = Framing.NONE
BY_LENGTH: Final = Framing.LENGTH
BY_CHUNKS: Final = Framing.CHUNKED

UNIX = "unix"  # the address of every client of a Unix socket, which has no other


class Peer(NamedTuple):
    """The remote end of a downstream connection."""

    address: str
    port: int
    scheme: str = "http"
    certificate: str | None = None


class Request:
    """One client request: raw target, raw field lines, and a body that is either complete (replayable) or a stream."""

    __slots__ = (
        "authority", "body", "client", "fields", "framing", "hops", "keep_alive", "method", "minor", "path", "peer",
        "query", "queued", "repeated", "safe", "standing", "target", "trailers", "tried", "upgrade",
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
        self.upgrade = upgrade  # the requested protocols; b"" means none
        self.trailers: Lines = ()  # of a whole body; a stream has its own
        self.tried: frozenset[int] = frozenset()  # indexes of the upstream's addresses that had an attempt
        self.queued = False  # it waits for a connection of the pool
        self.repeated = False  # it was sent again because its pooled connection was dead
        self.client = peer.address if client is None else client  # the client's address as trusted proxies report it
        self.standing: Standing | None = None  # how its tokens were judged; None where no route's setting asks for it
        self.hops = hops  # the part of X-Forwarded-For that ends with the client

    @property
    def replayable(self) -> bool:
        """Tell whether the body is complete, so that a second attempt can send it again."""
        return isinstance(self.body, bytes)

    def forwarded_values(self, name: bytes) -> list[bytes]:
        """Return the values of the field `name` for the backend: the client's and those that the sidecar adds.

        A verified token is left out: the caller whom it names is compared instead.
        """
        values = self.fields.all(name)
        standing = self.standing
        if standing is not None and standing.caller is not None and standing.caller.shows_in(name):
            caller = standing.caller
            return [rest for value in values if (rest := caller.rest(name, value))]
        if name in FORWARDED:
            return [*values, self.peer.address.encode(), self.peer.scheme.encode(), self.authority]
        return values

    def __repr__(self) -> str:
        mark = self.target[len(self.path) :][:1]
        shown = redacted_path(self.path).encode("latin-1") + mark  # without secrets: this text goes into logs
        return f"<Request {self.method} {shown!r}>"


class Response(NamedTuple):
    """A response from upstream without its hop-by-hop fields. `body` is bytes if it is complete, else a stream."""

    status: int
    reason: bytes
    fields: Fields
    body: bytes | BodyStream = b""
    framing: Framing = Framing.LENGTH
    trailers: Lines = ()

    @property
    def whole(self) -> bool:
        """Tell whether the body is complete: it can be shared, cached and written at once."""
        return isinstance(self.body, bytes)


LINE_BYTES = 160  # memory that CPython adds to a field line: a tuple, two objects and a dict entry


def held_bytes(response: Response) -> int:
    """Return the approximate memory of a complete response in bytes: its body and its field lines."""
    body = len(response.body) if isinstance(response.body, bytes) else 0
    lines = (*response.fields.lines, *response.trailers)
    return body + sum([len(name) + len(value) + LINE_BYTES for name, value in lines])


class Failure(NamedTuple):
    """A failure without a response. `sent`: the request may have reached the backend, so a retry may repeat it.

    `partial` is the received part of a truncated response; it is relayed as truncated, never as complete.
    `evidence` is False if the failure is no evidence about the backend: it had closed a pooled connection, or the
    request's time was over before anything was sent. `cut_short`: the route's time ended a step that its own timeout
    would have allowed to continue.
    """

    reason: Reason
    sent: bool
    detail: str = ""
    partial: Response | None = None
    retry_after_s: float | None = None
    evidence: bool = True
    cut_short: bool = False


Outcome = Response | Failure


def response_in(outcome: Outcome) -> Response | None:
    """Return the response, complete or partial, that can be relayed."""
    return outcome.partial if isinstance(outcome, Failure) else outcome


def discard(outcome: Outcome) -> None:
    """Discard an outcome that has no recipient."""
    response = response_in(outcome)
    if response is not None and not isinstance(response.body, bytes):
        response.body.discard()
