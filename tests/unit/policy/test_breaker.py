"""The circuit breaker: its transitions, generations, probe permits and modes, compared with a model."""

from dataclasses import dataclass, field
from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.settings import Breaker
from proxy.policy.breaker import (
    LEASE_S,
    CircuitBreaker,
    CircuitMode,
    CircuitState,
    Permit,
    Refused,
)
from proxy.policy.classify import Verdict
from tests.settings import breaker_settings

RULES = breaker_settings(jitter=0.0)
FAILING = [Verdict.NETWORK, Verdict.TIMEOUT, Verdict.UNAVAILABLE]
NEUTRAL = [Verdict.RATE_LIMITED, Verdict.REFUSED, Verdict.CANCELLED]
GOOD = [verdict for verdict in Verdict if verdict not in FAILING + NEUTRAL]


class Circuit:
    """A breaker with its transitions written down."""

    def __init__(self, rules: Breaker = RULES, random: Random | None = None) -> None:
        self.transitions: list[tuple[CircuitState, float]] = []
        self.breaker = CircuitBreaker(
            "sessions", rules, random or Random(1), lambda breaker, state, now: self.transitions.append((state, now))
        )

    def permit(self, now: float = 0.0) -> Permit:
        """Take a permit that must be there."""
        permit = self.breaker.admit(now)
        assert isinstance(permit, Permit)
        return permit

    def call(self, verdict: Verdict, now: float = 0.0, *, counted: bool = True, took_s: float = 0.0) -> None:
        """Make one call that ends so."""
        self.breaker.report(self.permit(now), verdict, now, counted=counted, took_s=took_s)

    def opened(self, now: float = 0.0) -> "Circuit":
        """Fail until it is open."""
        for _ in range(self.breaker.rules.failure_threshold):
            self.call(Verdict.NETWORK, now)
        assert self.breaker.state is CircuitState.OPEN
        return self

    def half_open(self) -> tuple["Circuit", Permit]:
        """Open it and take the first probe's permit, at 30 s."""
        permit = self.opened().permit(30.0)
        assert self.breaker.state is CircuitState.HALF_OPEN
        return self, permit


@pytest.mark.parametrize("verdict", FAILING)
def test_five_failures_in_a_row_open_it(verdict: Verdict) -> None:
    """CLOSED --5 consecutive failures--> OPEN: not with the fourth."""
    circuit = Circuit()
    for _ in range(4):
        circuit.call(verdict, 1.0)
    assert circuit.breaker.state is CircuitState.CLOSED
    circuit.call(verdict, 2.0)
    assert circuit.transitions == [(CircuitState.OPEN, 2.0)]


@pytest.mark.parametrize("verdict", GOOD)
def test_a_good_answer_begins_the_count_anew(verdict: Verdict) -> None:
    """Every other complete answer, a 404 or a 500 too, proves that the upstream is there."""
    circuit = Circuit()
    for _ in range(20):
        for _ in range(4):
            circuit.call(Verdict.NETWORK)
        circuit.call(verdict)
    assert (circuit.breaker.state, circuit.breaker.failures) == (CircuitState.CLOSED, 0)


@pytest.mark.parametrize("verdict", NEUTRAL)
def test_a_neutral_outcome_changes_nothing(verdict: Verdict) -> None:
    """A 429, a client that left and our own refusals neither count nor forgive."""
    circuit = Circuit()
    for _ in range(4):
        circuit.call(Verdict.NETWORK)
    for _ in range(100):
        circuit.call(verdict)
    assert (circuit.breaker.state, circuit.breaker.failures) == (CircuitState.CLOSED, 4)


def test_a_flights_second_failure_does_not_count() -> None:
    """`counted=False` adds nothing, however often."""
    circuit = Circuit()
    for _ in range(100):
        circuit.call(Verdict.NETWORK, counted=False)
    assert (circuit.breaker.state, circuit.breaker.failures) == (CircuitState.CLOSED, 0)


def test_open_refuses_and_says_for_how_long() -> None:
    """OPEN: every request is refused, with the seconds until it probes."""
    breaker = Circuit().opened(now=100.0).breaker
    assert [breaker.admit(now) for now in (100.0, 110.0, 129.5)] == [Refused(30.0), Refused(20.0), Refused(0.5)]
    assert [breaker.probes_in(now) for now in (100.0, 129.5, 131.0)] == [30.0, 0.5, 0.0]


