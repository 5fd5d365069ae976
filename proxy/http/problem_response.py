"""The sidecar's own responses, as problem documents (RFC 9457)."""

from proxy.http.fields import Fields, Lines
from proxy.http.message import (
    Failure,
    Framing,
    Outcome,
    Response,
)
from proxy.http.problems import Problem, Reason

NOT_ASKED = Failure(
    Reason.UNRECORDED,
    sent=False,
    detail="its record could not be written to disk in time: the backend was not called, and nothing was done",
)
# A response without a durable record is withheld, even if the request was executed.
WITHHELD = Failure(
    Reason.UNRECORDED,
    sent=True,
    detail="the response is withheld: its record was not written to disk in time; the request may have been executed",
)


def problem_of(failure: Outcome) -> Problem:
    """Return the problem document of a failure."""
    assert isinstance(failure, Failure)
    reason = failure.reason
    return Problem(reason.status, reason, reason.headline, failure.detail or reason.detail)


def own_response(problem: Problem, correlation_id: str, cors: Lines = ()) -> Response:
    """Return the problem as a response that a browser can read."""
    body = problem.encode(correlation_id)
    lines = ((b"Content-Type", b"application/problem+json"), (b"Content-Length", b"%d" % len(body)), *cors)
    return Response(problem.status, b"", Fields(lines), body, Framing.LENGTH)


def retry_after_s(failure: Outcome) -> float | None:
    """Return the seconds after which the client may retry, None if unknown."""
    return failure.retry_after_s if isinstance(failure, Failure) else None
