"""Every setting of a route and of a circuit has an effect: another value changes what a conversation gives."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from random import Random
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from proxy.assembly import Assembly
from proxy.config.routes import RouteTable
from proxy.config.settings import Breaker, Settings, merged
from proxy.config.shape import Place
from proxy.exchange.handler_factory import HandlerFactory
from proxy.http.fields import Fields
from proxy.http.message import Peer, Request
from proxy.observe.failure_log import FailureLog
from proxy.observe.logging import Throttle
from proxy.observe.metrics import Metrics, encode
from proxy.observe.observer import Observer
from proxy.observe.target_log import TargetLog
from proxy.policy.breaker import CircuitBreaker, CircuitState
from proxy.policy.coalescing import Flights
from proxy.policy.retry import RetryPolicy
from proxy.store.bundle import MemoryBundle
from tests.simulation.scripted import ScriptedUpstream, Step, answers, fails, hangs
from tests.simulation.virtual import VirtualClock, simulated
from tests.simulation.world import RecordingClient, RecordingLedger, Visitor

Document = Mapping[str, Any]
GET, POST = "GET /api/sessions/r1", "POST /api/sessions"
PLAIN: Document = {
    "upstreams": {"sessions": {"url": "http://127.0.0.1:1"}, "other": {"url": "http://127.0.0.1:2"}},
    "routes": [
        {"operation": "load", "match": "GET /api/sessions/{report_id}", "subject": "path:report_id"},
        {"operation": "create", "match": "POST /api/sessions", "subject": "body:/reportId"},
    ],
}


class Stage:
    """What the composition root builds from a configuration, on a virtual clock and with a scripted backend."""

    def __init__(self, document: Document, script: tuple[Step, ...]) -> None:
        settings = Settings.model_validate(document)
        self.clock = VirtualClock()
        self.upstream = ScriptedUpstream(script)
        self.bundle = MemoryBundle(settings.store, self.clock)
        self._metrics = Metrics()
        self._ledger = RecordingLedger()
        self._visitors: list[Visitor] = []
        self._transitions: list[tuple[str, str, float]] = []
        throttle = Throttle(10.0, self.clock.now)
        observer = Observer(self._ledger, self._metrics, TargetLog(throttle), FailureLog(throttle))
        assembly = Assembly(
            Flights(self.bundle.invalidations), RetryPolicy(Random(7)), self.bundle, self._metrics, observer,
            self.clock, Random(7), self._on_transition,
        )  # fmt: skip
        ports = assembly.build(settings, {})
        wiring = {name: replace(each, upstream=self.upstream) for name, each in ports.wiring.items()}
        self._handlers = HandlerFactory(replace(ports, wiring=wiring), dry_run=settings.dry_run)

    def _on_transition(self, breaker: CircuitBreaker, state: CircuitState, now: float) -> None:
        self._transitions.append((breaker.name, state.name, now))

    def ask(self, said: str = GET, body: bytes = b"", **fields: str) -> Visitor:
        """Let a client ask, now. A field's name is written with underscores."""
        method, _, target = said.partition(" ")
        lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
        shown = Fields(((b"Host", b"sidecar"), *lines))
        request = Request(method, target.encode(), shown, Peer("10.0.0.1", 40000), body, authority=b"sidecar")
        client = RecordingClient()
        visitor = Visitor(self._handlers.open(request, client), client, self._ledger, eager=False)
        self._visitors.append(visitor)
        return visitor

    async def told(self, said: str = GET, body: bytes = b"", **fields: str) -> None:
        """Let a client ask, and wait for its record."""
        await self.ask(said, body, **fields).finish()

    async def finish(self) -> None:
        """Wait for the records of all."""
        for visitor in self._visitors:
            await visitor.finish()

    def transcript(self) -> tuple[object, ...]:
        """Return what backend, clients, records and metrics saw."""
        calls = [
            (c.said, c.at_ms, round(c.timeout_s, 6), c.request.fields.lines, c.more, c.request.body)
            for c in self.upstream.calls
        ]
        given = [(v.status, v.client.body, v.waited_ms, v.client.fields.lines) for v in self._visitors]
        records = [
            (
                x.route.operation,
                x.ending,
                x.role,
                x.level,
                x.subject.value,
                x.route.upstream,
                x.restoration and x.restoration.state,
            )
            for x in self._ledger.records
        ]  # fmt: skip
        return calls, given, records, self._transitions, encode(self._metrics.collect(), "")