def test_it_tells_ahead_for_how_long_it_refuses() -> None:
    """So that no ladder waits for a refusal; where somebody may be let through it tells nothing."""
    breaker = Circuit().opened(now=100.0).breaker
    assert [breaker.refuses_for(now) for now in (100.0, 120.0, 130.0)] == [30.0, 10.0, 0.0]
    for mode, seconds in ((CircuitMode.OBSERVE, 0.0), (CircuitMode.FORCED_CLOSED, 0.0), (CircuitMode.FORCED_OPEN, inf)):
        breaker.force(mode, 110.0)
        assert breaker.refuses_for(110.0) == seconds
    assert Circuit().breaker.refuses_for(0.0) == 0.0


def test_it_probes_after_its_time() -> None:
    """OPEN --30 s--> HALF_OPEN, with the request that asks then."""
    circuit, _ = Circuit().half_open()
    assert circuit.transitions == [(CircuitState.OPEN, 0.0), (CircuitState.HALF_OPEN, 30.0)]


def test_two_successes_close_it() -> None:
    """HALF_OPEN --2 successes--> CLOSED: not with the first."""
    circuit, first = Circuit().half_open()
    circuit.breaker.report(first, Verdict.SUCCESS, 31.0)
    assert circuit.breaker.state is CircuitState.HALF_OPEN
    circuit.call(Verdict.MISSING, 32.0)
    assert circuit.transitions[-1] == (CircuitState.CLOSED, 32.0)
    assert circuit.breaker.failures == 0


def test_a_half_open_circuit_forgets_the_successes_of_the_one_before() -> None:
    """One success, one failure, open again: then two successes are needed, not one."""
    circuit, first = Circuit().half_open()
    circuit.breaker.report(first, Verdict.SUCCESS, 31.0)
    circuit.call(Verdict.NETWORK, 32.0)
    circuit.call(Verdict.SUCCESS, 62.0)
    circuit.call(Verdict.SUCCESS, 63.0)
    assert circuit.transitions[-2:] == [(CircuitState.HALF_OPEN, 62.0), (CircuitState.CLOSED, 63.0)]


@pytest.mark.parametrize("verdict", [*FAILING, Verdict.RATE_LIMITED])
@pytest.mark.parametrize("counted", [True, False])
def test_one_failed_probe_opens_it_again(verdict: Verdict, counted: bool) -> None:
    """HALF_OPEN --one failed probe--> OPEN, a 429 too, a flight's later failure too, for the whole time anew."""
    circuit, probe = Circuit().half_open()
    circuit.breaker.report(probe, verdict, 31.0, counted=counted)
    assert circuit.transitions[-1] == (CircuitState.OPEN, 31.0)
    assert circuit.breaker.probes_in(60.5) == 0.5
    assert isinstance(circuit.breaker.admit(60.5), Refused)


def test_at_most_two_probes_at_once() -> None:
    """Of a hundred requests two pass; a settled probe lets the next one through."""
    circuit, first = Circuit().half_open()
    second = circuit.permit(30.0)
    assert {circuit.breaker.admit(30.0) for _ in range(98)} == {Refused(1.0)}
    circuit.breaker.report(second, Verdict.SUCCESS, 30.1)
    third = circuit.permit(30.1)
    assert len({first.probe, second.probe, third.probe}) == 3
    assert isinstance(circuit.breaker.admit(30.1), Refused)


@pytest.mark.parametrize("verdict", [Verdict.CANCELLED, Verdict.REFUSED])
def test_a_neutral_probe_gives_its_permit_back(verdict: Verdict) -> None:
    """A cancelled probe neither opens nor closes, and the next one may go."""
    circuit, probe = Circuit().half_open()
    for _ in range(50):
        circuit.breaker.report(probe, verdict, 30.5)
        probe = circuit.permit(30.5)
    assert circuit.breaker.state is CircuitState.HALF_OPEN


def test_a_lost_permit_comes_back_by_itself() -> None:
    """A probe that nobody settles lapses after its lease, and its late report says nothing any more."""
    circuit, lost = Circuit().half_open()
    circuit.permit(30.0)
    assert isinstance(circuit.breaker.admit(89.9), Refused)
    circuit.permit(90.0)
    circuit.permit(90.0)
    circuit.breaker.report(lost, Verdict.NETWORK, 91.0)
    assert circuit.breaker.state is CircuitState.HALF_OPEN
    assert isinstance(circuit.breaker.admit(91.0), Refused)


