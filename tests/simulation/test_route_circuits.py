"""One slow route and the others of its upstream: which circuit a timeout opens, and whom an open circuit refuses."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from proxy.http.message import Failure, Request
from proxy.http.problems import Reason
from proxy.policy.breaker import CircuitMode, CircuitState
from proxy.policy.routing import Route
from tests.settings import a_route
from tests.simulation.scripted import Step, answers, fails, hangs, refuses
from tests.simulation.test_settings import Stage
from tests.simulation.virtual import now_ms, simulated
from tests.simulation.world import HISTORY, LOAD, NO_RETRIES, UPDATE, Visitor, World, finish

PLAIN_LOAD = replace(LOAD, retry=NO_RETRIES)
PATCHING = replace(UPDATE, retry=NO_RETRIES)
READING = replace(HISTORY, retry=NO_RETRIES, reuse_s=None, recovery=PLAIN_LOAD.recovery)
REPORT = a_route("report", "GET", "/api/report", "sessions", "sessions", retry=NO_RETRIES)
POLL = a_route("poll", "GET", "/api/poll", "sessions", "sessions", retry=NO_RETRIES, total_timeout_s=30.0)
ROUTES = (PLAIN_LOAD, PATCHING, READING, REPORT, POLL)
SLOW = (b"/api/poll", b"/api/report", b"/unmatched/poll")


def backend(*slow: bytes) -> Callable[[Request, int], Step]:
    """Return a backend that never answers these paths, and any other after 10 ms."""
    return lambda request, number: hangs() if request.path in slow else answers(after_s=0.01)


def hung_until(back_ms: float, step: Step) -> Callable[[Request, int], Step]:
    """Return a backend that fails so until it is back."""
    return lambda request, number: answers(after_s=0.01) if now_ms() >= back_ms else step


def ask(world: World, path: str, **fields: str) -> Visitor:
    """Ask alone, in no flight."""
    return world.visit("GET", path, b"", "ada", Range="bytes=0-", **fields)


async def statuses(world: World, *paths: str) -> list[int]:
    """Ask for all paths at once."""
    visitors = [ask(world, path) for path in paths]
    await finish(*visitors)
    return [visitor.status for visitor in visitors]


@pytest.mark.parametrize("busy", [False, True], ids=["no other traffic", "other traffic"])
@pytest.mark.parametrize("path", ["/api/poll", "/unmatched/poll"])
@simulated
async def test_five_long_polls_and_a_slow_report_leave_every_other_route_answering(path: str, busy: bool) -> None:
    """Five parallel polls of 30 s end with 504, and so do reports after 2 s: the others get 200, before and after."""
    world = World(backend(*SLOW), ROUTES)
    visitors = [ask(world, f"{path}?tab={tab}") for tab in range(5)]
    others = list[Visitor]()
    for number in range(14):
        visitors.append(ask(world, "/api/report"))
        if busy:
            others += [world.get(f"r{number}"), ask(world, "/unmatched/page")]
        await world.clock.sleep(2.1)
    await finish(*visitors, *others)
    assert {visitor.status for visitor in visitors[:5]} == {504}
    others += [world.get("r1"), world.patch("r2"), world.history("r3")] * 10 + [ask(world, "/unmatched/page")] * 3
    await finish(*others)
    assert {visitor.status for visitor in others} == {200}
    assert world.transitions_of("load") == world.transitions_of("history") == world.transitions_of("update") == []
    assert world.breaker.state is CircuitState.CLOSED
    assert world.transitions_of("report")[0] == "OPEN"
    assert (await statuses(world, "/unmatched/poll", "/unmatched/page")) == [504, 200]
    assert world.at_rest()


@simulated
async def test_a_slow_report_opens_its_own_circuit_only() -> None:
    """Five timeouts of one endpoint: it is refused with 503 and Retry-After, and the upstream's circuit counts none."""
    world = World(backend(b"/api/report"), ROUTES)
    assert await statuses(world, *["/api/report"] * 5) == [504] * 5
    refused = await ask(world, "/api/report").finish()
    assert (refused.status, refused.waited_ms, len(world.upstream.calls)) == (503, 0, 5)
    assert refused.client.fields.get(b"retry-after") == b"30"
    assert b"this route" in refused.client.body
    assert world.meter.counts["rejected", "sessions:report"] == 1
    assert (world.transitions, world.breaker.failures) == ([], 0)
    assert (await world.get().finish()).status == 200
    assert world.route_breakers["report"].cause == "http_response_timeout at 10.0.0.7:8000"


