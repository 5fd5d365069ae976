"""The circuits of a route: one for its timeouts, and the one that it shares, compared with the rule in words."""

from collections.abc import Mapping
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.breaker import CircuitBreaker, CircuitMode, CircuitState, Permit, Refused
from proxy.policy.classify import Verdict
from proxy.policy.route_circuit import Admission, AttemptOutcome, RouteCircuit, counts_timeouts, own_circuits
from proxy.policy.routing import EVERY
from tests.settings import a_route, breaker_settings

RULES = breaker_settings(jitter=0.0)
NAMES = ("load", "report", "poll")


class Upstream:
    """The shared circuit of three routes and of unmatched requests."""

    def __init__(self) -> None:
        self.shared = CircuitBreaker("sessions", RULES, Random(1))
        self.own = {name: CircuitBreaker(f"sessions:{name}", RULES, Random(1)) for name in NAMES}
        self.routes = {name: RouteCircuit(self.shared, own, name) for name, own in self.own.items()}
        self.routes["unmatched"] = RouteCircuit(self.shared, None, "unmatched", counts_timeouts=False)

    def ask(self, route: str, now: float) -> Permit | Admission | Refused:
        """Ask as the stage does: the circuits decide only where something has happened."""
        circuit = self.routes[route]
        if self.shared.quiet and circuit.own.quiet:
            return self.shared.permit
        return circuit.decide(self.shared.admit(now, 1.0), now, 1.0)

    def end(self, route: str, permit: Permit | Admission, kind: str, sent_at: float, now: float) -> None:
        """Report an attempt."""
        verdict = {"late": Verdict.TIMEOUT, "ok": Verdict.SUCCESS, "dead": Verdict.NETWORK}[kind]
        if kind == "ok" and self.shared.quiet and self.routes[route].own.quiet:
            return
        self.routes[route].report(permit, AttemptOutcome(verdict, kind == "late", sent_at, now, None, counted=True))

    def call(self, route: str, kind: str, now: float) -> bool:
        """Make a call of one second that ends so; return whether it was sent."""
        permit = self.ask(route, now)
        if not isinstance(permit, Refused):
            self.end(route, permit, kind, now, now + 1.0)
        return not isinstance(permit, Refused)


STEPS = st.lists(
    st.tuples(
        st.sampled_from([*NAMES, "unmatched"]),
        st.sampled_from(["late", "late", "late", "ok"]),
        st.sampled_from([1, 40]),
    ),
    max_size=100,
)


@given(STEPS)
def test_a_timeout_refuses_only_routes_that_have_timed_out_themselves(steps: list[tuple[str, str, int]]) -> None:
    """Whatever the order: a route without a timeout since its own last response is sent, and so are unmatched requests.

    Half open, at most two probes run at once; here one call ends before the next begins.
    """
    upstream, now = Upstream(), 0.0
    late = dict.fromkeys(upstream.routes, 0)
    for route, kind, pause in steps:
        now += pause + 1
        sent = upstream.call(route, kind, now)
        assert sent or late[route], (route, upstream.routes)
        if sent and route != "unmatched":
            late[route] = late[route] + 1 if kind == "late" else 0
    assert not upstream.shared._leases


@given(STEPS)
def test_five_refused_connections_in_a_row_refuse_every_route(steps: list[tuple[str, str, int]]) -> None:
    """Whatever timed out before: no more than five get through, and then none."""
    upstream, now = Upstream(), 0.0
    for asked, kind, pause in steps:
        now += pause + 1
        upstream.call(asked, kind, now)
    sent = [upstream.call("unmatched", "dead", now + 100.0 + 2.0 * number) for number in range(6)]
    assert sum(sent) <= 5
    for each in upstream.routes:
        assert isinstance(upstream.ask(each, now + 113.0), Refused)


def test_the_refusal_names_the_circuit_that_refuses() -> None:
    """For the metric: the shared one's own name, or the route's."""
    upstream = Upstream()
    for second in range(5):
        upstream.call("report", "late", float(second))
    assert upstream.ask("report", 10.0) == Refused(25.0, "sessions:report")
    assert upstream.routes["report"].refuses_for(10.0) == 25.0
    upstream.shared.force(CircuitMode.FORCED_OPEN, 10.0)
    assert upstream.ask("report", 10.0) == Refused(30.0, "sessions")
    assert upstream.ask("load", 10.0) == Refused(30.0, "sessions")


def test_a_refused_probe_of_the_shared_circuit_gives_its_place_back() -> None:
    """The shared circuit lets a probe through, and the route's own circuit refuses it."""
    upstream = Upstream()
    for second in range(5):
        upstream.call("load", "dead", float(second))
    upstream.own["report"].force(CircuitMode.FORCED_OPEN, 0.0)
    for _ in range(3):
        assert isinstance(upstream.ask("report", 40.0), Refused)
    assert upstream.shared.state is CircuitState.HALF_OPEN
    assert not upstream.shared._leases


