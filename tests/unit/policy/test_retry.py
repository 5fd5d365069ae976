"""Whether and when to retry: the three schedules, what may be repeated, and the limits."""

import time
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.routes import Retry
from proxy.http.message import Failure, Outcome, Request
from proxy.http.problems import Reason
from proxy.policy.retry import (
    Again,
    Decision,
    RetryBudget,
    RetryPolicy,
    RetryRequest,
    Stop,
    retry_after,
    sent_once,
)
from proxy.policy.routing import Idempotency, Route, SubjectRule
from tests.settings import retry_budget, retry_settings, retryable
from tests.unit.policy.samples import OPEN, REFUSED, RESET, TIMED_OUT, WALL, request, response, route

EXACT = retry_settings(jitter=False)
BAD_ANSWER = Failure(Reason.PROTOCOL_ERROR, sent=True)
GET, POST = retryable("GET"), retryable("POST")


def decide(
    outcome: Outcome,
    attempt: int = 1,
    retry_request: RetryRequest = GET,
    rules: Retry = EXACT,
    remaining_s: float = 60.0,
    budget: RetryBudget | None = None,
    *,
    wanted: bool = True,
    policy: RetryPolicy | None = None,
) -> Decision:
    """Ask the policy about one outcome, with everything else in its favour."""
    policy = policy or RetryPolicy(Random(1))
    return policy.decide(
        rules, retry_request, outcome, attempt, remaining_s, budget or retry_budget(), 0.0, WALL, wanted=wanted
    )


def schedule(outcome: Outcome, rules: Retry = EXACT) -> list[int]:
    """Return the waits, in ms, of a ladder whose every attempt ends alike."""
    waits: list[int] = []
    for attempt in range(1, 10):
        decision = decide(outcome, attempt, rules=rules)
        if isinstance(decision, Stop):
            return waits
        waits.append(round(decision.delay_s * 1000))
    return waits


@pytest.mark.parametrize(
    ("outcome", "waits"),
    [
        (RESET, [100, 200, 400]),
        (REFUSED, [100, 200, 400]),
        (Failure(Reason.CONNECTION_TIMEOUT, sent=False), [100, 200, 400]),
        (Failure(Reason.DNS_ERROR, sent=False), [100, 200, 400]),
        (Failure(Reason.RESPONSE_INCOMPLETE, sent=True), [100, 200, 400]),
        (BAD_ANSWER, [100, 200, 400]),
        (response(502), [100, 200, 400]),
        (response(503), [100, 200, 400]),
        (response(429), [200, 400, 800]),
        (TIMED_OUT, [100, 200]),
        (response(504), [100, 200]),
    ],
)
def test_each_cause_has_its_ladder(outcome: Outcome, waits: list[int]) -> None:
    """The seed's three ladders."""
    assert schedule(outcome) == waits


@pytest.mark.parametrize("status", [200, 204, 301, 304, 400, 401, 403, 404, 408, 409, 410, 422, 500, 501, 505, 511])
def test_what_has_no_ladder_is_never_repeated(status: int) -> None:
    """An answer that says something is taken at its word; wanting no retry denies none."""
    assert decide(response(status)) == Stop("answered" if status < 400 else "not_retryable")


@pytest.mark.parametrize(
    "reason", [Reason.CIRCUIT_OPEN, Reason.CONNECTION_LIMIT, Reason.REQUEST_ERROR, Reason.INTERNAL, Reason.CANCELLED]
)
def test_the_sidecars_own_answers_are_never_repeated(reason: Reason) -> None:
    """An open circuit ends the ladder, and so does whatever the sidecar itself refused."""
    assert decide(Failure(reason, sent=False)) == Stop("not_retryable")


def test_the_rules_bound_the_ladder() -> None:
    """Count, first wait and cap are the route's; a timeout's ladder stays at two."""
    rules = retry_settings(max_retries=6, initial_delay=0.3, max_delay=2.0, jitter=False)
    assert schedule(RESET, rules) == [300, 600, 1200, 2000, 2000, 2000]
    assert schedule(response(429), rules) == [600, 1200, 2000, 2000, 2000, 2000]
    assert schedule(TIMED_OUT, rules) == [300, 600]
    assert schedule(RESET, retry_settings(max_retries=0)) == []
    assert schedule(TIMED_OUT, retry_settings(max_retries=1, jitter=False)) == [100]


