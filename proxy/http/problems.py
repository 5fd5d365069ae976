"""Every reason for a refusal or failure, with its status, RFC 9209 error type and problem document (RFC 9457)."""

from typing import Final, NamedTuple

import orjson

from proxy.runtime.enums import FastStrEnum


class Reason(FastStrEnum):
    """Why there is no upstream response. The values are error types of RFC 9209 section 2.3."""

    CIRCUIT_OPEN = "destination_unavailable"
    CONNECTION_LIMIT = "connection_limit_reached"
    CONNECTION_REFUSED = "connection_refused"
    CONNECTION_TIMEOUT = "connection_timeout"
    DNS_ERROR = "dns_error"
    TLS_PROTOCOL = "tls_protocol_error"
    TLS_CERTIFICATE = "tls_certificate_error"
    CONNECTION_TERMINATED = "connection_terminated"
    RESPONSE_INCOMPLETE = "http_response_incomplete"
    RESPONSE_TIMEOUT = "http_response_timeout"
    PROTOCOL_ERROR = "http_protocol_error"
    REQUEST_ERROR = "http_request_error"
    NOT_STORED = "http_response_body_size"  # the request was executed before; its response cannot be replayed
    INTERNAL = "proxy_internal_error"
    UNRECORDED = "proxy_internal_response"  # the audit trail could not store the record durably in time
    CANCELLED = "cancelled"  # the client left; never sent

    @property
    def status(self) -> int:
        """Return the HTTP status for the client."""
        return _ROWS[self].status

    @property
    def headline(self) -> str:
        """Return the title of the problem document, which is the same for every occurrence."""
        return _ROWS[self].title

    @property
    def detail(self) -> str:
        """Return the default detail of the problem document."""
        return _ROWS[self].detail


RETRY_AFTER_S: Final = 1.0  # for a 503 of unknown duration


class _Row(NamedTuple):
    """One reason: its status, and the title and detail of its problem document."""

    status: int
    title: str
    detail: str


_ROWS: Final[dict[Reason, _Row]] = {
    Reason.CIRCUIT_OPEN: _Row(
        503,
        "The circuit of this request is open",
        "the backend failed repeatedly and gets no requests until the circuit probes it again",
    ),
    Reason.CONNECTION_LIMIT: _Row(
        503,
        "Too many requests are under way",
        "the limit on requests under way is reached; try again shortly",
    ),
    Reason.CONNECTION_REFUSED: _Row(
        502,
        "The backend refused the connection",
        "no process accepts connections at the backend's address",
    ),
    Reason.CONNECTION_TIMEOUT: _Row(
        504,
        "Connecting to the backend took too long",
        "the backend did not accept a connection in time",
    ),
    Reason.DNS_ERROR: _Row(
        502,
        "The backend's name was not found",
        "the backend's host name does not resolve",
    ),
    Reason.TLS_PROTOCOL: _Row(
        502,
        "The backend and the sidecar could not agree on TLS",
        "the backend does not use TLS at this address, or no version that is allowed here",
    ),
    Reason.TLS_CERTIFICATE: _Row(
        502,
        "The backend's certificate was not accepted",
        "the backend's certificate is not signed by a trusted authority, or is for another name",
    ),
    Reason.CONNECTION_TERMINATED: _Row(
        502,
        "The backend closed the connection without a response",
        "the backend closed the connection before it responded",
    ),
    Reason.RESPONSE_INCOMPLETE: _Row(
        502,
        "The backend's response broke off",
        "the backend's response ended before it was complete",
    ),
    Reason.RESPONSE_TIMEOUT: _Row(
        504,
        "The deadline passed before the backend responded",
        "the backend did not respond within the deadline",
    ),
    Reason.PROTOCOL_ERROR: _Row(
        502,
        "The backend's response was not HTTP",
        "the backend's response is not valid HTTP/1.1",
    ),
    Reason.REQUEST_ERROR: _Row(
        400,
        "The request was refused",
        "the sidecar does not accept the request",
    ),
    Reason.NOT_STORED: _Row(
        409,
        "The request was executed before, and its response was not stored",
        "the request was executed before, and its response was not stored; load the result",
    ),
    Reason.INTERNAL: _Row(
        500,
        "The sidecar failed",
        "an error in the sidecar, which is in its log",
    ),
    Reason.UNRECORDED: _Row(
        503,
        "The audit trail cannot record it",
        "its record could not be written to disk in time; the detail states whether anything was done",
    ),
    Reason.CANCELLED: _Row(
        499,
        "The client left",
        "the client left before there was a response",
    ),
}


class Refusal(Exception):  # noqa: N818 - a refusal is a decision of the sidecar, not an error
    """Refuse a request with a status of the sidecar's own and one sentence.

    `metric` is a bounded label of backstay_bad_requests_total. `closes` ends the connection after the response. `error`
    is the problem type if the status does not determine it. `to_head` is set for a HEAD request, whose response has no
    content (RFC 9110 section 9.3.2). `correlation_id` is set if the head was parsed before the refusal. `hangs_up`
    closes the connection instead of a response.
    """

    def __init__(
        self, status: int, metric: str, detail: str, *, closes: bool = True, error: Reason | None = None
    ) -> None:
        super().__init__(detail)
        self.error = error
        self.status = status
        self.metric = metric
        self.detail = detail
        self.closes = closes
        self.to_head = False
        self.hangs_up = False
        self.correlation_id = ""


class Problem(NamedTuple):
    """One problem document, RFC 9457. `refused` is the label of its refusal, "" for a failure."""

    status: int
    error: Reason
    title: str
    detail: str
    refused: str = ""

    def encode(self, correlation_id: str, retry_after: int | None = None) -> bytes:
        """Return the application/problem+json body; `retry_after` is the value of `Retry-After`, in seconds."""
        members = {
            "type": f"urn:backstay:problem:{self.error}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "correlation_id": correlation_id,
        }
        return orjson.dumps(members if retry_after is None else {**members, "retry_after": retry_after})


# The titles of refusals. The detail is written where the decision is made: it names the fault or the limit.
TITLES: Final = {
    400: "The request was refused",
    408: "The request took too long to arrive",
    413: "The request body is too large",
    414: "The request target is too long",
    417: "The expectation cannot be met",
    422: "The idempotency key belongs to another request",
    431: "The request head is too large",
    501: "Not implemented",
    503: "The service is not available",
    505: "The HTTP version is not supported",
}


def refused(refusal: Refusal) -> Problem:
    """Return the problem document of a refusal."""
    title = TITLES.get(refusal.status, Reason.REQUEST_ERROR.headline)
    reason = refusal.error or (Reason.CONNECTION_LIMIT if refusal.status == 503 else Reason.REQUEST_ERROR)
    return Problem(refusal.status, reason, title, refusal.detail, refusal.metric)
