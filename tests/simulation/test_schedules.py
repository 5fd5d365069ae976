"""Whatever comes in whatever order: what holds after any schedule of readers, writers and failures."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import Reason
from proxy.message import Request
from proxy.policy.breaker import BreakerRules
from tests.simulation.scripted import Step, answers, fails, hangs, refuses
from tests.simulation.virtual import now_ms, simulated
from tests.simulation.world import EXACT, UPDATE, Visitor, World

PATIENCE_MS = 2000  # every route's total timeout
GRACE_MS = 5


class Behaviour(NamedTuple):
    """What the backend does with one call: its kind, how long it takes, and when in between a write takes effect."""

    kind: str
    after_ms: int
    takes_effect: float  # share of the time


class Act(NamedTuple):
    """One client: when it comes, what it wants, how long it has, and when it leaves."""

    at_ms: int
    kind: str
    user: str
    report: str
    own_ms: int | None
    leaves_after_ms: int | None


# Close together on purpose: what can go wrong goes wrong between requests that overlap.
BEHAVIOURS = st.builds(
    Behaviour,
    st.sampled_from(["ok"] * 8 + ["503", "429", "404", "reset", "refuse", "hang"]),
    st.sampled_from([0, 20, 100, 250, 600, 900]),
    st.sampled_from([0.0, 0.5, 1.0]),
)
ACTS = st.builds(
    Act,
    st.integers(0, 60).map(lambda step: step * 25),
    st.sampled_from(["load", "load", "load", "history", "history", "update", "update", "create"]),
    st.sampled_from(["ada", "ada", "bob"]),
    st.sampled_from(["r1", "r1", "r2"]),
    st.sampled_from([None, None, None, 0, 60, 333, 900, 2500]),
    st.sampled_from([None, None, None, 0, 30, 200, 700]),
)
RULES = BreakerRules(failure_threshold=3, reset_timeout_s=0.3, jitter=0.0)


@dataclass
class Backend:
    """Sessions with versions. A read tells the version at its arrival; a write takes effect before its answer."""

    behaviours: list[Behaviour]
    versions: Counter[str] = field(default_factory=Counter)

    def play(self, request: Request, number: int) -> Step:
        """Do what the schedule says with this call."""
        behaviour = self.behaviours[(number - 1) % len(self.behaviours)]
        after_s = behaviour.after_ms / 1000
        if behaviour.kind == "reset":
            return fails(after_s=after_s)
        if behaviour.kind == "refuse":
            return refuses()
        if behaviour.kind == "hang":
            return hangs()
        if behaviour.kind != "ok":
            return answers(int(behaviour.kind), self._told(request, 0), after_s)
        return self._done(request, behaviour, after_s)

    def _done(self, request: Request, behaviour: Behaviour, after_s: float) -> Step:
        report = _report(request)
        if request.method in ("PATCH", "POST"):
            step = answers(200, self._told(request, 0), after_s)
            return step._replace(effect=lambda: self._write(report), effect_s=after_s * behaviour.takes_effect)
        return answers(200, self._told(request, self.versions[report]), after_s)

    def _write(self, report: str) -> None:
        self.versions[report] += 1

    def _told(self, request: Request, version: int) -> bytes:
        return b"%b %d" % (request.fields[b"authorization"], version)


def _report(request: Request) -> str:
    if request.method == "POST":
        assert isinstance(request.body, bytes)
        return "r1" if b"r1" in request.body else "r2"
    return request.path.decode().rpartition("/")[2]


class Seen(NamedTuple):
    """A visitor, and the version that had been acknowledged to somebody before it came."""

    act: Act
    visitor: Visitor
    acknowledged: int


def ask(world: World, act: Act, **own: str) -> Visitor:
    """Let one client ask."""
    match act.kind:
        case "load":
            return world.get(act.report, act.user, **own)
        case "history":
            return world.history(act.report, act.user, **own)
        case "update":
            return world.patch(act.report, b"{}", act.user, **own)
    return world.create(act.report, act.user, **own)


async def play(world: World, backend: Backend, acts: list[Act]) -> list[Seen]:
    """Let everybody come and leave in time; return them once all records are written."""
    acknowledged: Counter[str] = Counter()
    seen: list[Seen] = []

    def come(act: Act) -> None:
        own: dict[str, str] = {} if act.own_ms is None else {"X_Request_Deadline_Ms": str(act.own_ms)}
        visitor = ask(world, act, **own)
        seen.append(Seen(act, visitor, acknowledged[act.report]))
        if act.leaves_after_ms is not None:
            world.later(act.leaves_after_ms, visitor.leave)
        if act.kind in ("update", "create"):
            visitor.client.when_answered = lambda: acknowledge(act.report, visitor)

    def acknowledge(report: str, visitor: Visitor) -> None:
        if visitor.status == 200:
            acknowledged[report] = max(acknowledged[report], backend.versions[report])

    for act in sorted(acts, key=lambda act: act.at_ms):
        world.later(act.at_ms, lambda act=act: come(act))  # type: ignore[misc]
    await world.until_ms(1501)
    for each in seen:
        await each.visitor.finish()
    return seen


def check_caller(each: Seen) -> None:
    """Everybody is answered once and in time, with nobody else's bytes, and never with what is older than a write."""
    act, visitor = each.act, each.visitor
    patience_ms = min(PATIENCE_MS, PATIENCE_MS if act.own_ms is None else act.own_ms)
    left = act.leaves_after_ms is not None and act.leaves_after_ms <= patience_ms + GRACE_MS
    if visitor.client.answers == 0:
        assert left, f"{act} was never answered"
        assert visitor.exchange.status == Reason.CANCELLED.status
        return
    assert visitor.client.answers == 1
    assert visitor.waited_ms <= patience_ms + GRACE_MS, f"{act} waited {visitor.waited_ms} ms"
    if visitor.status != 200 or visitor.client.body.startswith(b"{"):
        return
    user, version = visitor.client.body.split()
    assert user.decode() == act.user
    if act.kind in ("load", "history"):
        assert int(version) >= each.acknowledged, f"{act} saw {version!r}, {each.acknowledged} had been acknowledged"


def check_world(world: World, seen: list[Seen]) -> None:
    """Everything that was taken came back, everything was counted once, and no ladder was longer than its limit."""
    assert world.at_rest(), f"{world.breaker!r} {len(world.flights)} flights, {world.flights.followers} followers"
    assert Counter(map(id, world.ledger.records)) == Counter(id(each.visitor.exchange) for each in seen)
    assert sum(world.roles()) == len(seen)
    calls = Counter(call.field(b"x-correlation-id") for call in world.upstream.calls)
    assert max(calls.values(), default=0) <= 1 + EXACT.max_retries
    for exchange in world.ledger.records:
        if exchange.route is UPDATE:  # T1: nothing says that a second PATCH would be safe
            assert sum(attempt.sent for attempt in exchange.attempts) <= 1


@settings(max_examples=100, deadline=None)
@given(acts=st.lists(ACTS, min_size=20, max_size=50), behaviours=st.lists(BEHAVIOURS, min_size=4, max_size=12))
@simulated
async def test_any_schedule(acts: list[Act], behaviours: list[Behaviour]) -> None:
    """C3-C6, C9, C12, T3, B3: the promises that hold whatever happens, over random schedules."""
    backend = Backend(behaviours)
    world = World(backend.play, rules=RULES)
    seen = await play(world, backend, acts)
    for each in seen:
        check_caller(each)
    check_world(world, seen)
    assert now_ms() < 60_000