@simulated
async def test_a_route_that_answers_again_is_sent_again() -> None:
    """After `reset_timeout` two probes go; both are answered, and the route's circuit closes."""
    world = World(hung_until(20_000, hangs()), ROUTES)
    await statuses(world, *["/api/report"] * 5)
    await world.until_ms(32_001)
    assert sorted(await statuses(world, *["/api/report"] * 4)) == [200, 200, 503, 503]
    assert world.transitions_of("report") == ["OPEN", "HALF_OPEN", "CLOSED"]
    assert await statuses(world, *["/api/report"] * 4) == [200] * 4
    assert world.route_breakers["report"].quiet
    assert world.at_rest()


@pytest.mark.parametrize("step", [refuses(), fails(Reason.CONNECTION_TERMINATED), answers(503), answers(504)])
@simulated
async def test_a_dead_backend_opens_the_circuit_of_all_after_five(step: Step) -> None:
    """Refused connections, resets and a gateway's 5xx count for the upstream at once, whatever route they meet."""
    world = World([step], ROUTES)
    await statuses(world, *["/api/report"] * 4)
    assert world.transitions == []
    await statuses(world, "/unmatched/page")
    assert world.transitions == ["OPEN"]
    assert not world.breaker.hung
    calls = len(world.upstream.calls)
    assert await statuses(world, "/api/report", "/api/poll", "/unmatched/page", "/api/sessions/r1") == [503] * 4
    assert (len(world.upstream.calls), world.route_transitions) == (calls, [])


@simulated
async def test_a_hung_backend_opens_the_circuit_of_all_once_several_routes_time_out() -> None:
    """Two routes time out in turn: after six timeouts both are refused, and another after one of its own."""
    world = World([hangs()], ROUTES)
    for path in ("/api/report", "/api/sessions/r1") * 3:
        assert await statuses(world, path) == [504]
    assert (world.transitions, world.breaker.hung, world.route_transitions) == (["OPEN"], True, [])
    assert world.breaker.cause == "2 routes timed out; http_response_timeout at 10.0.0.7:8000"
    assert await statuses(world, "/api/report", "/api/sessions/r2") == [503, 503]
    assert await statuses(world, "/api/history/r1") == [504]
    assert await statuses(world, "/api/history/r1") == [503]
    assert world.meter.counts["rejected", "sessions"] == 3
    assert world.at_rest()


@simulated
async def test_a_hung_backend_that_returns_is_found_by_a_route_that_did_not_time_out() -> None:
    """Two responses close the circuit before its time: they prove that the backend does not hang."""
    world = World(hung_until(13_000, hangs()), ROUTES)
    for path in ("/api/report", "/api/sessions/r1") * 3:
        await statuses(world, path)
    await world.until_ms(13_001)
    assert await statuses(world, "/api/history/r1") == [200]
    assert world.transitions == ["OPEN"]
    assert await statuses(world, "/api/history/r1") == [200]
    assert world.transitions == ["OPEN", "CLOSED"]
    assert await statuses(world, "/api/report", "/api/sessions/r1") == [200, 200]


@simulated
async def test_a_hung_backend_that_nobody_else_asks_is_probed_by_the_routes_that_timed_out() -> None:
    """OPEN --reset_timeout--> HALF_OPEN: two probes at most, as after any other failure."""
    world = World(hung_until(20_000, hangs()), ROUTES)
    for path in ("/api/report", "/api/sessions/r1") * 3:
        await statuses(world, path)
    await world.until_ms(12_000 + 30_001)
    assert sorted(await statuses(world, *["/api/report"] * 5)) == [200, 200, 503, 503, 503]
    assert world.transitions == ["OPEN", "HALF_OPEN", "CLOSED"]
    assert world.at_rest()


