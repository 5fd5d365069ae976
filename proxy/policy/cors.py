"""Let a browser read what the sidecar says itself (S4): the CORS fields this upstream last sent to the same Origin."""

from collections import OrderedDict

from proxy.message import Lines, Request, Response

_LIMIT = 1024
_NAMES = (
    b"access-control-allow-origin",
    b"access-control-allow-credentials",
    b"access-control-expose-headers",
    b"vary",
)


class CorsMemory:
    """The newest answer's CORS lines by Origin, for one upstream; or fixed ones, where they are configured."""

    __slots__ = ("_allowed", "_by_origin", "_credentials")

    def __init__(self, allowed: tuple[str, ...] = (), *, credentials: bool = False) -> None:
        self._allowed = frozenset(origin.encode() for origin in allowed)
        self._credentials = credentials
        self._by_origin: OrderedDict[bytes, Lines] = OrderedDict()

    def learn(self, request: Request, response: Response) -> None:
        """Remember what the upstream lets this Origin read."""
        origin = request.fields.get(b"origin")
        if origin is None or _NAMES[0] not in response.fields:
            return
        self._by_origin[origin] = tuple(line for line in response.fields.lines if line[0].lower() in _NAMES)
        self._by_origin.move_to_end(origin)
        if len(self._by_origin) > _LIMIT:
            self._by_origin.popitem(last=False)

    def lines(self, request: Request) -> Lines:
        """Return the lines for an answer of the sidecar's own."""
        origin = request.fields.get(b"origin")
        if origin is None:
            return ()
        if origin in self._allowed or b"*" in self._allowed:
            lines = ((b"Access-Control-Allow-Origin", origin), (b"Vary", b"Origin"))
            return (*lines, (b"Access-Control-Allow-Credentials", b"true")) if self._credentials else lines
        return self._by_origin.get(origin, ())