def test_a_retry_that_fits_exactly_is_made() -> None:
    """Wait and smallest attempt together are what is left; with less by any amount it is refused."""
    rules, request_ = retry_settings(initial_delay=0.125, jitter=False), retryable("GET", min_attempt_s=0.25)
    assert decide(RESET, retry_request=request_, rules=rules, remaining_s=0.375) == Again(0.125, "network")
    assert decide(RESET, retry_request=request_, rules=rules, remaining_s=0.374) == Stop("deadline", denied=True)


def test_the_end_of_a_ladder_has_its_reason() -> None:
    """An exhausted ladder is a retry that was wanted and refused."""
    assert decide(RESET, 4) == Stop("exhausted", denied=True)
    assert decide(TIMED_OUT, 3) == Stop("exhausted", denied=True)


def test_a_wait_is_a_number_however_often_it_was_doubled() -> None:
    """`max_retries` has no upper limit, and 1,024 doublings are no float: the request ended in a bug."""
    rules = retry_settings(max_retries=10_000, initial_delay=0.001, max_delay=0.002, jitter=False)
    for attempt in (63, 64, 1_025, 10_000):
        assert decide(RESET, attempt, rules=rules) == Again(0.002, "network")


@given(seed=st.integers(0, 10_000), attempt=st.integers(1, 3))
def test_jitter_stays_within_a_fifth(seed: int, attempt: int) -> None:
    """±20 % around the nominal wait, whatever the random source says."""
    decision = decide(RESET, attempt, rules=retry_settings(), policy=RetryPolicy(Random(seed)))
    assert isinstance(decision, Again)
    nominal = 0.1 * 2 ** (attempt - 1)
    assert 0.8 * nominal <= decision.delay_s <= 1.2 * nominal


def test_jitter_uses_its_whole_range() -> None:
    """Both ends are reached, so that callers spread."""
    policy = RetryPolicy(Random(1))
    waits = [decide(RESET, rules=retry_settings(), policy=policy) for _ in range(500)]
    seconds = [wait.delay_s for wait in waits if isinstance(wait, Again)]
    assert min(seconds) < 0.082
    assert max(seconds) > 0.118


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        ("0", 0.0),
        ("120", 120.0),
        ("Sun, 14 Dec 2025 22:27:24 GMT", 10.0),
        ("Sunday, 14-Dec-25 22:27:24 GMT", 10.0),
        ("Sun Dec 14 22:27:24 2025", 10.0),
        ("Sun, 14 Dec 2025 22:27:14 GMT", None),
        ("Fri, 14 Dec 2001 22:27:24 GMT", None),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("9" * 9, 999_999_999.0),
        ("9" * 10, 2.0**31),
        ("9" * 5_000, 2.0**31),
        ("0" * 5_000 + "120", 120.0),
        ("9" * 5_000 + "x", None),
        ("Sun, 99 Dec 2025 22:27:24 GMT", None),
        ("Sun, 14 Dec 99999999999999999999 22:27:24 GMT", None),
        ("Sun, 14 Dec 2025 22:27:24 +99999999999999999999", None),
        ("Mon, 01 Jan 0001 00:00:00 +2359", None),
        ("Sun, 14 Dec 2025 99999999999999999999:27:24 GMT", None),
        ("\xb2", None),
    ],
)
def test_both_forms_of_retry_after(value: str, seconds: float | None) -> None:
    """Seconds, or a date in any of RFC 9110's three forms; invalid or past is as if it were absent."""
    wall = 1_765_751_234.0  # Sun, 14 Dec 2025 22:27:14 GMT
    assert retry_after(response(503, Retry_After=value), wall) == seconds


