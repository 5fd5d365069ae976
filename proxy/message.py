"""What crosses: requests, responses and failures as immutable values, shared freely between callers."""

from collections.abc import Callable, Collection, Iterable, Mapping
from enum import Enum
from typing import NamedTuple, Protocol

from proxy.errors import Reason

Lines = tuple[tuple[bytes, bytes], ...]

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110 section 9.2.1
IDEMPOTENT_METHODS = SAFE_METHODS | {"PUT", "DELETE"}  # RFC 9110 section 9.2.2


class Fields(dict[bytes, bytes]):
    """Field lines as they came (order, case, duplicates, raw bytes); as a dict, the first value by lower-case name.

    A dict, because looking names up is what a request does most. It is shared between callers: nobody changes it.
    """

    __slots__ = ("_encoded", "lines", "sent")

    def __init__(self, lines: Lines, first: Mapping[bytes, bytes] | None = None) -> None:
        """Take the lines, and what the dict shall hold where that is known already."""
        super().__init__(first or {name.lower(): value for name, value in reversed(lines)})
        self.lines = lines
        self.sent: tuple[object, bytes] | None = None  # as an upstream was told them, and which request's they were
        self._encoded: bytes | None = None

    def all(self, name: bytes) -> list[bytes]:
        """Return every value of a lower-case `name`, in order."""
        if name not in self:
            return []
        if len(self) == len(self.lines):  # nothing stands twice
            return [self[name]]
        return [value for key, value in self.lines if key.lower() == name]

    def repeats(self, name: bytes) -> bool:
        """Tell whether a lower-case `name` stands more than once."""
        return len(self) != len(self.lines) and len(self.all(name)) > 1

    def tokens(self, name: bytes) -> list[bytes]:
        """Return the lower-case members of a comma-separated field."""
        parts = [part.strip() for value in self.all(name) for part in value.lower().split(b",")]
        return [part for part in parts if part]

    def encode(self) -> bytes:
        """Return the lines as they stand on the wire; made once, however many callers are answered with them."""
        if self._encoded is None:
            self._encoded = encoded(self.lines)
        return self._encoded

    def without(self, names: Collection[bytes]) -> "Fields":
        """Return the lines whose lower-case name is not among `names`."""
        gone = self.keys() & names
        if not gone:
            return self
        first = dict(self)
        for name in gone:
            del first[name]
        return Fields(tuple(self.lines_without(gone)), first)

    def lines_without(self, names: Collection[bytes]) -> list[tuple[bytes, bytes]]:
        """Return the same as mere lines, for whoever asks them nothing more."""
        return [line for line in self.lines if line[0].lower() not in names]

    def with_line(self, name: bytes, value: bytes) -> "Fields":
        """Return the lines with one `name` line, in the place of the first that was there."""
        key = name.lower()
        if key not in self:
            return Fields((*self.lines, (name, value)))
        at = next(i for i, line in enumerate(self.lines) if line[0].lower() == key)
        rest = tuple(line for line in self.lines[at + 1 :] if line[0].lower() != key)
        return Fields((*self.lines[:at], (name, value), *rest))

    def __repr__(self) -> str:
        return f"<Fields {self.lines}>"


def encoded(lines: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return field lines as they stand on the wire."""
    return b"\r\n".join([*map(b": ".join, lines), b""])


NO_FIELDS = Fields(())


class Reader(Protocol):
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

    def close(self) -> None:
        """Say that no more will be read."""
        ...


class Stream(Protocol):
    """A body that arrives piece by piece and may have several readers."""

    def open(self) -> Reader:
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


class Framing(Enum):
    """How a body's end is known (RFC 9112 section 6.3)."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


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
        "query", "safe", "target", "trailers", "tried", "upgrade",
    )  # fmt: skip

    def __init__(
        self,
        method: str,
        target: bytes,
        fields: Fields,
        peer: Peer,
        body: bytes | Stream = b"",
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
        self.client = peer.address if client is None else client  # what trusted proxies say it is
        self.hops = hops  # the part of their X-Forwarded-For that ends with it

    @property
    def replayable(self) -> bool:
        """Tell whether the body is whole, so that a second attempt can send it again."""
        return isinstance(self.body, bytes)

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.target!r}>"


class Response(NamedTuple):
    """An answer from upstream without its hop-by-hop fields. Whole if `body` is bytes, else relayed as it comes."""

    status: int
    reason: bytes
    fields: Fields
    body: bytes | Stream = b""
    framing: Framing = Framing.LENGTH
    trailers: Lines = ()

    @property
    def whole(self) -> bool:
        """Tell whether the body is small and complete: shareable, storable, one write."""
        return isinstance(self.body, bytes)


class Failure(NamedTuple):
    """No answer. `sent` tells whether the request may have reached the backend: it decides what may be repeated.

    `partial` is what had arrived of an answer that broke off, so that it can be relayed truncated and never look whole.
    """

    reason: Reason
    sent: bool
    detail: str = ""
    partial: Response | None = None
    retry_after_s: float | None = None


Outcome = Response | Failure


def answer_in(outcome: Outcome) -> Response | None:
    """Return the answer, or the part of one, that can be relayed."""
    return outcome.partial if isinstance(outcome, Failure) else outcome


def discard(outcome: Outcome) -> None:
    """Let go of an outcome that nobody will be given."""
    response = answer_in(outcome)
    if response is not None and not isinstance(response.body, bytes):
        response.body.discard()
