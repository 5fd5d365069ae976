"""One request and its retries: which calls, when, and the client's response."""

from dataclasses import replace
from random import Random

import pytest

from proxy.http.fields import Fields
from proxy.http.message import Framing, Response
from proxy.http.problems import Reason
from tests.settings import breaker_settings, retry_settings
from tests.simulation.scripted import ScriptedStream, Step, answers, fails, hangs, refuses
from tests.simulation.virtual import simulated
from tests.simulation.world import CREATE, LOAD, NO_RETRIES, World


@simulated
async def test_an_answer_passes() -> None:
    """One call, its answer, no wait, one record that says so."""
    world = World([answers(200, b"session", after_s=0.04)])
    ada = await world.get().finish()
    assert (ada.status, ada.client.body, ada.waited_ms) == (200, b"session", 40)
    assert world.upstream.said == ["GET /api/sessions/r1"]
    (record,) = world.ledger.records
    assert (record.status, record.ending, record.role, round(record.duration_s, 6)) == (200, "answered", "led", 0.04)
    assert [attempt.why for attempt in record.attempts] == ["answered"]


@simulated
async def test_a_streamed_answer_that_is_retried_is_given_up() -> None:
    """Nobody reads it: its connection must not wait for a reader. The last one is the client's."""
    first, last = ScriptedStream(b"busy"), ScriptedStream(b"still busy")
    steps = [Step(Response(503, b"", Fields(()), body, Framing.CHUNKED)) for body in (first, last)]
    world = World(steps, routes=(replace(LOAD, retry=retry_settings(jitter=False, max_retries=1)),))
    ada = await world.get().finish()
    assert (ada.status, ada.client.body) == (503, b"still busy")
    assert (first.discarded, first.opened) == (True, 0)
    assert not last.discarded


@simulated
async def test_a_request_deposits_once_into_the_retry_budget() -> None:
    """Recovery's own request is a part of it, not another one: deposits are a share of what clients request."""
    world = World([answers(409), answers(200, b"existing")])
    before = world.budget._tokens
    assert (await world.create().finish()).status == 200
    assert len(world.upstream.calls) == 2
    assert world.budget._tokens - before == pytest.approx(world.budget.share)


@simulated
async def test_the_whole_ladder() -> None:
    """Three network failures are retried after 100, 200 and 400 ms; the fourth call's answer is the client's."""
    world = World([fails(), refuses(), fails(), answers()])
    ada = await world.get().finish()
    assert world.upstream.times_ms == [0, 100, 300, 700]
    assert (ada.status, ada.waited_ms) == (200, 700)
    (record,) = world.ledger.records
    assert [round(attempt.waited_ms) for attempt in record.attempts] == [0, 100, 200, 400]
    assert [attempt.why for attempt in record.attempts] == ["network", "network", "network", "answered"]
    assert world.meter.counts["retried", "network"] == 3
    assert world.meter.counts["retried_request", "True"] == 1


@pytest.mark.parametrize(
    ("step", "times"),
    [
        (answers(503), [0, 100, 300, 700]),
        (answers(502), [0, 100, 300, 700]),
        (answers(429), [0, 200, 600, 1400]),
        (answers(504), [0, 100, 300]),
        (answers(500), [0]),
        (answers(501), [0]),
        (answers(404), [0]),
        (answers(422), [0]),
        (answers(200), [0]),
    ],
    ids=["503", "502", "429", "504", "500", "501", "404", "422", "200"],
)
@simulated
async def test_each_status_has_its_ladder(step: Step, times: list[float]) -> None:
    """What a status is retried for, and when; the last answer is passed on as it came."""
    world = World([step])
    ada = await world.get().finish()
    assert world.upstream.times_ms == times
    assert isinstance(step.outcome, Response)
    assert ada.status == step.outcome.status


@simulated
async def test_attempts_say_their_number_and_budget() -> None:
    """One key on every attempt, a count from the second on, and a budget that shrinks."""
    world = World([fails(after_s=0.05), answers(503), answers(201)])
    await world.create().finish()
    calls = world.upstream.calls
    assert [call.field(b"x-attempt-count") for call in calls] == [None, b"2", b"3"]
    budgets = [int(call.field(b"x-request-deadline-ms") or b"0") for call in calls]
    assert budgets == pytest.approx([2000, 1850, 1650], abs=1)
    keys = {call.field(b"idempotency-key") for call in calls}
    assert len(keys) == 1
    assert (keys.pop() or b"").startswith(b"r1-create-17657512340")
    assert len({call.field(b"x-correlation-id") for call in calls}) == 1


@pytest.mark.parametrize("script", [[hangs()], [fails(after_s=0.45)], [answers(429, retry_after="1")]])
@pytest.mark.parametrize("budget_ms", [5, 120, 730, 1999])
@simulated
async def test_the_deadline_is_never_passed(script: list[Step], budget_ms: int) -> None:
    """Whatever the upstream does, the client is answered by its own deadline, to 5 ms."""
    world = World(script)
    ada = await world.get(X_Request_Deadline_Ms=str(budget_ms)).finish()
    assert ada.waited_ms <= budget_ms + 5
    assert ada.status in (429, 502, 504)
    assert len(world.ledger.records) == 1


