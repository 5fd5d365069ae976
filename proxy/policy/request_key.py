"""Identify the caller and the request key. An unknown field is part of the key, so it separates callers."""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Final

from proxy.http.caller import Caller
from proxy.http.fields import Fields, Read, encoded
from proxy.http.headers import (
    CACHE_CONDITIONS,
    CREDENTIALS,
    NEUTRAL,
    NOT_ABOUT_CALLER,
    NOT_ABOUT_CALLER_PREFIXES,
    USUAL_CONNECTION,
)
from proxy.http.message import Request
from proxy.policy import credentials
from proxy.policy.bounded import Holder
from proxy.policy.credentials import CERTAIN, GUESSED, NOBODY, USUAL, Name
from proxy.policy.routing import Coalesce, Route


class Identity:
    """`principal` identifies the caller; `key` is the request key: requests with equal keys may share a response.

    `anonymous`: no field identifies the caller. `guessed`: nothing but a cookie does that may be a session id. In both
    cases the principal contains the client's address, and a cookie that is new to the caller is sent on one connection
    only. `verified`: a token's claims identify the caller. Its other tokens are the same caller on other connections,
    so such a cookie is sent on one connection only, too.
    """

    __slots__ = ("anonymous", "guessed", "key", "principal", "verified")

    def __init__(
        self, principal: bytes, key: bytes, anonymous: bool = True, guessed: bool = False, verified: bool = False
    ) -> None:
        self.principal = principal
        self.key = key
        self.anonymous = anonymous
        self.guessed = guessed
        self.verified = verified

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and (self.principal, self.key) == (other.principal, other.key)


class Identifier:
    """Identify the requests of one route. The roles of at most `_MEMORY` field names are cached.

    `own` has the names of fields that the sidecar handles itself, as configured.
    """

    __slots__ = ("_names", "_narrowed", "_neutral", "_roles", "_route")

    _MEMORY: Final = 512
    _LONGEST_NAME: Final = 64

    def __init__(self, route: Route, own: frozenset[bytes]) -> None:
        self._route = route
        self._neutral = NEUTRAL | {name.lower().encode() for name in route.settings.neutral_headers} | own
        principal = route.settings.principal
        self._narrowed = principal is not None
        self._names = USUAL if principal is None else _named(route, principal)
        self._roles: dict[bytes, tuple[bytes, bool, bool]] = {}

    def identify(self, request: Request, subject: str | None, with_key: bool = True) -> Identity:
        """Return principal and key. `with_key=False` leaves the key empty, for a request that is not coalesced.

        A caller without a field of the route's `principal` is identified by all other fields and the address.
        """
        standing = request.standing
        caller = None if standing is None else standing.caller
        read = request.fields.read
        if read is None or read[0] is not self or read[6] is not caller:
            read = request.fields.read = self._read(request.fields, caller)
        _, who, what, anonymous, guessed, narrow, _ = read
        where = _where_from(request, anonymous or guessed)
        principal = b"\n".join((who, where, b"" if narrow else request.hops))
        key = self._key(request, subject, principal, what, narrow) if with_key else b""
        return Identity(principal, key, anonymous, guessed, caller is not None)

    def cache_key(self, request: Request, subject: str | None) -> bytes:
        """Return the request key without conditional fields: the client's copy does not change the cached response."""
        fields = request.fields
        try:
            request.fields = fields.without(CACHE_CONDITIONS)
            return self.identify(request, subject).key
        finally:
            request.fields = fields

    def _read(self, fields: Fields, caller: Caller | None) -> Read:
        """Parse field lines, with a cache: a client repeats them from request to request.

        The caller that verified tokens name takes the place of the tokens' bytes.
        """
        who: list[bytes] = []
        what: list[bytes] = []
        known, names = self._roles, self._names
        for name, value in fields.lines:
            lower, is_who, is_what = known.get(name) or self._role(name)
            if caller is not None and caller.shows_in(lower):
                value = caller.rest(lower, value)
                if not value:
                    continue
            if is_who:
                who += (lower, value)
            elif is_what:
                what += (lower, value)
        listed: list[bytes] = []
        connection = fields.get(b"connection")
        if connection is not None and (connection not in USUAL_CONNECTION or len(fields) != len(fields.lines)):
            listed = self._listed(fields)
            names = tuple([name for name in names if name.field not in listed or name.field in CREDENTIALS])
        if caller is not None:
            fields, names = _without_tokens(fields, names, caller)
        how = credentials.naming(fields, names) if caller is None else CERTAIN
        narrow = self._narrowed and how is not NOBODY
        if narrow:
            what += who
            who = [] if caller is None else [caller.key]
            who += [part for name in names for part in (name.field, *name.counting(fields))]
        who_key, what_key = b"\n".join([*who, *listed]), b"\n".join(what)
        if len(who_key) > _LONGEST_KEY:
            who_key = _digest_of(who_key)
        if len(what_key) > _LONGEST_KEY:
            what_key = _digest_of(what_key)
        return self, who_key, what_key, how is NOBODY, how is GUESSED, narrow, caller

    def owners(self, request: Request, *, claimed: bool = True) -> Iterator[bytes]:
        """Yield a digest of each credential of the request, for invalidation: coarser than the principal.

        Each credential counts by itself, so a write invalidates the same user's reads even with another CSRF
        token, another cookie or a newer token beside the same cookie. Invalidating too much is safe. All
        credentials beyond `_MOST_OWNERS` count as one. A verified token counts by its subject and its principal. The
        subject that a token claims without being verified counts too, unless `claimed` is False: its write may be
        carried out, and be the same user's.
        """
        fields, standing = request.fields, request.standing
        caller = None if standing is None else standing.caller
        if caller is not None:
            rest, names = _without_tokens(fields, self._names, caller)
            shown = [*caller.owners, *_shown(rest, names)]
        else:
            if fields.owners is None or fields.owners[0] is not self:
                fields.owners = self, _shown(fields, self._names) or _shown(fields, USUAL)
            shown = fields.owners[1]
        yield from shown
        if claimed and standing is not None:
            yield from standing.claimed
        where = _where_from(request, not shown)
        if where != _NOWHERE or not shown:
            yield _digest(b"", where)

    def holder(self, request: Request) -> Holder:
        """Return the holder that is charged for storing the request's response."""
        return Holder(request.client, next(self.owners(request), b""))

    def _key(self, request: Request, subject: str | None, principal: bytes, what: bytes, narrow: bool) -> bytes:
        fields, body = request.fields, request.body if isinstance(request.body, bytes) else b""
        if self._route.coalesce is _SUBJECT:  # the client's own Idempotency-Key is irrelevant
            named = (subject or "").encode("utf-8", "surrogateescape")
            what = b"\n".join((named, fields.get(b"content-type") or b"", fields.get(b"content-encoding") or b""))
            body = body if self._route.settings.match_body else b""
        elif b"idempotency-key" in fields or narrow:
            what = b"\n".join(
                (what, fields.get(b"idempotency-key") or b"", request.hops, b"")
            )  # three more lines: any other key has an even number
        digest = blake2b(body, digest_size=32).digest() if body else b""
        # trailers are forwarded too; their length differs from a digest's, so neither is mistaken for the other
        if request.trailers:
            digest += b"\0" + blake2b(encoded(request.trailers), digest_size=32).digest()
        key = b"\0".join((request.method.encode(), request.authority, request.target, principal, what, digest))
        return key if len(key) <= _LONGEST_KEY else _digest_of(key)

    def _listed(self, fields: Fields) -> list[bytes]:
        """Return the fields that Connection lists: they are not forwarded (RFC 9110 section 7.6.1)."""
        named = set(fields.tokens(b"connection"))
        listed = sorted([name for name in named if name in fields and name not in self._neutral])
        return [b"connection", *listed] if listed else []

    def _role(self, name: bytes) -> tuple[bytes, bool, bool]:
        lower = name.lower()
        neutral = lower in self._neutral
        about_content = lower.startswith(NOT_ABOUT_CALLER_PREFIXES) or lower in NOT_ABOUT_CALLER
        role = (lower, not neutral and not about_content, not neutral and lower != b"idempotency-key")
        if len(self._roles) < self._MEMORY and len(name) <= self._LONGEST_NAME:
            self._roles[name] = role
        return role


