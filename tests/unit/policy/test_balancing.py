"""Which of an upstream's addresses is asked, and how long one that fails is passed over."""

from proxy.policy.balancing import Balancer, EjectionRules
from proxy.policy.classify import Verdict

NOBODY: frozenset[int] = frozenset()


def balancer(count: int, failures: int = 3) -> Balancer:
    """Return a balancer that ejects after `failures` in a row, for 30 s."""
    return Balancer(count, EjectionRules(consecutive_failures=failures))


def fail(balancer: Balancer, index: int, times: int, now: float = 0.0) -> None:
    """Let an address fail."""
    for _ in range(times):
        balancer.report(index, Verdict.NETWORK, now)


def test_addresses_take_turns() -> None:
    """Each is asked as often as the others."""
    three = balancer(3)
    assert [three.choose(NOBODY, 0.0) for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]


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
    assert three.ejected(0.0) == ()
    fail(three, 1, 1)
    assert three.ejected(29.9) == (1,)
    assert 1 not in {three.choose(NOBODY, 29.9) for _ in range(9)}
    assert three.ejected(30.0) == ()
    assert 1 in {three.choose(NOBODY, 30.0) for _ in range(9)}


def test_an_answer_begins_the_count_anew() -> None:
    """Any verdict that is no failure, a 404 or a 429 too, forgives."""
    three = balancer(3)
    for verdict in (Verdict.SUCCESS, Verdict.MISSING, Verdict.RATE_LIMITED):
        fail(three, 1, 2)
        three.report(1, verdict, 0.0)
    fail(three, 1, 2)
    assert three.ejected(0.0) == ()


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
    assert {two.choose(NOBODY, 0.0) for _ in range(4)} == {0, 1}


def test_a_single_address_is_always_asked() -> None:
    """There is no other, however it does."""
    one = balancer(1)
    fail(one, 0, 100)
    assert one.choose(frozenset({0}), 0.0) == 0