@simulated
async def test_a_retry_that_does_not_fit_is_not_made() -> None:
    """With 1.2 s gone, 800 ms and an attempt's 50 do not fit: the 429 goes out at once, and says why."""
    world = World([answers(429, after_s=0.2)])
    ada = await world.get().finish()
    assert world.upstream.times_ms == [0, 400, 1000]
    assert (ada.status, ada.waited_ms) == (429, 1200)
    assert world.ledger.records[0].attempts[-1].why == "deadline"
    assert world.meter.counts["retry_denied", "deadline"] == 1


@simulated
async def test_retry_after_that_does_not_fit_is_passed_on_at_once() -> None:
    """A Retry-After of 60 s fits no 2 s deadline; the client gets it, untouched, without waiting."""
    world = World([answers(503, retry_after="60")])
    ada = await world.get().finish()
    assert (ada.status, ada.waited_ms, ada.client.fields.get(b"retry-after")) == (503, 0, b"60")


@simulated
async def test_retry_after_that_fits_is_waited_for() -> None:
    """One second is longer than the ladder's 100 ms, so the second call comes a second later."""
    world = World([answers(503, retry_after="1"), answers()])
    ada = await world.get().finish()
    assert world.upstream.times_ms == [0, 1000]
    assert ada.status == 200


@simulated
async def test_attempt_timeouts_double() -> None:
    """Attempts that time out are made twice more, after 100 and 200 ms, each with twice the time."""
    world = World([hangs()], routes=(replace(LOAD, attempt_timeout_s=0.2),))
    ada = await world.get().finish()
    assert [round(call.timeout_s, 6) for call in world.upstream.calls] == [0.2, 0.4, 0.8]
    assert world.upstream.times_ms == [0, 300, 900]
    assert (ada.status, ada.waited_ms) == (504, 1700)


@simulated
async def test_a_504_doubles_the_next_attempts_time() -> None:
    """A gateway timeout that the upstream reports is a timeout too: the next attempt has twice the time."""
    world = World([answers(504), answers()], routes=(replace(LOAD, attempt_timeout_s=0.2),))
    await world.get().finish()
    assert [call.timeout_s for call in world.upstream.calls] == [0.2, 0.4]


@simulated
async def test_an_attempt_that_may_not_be_repeated_has_until_the_deadline() -> None:
    """Attempt_timeout cuts nothing short that could not be tried again."""
    route = replace(CREATE, honours_idempotency=False, attempt_timeout_s=0.5)
    world = World([answers(201, after_s=0.9)], routes=(route,))
    ada = await world.create().finish()
    assert (ada.status, ada.waited_ms) == (201, 900)


@simulated
async def test_a_sent_post_is_asked_once() -> None:
    """Without idempotent upstream, a create that broke off after it was sent is never sent again."""
    world = World([fails()], routes=(replace(CREATE, honours_idempotency=False),))
    ada = await world.create().finish()
    assert (ada.status, len(world.upstream.calls)) == (502, 1)
    assert world.ledger.records[0].attempts[0].why == "not_idempotent"


@simulated
async def test_an_unsent_post_is_asked_again() -> None:
    """A refused connection carried nothing, so a create may go out again."""
    world = World([refuses(), answers(201)], routes=(replace(CREATE, honours_idempotency=False),))
    ada = await world.create().finish()
    assert (ada.status, world.upstream.times_ms) == (201, [0, 100])


@simulated
async def test_retries_can_be_switched_off() -> None:
    """With the switch off there is one attempt, and the record says why."""
    world = World([fails()])
    world.ports.retry.enabled = False
    ada = await world.get().finish()
    assert (ada.status, len(world.upstream.calls)) == (502, 1)
    assert world.ledger.records[0].attempts[0].why == "switched_off"


@simulated
async def test_the_budget_ends_a_storm() -> None:
    """200 requests to a dead backend cost far fewer calls than 200 ladders."""
    world = World([answers(503)], routes=(LOAD,))
    world.breaker.rules = breaker_settings(jitter=0.0, failure_threshold=10_000)
    for number in range(200):
        await world.get(f"r{number}", X_Request_Deadline_Ms="400").finish()
    retries = len(world.upstream.calls) - 200
    assert 40 <= retries <= 0.2 * 200 + 10 + 60  # the share, the floor, and a minute's refill


@simulated
async def test_jittered_waits_stay_in_their_range() -> None:
    """With jitter the waits of a ladder lie within 20 % of 100, 200 and 400 ms."""
    world = World([fails()], routes=(replace(LOAD, retry=retry_settings()),))
    world.ports.retry._random = Random(3)
    await world.get().finish()
    waits = [attempt.waited_ms for attempt in world.ledger.records[0].attempts][1:]
    for wait, nominal in zip(waits, (100, 200, 400), strict=True):
        assert 0.8 * nominal <= wait <= 1.2 * nominal


@simulated
async def test_the_sidecars_own_failure_is_told_in_a_problem_document() -> None:
    """A refused connection is a 502 with its RFC 9209 error and a document that names the request."""
    world = World([refuses()], routes=(replace(LOAD, retry=NO_RETRIES),))
    ada = await world.get(X_Correlation_ID="mine-1").finish()
    assert ada.status == 502
    assert ada.client.fields.get(b"proxy-status") == b"backstay; error=connection_refused"
    assert ada.client.fields.get(b"content-type") == b"application/problem+json"
    assert b'"correlation_id":"mine-1"' in ada.client.body
    assert world.ledger.records[0].ending == Reason.CONNECTION_REFUSED
