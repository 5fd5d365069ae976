"""Let a browser read what the sidecar says itself (S4): the CORS fields this upstream last sent to the same Origin."""

from collections import OrderedDict
from typing import TypeVar

from proxy.fields import Lines
from proxy.message import Request, Response

_LIMIT = 1024
_NAMES = (
    b"access-control-allow-origin",
    b"access-control-allow-credentials",
    b"access-control-expose-headers",
    b"vary",
)


K = TypeVar("K", bytes, tuple[bytes, ...])
V = TypeVar("V")


def _put(memory: OrderedDict[K, V], key: K, value: V) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > _LIMIT:
        memory.popitem(last=False)


def _asked(request: Request, scope: bytes) -> tuple[bytes, ...]:
    fields = request.fields
    return (scope, fields.get(b"origin") or b"", fields.get(b"access-control-request-headers") or b"")


class CorsMemory:
    """The newest answer's CORS lines by Origin, for one upstream; or fixed ones, where they are configured."""

    __slots__ = ("_allowed", "_by_origin", "_credentials", "_preflights")

    def __init__(self, allowed: tuple[str, ...] = (), *, credentials: bool = False) -> None:
        self._allowed = frozenset(origin.encode() for origin in allowed)
        self._credentials = credentials
        self._by_origin: OrderedDict[bytes, Lines] = OrderedDict()
        self._preflights: OrderedDict[tuple[bytes, ...], Response] = OrderedDict()

    def learn(self, request: Request, response: Response, scope: bytes) -> None:
        """Remember what the upstream lets this Origin read; `scope` is `Router.scope`'s, empty but for preflights."""
        origin = request.fields.get(b"origin")
        if origin is None or _NAMES[0] not in response.fields:
            return
        _put(self._by_origin, origin, tuple(line for line in response.fields.lines if line[0].lower() in _NAMES))
        if scope and response.whole and 200 <= response.status < 300:
            _put(self._preflights, _asked(request, scope), response)

    def preflight(self, request: Request, scope: bytes) -> Response | None:
        """Return the upstream's last answer to this very question: without one, a browser reads no fast-fail."""
        return self._preflights.get(_asked(request, scope)) if scope else None

    def lines(self, request: Request) -> Lines:
        """Return the lines for an answer of the sidecar's own."""
        origin = request.fields.get(b"origin")
        if origin is None:
            return ()
        if origin in self._allowed or b"*" in self._allowed:
            lines = ((b"Access-Control-Allow-Origin", origin), (b"Vary", b"Origin"))
            return (*lines, (b"Access-Control-Allow-Credentials", b"true")) if self._credentials else lines
        return self._by_origin.get(origin, ())