@simulated
async def test_another_failure_makes_it_the_circuit_of_all() -> None:
    """Several routes timed out, and then a connection is refused: now every route is refused."""
    world = World(lambda request, number: hangs() if number <= 6 else refuses(), ROUTES)
    for path in ("/api/report", "/api/sessions/r1") * 3:
        await statuses(world, path)
    assert await statuses(world, "/api/history/r1") == [502]
    assert not world.breaker.hung
    assert await statuses(world, "/api/history/r1", "/unmatched/page") == [503, 503]


@simulated
async def test_a_response_between_the_timeouts_of_two_routes_separates_them() -> None:
    """Only routes that have timed out since the last response are several."""
    world = World(backend(b"/api/report", b"/api/poll"), ROUTES)
    for _ in range(4):
        assert await statuses(world, "/api/report", "/api/poll") == [504, 504]
        assert (await world.get().finish()).status == 200
    assert (world.transitions, world.breaker.failures) == ([], 0)


@simulated
async def test_a_slow_route_that_probes_the_circuit_of_all_does_not_keep_it_from_the_others() -> None:
    """The backend was dead and is back. The first probe is a report that times out: the others are sent."""
    world = World(
        lambda request, number: refuses() if number <= 5 else backend(b"/api/report")(request, number), ROUTES
    )
    await statuses(world, *["/api/sessions/r1"] * 5)
    await world.clock.sleep(30.001)
    assert await statuses(world, "/api/report") == [504]
    assert world.transitions == ["OPEN", "HALF_OPEN", "OPEN"]
    assert await statuses(world, "/api/sessions/r1", "/api/sessions/r2", "/unmatched/page") == [200] * 3
    assert world.transitions == ["OPEN", "HALF_OPEN", "OPEN", "CLOSED"]
    assert (await statuses(world, "/api/sessions/r1", "/api/report")) == [200, 504]


@simulated
async def test_of_parallel_timeouts_those_after_the_fifth_count_nothing() -> None:
    """Ten begin together: their circuit opens with the fifth; the others belong to an earlier generation."""
    world = World(backend(b"/api/poll"), ROUTES)
    assert await statuses(world, *["/api/poll"] * 10) == [504] * 10
    assert (world.transitions_of("poll"), world.route_breakers["poll"].failures) == (["OPEN"], 5)
    assert await statuses(world, "/api/poll") == [503]
    assert world.at_rest()


@simulated
async def test_a_response_in_time_begins_the_count_of_its_route_anew() -> None:
    """Four polls time out and one brings an event, again and again: nothing opens."""
    world = World(lambda request, number: answers(after_s=1.0) if number % 5 == 0 else hangs(), ROUTES)
    for _ in range(4):
        assert await statuses(world, *["/api/poll"] * 4) == [504] * 4
        assert await statuses(world, "/api/poll") == [200]
    assert (world.transitions, world.route_transitions) == ([], [])


@simulated
async def test_a_refused_connection_neither_counts_for_the_routes_own_circuit_nor_forgives() -> None:
    """It is a failure of the upstream's circuit, and no response in time."""
    world = World(lambda request, number: refuses() if number == 5 else hangs(), ROUTES)
    assert await statuses(world, *["/api/report"] * 4) == [504] * 4
    assert await statuses(world, "/api/report") == [502]
    assert (world.route_breakers["report"].failures, world.breaker.failures) == (4, 1)
    assert await statuses(world, "/api/report") == [504]
    assert world.transitions_of("report") == ["OPEN"]


@simulated
async def test_a_connection_that_the_routes_time_cuts_short_is_the_routes() -> None:
    """A route with less time than `connect_timeout` says nothing of connecting."""
    late = Step(Failure(Reason.CONNECTION_TIMEOUT, sent=False, cut_short=True), 0.1)
    world = World([late], ROUTES)
    await statuses(world, *["/api/report"] * 5)
    assert (world.transitions, world.transitions_of("report")) == ([], ["OPEN"])


