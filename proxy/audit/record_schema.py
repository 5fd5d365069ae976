"""Pydantic models of the trail's lines: the meaning of each field, and the JSON Schema of a line.

The writer does not use them: one format string takes a third of the time. Tests validate its output against these
models. Nothing here is imported while a sidecar runs.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, WithJsonSchema

from proxy.config.schema import describe
from proxy.http.problems import Reason

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Milliseconds = Annotated[float, Field(ge=0)]
Bytes = Annotated[int, Field(ge=0)]
Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


OUTCOMES = {
    "answered": "The backend's response was delivered, and its status is below 400.",
    "recovered": "The sidecar turned a failure into a good response: see `metadata.recovery`.",
    "reused": "A cached or stored response was delivered; the backend was not called.",
    "rejected": "The backend responded with 4xx.",
    "failed": "The backend responded with 5xx.",
    "refused": "The request itself was at fault, a limit of the sidecar was reached, or a required store is down.",
    "truncated": "The response broke off, and the client's connection was closed.",
    "cancelled": "The client got no response: it left first, or the sidecar stopped.",
    **{reason.value: reason.headline + "." for reason in Reason if reason.value not in ("cancelled",)},
}
"""The values of `outcome`: how a request ended. A failure is its error type of RFC 9209."""

WHY = {
    "answered": "The attempt succeeded: there was no reason for another.",
    "network": "A retry followed: there was no connection, or it broke.",
    "unavailable": "A retry followed: the backend responded with 502 or 503.",
    "rate_limited": "A retry followed: the backend responded with 429.",
    "timeout": "A retry followed: the attempt took longer than `attempt_timeout`, or the response was 504.",
    "not_retryable": "No retry: another attempt would have the same result, such as 404 or 500.",
    "nobody_waits": "No retry: every client had left.",
    "switched_off": "No retry: an operator switched retries off.",
    "exhausted": "No retry: `max_retries` were made, or two after timeouts.",
    "body_not_replayable": "No retry: the request's body was larger than `replay_limit` and was not kept.",
    "sent": "No retry: the request was sent, and its route does not allow to send it again.",
    "bad_answer": "No retry: the backend read an unsafe request, and its response was not HTTP.",
    "precondition": "No retry: the first attempt may have succeeded, and then the precondition would fail.",
    "not_idempotent": "No retry: the request was sent, and the backend does not honour idempotency keys.",
    "deadline": "No retry: wait and attempt would not fit into what is left of `total_timeout`.",
    "circuit_open": "No retry: the circuit would refuse it.",
    "budget": "No retry: the share of requests that may be retries is used up.",
    "dry_run": "With `dry_run` a request is sent once.",
    "client_deadline": "The client's own deadline passed first and ended its wait.",
    "probe": "The client left, and the attempt continued as a probe of its circuit.",
    "unfinished": "The attempt was cut off before it ended.",
}
"""The values of `attempts[].why`: what was decided after an attempt."""

ALONE = {
    "no_subject": "`coalesce` is `subject`, and the request has none.",
    "switched_off": "An operator switched coalescing off.",
    "no_cache": "The request has `no-cache`, and the route has `no_cache_leads`.",
    "unshareable": "The response to an equal request could not be shared, less than 30 s ago.",
    "dry_run": "With `dry_run` nothing is shared.",
    "max_flights": "`max_flights` was reached.",
    "max_followers": "`max_followers` was reached.",
    "replayed": "A stored response was delivered.",
    "method": "Requests with this method are never shared.",
    "range": "Requests with `Range` are never shared.",
    "expect": "Requests with `Expect` are never shared.",
    "upgrade": "Requests with `Upgrade` are never shared.",
    "body_over_replay_limit": "The request's body is larger than `replay_limit`.",
    "event_stream": "The client accepts `text/event-stream`.",
}
"""The values of `metadata.alone`: why a request was not shared. Without one: `coalesce` is `off` for it."""


def _one_of(words: Mapping[str, str]) -> AfterValidator:
    """Reject a text that is not one of `words`."""

    def check(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text} is not described")
        return text

    return AfterValidator(check)


def _meanings(words: Mapping[str, str]) -> WithJsonSchema:
    """Add the meaning of each of `words` to the schema."""
    meanings = [{"const": word, "description": meaning} for word, meaning in words.items()]
    return WithJsonSchema({"type": "string", "oneOf": meanings})


Outcome = Annotated[str, _one_of(OUTCOMES), _meanings(OUTCOMES)]
Why = Annotated[str, _one_of(WHY), _meanings(WHY)]
Alone = Annotated[str, _one_of(ALONE), _meanings(ALONE)]


class Line(BaseModel):
    """The fields of every line."""

    model_config = ConfigDict(extra="forbid", strict=True)

    v: int
    """Version of the meaning of the fields."""
    seq: Annotated[int, Field(ge=1)]
    """Number of the line in the trail. It goes on across rotation and restarts."""
    ts: Timestamp
    """Time in UTC with microseconds, ISO 8601. Of a request: when its head was complete."""
    prev: Digest
    """Hash of the line before; 64 zeros in the first line."""
    hash: Digest
    """SHA-256 of this line's own bytes without the member `hash`."""