def test_an_attempt_of_before_the_trip_says_nothing_of_the_route() -> None:
    """Six polls began together; the sixth succeeds after the circuit opened, and again when it is half open."""
    upstream = Upstream()
    permits = [upstream.ask("poll", 0.5) for _ in range(7)]
    for permit in permits[:5]:
        assert isinstance(permit, Permit)
        upstream.end("poll", permit, "late", 0.5, 1.0)
    assert upstream.own["poll"].state is CircuitState.OPEN
    assert isinstance(permits[5], Permit)
    upstream.end("poll", permits[5], "ok", 0.5, 2.0)
    assert isinstance(upstream.ask("poll", 40.0), Admission)
    assert isinstance(permits[6], Permit)
    upstream.end("poll", permits[6], "ok", 0.5, 41.0)
    assert (upstream.own["poll"].state, upstream.own["poll"].successes) == (CircuitState.HALF_OPEN, 0)


def test_what_is_given_back_frees_both_places() -> None:
    """A probe of both circuits whose outcome is no evidence."""
    upstream = Upstream()
    for second in range(5):
        upstream.call("poll", "late", float(second))
    permit = upstream.ask("poll", 40.0)
    assert isinstance(permit, Admission)
    assert upstream.routes["poll"].counts(permit, 40.0)
    upstream.routes["poll"].give_back(permit)
    assert not upstream.routes["poll"].counts(permit, 40.0)
    assert not upstream.own["poll"]._leases


@pytest.mark.parametrize("mode", list(CircuitMode))
def test_a_quiet_circuit_refuses_nobody(mode: CircuitMode) -> None:
    """It must not be quiet wherever a request may be refused or a success changes something."""
    breaker = CircuitBreaker("a", RULES, Random(1))
    breaker.force(mode, 0.0)
    assert breaker.quiet is isinstance(breaker.admit(0.0), Permit)
    breaker.force(CircuitMode.AUTO, 0.0)
    seen = [breaker.quiet]
    breaker.report(breaker.permit, Verdict.TIMEOUT, 1.0, late="one")
    seen.append(breaker.quiet)
    breaker.report(breaker.permit, Verdict.MISSING, 1.0)
    seen.append(breaker.quiet)
    breaker.report(breaker.permit, Verdict.NETWORK, 1.0)
    seen.append(breaker.quiet)
    breaker.reset(1.0)
    assert [*seen, breaker.quiet] == [True, False, True, False, True]


def test_which_routes_have_a_circuit_of_their_own() -> None:
    """Those that share one: not the only route of a circuit, and unmatched requests only where they name a circuit."""
    rest = a_route("passthrough", "*", EVERY, "sessions", "sessions")
    naming = replace(rest, settings=rest.settings.model_copy(update={"circuit": "sessions"}))
    one, two, named = a_route("one"), a_route("two"), a_route("three", circuit="named")
    cases: list[tuple[tuple[object, ...], Mapping[str, str]]] = [
        ((rest,), {}),
        ((one, rest), {"one": "sessions:one"}),
        ((one, two, rest), {"one": "sessions:one", "two": "sessions:two"}),
        ((named, rest), {}),
        ((one, naming), {"one": "sessions:one", "passthrough": "sessions:passthrough"}),
        ((naming,), {}),
    ]
    for routes, expected in cases:
        assert own_circuits(routes) == expected  # type: ignore[arg-type]  # a tuple of routes
    assert [counts_timeouts(route) for route in (one, rest, naming)] == [True, False, True]


def test_timeouts_leave_one_name_a_route() -> None:
    """However many there are, and whatever is refused meanwhile."""
    upstream = Upstream()
    for number in range(1_000):
        upstream.call(NAMES[number % 3], "late", number * 40.0)
    assert upstream.shared._run._late == set(NAMES)
    assert not any(breaker._leases for breaker in (upstream.shared, *upstream.own.values()))


def test_a_circuit_that_judges_slow_calls_is_never_quiet() -> None:
    """A success in time is then news as well; a reload changes that at once."""
    breaker = CircuitBreaker("a", RULES, Random(1))
    seen = [breaker.quiet]
    for slow_call in (1.0, None):
        breaker.rules = breaker_settings(jitter=0.0, slow_call=slow_call)
        seen.append(breaker.quiet)
    assert seen == [True, False, True]
    assert not CircuitBreaker("b", breaker_settings(slow_call=1.0), Random(1)).quiet
