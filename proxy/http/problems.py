"""Refusals and failures by name: each knows its status, its RFC 9209 error type and its problem document (RFC 9457)."""

from typing import NamedTuple

import orjson

from proxy.runtime.enums import FastStrEnum


class Reason(FastStrEnum):
    """Why there is no answer from upstream; the values are the error types of RFC 9209 section 2.3."""

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
    NOT_KEPT = "http_response_body_size"  # it was done before, and its answer was too large to be given again
    INTERNAL = "proxy_internal_error"
    UNRECORDED = "proxy_internal_response"  # the audit trail must have it on disk first, and could not in time
    CANCELLED = "cancelled"  # nobody was left to answer; never sent to anyone

    @property
    def status(self) -> int:
        """Return the status a client sees for it."""
        return _ANSWERS[self][0]

    @property
    def headline(self) -> str:
        """Return the problem document's title: the same for every occurrence."""
        return _ANSWERS[self][1]


_ANSWERS: dict[Reason, tuple[int, str]] = {
    Reason.CIRCUIT_OPEN: (503, "The circuit to the backend is open"),
    Reason.CONNECTION_LIMIT: (503, "Too many requests are under way"),
    Reason.CONNECTION_REFUSED: (502, "The backend refused the connection"),
    Reason.CONNECTION_TIMEOUT: (504, "Connecting to the backend took too long"),
    Reason.DNS_ERROR: (502, "The backend's name was not found"),
    Reason.TLS_PROTOCOL: (502, "The backend and the sidecar could not agree on TLS"),
    Reason.TLS_CERTIFICATE: (502, "The backend's certificate was not accepted"),
    Reason.CONNECTION_TERMINATED: (502, "The backend closed the connection without an answer"),
    Reason.RESPONSE_INCOMPLETE: (502, "The backend's answer broke off"),
    Reason.RESPONSE_TIMEOUT: (504, "The deadline passed before the backend answered"),
    Reason.PROTOCOL_ERROR: (502, "The backend's answer was not HTTP"),
    Reason.REQUEST_ERROR: (400, "The request was refused"),
    Reason.NOT_KEPT: (409, "It was done before, and its answer was too large to keep"),
    Reason.INTERNAL: (500, "The sidecar failed"),
    Reason.UNRECORDED: (503, "The audit trail cannot record it"),
    Reason.CANCELLED: (499, "The client left"),
}


class Refusal(Exception):  # noqa: N818 - a refusal is a decision of ours, not an error
    """Refuse a request with a status of our own and one clear sentence.

    `metric` is the bounded label of backstay_bad_requests_total; `closes` ends the connection after the answer; `error`
    is its type, where the status alone does not tell it. `to_head` is set where HEAD was asked: then the answer
    has no content (RFC 9110 section 9.3.2).
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


class Problem(NamedTuple):
    """One problem document, RFC 9457."""

    status: int
    error: Reason
    title: str
    detail: str

    def encode(self, correlation_id: str) -> bytes:
        """Return the application/problem+json body."""
        return orjson.dumps(
            {
                "type": f"urn:backstay:problem:{self.error}",
                "title": self.title,
                "status": self.status,
                "detail": self.detail,
                "correlation_id": correlation_id,
            }
        )


TITLES = {
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
    return Problem(refusal.status, reason, title, refusal.detail)
