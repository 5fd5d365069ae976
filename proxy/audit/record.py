"""Write the record of a request, without bodies, cookies, credentials, raw keys, and unlisted query values."""

from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from secrets import token_bytes

import orjson

from proxy.audit.chain import timestamp
from proxy.audit.log import NOTE, AuditLog
from proxy.audit.redaction import Redaction, bounded, read_salt
from proxy.exchange.state import Exchange
from proxy.http.message import Peer, Response
from proxy.http.problems import Reason, Refusal
from proxy.policy.attempt_facts import Attempt
from proxy.policy.breaker import CircuitBreaker, CircuitState
from proxy.policy.classify import SUCCESS
from proxy.policy.idempotency import IdempotencyKey
from proxy.policy.outcome import GOOD
from proxy.runtime.threads import in_daemon_thread

WITHHELD = "withheld"  # the note that the client got 503 instead of the recorded response


class Ledger:
    """Write the record of every exchange, as `redaction` allows."""

    __slots__ = ("_count", "_log", "_name", "_redaction", "_salt_file", "recorded")

    def __init__(self, log: AuditLog, name: str, redaction: Redaction, salt_file: Path | None = None) -> None:
        self._log = log
        self._name = name
        self._count = 0
        self.recorded = 0  # exchanges
        self._redaction = redaction
        self._salt_file = salt_file

    async def start(self) -> None:
        """Open the log and the salt; without a file the salt is new for each process. Raise StartError."""
        await self._log.start()
        file = self._salt_file
        salt = token_bytes(32) if file is None else await in_daemon_thread(partial(read_salt, file))
        self._redaction = replace(self._redaction, salt=salt)

    def record(self, exchange: Exchange) -> None:
        """Record a finished exchange. Never waits, never raises."""
        self.recorded += 1
        self._log.append_encoded(self._line(exchange).encode())

    def note(self, exchange: Exchange, note: str, wall: float) -> bool:
        """Append a note about an exchange under its record's id; return False if there is no room."""
        request = exchange.request
        return self._log.note(
            {
                "ts": timestamp(wall),
                "id": self._id_of(exchange),
                NOTE: note,
                "correlation_id": exchange.correlation.id,
                "operation": exchange.route.operation,
                "subject": bounded(exchange.subject.value),
                "method": request.method,
                "path": self._redaction.path(request.path, request.query),
                "status": Reason.UNRECORDED.status if note == WITHHELD else exchange.answered or None,
            }
        )

    def refused(self, refusal: Refusal, peer: Peer, wall: float) -> None:
        """Record a message refused before it was a request; its content is omitted, except the correlation id."""
        named = {"correlation_id": refusal.correlation_id} if refusal.correlation_id else {}
        self._log.append(
            {
                "ts": timestamp(wall),
                "id": self._next_id(),
                **named,
                "operation": "bad-request",
                "status": refusal.status,
                "success": False,
                "outcome": "refused",
                "metadata": {"reason": refusal.metric, **self._client(peer.address)},
            }
        )

    def circuit(self, breaker: CircuitBreaker, wall: float) -> None:
        """Record a circuit's transition."""
        self._log.append(
            {
                "ts": timestamp(wall),
                "id": self._next_id(),
                "operation": "circuit",
                "circuit": breaker.name,
                "success": breaker.shown is CircuitState.CLOSED,
                "outcome": breaker.shown.name.lower(),
                "metadata": {"failures": breaker.failures, "mode": breaker.mode.value},
            }
        )

    def _next_id(self) -> str:
        self._count += 1
        return f"{self._name}-{hex(self._count)[2:]}"

    def _id_of(self, exchange: Exchange) -> str:
        exchange.record_id = exchange.record_id or self._next_id()
        return exchange.record_id

    def _client(self, address: str) -> dict[str, object]:
        client = self._redaction.client(address)
        return {} if client is None else {"client": client}

    def _line(self, x: Exchange) -> str:
        """Return the record as JSON by one format string: a dict and its encoding take three times as long."""
        request, route, flight, ending, subject = x.request, x.route, x.flight, x.ending, x.subject.value
        subject = "null" if subject is None else _text(bounded(subject))
        followers = 0 if flight is None or x.role != "led" else flight.followers
        flight_id = "null" if flight is None else f'"{flight.id}"'
        target = f'"{x.level}"' if x.level else "null"
        key = "null" if x.key is None else self._key(x, x.key)
        attempts = _attempt(x.attempts[0]) if len(x.attempts) == 1 else ",".join(map(_attempt, x.attempts))
        return (
            f'{{"ts":"{timestamp(x.started_wall)}","id":"{self._id_of(x)}","correlation_id":"{x.correlation.id}",'
            f'"operation":"{route.operation}","subject":{subject},"method":"{request.method}",'
            f'"path":{_text(self._redaction.path(request.path, request.query))},"status":{x.status},'
            f'"success":{"true" if ending in GOOD else "false"},"outcome":"{ending}",'
            f'"duration_ms":{_ms(x.duration_s * 1000)},"upstream":{_name(route.upstream)},'
            f'"attempts":[{attempts}],'
            f'"flight":{{"role":"{x.role}","id":{flight_id},"followers":{followers}}},"idempotency":{key},'
            f'"circuit":{_name(route.circuit)},"target":{target},"bytes_in":{x.bytes_in},"bytes_out":{x.bytes_out},'
            f'"metadata":{self._metadata(x)}}}'
        )

    def _key(self, x: Exchange, key: IdempotencyKey) -> str:
        replayed = "true" if x.result.replayed else "false"
        return f'{{"source":"{key.source}","key_hash":"{self._redaction.hashed(key.value)}","replayed":{replayed}}}'

    def _metadata(self, x: Exchange) -> str:
        metadata, redaction = _response_info(x), self._redaction
        if redaction.clients != "none":
            metadata["client"] = redaction.client(x.request.client)
            standing = x.request.standing
            if standing is not None and standing.caller is not None:
                metadata["principal"] = redaction.hashed(standing.caller.subject)
        if redaction.headers and (headers := redaction.noted_headers(x.request.fields)):
            metadata["headers"] = headers
        return orjson.dumps(metadata).decode() if metadata else "{}"


