"""One upstream attempt: its facts, the outcome of a retry schedule, and the next attempt's timeout."""

import pytest

from proxy.http.fields import Fields
from proxy.http.message import (
    Failure,
    Framing,
    Outcome,
    Response,
)
from proxy.http.problems import Reason
from proxy.policy.attempt_facts import (
    Attempt,
    Effect,
    attempt_timeout,
    effect,
    schedule_outcome,
)
from tests.unit.policy.samples import OPEN, REFUSED, RESET, TIMED_OUT, Endless, response, route


def attempts(*outcomes: Outcome) -> list[Attempt]:
    """Return finished attempts with these outcomes."""
    made = []
    for number, outcome in enumerate(outcomes, start=1):
        attempt = Attempt(number, 0.0)
        attempt.ended(outcome)
        made.append(attempt)
    return made


def test_an_attempt_tells_what_happened() -> None:
    """Its number, the wait before it, its time, its status or error, whether it left, and why it was the last."""
    answered, refused = attempts(response(201), REFUSED)
    answered.ended(answered.outcome, 0.245)
    answered.why = "answered"
    assert (answered.status, answered.result, answered.sent, answered.ms) == (201, "201", True, 245)
    assert (refused.status, refused.result, refused.sent) == (None, "connection_refused", False)
    assert repr(answered) == "<Attempt 1 201 245.0 ms, answered>"
    assert Attempt(2, 0.1).waited_ms == 100


def test_an_unfinished_attempt_may_have_been_sent() -> None:
    """What was cancelled in mid-call is taken as sent: nobody knows better."""
    attempt = Attempt(1, 0.0)
    assert (attempt.sent, attempt.result, attempt.why) == (True, "cancelled", "unfinished")


@pytest.mark.parametrize(
    ("outcomes", "done"),
    [
        ((), Effect.NONE),
        ((REFUSED,), Effect.NONE),
        ((OPEN,), Effect.NONE),
        ((response(204),), Effect.DONE),
        ((response(303),), Effect.DONE),
        ((response(500),), Effect.DONE),
        ((response(507),), Effect.DONE),
        ((RESET,), Effect.UNKNOWN),
        ((TIMED_OUT,), Effect.UNKNOWN),
        ((response(502),), Effect.UNKNOWN),
        ((response(504),), Effect.UNKNOWN),
        ((RESET, response(409)), Effect.UNKNOWN),
        ((RESET, response(201)), Effect.UNKNOWN),
        ((REFUSED, response(201)), Effect.DONE),
        ((response(500), response(503)), Effect.DONE),
        *(((response(status),), Effect.NONE) for status in (400, 401, 403, 404, 408, 409, 412, 422, 429, 499, 503)),
    ],
)
def test_what_a_write_has_done(outcomes: tuple[Outcome, ...], done: Effect) -> None:
    """Nothing where it was never sent or was refused; what was sent without a final answer weighs most."""
    assert effect(attempts(*outcomes)) is done


def test_what_only_read_has_done_nothing() -> None:
    """A create was refused with 409, and loading what exists broke off: that puts no write in doubt."""
    refused, loading = attempts(response(409), TIMED_OUT)
    loading.safe = True
    assert effect([refused, loading]) is Effect.NONE


def test_a_ladder_brings_its_last_outcome() -> None:
    """The last answer or failure is the ladder's, whatever came before."""
    assert schedule_outcome(attempts(RESET, response(503))).status == 503  # type: ignore[union-attr]
    assert schedule_outcome(attempts(response(503), RESET)) is RESET


def test_a_circuit_that_opens_meanwhile_does_not_hide_what_came() -> None:
    """The client gets the upstream's own last word, and the record says that the circuit ended the ladder."""
    made = attempts(response(503, Retry_After="7"), OPEN)
    assert schedule_outcome(made) is made[0].outcome
    assert made[0].why == "circuit_open"


def test_a_streamed_answer_was_let_go_of_before_the_circuit_opened() -> None:
    """Its body is gone, so the client gets the refusal; before, it got a body that broke off at once."""
    streamed = Response(503, b"", Fields(()), Endless(), Framing.CHUNKED)
    partial = Failure(Reason.RESPONSE_INCOMPLETE, sent=True, partial=streamed)
    assert schedule_outcome(attempts(streamed, OPEN)) is OPEN
    assert schedule_outcome(attempts(partial, OPEN)) is OPEN


def test_a_circuit_that_was_open_is_the_outcome() -> None:
    """A ladder whose first attempt was refused brings the refusal."""
    assert schedule_outcome(attempts(OPEN)) is OPEN


@pytest.mark.parametrize(
    ("before", "seconds"),
    [
        ((), 0.3),
        ((RESET, response(503)), 0.3),
        ((TIMED_OUT,), 0.6),
        ((response(504),), 0.6),
        ((TIMED_OUT, RESET), 0.6),
        ((TIMED_OUT, response(504)), 1.2),
    ],
)
def test_each_timeout_doubles_the_next_attempts_time(before: tuple[Outcome, ...], seconds: float) -> None:
    """Timeouts, ours and the upstream's, double it; other failures do not."""
    made = [*attempts(*before), Attempt(len(before) + 1, 0.0)]
    assert attempt_timeout(route(attempt_timeout_s=0.3), made, 2.0) == pytest.approx(seconds)


def test_no_attempt_passes_the_deadline() -> None:
    """The rest of the deadline is the most there is, and all there is without an attempt_timeout."""
    assert attempt_timeout(route(attempt_timeout_s=0.3), attempts(TIMED_OUT, TIMED_OUT), 0.4) == 0.4
    assert attempt_timeout(route(), attempts(TIMED_OUT), 1.7) == 1.7