Play = Callable[[Stage], Awaitable[None]]


class Case(NamedTuple):
    """Another value of a setting, and the conversation that it changes; `given` is set for both values."""

    value: object
    script: tuple[Step, ...]
    play: Play
    given: Document = MappingProxyType({})


CREATING = b'{"reportId":"r1"}'


def in_turn(*asked: dict[str, Any]) -> Play:
    """Return a conversation of one request after another."""

    async def play(stage: Stage) -> None:
        for each in asked:
            await stage.told(**each)

    return play


def at_once(*asked: dict[str, Any]) -> Play:
    """Return a conversation of requests at the same time."""

    async def play(stage: Stage) -> None:
        for each in asked:
            stage.ask(**each)
        await stage.finish()

    return play


async def without_store(stage: Stage) -> None:
    """Ask while the store is down."""
    stage.bundle.responses.up = False  # type: ignore[misc]
    await stage.told()


async def open_then_wait(stage: Stage) -> None:
    """Open the circuit, and ask again 6 s and 30.5 s later."""
    await OPENING(stage)
    for pause_s in (6.0, 24.5):
        await stage.clock.sleep(pause_s)
        await stage.told()


async def open_then_probe(stage: Stage) -> None:
    """Open the circuit, and ask again when it is half open, one after another."""
    await OPENING(stage)
    await stage.clock.sleep(40.0)
    await TWICE(stage)


async def open_then_probe_at_once(stage: Stage) -> None:
    """Open the circuit, and ask many times at once when it is half open."""
    await OPENING(stage)
    await stage.clock.sleep(40.0)
    await STORM(stage)


def defaults(**settings: object) -> Document:
    return {"defaults": settings}


def breaker(**settings: object) -> Document:
    return {"upstreams": {"sessions": {"breaker": settings}}}


ONE, TWICE, TOGETHER = in_turn({}), in_turn({}, {}), at_once({}, {})
CREATE = {"said": POST, "body": CREATING}
CREATED = in_turn(CREATE)
KEYED = {**CREATE, "Idempotency_Key": "k1"}
SLOW = (answers(after_s=0.1),)
DOWN = (fails(),)
STORM = at_once(*({"said": f"GET /api/sessions/{number}"} for number in range(60)))
UNBREAKABLE = breaker(failure_threshold=10_000)
CACHED = defaults(reuse="10s")
FALLBACK = defaults(fallback={"status": 200, "body": {"degraded": True}})
MISSING = defaults(on_missing={"request": "POST /api/sessions", "body": {"reportId": "{subject}"}})
CORS = defaults(cors={"allow_origins": ["https://a.example"], "allow_credentials": False})
FROM_A = in_turn({"Origin": "https://a.example"})
RECOVERS = (*(fails(),) * 5, answers(after_s=0.1))
OPENING = in_turn(*({},) * 5)
UNREPEATED = defaults(retry={"max_retries": 0})
SLOW_CALLS = breaker(slow_call="50ms", slow_call_rate=0.5, slow_call_window=4)
MIXED = (answers(after_s=0.1), answers(), answers(after_s=0.1), answers(), answers())
FIVE = in_turn(*({},) * 5)