def test_an_asctime_date_is_utc_wherever_the_sidecar_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9110's oldest date form names no zone and means UTC, also on a machine in New York.

    Before, it was read as local time, and the wait was five hours off.
    """
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert retry_after(response(503, Retry_After="Sun Dec 14 22:27:24 2025"), WALL) == 10.0
    finally:
        monkeypatch.undo()
        time.tzset()


@given(value=st.text(st.characters(max_codepoint=255, blacklist_characters="\r\n\0"), max_size=60))
def test_no_retry_after_breaks_anything(value: str) -> None:
    """Whatever an upstream writes there, it is a wait or nothing."""
    seconds = retry_after(response(503, Retry_After=value), WALL)
    assert seconds is None or seconds >= 0


def test_a_longer_retry_after_is_waited_for_and_never_undercut() -> None:
    """The wait is the longer of ladder and Retry-After; jitter makes it longer, never shorter."""
    assert decide(response(503, Retry_After="1")) == Again(1.0, "unavailable")
    assert decide(response(503, Retry_After="0")) == Again(0.1, "unavailable")
    policy = RetryPolicy(Random(1))
    for _ in range(200):
        decision = decide(response(429, Retry_After="1"), rules=retry_settings(), policy=policy)
        assert isinstance(decision, Again)
        assert 1.0 <= decision.delay_s <= 1.2


def test_retry_after_may_pass_the_cap() -> None:
    """The upstream's own wish is not shortened to the ladder's cap; what is too long does not fit, and ends it."""
    assert decide(response(503, Retry_After="5")) == Again(5.0, "unavailable")
    for value in ("5", "2147483648", "9" * 12, "9" * 5_000):
        assert decide(response(503, Retry_After=value), remaining_s=2.0) == Stop("deadline", denied=True)


def test_what_does_not_fit_is_not_tried() -> None:
    """The wait and min_attempt (50 ms) must fit into what is left."""
    assert decide(RESET, remaining_s=0.151) == Again(0.1, "network")
    assert decide(RESET, remaining_s=0.149) == Stop("deadline", denied=True)
    assert decide(RESET, retry_request=retryable("GET", min_attempt_s=0.5), remaining_s=0.59) == Stop(
        "deadline", denied=True
    )


@pytest.mark.parametrize(
    ("retry_request", "outcome", "reason"),
    [
        (POST, RESET, "not_idempotent"),
        (POST, BAD_ANSWER, "bad_answer"),
        (retryable("POST", honours_idempotency=True), BAD_ANSWER, "bad_answer"),
        (retryable("PUT"), BAD_ANSWER, "bad_answer"),
        (retryable("DELETE"), BAD_ANSWER, "bad_answer"),
        (POST, TIMED_OUT, "not_idempotent"),
        (POST, response(503), "not_idempotent"),
        (POST, response(429), "not_idempotent"),
        (POST, REFUSED, None),  # (a)
        (retryable("PATCH"), REFUSED, None),
        (retryable("PATCH"), RESET, "not_idempotent"),
        (retryable("POST", honours_idempotency=True), RESET, None),  # (b)
        (retryable("POST", honours_idempotency=True), response(502), None),
        (retryable("POST", rejected_means_unprocessed=True), response(429), None),  # (c)
        (retryable("POST", rejected_means_unprocessed=True), response(503), None),
        (retryable("POST", rejected_means_unprocessed=True), response(502), "not_idempotent"),
        (retryable("POST", rejected_means_unprocessed=True), response(504), "not_idempotent"),
        (retryable("POST", rejected_means_unprocessed=True), RESET, "not_idempotent"),
        (retryable("PUT"), RESET, None),
        (retryable("DELETE"), RESET, None),
        (retryable("HEAD"), RESET, None),
        (retryable("OPTIONS"), RESET, None),
        (retryable("get"), RESET, "not_idempotent"),
        (retryable("PURGE"), RESET, "not_idempotent"),
        (retryable("GET", replayable=False), REFUSED, "body_not_replayable"),
        (retryable("POST", replayable=False, unread=True), REFUSED, None),
        (retryable("POST", replayable=False, unread=True), RESET, "body_not_replayable"),
        (retryable("GET", resend=False), RESET, "sent"),
        (retryable("GET", resend=False), REFUSED, None),
    ],
)
def test_what_may_be_repeated(retry_request: RetryRequest, outcome: Outcome, reason: str | None) -> None:
    """What left is repeated only where that is harmless (RFC 9110 section 9.2.2), and the record says why."""
    decision = decide(outcome, retry_request=retry_request)
    assert decision == (Stop(reason, denied=True) if reason else decision)
    assert isinstance(decision, Stop if reason else Again)


@pytest.mark.parametrize(
    ("retry_request", "repeats"),
    [
        (GET, True),
        (POST, False),
        (retryable("POST", honours_idempotency=True), True),
        (retryable("GET", resend=False), False),
    ],
)
def test_only_what_can_be_tried_again_is_cut_short(retry_request: RetryRequest, repeats: bool) -> None:
    """Attempt_timeout applies only where a retry is allowed."""
    policy = RetryPolicy(Random(1))
    assert policy.repeats_timeouts(EXACT, retry_request) is repeats
    assert not policy.repeats_timeouts(retry_settings(max_retries=0), retry_request)
    policy.enabled = False
    assert not policy.repeats_timeouts(EXACT, retry_request)


def test_nobody_who_waits_no_retry() -> None:
    """A flight that everybody left is not tried again, and nothing was denied to anybody."""
    assert decide(RESET, wanted=False) == Stop("nobody_waits")


def test_the_switch() -> None:
    """Switched off, every retry that was wanted is refused and counted."""
    policy = RetryPolicy(Random(1))
    policy.enabled = False
    assert decide(RESET, policy=policy) == Stop("switched_off", denied=True)
    assert decide(response(200), policy=policy) == Stop("answered")


def test_a_question_is_the_routes_and_the_requests() -> None:
    """What the policy knows of a request is fixed by its method, its body, its key and its route."""
    honouring = route(honours_idempotency=True, resend=False, min_attempt_s=0.2)
    assert RetryRequest.of(honouring, request("POST"), minted=True) == retryable(
        "POST", honours_idempotency=True, resend=False, min_attempt_s=0.2
    )
    assert RetryRequest.of(honouring, request("POST", Idempotency_Key="mine")).honours_idempotency


def test_a_key_is_honoured_only_where_there_is_one() -> None:
    """A POST that carries no key is not sent twice, whatever the upstream would do with keys."""
    assert not RetryRequest.of(route(honours_idempotency=True), request("POST")).honours_idempotency


@pytest.mark.parametrize("name", ["If_Match", "If_None_Match", "If_Unmodified_Since"])
@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "POST"])
def test_a_conditional_write_whose_answer_was_lost_is_not_repeated(method: str, name: str) -> None:
    """Done the first time, it would fail its own precondition the second time: a 412 that is not true."""
    condition: dict[str, Any] = {name: '"v1"'}
    retry_request = RetryRequest.of(route(), request(method, **condition))
    for lost in (RESET, TIMED_OUT, response(502), response(504)):
        assert decide(lost, 1, retry_request=retry_request) == Stop("precondition", denied=True)
    assert isinstance(decide(REFUSED, 1, retry_request=retry_request), Again)
    assert not RetryPolicy(Random(1)).repeats_timeouts(retry_settings(), retry_request)


def test_a_conditional_request_is_repeated_where_that_is_safe() -> None:
    """A read changes nothing; a backend that honours keys knows the repetition; a 503 says that nothing was done."""
    conditional: dict[str, Any] = {"If_Match": '"v1"'}
    assert isinstance(decide(RESET, 1, retry_request=RetryRequest.of(route(), request("GET", **conditional))), Again)
    keyed = request("PUT", Idempotency_Key="k", **conditional)
    assert isinstance(decide(RESET, 1, retry_request=RetryRequest.of(route(honours_idempotency=True), keyed)), Again)
    assert isinstance(
        decide(response(503), 1, retry_request=RetryRequest.of(route(), request("PUT", **conditional))), Again
    )


def test_the_budget_of_a_storm() -> None:
    """Ten thousand failing requests in ten seconds cost at most a quarter more calls."""
    budget, policy, calls = retry_budget(), RetryPolicy(Random(1)), 0
    for number in range(10_000):
        now = number / 1000
        budget.deposit()
        for attempt in range(1, 5):
            calls += 1
            if isinstance(policy.decide(EXACT, GET, RESET, attempt, 60.0, budget, now, WALL), Stop):
                break
    assert 10_000 * 1.15 <= calls <= 10_000 * 1.25


def test_an_hour_of_calm_buys_no_storm() -> None:
    """What was saved is bounded, however many requests went well before."""
    budget = retry_budget()
    for _ in range(1_000_000):
        budget.deposit()
    assert sum(budget.withdraw(0.0) for _ in range(1000)) == 100


def test_few_requests_may_still_be_retried() -> None:
    """The floor allows ten at once, and one more a second after that, never more than the floor."""
    budget = retry_budget()
    assert sum(budget.withdraw(1000.0) for _ in range(20)) == 10
    assert not budget.withdraw(1000.5)
    assert budget.withdraw(1001.5)
    assert sum(budget.withdraw(5000.0) for _ in range(20)) == 10


def test_nobody_waits_for_a_refusal() -> None:
    """Where the circuit refuses for longer than the wait, the ladder ends now, and costs the budget nothing."""
    policy, budget = RetryPolicy(Random(1)), retry_budget(share=0.0, floor=1.0)
    refused = policy.decide(EXACT, GET, RESET, 1, 60.0, budget, 0.0, WALL, refused_s=30.0)
    assert refused == Stop("circuit_open", denied=True)
    assert policy.decide(EXACT, GET, RESET, 1, 60.0, budget, 0.0, WALL, refused_s=0.1) == Again(0.1, "network")


def test_only_retries_cost() -> None:
    """A decision not to retry, for whatever reason, takes nothing from the budget."""
    budget = retry_budget()
    before = repr(budget)
    for outcome, retry_request in ((response(200), GET), (response(404), GET), (RESET, POST), (OPEN, GET)):
        decide(outcome, retry_request=retry_request, budget=budget)
    decide(RESET, 4, budget=budget)
    decide(RESET, remaining_s=0.1, budget=budget)
    assert repr(budget) == before == "<RetryBudget tokens=10.0>"


def test_an_empty_budget_says_so() -> None:
    """The reason is the budget's, for the record and the metric."""
    assert decide(RESET, budget=retry_budget(share=0.0, floor=0.0)) == Stop("budget", denied=True)