def test_a_probe_of_a_slow_route_counts_as_long_as_it_may_take() -> None:
    """Its permit lapsed after 60 s, so a backend that hung for the route's 120 s never opened the circuit again."""
    breaker = Circuit(RULES).opened().breaker
    probe = breaker.admit(30.0, 120.0)
    assert isinstance(probe, Permit)
    for _ in range(RULES.max_probes - 1):
        assert isinstance(breaker.admit(30.0, 120.0), Permit)
    assert isinstance(breaker.admit(149.0, 120.0), Refused)
    breaker.report(probe, Verdict.NETWORK, 150.0)
    assert breaker.state is CircuitState.OPEN


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_straggler_says_nothing(verdict: Verdict) -> None:
    """What began before the trip neither closes the half-open circuit, nor opens it, nor takes a probe's place."""
    circuit = Circuit()
    straggler = circuit.permit()
    circuit.half_open()
    before = repr(circuit.breaker)
    circuit.breaker.report(straggler, verdict, 31.0)
    assert repr(circuit.breaker) == before
    circuit.permit(31.0)
    assert isinstance(circuit.breaker.admit(31.0), Refused)


def test_a_probe_of_an_earlier_half_open_says_nothing() -> None:
    """Two probes go, one fails; the other's success comes when the circuit is half open again, and is ignored."""
    circuit, first = Circuit().half_open()
    second = circuit.permit(30.0)
    circuit.breaker.report(first, Verdict.NETWORK, 31.0)
    circuit.permit(61.0)
    circuit.breaker.report(second, Verdict.SUCCESS, 62.0)
    assert (circuit.breaker.state, circuit.breaker.successes) == (CircuitState.HALF_OPEN, 0)


@given(seed=st.integers(0, 10_000))
def test_the_open_time_is_jittered_upward(seed: int) -> None:
    """Between 30 and 33 seconds, so that replicas do not probe in step."""
    circuit = Circuit(breaker_settings(), Random(seed)).opened()
    assert 30.0 <= circuit.breaker.probes_in(0.0) <= 33.0
    assert circuit.breaker.probes_in(0.0) == pytest.approx(30.0 * (1 + 0.1 * Random(seed).random()))


def test_circuits_that_open_together_do_not_probe_together() -> None:
    """The jitter spreads their probes over a tenth of the open time; without jitter they are equal."""
    for jitter, apart in ((0.1, True), (0.0, False)):
        rules = breaker_settings(jitter=jitter)
        waits = [Circuit(rules, Random(seed)).opened().breaker.probes_in(0.0) for seed in range(100)]
        assert (max(waits) - min(waits) > 2.0) is apart
        assert (min(waits) < max(waits)) is apart


def test_reset_closes_and_forgets() -> None:
    """An operator's reset closes the circuit; a call from before it says nothing."""
    circuit, probe = Circuit().half_open()
    circuit.breaker.reset(31.0)
    circuit.breaker.report(probe, Verdict.NETWORK, 32.0)
    assert (circuit.breaker.state, circuit.breaker.failures, circuit.breaker.opened_at) == (
        CircuitState.CLOSED,
        0,
        None,
    )
    circuit.call(Verdict.NETWORK, 33.0)
    circuit.breaker.reset(34.0)
    assert circuit.breaker.failures == 0
    assert [state for state, _ in circuit.transitions].count(CircuitState.CLOSED) == 1


def test_forced_open_refuses_everybody() -> None:
    """An operator's word goes before the breaker's own, and is shown, and given back."""
    circuit = Circuit()
    circuit.breaker.force(CircuitMode.FORCED_OPEN, 1.0)
    assert isinstance(circuit.breaker.admit(1000.0), Refused)
    assert (circuit.breaker.shown, circuit.breaker.state) == (CircuitState.OPEN, CircuitState.CLOSED)
    circuit.breaker.force(CircuitMode.AUTO, 2.0)
    circuit.permit(2.0)
    assert circuit.transitions == [(CircuitState.OPEN, 1.0), (CircuitState.CLOSED, 2.0)]