def _text(text: str | None) -> str:
    """Return a client's text as JSON."""
    if text is not None and text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return orjson.dumps(text).decode()


@lru_cache(maxsize=1024)
def _name(name: str) -> str:
    """Return a configured name as JSON."""
    return _text(name)


def _ms(milliseconds: float) -> str:
    """Return milliseconds as JSON with three decimals, by integers: a float takes three times as long."""
    digits = str(int(milliseconds * 1000 + 0.5)).rjust(4, "0")
    return f"{digits[:-3]}.{digits[-3:]}"


def _attempt(attempt: Attempt) -> str:
    outcome = attempt.outcome
    if isinstance(outcome, Response):
        what = f'"status":{outcome.status},"sent":true'
    else:
        what = f'"error":"{outcome.reason}","sent":{"true" if outcome.sent else "false"}'
    ms, waited_ms = _ms(attempt.ms), _ms(attempt.waited_ms) if attempt.waited_ms else "0"
    return f'{{"n":{attempt.n},{what},"ms":{ms},"waited_ms":{waited_ms},"why":"{attempt.why}"}}'


def _response_info(x: Exchange) -> dict[str, object]:
    metadata: dict[str, object] = {}
    if x.attempts and (verdict := x.attempts[-1].verdict) is not SUCCESS:
        metadata["error_type"] = verdict.error_type
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
    if x.restoration is not None:
        metadata["restoration"] = x.restoration.state
        metadata["restoration_ms"] = round(x.restoration.seconds * 1000, 3)
    if x.would is not None:
        metadata["would"] = x.would
    if x.head_s is not None:
        metadata["head_ms"] = round(x.head_s * 1000, 3)
        if x.endless:
            metadata["endless"] = True
    if x.problem is not None:
        metadata["detail"] = bounded(x.problem.detail)
        if x.hung_up:
            metadata["hung_up"] = True
    return metadata
