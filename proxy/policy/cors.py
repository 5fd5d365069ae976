"""Make the sidecar's own responses readable for browsers: CORS fields that the upstream sent, or configured ones."""

from hashlib import blake2b
from math import inf
from typing import Final

from proxy.http.fields import Fields, Lines
from proxy.http.headers import CORS_PREFLIGHT_REQUEST, CORS_PREFLIGHT_RESPONSE, CORS_RESPONSE, EXPOSED
from proxy.http.message import Framing, Request, Response
from proxy.policy.bounded import Bounded, Holder

MAX_ENTRIES = 1024  # in each of the two maps
MAX_BYTES = 1_048_576
_EXPOSE: Final = b"access-control-expose-headers"


class CorsMemory:
    """The CORS lines of the most recent response by Origin, for one upstream; or configured ones.

    No body and no cookie is stored. An unsuccessful response is used only if nothing is known yet, so that a
    refused caller changes nothing for others. A preflight with a credential, which browsers never send, is stored
    for that caller only.
    """

    __slots__ = ("_allowed", "_by_origin", "_credentials", "_preflights")

    def __init__(self, allowed: tuple[str, ...] = (), *, credentials: bool = False) -> None:
        self._allowed = frozenset(origin.encode() for origin in allowed)
        self._credentials = credentials
        self._by_origin: Bounded[bytes, Lines] = Bounded(MAX_ENTRIES, MAX_BYTES)
        self._preflights: Bounded[bytes, Lines] = Bounded(MAX_ENTRIES, MAX_BYTES)

    def forget_preflights(self) -> None:
        """Forget responses to preflights, after a route was removed or changed."""
        self._preflights = Bounded(MAX_ENTRIES, MAX_BYTES)

    def learn(self, request: Request, response: Response, scope: bytes) -> None:
        """Remember the CORS lines for this Origin. `scope` is `Router.scope`'s, empty except for preflights."""
        origin = request.fields.get(b"origin")
        if origin is None or b"access-control-allow-origin" not in response.fields:
            return
        key, lines = _place(request, origin), _among(CORS_RESPONSE, response)
        known = self._by_origin.get(key, 0.0)
        if known is None or (response.status < 400 and known.value != lines):
            _put(self._by_origin, key, lines, request)
        if scope and 200 <= response.status < 300:
            _put(self._preflights, _preflight_key(request, scope), _among(CORS_PREFLIGHT_RESPONSE, response), request)

    def preflight(self, request: Request, scope: bytes) -> Response | None:
        """Return the upstream's last response to the same preflight, so that a browser can read the failure."""
        known = self._preflights.get(_preflight_key(request, scope), 0.0) if scope else None
        return None if known is None else Response(204, b"", Fields(known.value), b"", Framing.NONE)

    def configured_preflight(self, request: Request, method: str) -> Response | None:
        """Return a response that allows a configured origin its request, None for any other origin.

        What the backend would allow is unknown, so browsers must not cache the response: its max age is 0.
        """
        origin = request.fields.get(b"origin")
        if origin is None or not self._allows(origin):
            return None
        names = b", ".join(request.fields.all(b"access-control-request-headers"))
        wanted = ((b"Access-Control-Allow-Headers", names),) if names else ()
        lines = (
            *self._configured(origin), (b"Access-Control-Allow-Methods", method.encode("latin-1")), *wanted,
            (b"Access-Control-Max-Age", b"0"),
        )  # fmt: skip
        return Response(204, b"", Fields(lines), b"", Framing.NONE)

    def _allows(self, origin: bytes) -> bool:
        return origin in self._allowed or b"*" in self._allowed

    def _configured(self, origin: bytes) -> Lines:
        lines = ((b"Access-Control-Allow-Origin", origin), (b"Vary", b"Origin"))
        return (*lines, (b"Access-Control-Allow-Credentials", b"true")) if self._credentials else lines

    def lines(self, request: Request) -> Lines:
        """Return the CORS lines for a response of the sidecar."""
        origin = request.fields.get(b"origin")
        if origin is None:
            return ()
        if self._allows(origin):
            return self._configured(origin)
        known = self._by_origin.get(_place(request, origin), 0.0)
        return () if known is None else known.value


def exposing(lines: Lines) -> Lines:
    """Return the CORS lines of a response of the sidecar, with its own fields among those that a script may read."""
    if not lines:
        return ()
    exposed = [value for name, value in lines if name.lower() == _EXPOSE]
    others = tuple([line for line in lines if line[0].lower() != _EXPOSE])
    return (*others, (b"Access-Control-Expose-Headers", b", ".join((*exposed, EXPOSED))))


def _among(names: frozenset[bytes], response: Response) -> Lines:
    return tuple([line for line in response.fields.lines if line[0].lower() in names])


def _preflight_key(request: Request, scope: bytes) -> bytes:
    """Return a digest of a preflight's request, host and credentials."""
    fields, certificate = request.fields, request.peer.certificate or ""
    shown = (certificate.encode(), *fields.all(b"authorization"), b"", *fields.all(b"cookie"))
    parts = (scope, request.authority, *(fields.get(name) or b"" for name in CORS_PREFLIGHT_REQUEST), *shown)
    digest = blake2b(digest_size=20)
    for part in parts:
        digest.update(b"%d:%b" % (len(part), part))
    return digest.digest()


def _place(request: Request, origin: bytes) -> bytes:
    return request.authority + b"\0" + origin


def _put(memory: Bounded[bytes, Lines], key: bytes, lines: Lines, request: Request) -> None:
    size = len(key) + sum([len(name) + len(value) for name, value in lines])
    memory.put(key, lines, size, inf, 0.0, Holder(request.client))
