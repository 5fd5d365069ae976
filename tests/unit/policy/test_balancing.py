"""Which of an upstream's addresses is chosen, and how long a failed one is ejected."""

import pytest

from proxy.http.message import Failure, Outcome
from proxy.http.problems import Reason
from proxy.policy.balancing import Balancer, EjectionRules
from tests.unit.policy.samples import REFUSED, RESET, TIMED_OUT, response

NO_IDENTITY: frozenset[int] = frozenset()


def balancer(count: int, failures: int = 3) -> Balancer:
    """Return a balancer that ejects after `failures` in a row, for 30 s."""
    return Balancer(count, EjectionRules(consecutive_failures=failures))


def ejected(balancer: Balancer, now: float) -> tuple[int, ...]:
    """Return the addresses that are passed over."""
    return tuple(index for index, address in enumerate(balancer._addresses) if address.ejected_until > now)


def fail(balancer: Balancer, index: int, times: int, now: float = 0.0) -> None:
    """Let an address fail."""
    for _ in range(times):
        balancer.report(index, RESET, now)


def test_addresses_take_turns() -> None:
    """Each is asked as often as the others."""
    three = balancer(3)
    assert [three.choose(NO_IDENTITY, 0.0) for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_a_second_attempt_goes_elsewhere() -> None:
    """What was tried is not tried again while there is another; else anyone's turn."""
    three = balancer(3)
    assert three.choose(frozenset({0}), 0.0) == 1
    assert three.choose(frozenset({2, 0}), 0.0) == 1
    assert three.choose(frozenset({0, 1, 2}), 0.0) in (0, 1, 2)


def test_an_address_that_fails_in_a_row_is_passed_over() -> None:
    """Three failures eject it for 30 s; then it is asked again."""
    three = balancer(3)
    fail(three, 1, 2)
    assert ejected(three, 0.0) == ()
    fail(three, 1, 1)
    assert ejected(three, 29.9) == (1,)
    assert 1 not in {three.choose(NO_IDENTITY, 29.9) for _ in range(9)}
    assert ejected(three, 30.0) == ()
    assert 1 in {three.choose(NO_IDENTITY, 30.0) for _ in range(9)}


def test_an_answer_begins_the_count_anew() -> None:
    """Any verdict that is no failure, a 404 or a 429 too, forgives."""
    three = balancer(3)
    for status in (200, 404, 429, 500, 600):
        fail(three, 1, 2)
        three.report(1, response(status), 0.0)
    fail(three, 1, 2)
    assert ejected(three, 0.0) == ()


def test_a_retry_goes_to_an_ejected_address_before_it_repeats_one() -> None:
    """A standing address that just failed this request is no better than one that is being passed over."""
    two = balancer(2)
    fail(two, 1, 3)
    assert two.choose(frozenset({0}), 0.0) == 1


def test_where_all_are_ejected_all_are_used() -> None:
    """The circuit breaker decides about the upstream as a whole, not this file."""
    two = balancer(2)
    fail(two, 0, 3)
    fail(two, 1, 3)
    assert {two.choose(NO_IDENTITY, 0.0) for _ in range(4)} == {0, 1}


def test_a_single_address_is_always_asked() -> None:
    """There is no other, however it does."""
    one = balancer(1)
    fail(one, 0, 100)
    assert one.choose(frozenset({0}), 0.0) == 0


UNTOLD = [
    Failure(Reason.CONNECTION_LIMIT, sent=False),
    Failure(Reason.CANCELLED, sent=True),
    Failure(Reason.CONNECTION_TERMINATED, sent=True, evidence=False),
]


@pytest.mark.parametrize("outcome", UNTOLD)
def test_what_says_nothing_of_an_address_neither_counts_nor_forgives(outcome: Outcome) -> None:
    """A want of ours, a client that left, a stale connection: two failures before it are followed by the third."""
    three = balancer(3)
    fail(three, 1, 2)
    for _ in range(10):
        three.report(1, outcome, 0.0)
    assert ejected(three, 0.0) == ()
    fail(three, 1, 1)
    assert ejected(three, 0.0) == (1,)


def test_an_address_that_comes_back_has_one_chance() -> None:
    """After its time one failure more ejects it again; an answer makes it as good as any."""
    two = balancer(2)
    fail(two, 1, 3)
    fail(two, 1, 1, now=30.0)
    assert ejected(two, 30.0) == (1,)
    two.report(1, response(), 60.0)
    fail(two, 1, 2, now=60.0)
    assert ejected(two, 60.0) == ()


def test_an_upstream_stands_while_one_address_has_not_failed_since_it_answered() -> None:
    """What fails beside it is that address's own: the circuit counts only when none is left."""
    two, seen = balancer(2), list[bool]()
    for index, outcome in ((0, RESET), (0, RESET), (1, RESET), (0, response())):
        two.report(index, outcome, 0.0)
        seen.append(two.has_healthy_address)
    assert seen == [True, True, False, True]


@pytest.mark.parametrize(
    ("outcome", "goes_on"),
    [
        (REFUSED, True),
        (Failure(Reason.CONNECTION_TIMEOUT, sent=False), True),
        (Failure(Reason.DNS_ERROR, sent=False), True),
        (Failure(Reason.TLS_CERTIFICATE, sent=False), True),
        (RESET, False),
        (TIMED_OUT, False),
        (response(503), False),
        (Failure(Reason.CONNECTION_LIMIT, sent=False), False),
    ],
)
def test_an_attempt_goes_on_where_nothing_was_sent(outcome: Outcome, goes_on: bool) -> None:
    """To an address that was not tried yet; a want of ours is as great for the next one."""
    two = balancer(2)
    assert two.passes_on(outcome, frozenset({0})) is goes_on
    assert not two.passes_on(outcome, frozenset({0, 1}))
