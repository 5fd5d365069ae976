"""Answers that the sidecar makes itself, and the words in them: what happened and, where there is one, the cure."""

from proxy.http.fields import Fields, Lines
from proxy.http.message import (
    Failure,
    Framing,
    Outcome,
    Response,
)
from proxy.http.problems import Problem, Reason

_DETAILS = {
    Reason.CIRCUIT_OPEN: "the backend failed repeatedly and is not asked until the circuit probes it again",
    Reason.CONNECTION_LIMIT: "the limit on requests under way is reached; try again shortly",
    Reason.CONNECTION_REFUSED: "no process accepts connections at the backend's address",
    Reason.CONNECTION_TIMEOUT: "the backend did not accept a connection in time",
    Reason.DNS_ERROR: "the backend's host name does not resolve",
    Reason.CONNECTION_TERMINATED: "the backend closed the connection before it answered",
    Reason.RESPONSE_INCOMPLETE: "the backend's answer ended before it was whole",
    Reason.RESPONSE_TIMEOUT: "the backend did not answer within the deadline",
    Reason.PROTOCOL_ERROR: "the backend's answer is not valid HTTP/1.1",
    Reason.TLS_PROTOCOL: "the backend does not speak TLS at this address, or no version that is allowed here",
    Reason.TLS_CERTIFICATE: "the backend's certificate is not signed by a trusted authority, or is for another name",
    Reason.NOT_KEPT: "it was done before, and its answer was too large to keep; load what it made",
    Reason.INTERNAL: "an error in the sidecar, which is in its log",
    Reason.UNRECORDED: "its record could not be put on disk in time, and without one nothing is done or told here",
}

# Nothing is told that is not on record, even where it was done.
WITHHELD = Failure(
    Reason.UNRECORDED,
    sent=True,
    detail="the answer is withheld: its record could not be put on disk in time; what was asked may have been done",
)


def problem_of(failure: Outcome) -> Problem:
    """Return what is said of a failure."""
    assert isinstance(failure, Failure)
    reason = failure.reason
    return Problem(reason.status, reason, reason.headline, failure.detail or _DETAILS.get(reason, str(reason)))


def own_answer(problem: Problem, correlation_id: str, cors: Lines = ()) -> Response:
    """Return the problem as a response that a browser can read (S4)."""
    body = problem.encode(correlation_id)
    lines = ((b"Content-Type", b"application/problem+json"), (b"Content-Length", b"%d" % len(body)), *cors)
    return Response(problem.status, b"", Fields(lines), body, Framing.LENGTH)


def retry_after_s(failure: Outcome) -> float | None:
    """Return when the client may try again, where that is known."""
    return failure.retry_after_s if isinstance(failure, Failure) else None