@pytest.mark.parametrize("own_ms", [0, 50])
@simulated
async def test_a_clients_own_deadline_counts_for_no_circuit(own_ms: int) -> None:
    """Twenty clients with little time of their own: neither circuit counts, but for the one probe that goes on."""
    world = World([answers(after_s=0.1)], ROUTES)  # slower than the clients, faster than the route
    await finish(*[ask(world, "/api/report", X_Request_Deadline_Ms=str(own_ms)) for _ in range(20)])
    await world.clock.sleep(3)
    assert (world.breaker.quiet, world.route_breakers["report"].quiet) == (True, True)
    assert world.at_rest()


@simulated
async def test_each_route_has_a_probe_of_its_own_while_clients_leave_early() -> None:
    """Two routes of a hung backend, whose clients leave after 200 ms: each counts one timeout every two seconds."""
    world = World([hangs()], ROUTES)
    for _ in range(15):
        hasty = [ask(world, path, X_Request_Deadline_Ms="200") for path in ("/api/report", "/api/sessions/r1")]
        await finish(*hasty)
        await world.clock.sleep(0.8)
    assert world.transitions[0] == "OPEN"
    assert [call.ended for call in world.upstream.calls].count("timed out") >= 6


@simulated
async def test_an_upstreams_forced_open_circuit_beats_a_routes() -> None:
    """An operator's `close` of a route lets nothing through that the upstream's `open` refuses."""
    world = World([answers()], ROUTES)
    world.route_breakers["report"].force(CircuitMode.FORCED_CLOSED, 0.0)
    world.breaker.force(CircuitMode.FORCED_OPEN, 0.0)
    assert await statuses(world, "/api/report", "/api/poll", "/unmatched/page") == [503] * 3
    world.breaker.force(CircuitMode.AUTO, 0.0)
    assert await statuses(world, "/api/report", "/api/poll", "/unmatched/page") == [200] * 3


@simulated
async def test_an_upstreams_forced_closed_circuit_lets_a_timed_out_route_through() -> None:
    """`close` lets everything through: also a route whose own circuit is open, unless that one is forced open."""
    world = World([hangs()], ROUTES)
    await statuses(world, *["/api/report"] * 5)
    world.breaker.force(CircuitMode.FORCED_CLOSED, 0.0)
    assert await statuses(world, "/api/report") == [504]
    world.route_breakers["report"].force(CircuitMode.FORCED_OPEN, 0.0)
    assert await statuses(world, "/api/report") == [503]


@simulated
async def test_a_route_can_be_refused_by_hand() -> None:
    """`open` of a route's own circuit refuses that route only."""
    world = World([answers()], ROUTES)
    world.route_breakers["report"].force(CircuitMode.FORCED_OPEN, 0.0)
    assert await statuses(world, "/api/report", "/api/poll") == [503, 200]


@simulated
async def test_a_retry_is_not_tried_into_an_open_circuit_of_its_route() -> None:
    """The fifth timeout opens the route's circuit, so the ladder ends there and says why."""
    retried: Route = replace(REPORT, retry=LOAD.retry, attempt_timeout_s=0.2)
    world = World([hangs()], (retried, PLAIN_LOAD))
    await statuses(world, *["/api/report"] * 4)
    last = await ask(world, "/api/report").finish()
    assert [attempt.why for attempt in last.exchange.attempts] == ["circuit_open"]
    assert world.transitions_of("report") == ["OPEN"]


ONE_ROUTE = {
    "upstreams": {"sessions": {"url": "http://127.0.0.1:1"}, "other": {"url": "http://127.0.0.1:2"}},
    "routes": [{"operation": "only", "match": "GET /only", "upstream": "other"}],
}


async def _time_out(stage: Stage, said: str) -> None:
    for number in range(5):
        await stage.told(f"{said}?n={number}")


@simulated
async def test_the_only_route_of_a_backend_has_its_circuit() -> None:
    """There is no other route to protect: its timeouts open the upstream's circuit, as every failure does."""
    stage = Stage(ONE_ROUTE, (hangs(),))
    await _time_out(stage, "GET /only")
    assert [(name, state) for name, state, _ in stage._transitions] == [("other", "OPEN")]


