"""Who asks (P1), and what is the same question (C1, C8). A field that nobody told us of separates callers by itself."""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Final

from proxy.fields import Fields, encoded
from proxy.message import Request
from proxy.policy.deadline import HEADER
from proxy.policy.routing import Coalesce, Route

# C1: fields that never change an answer. Everything else that goes upstream is part of the question.
NEUTRAL = frozenset(
    b"""connection keep-alive proxy-connection te trailer transfer-encoding upgrade content-length referer priority date
    cache-control pragma traceparent tracestate baggage b3 x-b3-traceid x-b3-spanid x-b3-parentspanid x-b3-sampled
    x-b3-flags x-request-id x-correlation-id x-amzn-trace-id x-cloud-trace-context cf-ray x-request-start x-azure-ref
    x-attempt-count x-backstay-explain host""".split()
)
_OWN = frozenset({HEADER.lower().encode()})
# P1: part of the question, but not of who asks it
_ABOUT_CONTENT = (b"accept", b"if-", b"content-")
_NOT_WHO = frozenset({b"origin", b"range", b"idempotency-key"})


class Identity:
    """`principal` names who asks; `question` what is asked, by whom: two equal ones may share an answer."""

    __slots__ = ("principal", "question")

    def __init__(self, principal: bytes, question: bytes) -> None:
        self.principal = principal
        self.question = question

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and (self.principal, self.question) == (other.principal, other.question)


class Identifier:
    """Tell questions apart for one route. The roles of field names are remembered, at most `_MEMORY` of them.

    `own` names fields that the sidecar answers for itself, by whatever name they were configured.
    """

    __slots__ = ("_narrowed", "_neutral", "_roles", "_route")

    _MEMORY: Final = 4096

    def __init__(self, route: Route, own: frozenset[bytes] = _OWN) -> None:
        self._route = route
        self._neutral = NEUTRAL | route.neutral_fields | own
        self._narrowed = _narrowing(route.principal)
        self._roles: dict[bytes, tuple[bytes, bool, bool]] = {}

    def identify(self, request: Request, subject: str | None, *, whole_question: bool = True) -> Identity:
        """Return both keys. `whole_question=False` leaves the question empty for a request that will go alone."""
        who: list[bytes] = []
        what: list[bytes] = []
        known, fields = self._roles, request.fields
        for name, value in fields.lines:
            lower, is_who, is_what = known[name] if name in known else self._role(name)
            if is_who:
                who += (lower, value)
            elif is_what:
                what += (lower, value)
        if self._narrowed is not None:
            what += who
            who = self._narrowed_values(fields)
        if b"connection" in fields and (fields[b"connection"] not in _OFTEN_LISTED or len(fields) != len(fields.lines)):
            who += self._listed(fields)
        who += (_where_from(request), request.hops)
        principal = b"\n".join(who)
        if not whole_question:
            return Identity(principal, b"")
        return Identity(principal, self._question(request, subject, principal, what))

    def owners(self, request: Request) -> Iterator[bytes]:
        """Yield a digest of each thing that shows whose request it is, for seals (C4): coarser than the principal.

        Credentials only, each by itself, so that a write seals the same user's reads though it carries a CSRF token, a
        cookie of a narrower path or a newer token beside the same cookie. To seal too much is never wrong.
        """
        shown = tuple(_shown(request.fields, self._narrowed or ())) or tuple(_shown(request.fields, _CREDENTIALS))
        yield from shown
        where = _where_from(request)
        if where != _NOWHERE or not shown:
            yield _digest(b"", where)

    def _question(self, request: Request, subject: str | None, principal: bytes, what: list[bytes]) -> bytes:
        body = request.body if isinstance(request.body, bytes) else b""
        if self._route.coalesce is _SUBJECT:  # C8: the client's own Idempotency-Key does not matter
            fields = request.fields
            what = [(subject or "").encode("utf-8", "surrogateescape")]
            what += (fields.get(b"content-type") or b"", fields.get(b"content-encoding") or b"")
            body = body if self._route.match_body else b""
        elif b"idempotency-key" in request.fields:
            what.append(request.fields[b"idempotency-key"])
        digest = blake2b(body, digest_size=32).digest() if body else b""
        if request.trailers:  # they go upstream too; of another length than a digest, so that none is taken for one
            digest += b"\0" + blake2b(encoded(request.trailers), digest_size=32).digest()
        parts = (request.method.encode(), request.authority, request.target, principal, b"\n".join(what), digest)
        return b"\0".join(parts)

    def _listed(self, fields: Fields) -> list[bytes]:
        """Return which of the request's fields Connection lists: they do not go upstream (RFC 9110 section 7.6.1)."""
        named = set(fields.tokens(b"connection"))
        listed = sorted([name for name in named if name in fields and name not in self._neutral])
        return [b"connection", *listed] if listed else []

    def _role(self, name: bytes) -> tuple[bytes, bool, bool]:
        lower = name.lower()
        neutral = lower in self._neutral
        about_content = lower.startswith(_ABOUT_CONTENT) or lower in _NOT_WHO
        role = (lower, not neutral and not about_content, not neutral and lower != b"idempotency-key")
        if len(self._roles) < self._MEMORY:
            self._roles[name] = role
        return role

    def _narrowed_values(self, fields: Fields) -> list[bytes]:
        values: list[bytes] = []
        for name, cookie in self._narrowed or ():
            found = fields.all(name)
            values += (name, b"\n".join(found) if cookie is None else _cookie(found, cookie))
        return values


def _where_from(request: Request) -> bytes:
    """Return what tells callers apart beside their fields: certificate, and address where there is no credential."""
    fields, certificate = request.fields, request.peer.certificate
    anonymous = b"cookie" not in fields and b"authorization" not in fields
    if certificate is None and not anonymous:
        return _NOWHERE
    return f"{certificate or ''}\n{request.client if anonymous else ''}".encode()


_CREDENTIALS: tuple[tuple[bytes, bytes | None], ...] = ((b"authorization", None), (b"cookie", None))
_NOWHERE = b"\n"
_OFTEN_LISTED = frozenset({b"keep-alive", b"Keep-Alive", b"close"})  # as browsers and proxies send it: no field
_SUBJECT = Coalesce.SUBJECT


def _digest(name: bytes, value: bytes) -> bytes:
    """Return what is remembered of a credential: nothing that could be used as one, and nothing long."""
    return blake2b(name + b"\0" + value, digest_size=12).digest()


def _shown(fields: Fields, names: tuple[tuple[bytes, bytes | None], ...]) -> Iterator[bytes]:
    for name, cookie in names:
        for value in fields.all(name):
            for one in _pairs(value, cookie) if name == b"cookie" else (value,):
                yield _digest(name, one)


def _pairs(value: bytes, wanted: bytes | None) -> Iterator[bytes]:
    for pair in value.split(b";"):
        pair = pair.strip()
        if pair and (wanted is None or pair.partition(b"=")[0] == wanted):
            yield pair


def _narrowing(principal: tuple[str, ...] | None) -> tuple[tuple[bytes, bytes | None], ...] | None:
    if principal is None:
        return None
    pairs = (entry.partition(":") for entry in principal)
    return tuple((name.lower().encode(), member.encode() if colon else None) for name, colon, member in pairs)


def _cookie(values: list[bytes], name: bytes) -> bytes:
    pairs = (pair.strip().partition(b"=") for value in values for pair in value.split(b";"))
    return b"\n".join(value for key, _, value in pairs if key == name)