def test_forced_closed_never_opens() -> None:
    """A hundred failures open nothing; given back, the count goes on from where it is."""
    circuit = Circuit()
    circuit.breaker.force(CircuitMode.FORCED_CLOSED, 0.0)
    for _ in range(100):
        circuit.call(Verdict.NETWORK)
    assert circuit.transitions == []
    circuit.breaker.force(CircuitMode.AUTO, 1.0)
    circuit.call(Verdict.NETWORK, 2.0)
    assert circuit.breaker.state is CircuitState.OPEN


def test_forced_closed_in_mid_probe_does_not_open() -> None:
    """Forced closed while half open, a failure opens nothing, and everybody passes."""
    circuit, probe = Circuit().half_open()
    circuit.breaker.force(CircuitMode.FORCED_CLOSED, 30.5)
    circuit.breaker.report(probe, Verdict.NETWORK, 31.0)
    for _ in range(10):
        circuit.call(Verdict.NETWORK, 31.0)
    assert circuit.breaker.shown is CircuitState.CLOSED
    assert (CircuitState.OPEN, 31.0) not in circuit.transitions


def test_observe_counts_and_refuses_nobody() -> None:
    """The circuit opens on paper, once, and everybody passes; it comes back by itself.

    Before, each further failure of an open circuit opened it again: one transition a call, and no end.
    """
    circuit = Circuit()
    circuit.breaker.force(CircuitMode.OBSERVE, 0.0)
    for _ in range(50):
        circuit.call(Verdict.NETWORK, 1.0)
    assert circuit.transitions == [(CircuitState.OPEN, 1.0)]
    for _ in range(50):
        circuit.permit(31.0)
    circuit.call(Verdict.SUCCESS, 31.0)
    circuit.call(Verdict.SUCCESS, 31.0)
    assert [state for state, _ in circuit.transitions] == [
        CircuitState.OPEN,
        CircuitState.HALF_OPEN,
        CircuitState.CLOSED,
    ]


def test_slow_calls_open_it_where_that_is_configured() -> None:
    """Half of the newest ten calls over a second open the circuit, though every one was answered."""
    circuit = Circuit(breaker_settings(jitter=0.0, slow_call=1.0, slow_call_window=10))
    for number in range(9):
        circuit.call(Verdict.SUCCESS, 1.0, took_s=2.0 if number % 2 else 0.1)
    assert circuit.transitions == []
    circuit.call(Verdict.SUCCESS, 2.0, took_s=2.0)
    assert circuit.transitions == [(CircuitState.OPEN, 2.0)]


def test_a_call_that_takes_exactly_the_limit_is_not_slow() -> None:
    """`slow_call`: a call that takes longer is slow."""
    circuit = Circuit(breaker_settings(jitter=0.0, slow_call=1.0, slow_call_window=10))
    for _ in range(20):
        circuit.call(Verdict.SUCCESS, 1.0, took_s=1.0)
    assert circuit.transitions == []


def test_slowness_is_no_fault_by_default() -> None:
    """Without a limit an hour-long answer is a success."""
    circuit = Circuit()
    for _ in range(100):
        circuit.call(Verdict.SUCCESS, took_s=3600.0)
    assert circuit.breaker.state is CircuitState.CLOSED


def test_repr_is_its_state_in_a_line() -> None:
    """Admin page, log and tests show the same line."""
    circuit = Circuit()
    assert repr(circuit.breaker) == "<CircuitBreaker sessions CLOSED failures=0>"
    circuit.opened().breaker.force(CircuitMode.OBSERVE, 1.0)
    assert repr(circuit.breaker) == "<CircuitBreaker sessions OPEN failures=5 mode=observe>"


@dataclass
class Model:
    """The rules once more, written down in the plainest way: three states and the probes under way."""

    state: str = "closed"
    failures: int = 0
    successes: int = 0
    opens_until: float = 0.0
    era: int = 0
    probes: dict[int, float] = field(default_factory=dict)  # until when each has its lease

    def admit(self, call: int, now: float) -> bool:
        """Tell whether a call may go."""
        if self.state == "open" and now >= self.opens_until:
            self._to("half-open")
        if self.state == "half-open":
            self.probes = {probe: until for probe, until in self.probes.items() if until > now}
            if len(self.probes) < 2:
                self.probes[call] = now + LEASE_S
                return True
        return self.state == "closed"

    def report(self, call: int, era: int, kind: str, now: float) -> None:
        """Take a call's result."""
        if era != self.era:
            return
        if self.state == "half-open" and self.probes.pop(call, None) is None:
            return  # its lease has lapsed
        if kind == "failure" or (kind == "limited" and self.state == "half-open"):
            self.failures += 1
            if self.state == "half-open" or self.failures == 5:
                self._to("open")
                self.opens_until = now + 30.0
        elif kind == "success":
            self.failures, self.successes = 0, self.successes + 1
            if self.state == "half-open" and self.successes == 2:
                self._to("closed")

    def _to(self, state: str) -> None:
        self.state, self.era = state, self.era + 1
        self.probes, self.successes, self.failures = {}, 0, 0