@simulated
async def test_the_only_route_beside_unmatched_requests_has_a_circuit_of_its_own() -> None:
    """Unmatched requests go on: the one configured route is slow, and it is what stops."""
    document = {**ONE_ROUTE, "routes": [{"operation": "only", "match": "GET /only"}]}
    stage = Stage(document, (hangs(),))
    await _time_out(stage, "GET /only")
    assert [(name, state) for name, state, _ in stage._transitions] == [("sessions:only", "OPEN")]
    stage.upstream._play = lambda request, number: answers()
    unmatched = await stage.ask("GET /page").finish()
    assert unmatched.status == 200


@simulated
async def test_two_routes_of_a_named_circuit_have_circuits_of_their_own_too() -> None:
    """A named circuit is shared as an upstream's is; one that a single route names is that route's."""
    route = {"upstream": "other", "circuit": "named"}
    routes = [{**route, "operation": name, "match": f"GET /{name}"} for name in ("one", "two")]
    stage = Stage({**ONE_ROUTE, "routes": routes}, (hangs(),))
    await _time_out(stage, "GET /one")
    assert [name for name, _, _ in stage._transitions] == ["named:one"]
    stage = Stage({**ONE_ROUTE, "routes": routes[:1]}, (hangs(),))
    await _time_out(stage, "GET /one")
    assert [name for name, _, _ in stage._transitions] == ["named"]


def unmatched(**settings: object) -> dict[str, object]:
    """Return a configuration with `[passthrough]` settings and a route beside it."""
    return {**ONE_ROUTE, "passthrough": settings, "routes": [{"operation": "only", "match": "GET /only"}]}


@pytest.mark.parametrize(("seconds", "waited_ms"), [("30s", 30_000), ("500ms", 500)])
@simulated
async def test_unmatched_requests_have_their_own_timeout_and_open_nothing(seconds: str, waited_ms: float) -> None:
    """Their timeouts say nothing of each other: ten of them open no circuit."""
    stage = Stage(unmatched(total_timeout=seconds), (hangs(),))
    for number in range(10):
        visitor = await stage.ask(f"GET /page?n={number}").finish()
        assert (visitor.status, visitor.waited_ms) == (504, waited_ms)
    assert stage._transitions == []


@pytest.mark.parametrize(("circuit", "opened"), [("rest", "rest"), ("sessions", "sessions:passthrough")])
@simulated
async def test_a_circuit_that_unmatched_requests_name_is_opened_by_their_timeouts(circuit: str, opened: str) -> None:
    """A circuit of their own, or one of their own before the upstream's: the route beside them is sent all the same."""
    stage = Stage(unmatched(circuit=circuit, total_timeout="1s"), (hangs(),))
    await _time_out(stage, "GET /page")
    assert [(name, state) for name, state, _ in stage._transitions] == [(opened, "OPEN")]
    assert (await stage.ask("GET /page").finish()).status == 503
    stage.upstream._play = lambda request, number: answers()
    assert (await stage.ask("GET /only").finish()).status == 200


@pytest.mark.parametrize(("coalesce", "calls"), [("identical", 1), ("off", 2)])
@simulated
async def test_unmatched_requests_are_shared_or_not(coalesce: str, calls: int) -> None:
    """Two equal requests are one call, or two where the table says so."""
    stage = Stage(unmatched(coalesce=coalesce), (answers(after_s=0.1),))
    visitors = [stage.ask("GET /page"), stage.ask("GET /page")]
    await finish(*visitors)
    assert len(stage.upstream.calls) == calls


@pytest.mark.parametrize(("target", "level"), [("none", ""), ({"ideal": "50ms"}, "acceptable")])
@simulated
async def test_unmatched_requests_have_a_target_or_none(target: object, level: str) -> None:
    """The level is counted and recorded as a route's is."""
    stage = Stage(unmatched(target=target), (answers(after_s=0.1),))
    assert (await stage.ask("GET /page").finish()).exchange.level == level