ROUTE: dict[str, Case] = {
    "total_timeout": Case("1s", (hangs(),), ONE),
    "attempt_timeout": Case("500ms", (hangs(),), ONE),
    "min_attempt": Case("1.95s", (fails(), answers()), ONE),
    "retry.max_retries": Case(1, DOWN, ONE),
    "retry.initial_delay": Case("300ms", DOWN, ONE),
    "retry.max_delay": Case("100ms", DOWN, ONE),
    "retry.jitter": Case(False, DOWN, ONE),
    "retry.budget": Case(0.0, DOWN, STORM, UNBREAKABLE),
    "coalesce": Case("off", SLOW, TOGETHER),
    "match_body": Case(
        False, SLOW, at_once(CREATE, {**CREATE, "body": b'{"reportId":"r1","n":1}'}),
        defaults(coalesce="subject", on_conflict="GET /api/sessions/{subject}"),
    ),
    "honour_no_store": Case(True, (answers(Cache_Control="no-store"),), TWICE, CACHED),
    "ignore_directives": Case(["no-cache"], (answers(Cache_Control="no-cache"),), TWICE, CACHED),
    "no_cache_leads": Case(True, SLOW, at_once({}, {"Cache_Control": "no-cache"})),
    "principal": Case(
        ["authorization"], (answers(201),), in_turn(*({**KEYED, "Authorization": "a", "X_User": n} for n in "bc")),
        defaults(idempotency="replay"),
    ),
    "neutral_headers": Case(["X-Tab"], SLOW, at_once({"X_Tab": "1"}, {"X_Tab": "2"})),
    "idempotency": Case("inject", (answers(201),), CREATED),
    "upstream_honours_idempotency": Case(True, DOWN, CREATED, defaults(idempotency="inject")),
    "rejected_means_unprocessed": Case(True, (answers(503), answers(201)), CREATED),
    "replay_answer_limit": Case(10, (answers(201, b"x" * 20),), in_turn(KEYED, KEYED), defaults(idempotency="replay")),
    "on_conflict": Case("GET /api/sessions/{subject}", (answers(409), answers()), CREATED),
    "on_missing.request": Case("PUT /api/sessions", (answers(404), answers(201)), ONE, MISSING),
    "on_missing.body": Case({"id": "{subject}"}, (answers(404), answers(201)), ONE, MISSING),
    "reuse": Case("10s", (answers(),), TWICE),
    "stale_if_error": Case("10m", (answers(), fails()), TWICE),
    "fallback.status": Case(203, DOWN, ONE, FALLBACK),
    "fallback.body": Case({"degraded": False}, DOWN, ONE, FALLBACK),
    "restoration": Case("status", (answers(),), ONE),
    "ends_session": Case(True, (answers(),), in_turn({}, {"said": POST, "body": b'{"reportId":"r2"}'}, {}), CACHED),
    "host": Case("upstream", (answers(),), ONE),
    "cors.allow_origins": Case(["https://b.example"], DOWN, FROM_A, CORS),
    "cors.allow_credentials": Case(True, DOWN, FROM_A, CORS),
    "store_required": Case(True, (answers(),), without_store),
    "explain": Case(True, (answers(),), in_turn({"X_Backstay_Explain": "1"})),
    "circuit": Case("own", DOWN, OPENING),
    "target.ideal": Case("50ms", SLOW, ONE),
    "target.acceptable": Case("700ms", (answers(after_s=0.8),), ONE),
    "target.slow": Case("1.5s", (answers(after_s=1.8),), ONE),
    "max_flights": Case(1, SLOW, at_once({}, {}, {"said": "GET /api/sessions/r2"}, {"said": "GET /api/sessions/r2"})),
    "max_followers": Case(1, SLOW, at_once({}, {}, {})),
}  # fmt: skip
OWN: dict[str, Case] = {
    "operation": Case("other-name", (answers(),), ONE),
    "match": Case("GET /elsewhere/{report_id}", (answers(),), ONE),
    "upstream": Case("other", (answers(),), ONE),
    "subject": Case("query:id", (answers(),), in_turn({"said": f"{GET}?id=7"})),
}
BREAKER: dict[str, Case] = {
    "failure_threshold": Case(1, DOWN, OPENING, UNREPEATED),
    "reset_timeout": Case("5s", RECOVERS, open_then_wait, UNREPEATED),
    "success_threshold": Case(1, RECOVERS, open_then_probe, UNREPEATED),
    "jitter": Case(0.0, RECOVERS, open_then_wait, UNREPEATED),
    "max_probes": Case(1, RECOVERS, open_then_probe_at_once, UNREPEATED),
    "slow_call": Case("50ms", SLOW, STORM),
    "slow_call_rate": Case(1.0, MIXED, FIVE, SLOW_CALLS),
    "slow_call_window": Case(2, MIXED, FIVE, SLOW_CALLS),
}
OTHER: dict[str, Case] = {
    "dry_run": Case(True, DOWN, ONE),
    "listen.expose": Case(False, (answers(),), ONE),
    "listen.deadline_header": Case("X-Budget", (answers(),), in_turn({"X_Budget": "100"})),
    "listen.trusted_proxies": Case(["10.0.0.0/8"], SLOW, at_once({}, {"X_Forwarded_For": "192.0.2.1"})),
    "store.max_entries": Case(1, (answers(),), in_turn({}, {"said": "GET /api/sessions/r2"}, {}), CACHED),
    "store.max_bytes": Case(1, (answers(),), TWICE, CACHED),
    "upstreams.sessions.idempotency_form": Case("quoted", (answers(201),), CREATED, defaults(idempotency="inject")),
}
# The body of a request is read on the wire.
ON_THE_WIRE = {"replay_limit", "max_body", "idle_timeout"}