KEYED = route(idempotency=Idempotency.INJECT, honours_idempotency=True)


@pytest.mark.parametrize(
    ("on", "asked", "once"),
    [
        (route(resend=False), request("PUT"), True),
        (route(retry=retry_settings(max_retries=0)), request("PUT"), True),
        (route(), request("PUT"), False),
        (route(), request("POST"), True),
        (route(), request("FROB"), True),
        (route(rejected_means_unprocessed=True), request("POST"), False),
        (KEYED, request("POST"), False),
        (route(honours_idempotency=True), request("POST"), True),
        (route(honours_idempotency=True), request("POST", Idempotency_Key="k"), False),
        (route(resend=False, subject=SubjectRule("body", "/id")), request("POST"), False),
        (route(resend=False, subject=SubjectRule("path", "report_id")), request("POST"), True),
        (route(resend=False, idempotency=Idempotency.REPLAY), request("POST"), False),
    ],
)
def test_what_is_sent_once_needs_no_whole_body(on: Route, asked: Request, once: bool) -> None:
    """RFC 9110 section 10.1.1: then the backend may say whether it wants the body."""
    assert sent_once(on, asked) is once


def test_a_larger_share_counts_from_the_next_request_on() -> None:
    """A changed budget keeps what it has saved, and saves by its new share."""
    budget = retry_budget(share=0.0)
    assert sum(budget.withdraw(1000.0) for _ in range(20)) == 10
    budget.change(1.0)
    for _ in range(5):
        budget.deposit()
    assert sum(budget.withdraw(1000.0) for _ in range(20)) == 5


def test_a_smaller_share_leaves_no_savings_beyond_the_floor() -> None:
    """Who lowers the budget during a storm means now: what an hour of a larger share saved is forgotten."""
    budget = retry_budget(share=1.0)
    for _ in range(1000):
        budget.deposit()
    budget.change(0.1)
    assert sum(budget.withdraw(0.0) for _ in range(100)) == 10


def test_the_same_share_again_changes_nothing() -> None:
    """A reload that does not touch a budget costs it nothing."""
    budget = retry_budget(share=1.0)
    for _ in range(50):
        budget.deposit()
    before = repr(budget)
    budget.change(1.0)
    assert repr(budget) == before
