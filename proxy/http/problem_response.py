"""The sidecar's own responses, as problem documents (RFC 9457)."""

from math import ceil

from proxy.http.fields import Fields, Lines
from proxy.http.message import (
    Failure,
    Framing,
    Outcome,
    Response,
)
from proxy.http.problems import RETRY_AFTER_S, Problem, Reason

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


def own_response(
    problem: Problem, correlation_id: str, cors: Lines = (), retry_after_s: float | None = None
) -> Response:
    """Return the problem as a response that a browser can read.

    `Retry-After` (RFC 9110 section 10.2.3) and `retry_after` in the body are `retry_after_s` in whole seconds, at least
    1. A 503 has them also where the time is unknown.
    """
    if retry_after_s is None and problem.status == 503:
        retry_after_s = RETRY_AFTER_S
    seconds = None if retry_after_s is None else max(1, ceil(retry_after_s))
    body = problem.encode(correlation_id, seconds)
    lines: Lines = ((b"Content-Type", b"application/problem+json"), (b"Content-Length", b"%d" % len(body)), *cors)
    if seconds is not None:
        lines = (*lines, (b"Retry-After", b"%d" % seconds))
    return Response(problem.status, b"", Fields(lines), body, Framing.LENGTH)


def retry_after_s(failure: Outcome) -> float | None:
    """Return the seconds after which the client may retry, None if unknown."""
    return failure.retry_after_s if isinstance(failure, Failure) else None
