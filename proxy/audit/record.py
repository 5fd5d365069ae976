"""What the trail says of one request. Never a body, a cookie, a credential, a raw key, or a query value not allowed."""

from hashlib import blake2b

from proxy.audit.chain import timestamp
from proxy.audit.sink import AuditLog
from proxy.errors import Refusal
from proxy.exchange import Exchange
from proxy.message import Peer
from proxy.policy.attempts import Attempt
from proxy.policy.breaker import CircuitBreaker, State
from proxy.policy.classify import classify

MAX_TEXT = 512  # characters of any field that a client can choose


class Ledger:
    """Write the record of every exchange. `query_parameters` are those whose values may be written down."""

    __slots__ = ("_allowed", "_count", "_log", "_name", "recorded")

    def __init__(self, log: AuditLog, name: str, query_parameters: tuple[str, ...] = ()) -> None:
        self._log = log
        self._name = name
        self._count = 0
        self.recorded = 0  # exchanges
        self._allowed = frozenset(parameter.encode() for parameter in query_parameters)

    def record(self, exchange: Exchange) -> None:
        """Take down a finished exchange. Never waits, never raises."""
        self.recorded += 1
        self._log.append(self._fields(exchange))

    def refused(self, refusal: Refusal, peer: Peer, wall: float) -> None:
        """Take down what was refused on the wire before it was a request (W10); nothing of it is repeated."""
        self._log.append(
            {
                "ts": timestamp(wall),
                "id": self._next_id(),
                "operation": "bad-request",
                "status": refusal.status,
                "success": False,
                "outcome": "refused",
                "metadata": {"reason": refusal.metric, "client": peer.address},
            }
        )

    def circuit(self, breaker: CircuitBreaker, wall: float) -> None:
        """Take down a circuit's transition (B6)."""
        self._log.append(
            {
                "ts": timestamp(wall),
                "id": self._next_id(),
                "operation": "circuit",
                "circuit": breaker.name,
                "success": breaker.state is State.CLOSED,
                "outcome": breaker.state.name.lower(),
                "metadata": {"failures": breaker.failures, "mode": breaker.mode.value},
            }
        )

    def _next_id(self) -> str:
        self._count += 1
        return f"{self._name}-{self._count:x}"

    def _fields(self, x: Exchange) -> dict[str, object]:
        request, route, flight = x.request, x.route, x.flight
        return {
            "ts": timestamp(x.started_wall),
            "id": self._next_id(),
            "correlation_id": x.correlation.id,
            "operation": route.operation,
            "subject": _bounded(x.subject.value),
            "method": request.method,
            "path": self._path(request.path, request.query),
            "status": x.status,
            "success": x.succeeded,
            "outcome": x.ending,
            "duration_ms": round(x.duration_s * 1000, 3),
            "upstream": route.upstream,
            "attempts": [_attempt(attempt) for attempt in x.attempts],
            "flight": {
                "role": x.role,
                "id": None if flight is None else flight.id,
                "followers": 0 if flight is None or x.role != "led" else flight.followers,
            },
            "idempotency": _key(x),
            "circuit": route.circuit,
            "target": x.level or None,
            "bytes_in": x.bytes_in,
            "bytes_out": x.bytes_out,
            "metadata": _metadata(x),
        }

    def _path(self, path: bytes, query: bytes) -> str:
        """Return the path with its query's names, and the values only of those that may be written down (A9)."""
        text = path.decode("latin-1")
        if query:
            text += "?" + "&".join(self._parameter(part) for part in query.split(b"&"))
        return text[:MAX_TEXT]

    def _parameter(self, part: bytes) -> str:
        name, equals, value = part.partition(b"=")
        shown = name + equals + (value if name in self._allowed else b"*" if value else b"")
        return shown.decode("latin-1")


def _attempt(attempt: Attempt) -> dict[str, object]:
    status = attempt.status
    return {
        "n": attempt.n,
        **({"error": attempt.result} if status is None else {"status": status}),
        "sent": attempt.sent,
        "ms": round(attempt.ms, 3),
        "waited_ms": round(attempt.waited_ms, 1),
        "why": attempt.why,
    }


def _key(x: Exchange) -> dict[str, object] | None:
    if x.key is None:
        return None
    return {"source": x.key.source, "key_hash": blake2b(x.key.value, digest_size=8).hexdigest(), "replayed": False}


def _metadata(x: Exchange) -> dict[str, object]:
    metadata: dict[str, object] = {}
    if x.attempts and (error_type := classify(x.attempts[-1].outcome).error_type) is not None:
        metadata["error_type"] = error_type
    if x.result.recovery is not None:
        metadata["recovery"] = x.result.recovery
        metadata["received_status"] = x.result.received_status
    if x.subject.missing is not None:
        metadata["no_subject"] = x.subject.missing
    if x.alone_because not in ("", "off"):
        metadata["alone"] = x.alone_because
    if x.correlation.replaced:
        metadata["correlation_replaced"] = True
    if x.trace_id is not None:
        metadata["trace_id"] = x.trace_id
    if x.would is not None:
        metadata["would"] = x.would
    if x.problem is not None:
        metadata["detail"] = _bounded(x.problem.detail)
    return metadata


def _bounded(text: str | None) -> str | None:
    return None if text is None else text[:MAX_TEXT].encode("utf-8", "replace").decode()