def test_each_setting_of_a_route_has_a_case() -> None:
    """A setting that nobody reads cannot be added: its case would fail."""
    assert ROUTE.keys() | OWN.keys() | ON_THE_WIRE == set(_keys(Place(RouteTable)))
    assert BREAKER.keys() == set(_keys(Place(Breaker)))


def _keys(where: Place, above: str = "") -> Iterator[str]:
    for name in where.fields:
        below = where.below(name)
        assert below is not None
        if below.fields:
            yield from _keys(below, f"{above}{name}.")
        else:
            yield above + name


@pytest.mark.parametrize("key", ROUTE)
def test_a_setting_of_a_route_has_an_effect(key: str) -> None:
    """Another value in [defaults] changes the conversation."""
    case = ROUTE[key]
    _differs(case, _nested(("defaults", *key.split(".")), case.value))


@pytest.mark.parametrize("key", OWN)
def test_what_a_route_says_of_itself_has_an_effect(key: str) -> None:
    """Another value in the first route changes the conversation."""
    case = OWN[key]
    load, create = PLAIN["routes"]
    _differs(case, {"routes": [{**load, key: case.value}, create]})


@pytest.mark.parametrize("where", [("upstreams", "sessions", "breaker"), ("circuits", "own")], ids=".".join)
@pytest.mark.parametrize("key", BREAKER)
def test_a_setting_of_a_circuit_has_an_effect(key: str, where: tuple[str, ...]) -> None:
    """Another value of the upstream's circuit, or of one that routes name, changes the conversation."""
    case = BREAKER[key]
    given = case.given
    if where[0] == "circuits":
        own = given["upstreams"]["sessions"]["breaker"] if "upstreams" in given else {}
        given = merged(given, {"defaults": {"circuit": "own"}, "circuits": {"own": own}})
    _differs(case._replace(given=given), _nested((*where, key), case.value))


@pytest.mark.parametrize("key", OTHER)
def test_a_setting_of_another_table_has_an_effect(key: str) -> None:
    """Another value changes the conversation."""
    case = OTHER[key]
    _differs(case, _nested(tuple(key.split(".")), case.value))


def _nested(keys: tuple[str, ...], value: object) -> Document:
    for key in reversed(keys):
        value = {key: value}
    assert isinstance(value, dict)
    return value


def _differs(case: Case, change: Document) -> None:
    """Play the conversation with and without the change; without it twice, for a transcript must be reproducible."""
    given = merged(PLAIN, case.given)
    before, again, after = (_played(case, document) for document in (given, given, merged(given, change)))
    assert before == again
    assert before != after


def _played(case: Case, document: Document) -> tuple[object, ...]:
    told: list[tuple[object, ...]] = []

    @simulated
    async def play() -> None:
        stage = Stage(document, case.script)
        await case.play(stage)
        told.append(stage.transcript())

    play()
    return told[0]