class AttemptFields(BaseModel):
    """One attempt to ask the upstream."""

    model_config = ConfigDict(extra="forbid", strict=True)

    n: Annotated[int, Field(ge=1)]
    """Number of the attempt, from 1."""
    status: int | None = None
    """Status code that came back. Absent if none did."""
    error: str | None = None
    """Error type of RFC 9209, or `cancelled` (not of the RFC) if no client waited. Absent if a response arrived."""
    sent: bool
    """The request may have reached the backend. `false`: the circuit was open, or there was no connection."""
    ms: Milliseconds
    """Duration of the attempt in milliseconds."""
    waited_ms: Milliseconds
    """Wait before the attempt in milliseconds."""
    why: Why
    """Reason why it was, or was not, the last attempt."""


class FlightFields(BaseModel):
    """The request's part in a flight."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["led", "joined", "alone"]
    """`led`: began the flight. `joined`: waited for the leader's response. If `attempts` has entries nevertheless, that
    response could not be shared, or had failed, and the request was sent by itself. `alone`: it joined no flight."""
    id: str | None
    """The same for all requests of one flight. It is no record's id. `null` for one that went alone."""
    followers: Annotated[int, Field(ge=0)]
    """How many requests joined, in the leader's record. 0 in all others."""


class IdempotencyFields(BaseModel):
    """The request's idempotency key."""

    model_config = ConfigDict(extra="forbid", strict=True)

    source: Literal["client", "minted", "adopted"]
    """`client`: sent by the client. `minted`: made by the sidecar. `adopted`: that of an equal request before it."""
    key_hash: str
    """Salted hash of the key. Equal keys have equal hashes in one installation."""
    replayed: bool
    """A stored response was delivered."""


class Metadata(BaseModel):
    """Members that only some requests have. Absent members do not apply."""

    model_config = ConfigDict(extra="forbid", strict=True)

    error_type: str | None = None
    """Meaning of the last attempt if it failed, such as `NetworkError`. `Cancelled`: no client waited for it."""
    recovery: str | None = None
    """How the response was recovered, such as `existing_session` or `stale`."""
    received_status: int | None = None
    """Status code of the response that was replaced. `null` if there was none."""
    no_subject: str | None = None
    """Why the route's `subject` was not found in the request."""
    alone: Alone | None = None
    """Why the request was not shared."""
    correlation_replaced: bool | None = None
    """The client's `X-Correlation-ID` was not an id and was replaced."""
    trace_id: str | None = None
    """Trace id of W3C Trace Context."""
    restoration: str | None = None
    """State of the session restoration that the request was part of."""
    restoration_ms: Milliseconds | None = None
    """Duration of that restoration so far, in milliseconds; whole in the record of the history."""
    head_ms: Milliseconds | None = None
    """Of a streamed response: time to its head, in milliseconds. Targets and statistics use it as the duration."""
    endless: bool | None = None
    """A tunnel or server-sent events: targets and statistics ignore its duration."""
    would: list[str] | None = None
    """With `dry_run`: what would have been done."""
    detail: str | None = None
    """`detail` of the problem document that the client got."""
    hung_up: bool | None = None
    """An EventSource got a closed connection instead of the problem document with this status."""
    client: str | None = None
    """Address of the client, plain or hashed, with `audit.clients`."""
    principal: str | None = None
    """Salted hash of the verified token's issuer and subject, with `audit.clients`. Equal users have equal hashes."""
    headers: dict[str, str] | None = None
    """Values of the request fields that `audit.headers` lists."""


