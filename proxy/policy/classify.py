"""The meaning of an outcome, for breaker, retry, recovery, metrics and audit alike."""

from typing import Final

from proxy.http.message import Failure, Outcome, Response
from proxy.http.problems import Reason
from proxy.runtime.enums import FastEnum


class Verdict(FastEnum):
    """The meaning of one attempt's outcome. The value is the seed document's error type, "" if it has none."""

    SUCCESS = ""
    NETWORK = "NetworkError"
    RATE_LIMITED = "RateLimitError"
    TIMEOUT = "TimeoutError"
    UNAVAILABLE = "IntegrationError"
    CONFLICT = "SessionConflictError"
    INVALID = "ValidationError"
    MISSING = "NotFoundError"
    CALCULATION = "CalculationError"
    DATA_QUALITY = "DataQualityError"
    REJECTED = "ClientError"  # any other 4xx
    BROKEN = "ServerError"  # any other 5xx, and 600 to 999 (RFC 9110 section 15: treated as 5xx)
    REFUSED = "Refused"  # the sidecar's own response: nothing was sent to the backend
    CANCELLED = "Cancelled"  # no caller was left

    @property
    def error_type(self) -> str | None:
        """Return the recorded name, metadata.error_type."""
        return self.value or None


# module constants: an Enum member look-up costs 0.1 µs in Python 3.11
SUCCESS: Final = Verdict.SUCCESS
CANCELLED: Final = Verdict.CANCELLED
_BY_STATUS: Final = {
    400: Verdict.INVALID,
    404: Verdict.MISSING,
    409: Verdict.CONFLICT,
    422: Verdict.DATA_QUALITY,
    429: Verdict.RATE_LIMITED,
    500: Verdict.CALCULATION,
    502: Verdict.UNAVAILABLE,
    503: Verdict.UNAVAILABLE,
    504: Verdict.TIMEOUT,
}

_BY_REASON: Final = {
    Reason.CIRCUIT_OPEN: Verdict.REFUSED,
    Reason.CONNECTION_LIMIT: Verdict.REFUSED,
    Reason.REQUEST_ERROR: Verdict.REFUSED,
    Reason.INTERNAL: Verdict.REFUSED,
    Reason.NOT_STORED: Verdict.REFUSED,
    Reason.UNRECORDED: Verdict.REFUSED,
    Reason.CANCELLED: Verdict.CANCELLED,
    Reason.CONNECTION_REFUSED: Verdict.NETWORK,
    Reason.CONNECTION_TERMINATED: Verdict.NETWORK,
    Reason.CONNECTION_TIMEOUT: Verdict.NETWORK,
    Reason.DNS_ERROR: Verdict.NETWORK,
    Reason.PROTOCOL_ERROR: Verdict.NETWORK,
    Reason.RESPONSE_INCOMPLETE: Verdict.NETWORK,
    Reason.TLS_CERTIFICATE: Verdict.NETWORK,
    Reason.TLS_PROTOCOL: Verdict.NETWORK,
    Reason.RESPONSE_TIMEOUT: Verdict.TIMEOUT,
}

OUTAGE = frozenset({Verdict.NETWORK, Verdict.TIMEOUT, Verdict.UNAVAILABLE, Verdict.RATE_LIMITED, Verdict.REFUSED})


def classify(outcome: Outcome) -> Verdict:
    """Return the meaning of the outcome."""
    if isinstance(outcome, Response):
        status = outcome.status
        if status < 400:
            return SUCCESS
        return _BY_STATUS.get(status) or (Verdict.REJECTED if status < 500 else Verdict.BROKEN)
    return _BY_REASON[outcome.reason]


# they open a circuit and eject an address
FAILURES: Final = frozenset({Verdict.NETWORK, Verdict.TIMEOUT, Verdict.UNAVAILABLE})
_NO_EVIDENCE = frozenset({Verdict.REFUSED, Verdict.CANCELLED})


def is_evidence(outcome: Outcome, verdict: Verdict) -> bool:
    """Tell whether an outcome is evidence about the backend: not a refusal, a lost client or a stale connection."""
    return verdict not in _NO_EVIDENCE and (isinstance(outcome, Response) or outcome.evidence)


def is_elapsed(outcome: Outcome) -> bool:
    """Tell whether a timeout of the route ended the attempt, not one of the upstream's settings or a status 504."""
    return isinstance(outcome, Failure) and (outcome.reason is Reason.RESPONSE_TIMEOUT or outcome.cut_short)


def label(outcome: Outcome) -> str:
    """Return the bounded name of an attempt's result for metrics and records: its status or reason."""
    return str(outcome.status) if isinstance(outcome, Response) else str(outcome.reason)