def _named(route: Route, principal: tuple[str, ...]) -> tuple[Name, ...]:
    """Return the places in a route's `principal`: where it names a table, the place of that table's token."""
    places = {rules.name: Name(*rules.place) for rules in route.verified}
    named = zip(principal, credentials.named(principal), strict=True)
    return tuple([places.get(entry, name) for entry, name in named])


def _without_tokens(fields: Fields, names: tuple[Name, ...], caller: Caller) -> tuple[Fields, tuple[Name, ...]]:
    """Return the fields without the caller's tokens, and the names of the places where something else may be.

    Most routes name nothing else: then the fields, which are not looked at, are returned as they are.
    """
    others = tuple([name for name in names if (name.field, name.cookie) not in caller.places])
    if not any(caller.shows_in(name.field) for name in others):
        return fields, others
    rest = [(name, caller.rest(name.lower(), value)) for name, value in fields.lines]
    return Fields(tuple([(name, value) for name, value in rest if value])), others


def _digest_of(key: bytes) -> bytes:
    """Return a digest that replaces a long key; no short key has the same prefix."""
    return b"\x7f" + blake2b(key, digest_size=32).hexdigest().encode()


def _where_from(request: Request, with_address: bool) -> bytes:
    """Return what identifies the connection: client certificate, and the address if no credential is certain."""
    certificate = request.peer.certificate
    if certificate is None and not with_address:
        return _NOWHERE
    return f"{certificate or ''}\n{request.client if with_address else ''}".encode()


_NOWHERE = b"\n"
_LONGEST_KEY: Final = 1024  # bytes; a digest costs a microsecond
_SUBJECT: Final = Coalesce.SUBJECT
_MOST_OWNERS = 16


def _digest(name: bytes, value: bytes) -> bytes:
    """Return a digest of a credential, which cannot be used as one."""
    return blake2b(name + b"\0" + value, digest_size=12).digest()


def _shown(fields: Fields, names: tuple[Name, ...]) -> list[bytes]:
    found: list[bytes] = []
    for name in names:
        for part in name.parts(fields):
            if len(found) == _MOST_OWNERS:
                return [*found, _digest(b"", b"\n".join([value for one in names for value in fields.all(one.field)]))]
            found.append(_digest(name.field, part))
    return found