KINDS = {
    "failure": Verdict.NETWORK,
    "limited": Verdict.RATE_LIMITED,
    "success": Verdict.SUCCESS,
    "cancelled": Verdict.CANCELLED,
}
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.just(0)),
        st.tuples(st.just("wait"), st.sampled_from([1, 15, 30])),
        st.tuples(
            st.sampled_from(["failure", "failure", "failure", "success", "limited", "cancelled"]), st.integers(0, 5)
        ),
    ),
    max_size=120,
)


@given(STEPS)
def test_it_does_what_the_model_does(steps: list[tuple[str, int]]) -> None:
    """Over any order of asking, waiting and answering, breaker and model agree on every step."""
    circuit, model, now = Circuit(), Model(), 0.0
    under_way: list[tuple[int, Permit, int]] = []
    for number, (what, how) in enumerate(steps):
        if what == "ask":
            permit, expected = circuit.breaker.admit(now), model.admit(number, now)
            assert isinstance(permit, Permit) is expected
            if isinstance(permit, Permit):
                under_way.append((number, permit, model.era))
        elif what == "wait":
            now += how
        elif under_way:
            call, permit, era = under_way.pop(how % len(under_way))
            circuit.breaker.report(permit, KINDS[what], now)
            model.report(call, era, what, now)
        assert circuit.breaker.state.name.lower().replace("_", "-") == model.state
        assert len(circuit.breaker._leases) == len(model.probes)


def test_a_call_whose_time_was_not_the_backends_alone_is_not_held_against_slow_call() -> None:
    """However long clients take to upload: twenty such calls neither trip the circuit nor hide twenty slow ones."""
    circuit = Circuit(breaker_settings(jitter=0.0, slow_call=1.0))
    for _ in range(40):
        circuit.breaker.report(circuit.permit(), Verdict.SUCCESS, 0.0, took_s=None)
    for _ in range(20):
        assert circuit.transitions == []
        circuit.breaker.report(circuit.permit(), Verdict.SUCCESS, 0.0, took_s=2.0)
    assert circuit.transitions == [(CircuitState.OPEN, 0.0)]


def test_a_permit_that_is_given_back_says_nothing() -> None:
    """Closed: no failure is forgotten. Half-open: the probe's place is free, and the circuit as it was."""
    circuit = Circuit()
    circuit.call(Verdict.NETWORK)
    circuit.breaker.give_back(circuit.permit())
    assert circuit.breaker.failures == 1
    circuit, first = Circuit().half_open()
    second = circuit.permit(30.0)
    assert isinstance(circuit.breaker.admit(30.0), Refused)
    circuit.breaker.give_back(first)
    assert (circuit.breaker.counts(first), circuit.breaker.counts(second)) == (False, True)
    assert circuit.breaker.state is CircuitState.HALF_OPEN
    assert isinstance(circuit.breaker.admit(30.0), Permit)


def test_a_permit_of_before_counts_no_more() -> None:
    """What was let through before the circuit opened means nothing after that, given back or reported."""
    circuit = Circuit()
    early = circuit.permit()
    circuit.opened()
    assert not circuit.breaker.counts(early)
    circuit.breaker.give_back(early)
    assert circuit.breaker.state is CircuitState.OPEN


def test_what_a_breaker_remembers_does_not_grow() -> None:
    """However many calls: the window of the newest ones, and a lease for each probe that may be under way."""
    rules = breaker_settings(slow_call=1.0, slow_call_window=20, slow_call_rate=1.0)
    breaker = CircuitBreaker("sessions", rules, Random(1))
    for number in range(1_000):
        permit = breaker.admit(float(number))
        assert isinstance(permit, Permit)
        breaker.report(permit, Verdict.SUCCESS, float(number), took_s=0.1)
    assert len(breaker._slow) == 20
    assert len(breaker._leases) == 0
