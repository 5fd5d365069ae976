"""The sidecar's own responses: every failure has a problem document that a browser can read."""

import orjson
import pytest

from proxy.http.message import Failure
from proxy.http.problem_response import own_response, problem_of, retry_after_s
from proxy.http.problems import Reason
from tests.unit.policy.samples import OPEN, RESET, response


@pytest.mark.parametrize("reason", sorted({*Reason} - {Reason.REQUEST_ERROR, Reason.CANCELLED}))
def test_every_reason_has_words(reason: Reason) -> None:
    """A person reads what happened, not the name of an error type."""
    problem = problem_of(Failure(reason, sent=True))
    assert (problem.status, problem.error, problem.title) == (reason.status, reason, reason.headline)
    assert problem.detail != str(reason)
    assert " " in problem.detail


def test_a_failures_own_detail_goes_first() -> None:
    """What the wire knows better stands in the place of the general words."""
    failure = Failure(Reason.DNS_ERROR, sent=False, detail="no such host: backend")
    assert problem_of(failure).detail == "no such host: backend"


def test_an_own_answer_is_a_problem_document() -> None:
    """RFC 9457: media type, length, the five members, and the CORS lines that let a browser read it."""
    cors = ((b"Access-Control-Allow-Origin", b"https://app.example"),)
    answer = own_response(problem_of(RESET), "mine-1", cors)
    assert isinstance(answer.body, bytes)
    assert answer.fields.lines == (
        (b"Content-Type", b"application/problem+json"),
        (b"Content-Length", b"%d" % len(answer.body)),
        *cors,
    )
    assert answer.status == 502
    assert orjson.loads(answer.body) == {
        "type": "urn:backstay:problem:connection_terminated",
        "title": "The backend closed the connection without a response",
        "status": 502,
        "detail": "the backend closed the connection before it responded",
        "correlation_id": "mine-1",
    }


@pytest.mark.parametrize(("seconds", "value"), [(29.2, 30), (30.0, 30), (0.001, 1), (0.0, 1), (None, 1)])
def test_retry_after(seconds: float | None, value: int) -> None:
    """Whole seconds, rounded up, at least one: who comes back on time is not refused again. A 503 has it always."""
    answer = own_response(problem_of(OPEN), "mine-1", (), seconds)
    assert answer.fields.get(b"retry-after") == b"%d" % value
    assert isinstance(answer.body, bytes)
    assert orjson.loads(answer.body)["retry_after"] == value


def test_only_a_503_has_a_retry_after_of_unknown_time() -> None:
    """A 502 says nothing where nothing is known."""
    assert own_response(problem_of(RESET), "mine-1").fields.get(b"retry-after") is None


def test_only_a_failure_knows_when_to_come_back() -> None:
    """An open circuit tells when it probes; an upstream's own answer carries its own Retry-After."""
    assert retry_after_s(OPEN) == 30.0
    assert retry_after_s(RESET) is None
    assert retry_after_s(response(503, Retry_After="5")) is None