class RequestRecord(Line):
    """A finished request: exactly one line each."""

    id: str
    """Id of the record. Notes about the same request have the same."""
    correlation_id: str
    """`X-Correlation-ID` of the request, from the client or made by the sidecar."""
    operation: str
    """Name of the route; `passthrough` where no route matched."""
    subject: str | None
    """Business key of the request, by the route's `subject`."""
    method: str
    """Request method."""
    path: str
    """Path and query. Only values that `audit.query_parameters` lists stand in it; secrets are replaced with `*`."""
    status: int
    """Status code that the client got; 499 for `cancelled`. It got 503 where a note `withheld` has the same `id`, and
    none with `metadata.hung_up`."""
    success: bool
    """The request succeeded, unless a note `withheld` has the same `id`."""
    outcome: Outcome
    """How it ended in one word: a value of the label `outcome` in the metrics."""
    duration_ms: Milliseconds
    """Time from the request's head to the end of its response in milliseconds."""
    upstream: str
    """Name of the upstream."""
    attempts: list[AttemptFields]
    """Attempts in order, also those that reached no backend. Empty if it got the leader's response or a stored one."""
    flight: FlightFields
    """The request's part in a flight."""
    idempotency: IdempotencyFields | None
    """The request's idempotency key. `null` without one."""
    circuit: str
    """Name of the circuit breaker."""
    target: Literal["ideal", "acceptable", "slow", "critical"] | None
    """How fast it was by the route's `target`. `null` for `target = "none"`."""
    bytes_in: Bytes
    """Bytes of the request body."""
    bytes_out: Bytes
    """Bytes of the response body, as sent to the client; of a withheld response, those of the recorded one."""
    metadata: Metadata
    """What only some requests have."""


class RefusedMetadata(BaseModel):
    """Why a message was refused."""

    model_config = ConfigDict(extra="forbid", strict=True)

    reason: str
    """Value of the label `reason` of `backstay_bad_requests_total`."""
    client: str | None = None
    """Address of the client, plain or hashed, with `audit.clients`."""


class RefusedMessage(Line):
    """A message that was refused before it was a request. Only its correlation id is recorded."""

    id: str
    """Id of the record."""
    correlation_id: str | None = None
    """As in the response. Absent if no head was read: too many connections, or a malformed or late head."""
    operation: Literal["bad-request"]
    """Always `bad-request`."""
    status: int
    """Status code of the response. An EventSource gets a closed connection instead of a 503."""
    success: Literal[False]
    """Always `false`."""
    outcome: Literal["refused"]
    """Always `refused`."""
    metadata: RefusedMetadata
    """Why it was refused."""


class CircuitMetadata(BaseModel):
    """The circuit after its transition."""

    model_config = ConfigDict(extra="forbid", strict=True)

    failures: Annotated[int, Field(ge=0)]
    """Failed requests in a row."""
    mode: Literal["auto", "open", "close", "observe"]
    """`auto`, or what an operator forced."""


class CircuitTransition(Line):
    """A circuit breaker changed its state."""

    id: str
    """Id of the record."""
    operation: Literal["circuit"]
    """Always `circuit`."""
    circuit: str
    """Name of the circuit."""
    success: bool
    """The circuit is closed."""
    outcome: Literal["closed", "half_open", "open"]
    """State after the transition."""
    metadata: CircuitMetadata
    """The circuit after its transition."""


class RequestNote(Line):
    """A note about a request, beside its record. It is not counted as a record."""

    id: str
    """Id of the request's record."""
    note: Literal["intent", "opening", "withheld"]
    """`intent`: an unsafe request will be sent. `opening`: a streamed response begins. `withheld`: the client
    got 503 instead of the recorded response."""
    correlation_id: str
    """As in the record."""
    operation: str
    """As in the record."""
    subject: str | None
    """As in the record."""
    method: str
    """As in the record."""
    path: str
    """As in the record."""
    status: int | None
    """Status code that the client gets. `null` before there is a response."""


class CheckpointNote(Line):
    """At a start, the trail contradicts its last checkpoint."""

    note: Literal["checkpoint"]
    """Always `checkpoint`."""
    agrees: Literal[False]
    """Always `false`."""
    detail: str
    """What differs."""


class RetirementNote(Line):
    """The oldest files are about to be removed, according to `audit.keep_files` or `audit.keep_size`."""

    note: Literal["retired"]
    """Always `retired`."""
    files: Annotated[int, Field(ge=1)]
    """How many files."""
    through: Annotated[int, Field(ge=1)]
    """`seq` of the last line in them."""
    head: Digest
    """`hash` of the last line in them."""


class Gap(Line):
    """Records were lost: the queue was full, or the disk refused."""

    gap: Annotated[int, Field(ge=1)]
    """How many records."""


class Torn(Line):
    """At a start, the end of the trail was an unfinished line, which was set aside."""

    torn: Annotated[int, Field(ge=1)]
    """Its length in bytes."""


KINDS = (RequestRecord, RefusedMessage, CircuitTransition, RequestNote, CheckpointNote, RetirementNote, Gap, Torn)
LINE: TypeAdapter[Line] = TypeAdapter(
    RequestRecord | RefusedMessage | CircuitTransition | RequestNote | CheckpointNote | RetirementNote | Gap | Torn
)


def record_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of one line of a trail."""
    return describe({"title": "Line of an audit trail of Backstay", **LINE.json_schema()}, KINDS)
