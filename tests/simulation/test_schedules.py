"""Invariants under any schedule of readers, writers, failures and departures."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.exchange.state import Exchange
from proxy.http.fields import Fields
from proxy.http.message import Framing, Request, Response
from proxy.http.problems import Reason
from proxy.policy.coalescing import Role
from proxy.policy.recovery_plan import RecoveryKind
from proxy.transport.broadcast import Broadcast
from tests.settings import a_route, breaker_settings, recovery_rules
from tests.simulation.scripted import Step, answers, fails, hangs, refuses
from tests.simulation.virtual import now_ms, simulated
from tests.simulation.world import CREATE, EXACT, HISTORY, LOAD, UPDATE, Visitor, World

PATIENCE_MS = 2000  # every route's total timeout
GRACE_MS = 5
LAST_MS = 1500  # nobody comes later,
QUIET_MS = 12_000  # and by then nothing of it is left

RECENT = replace(HISTORY, recovery=replace(HISTORY.recovery, stale_if_error_s=600.0))
LISTS = a_route(
    "lists", "GET", "/api/lists", "sessions", "sessions", retry=EXACT, reuse_s=2.0,
    recovery=recovery_rules(stale_if_error_s=600.0),
)  # fmt: skip
TOUCH = a_route("touch", "POST", "/api/touch", "sessions", "sessions", retry=EXACT)
ROUTES = (CREATE, LOAD, UPDATE, RECENT, LISTS, TOUCH)
WRITES = ("update", "create", "touch")

# Each user is told apart by another field, the last two by one that nobody was told of.
USERS: dict[str, dict[str, str]] = {
    "ada": {"Authorization": "ada"},
    "bob": {"Authorization": "bob"},
    "cyd": {"Cookie": "token=0a1b2c3d4e5f6a7b8; sid=cyd"},
    "dan": {"Cookie": "token=0a1b2c3d4e5f6a7b8; sid=dan"},
    "eve": {"X_Tenant": "eve"},
    "fay": {"X_Tenant": "fay"},
}
STRANGERS = ("eve", "fay")


class Behaviour(NamedTuple):
    """What the backend does with one call: its kind, how long it takes, and when in between a write takes effect.

    `late` fails, and does what it was asked all the same: up to a second after it failed.
    """

    kind: str
    after_ms: int
    takes_effect: float  # share of the time


class Act(NamedTuple):
    """One client: when it comes, what it wants, how long it has, when it leaves, and whether it carries a token."""

    at_ms: int
    kind: str
    user: str
    report: str
    own_ms: int | None
    leaves_after_ms: int | None
    token: bool

    @property
    def about(self) -> str:
        """Return what it reads, or is about to change."""
        return f"list of {self.user}" if self.kind == "lists" else self.report


def behaviours(kinds: list[str]) -> st.SearchStrategy[list[Behaviour]]:
    """Return what the backend does with one call after another."""
    one = st.builds(
        Behaviour,
        st.sampled_from(kinds),
        st.sampled_from([0, 20, 100, 250, 600, 900]),
        st.sampled_from([0.0, 0.5, 1.0]),
    )
    return st.lists(one, min_size=4, max_size=12)


def acts(kinds: list[str], users: list[str]) -> st.SearchStrategy[list[Act]]:
    """Return who comes. Close together on purpose: what can go wrong goes wrong between requests that overlap."""
    one = st.builds(
        Act,
        st.integers(0, 60).map(lambda step: step * 25),
        st.sampled_from(kinds),
        st.sampled_from(users),
        st.sampled_from(["r1", "r1", "r2"]),
        st.sampled_from([None, None, None, 0, 60, 333, 900, 2500]),
        st.sampled_from([None, None, None, 0, 30, 200, 700]),
        st.booleans(),
    )
    return st.lists(one, min_size=20, max_size=50)


FAILURES = ("503", "429", "401", "403", "404", "409", "reset", "refuse", "hang")
# Four kinds of days: all goes wrong; one user reads what he writes; hardly anybody writes, so that much is kept for
# long; and strangers create.
BUSY = st.tuples(
    acts(
        ["load", "load", "load", "recent", "recent", "lists", "lists", *WRITES, "update"],
        ["ada", "ada", "ada", "bob", "cyd", "cyd", "dan", "eve", "eve", "fay"],
    ),
    behaviours(["ok"] * 8 + ["stream", "cookie", "late"] * 2 + [*FAILURES]),
)
OVERLAPPING = st.tuples(
    acts(["load", "load", "lists", "recent", "update", "touch"], ["ada"]), behaviours(["ok", "stream"])
)
QUIET = st.tuples(acts(["recent", "lists"] * 12 + list(WRITES), ["ada"]), behaviours(["ok", "late"]))
STRANGE = st.tuples(acts(["create", "create", "load"], ["eve", "eve", "fay"]), behaviours(["ok", "cookie", "cookie"]))
REFUSING = st.tuples(
    acts(["recent", "lists"] * 2 + ["update", "touch"], ["ada", "bob", "cyd", "eve"]),
    behaviours(["403", "404", "409", "422", "429", "503", "refuse"]),
)
# On the wire a request runs in an eager task, and its answer is handed over at once. All that holds in any order holds
# in that one too, and in the order of ordinary tasks.
EITHER_WAY = pytest.mark.parametrize("eager", [False, True], ids=["ordinary tasks", "eager tasks"])
RULES = breaker_settings(failure_threshold=3, reset_timeout=0.3, jitter=0.0)
CALM = breaker_settings(failure_threshold=10_000, jitter=0.0)


class Told(NamedTuple):
    """What a body says: to whom, the version of what was asked for, and how often he touched everything."""

    user: str
    version: int
    touched: int

    @classmethod
    def of(cls, body: bytes) -> "Told | None":
        """Read a body; None for a document of the sidecar's own, or where nothing had arrived."""
        words = body.decode().split()
        return cls(words[0], int(words[1]), int(words[2])) if body and body[:1] != b"{" else None


@dataclass
class Backend:
    """Sessions with versions. A read tells the versions at its arrival; a write takes effect before its answer.

    A write to a report changes it for everybody, and the list of its user; a touch changes all that its user sees.
    """

    behaviours: list[Behaviour]
    versions: Counter[str] = field(default_factory=Counter)
    touched: Counter[str] = field(default_factory=Counter)
    came_late: Counter[str] = field(default_factory=Counter)  # versions that nobody was told of

    def play(self, request: Request, number: int) -> Step:
        """Do what the schedule says with this call."""
        behaviour = self.behaviours[(number - 1) % len(self.behaviours)]
        after_s, told = behaviour.after_ms / 1000, self._told(request)
        match behaviour.kind:
            case "reset":
                return fails(after_s=after_s)
            case "late":
                asyncio.get_running_loop().call_later(after_s + behaviour.takes_effect, self._late, request)
                return fails(after_s=after_s)
            case "refuse":
                return refuses()
            case "hang":
                return hangs()
            case "stream" if request.safe:
                return _streams(told, after_s)
            case "cookie":
                return self._done(request, behaviour, answers(200, told, after_s, Set_Cookie=f"sid={number}"))
            case "ok" | "stream":
                return self._done(request, behaviour, answers(200, told, after_s))
        return answers(int(behaviour.kind), told, after_s)

    def _done(self, request: Request, behaviour: Behaviour, step: Step) -> Step:
        if request.safe:
            return step
        return step._replace(
            effect=lambda: self._write(request), effect_s=step.after_s * behaviour.takes_effect
        )  # fmt: skip

    def _write(self, request: Request) -> None:
        user, about = _user(request), _about(request)
        if about is None:
            self.touched[user] += 1
        else:
            self.versions[about] += 1
            self.versions[f"list of {user}"] += 1

    def _late(self, request: Request) -> None:
        if not request.safe:
            self._write(request)
            user, about = _user(request), _about(request)
            for changed in [f"touched by {user}"] if about is None else [about, f"list of {user}"]:
                self.came_late[changed] = self.touched[user] if about is None else self.versions[changed]

    def _told(self, request: Request) -> bytes:
        user = _user(request)
        version = self.versions[_about(request) or f"list of {user}"]
        return f"{user} {version} {self.touched[user]}".encode()


def _streams(told: bytes, lasts_s: float) -> Step:
    """Answer at once with a body that goes on for as long as other answers take to come."""
    relay = Broadcast(lambda pause: None, lambda: None)
    relay.push(told)
    asyncio.get_running_loop().call_later(lasts_s, relay.finish)
    return Step(Response(200, b"", Fields(()), relay, Framing.CHUNKED))


def _user(request: Request) -> str:
    fields = request.fields
    said = fields.get(b"authorization") or fields.get(b"x-tenant") or fields.get(b"cookie")
    assert said is not None
    return said.decode().rpartition("=")[2]


def _about(request: Request) -> str | None:
    """Return the report that a request is about; lists and touches are about none."""
    if request.path in (b"/api/lists", b"/api/touch"):
        return None
    if request.method == "POST":
        assert isinstance(request.body, bytes)
        return "r1" if b"r1" in request.body else "r2"
    return request.path.decode().rpartition("/")[2]


class Seen(NamedTuple):
    """A visitor, and what had been acknowledged to somebody, or come about late, before it came."""

    act: Act
    visitor: Visitor
    acknowledged: int
    touched: int
    late: int
    late_touch: int


def ask(world: World, act: Act) -> Visitor:
    """Let one client ask."""
    fields = dict(USERS[act.user])
    if act.own_ms is not None:
        fields["X_Request_Deadline_Ms"] = str(act.own_ms)
    if act.token and act.kind in WRITES:
        fields["X_CSRF_Token"] = f"{act.at_ms}"
    match act.kind:
        case "load":
            return world.get(act.report, None, **fields)
        case "recent":
            return world.history(act.report, None, **fields)
        case "lists":
            return world.visit("GET", "/api/lists", b"", None, **fields)
        case "update":
            return world.patch(act.report, b"{}", None, **fields)
        case "touch":
            return world.visit("POST", "/api/touch", b"", None, **fields)
    return world.create(act.report, None, **fields)


@dataclass
class Play:
    """One run: everybody comes and leaves in time, and what was acknowledged by then is written down."""

    world: World
    backend: Backend
    acknowledged: Counter[str] = field(default_factory=Counter)
    came_late: Counter[str] = field(default_factory=Counter)
    seen: list[Seen] = field(default_factory=list)

    async def run(self, acts: Iterable[Act]) -> None:
        """Play until all records are written, and long enough for every timer to be over."""
        for act in sorted(acts, key=lambda act: act.at_ms):
            self.world.later(act.at_ms, lambda act=act: self._come(act))  # type: ignore[misc]
        await self.world.until_ms(LAST_MS + 1)
        for each in self.seen:
            await each.visitor.finish()
        for each in self.seen:
            await each.visitor.rest()
        check_loop()
        assert now_ms() < QUIET_MS
        await self.world.until_ms(QUIET_MS)

    def _come(self, act: Act) -> None:
        told, late = self.acknowledged, self._came_late()
        visitor, touch = ask(self.world, act), f"touched by {act.user}"
        self.seen.append(Seen(act, visitor, told[act.about], told[touch], late[act.about], late[touch]))
        if act.leaves_after_ms is not None:
            self.world.later(act.leaves_after_ms, visitor.leave)
        if act.kind in WRITES:
            visitor.client.when_answered = lambda: self._acknowledge(act, visitor)

    def _came_late(self) -> Counter[str]:
        """Return what came about unknown to those who wrote it: of writes that are over, not a ladder's first steps."""
        if all(each.visitor.over.done() for each in self.seen if each.act.kind in WRITES):
            self.came_late = Counter(self.backend.came_late)
        return self.came_late

    def _acknowledge(self, act: Act, visitor: Visitor) -> None:
        if visitor.status != 200:
            return
        backend = self.backend
        if act.kind == "touch":
            self.acknowledged[f"touched by {act.user}"] = backend.touched[act.user]
        else:
            for changed in (act.report, f"list of {act.user}"):
                self.acknowledged[changed] = max(self.acknowledged[changed], backend.versions[changed])


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
    told = Told.of(visitor.client.body) if visitor.status == 200 else None
    if told is None:
        return
    assert told.user == act.user, f"{act} was given what {told.user} was told"
    if act.kind not in WRITES:
        assert told.version >= each.acknowledged, f"{act} saw {told}, {each.acknowledged} had been acknowledged"
        assert told.touched >= each.touched, f"{act} saw {told}, {each.touched} touches had been acknowledged"
        if visitor.exchange.ending == "reused" or visitor.exchange.result.recovery is RecoveryKind.STALE:
            assert told.version >= each.late, f"{act} was given {told} that was kept, {each.late} had come about"
            assert told.touched >= each.late_touch, f"{act} was given {told} that was kept, {each.late_touch} had come"


def check_anonymous(seen: list[Seen]) -> None:
    """A cookie that is set for somebody without credentials is set for him alone."""
    strangers = [each.visitor.client.fields for each in seen if each.act.user in STRANGERS]
    cookies = Counter(fields.get(b"set-cookie") for fields in strangers if b"set-cookie" in fields)
    assert max(cookies.values(), default=0) <= 1


def check_world(world: World, seen: list[Seen]) -> None:
    """Everything that was taken came back, everything was counted once, and no ladder was longer than its limit."""
    assert world.at_rest(), f"{world.breaker!r} {len(world.flights)} flights, {world.flights.followers} followers"
    records = world.ledger.records
    assert Counter(map(id, records)) == Counter(id(each.visitor.exchange) for each in seen)
    roles = Counter(record.role for record in records)
    assert world.roles() == (roles[Role.LED], roles[Role.JOINED], roles[Role.ALONE])
    assert sum(world.roles()) == len(seen)
    ladders = ((call.field(b"x-correlation-id"), call.request.method) for call in world.upstream.calls)
    calls = Counter(ladders)  # recovery asks with another method, on a ladder of its own
    assert max(calls.values(), default=0) <= 1 + EXACT.max_retries
    assert sum(len([a for a in record.attempts if a.result != "destination_unavailable"]) for record in records) == len(
        world.upstream.calls
    )
    for exchange in records:
        if exchange.route in (UPDATE, TOUCH):  # Nothing says that a second one would be safe
            assert sum(attempt.sent for attempt in exchange.attempts) <= 1


def check_flights(records: list[Exchange]) -> None:
    """One flight, one ladder: who shares a flight has no call but its leader's; its followers are counted."""
    flights = {record.flight.id: record.flight for record in records if record.flight is not None}
    joined = [record for record in records if record.role is Role.JOINED and record.flight is not None]
    late = {flight.key for flight in flights.values() if flight.late}
    for record in joined:
        if record.attempts and record.flight is not None:  # nobody else led, so it did; or it is a stranger's
            assert record.flight.key in late or record.request.fields.get(b"x-tenant") is not None
    asking = Counter(x.flight.id for x in records if x.flight is not None and x.role is Role.LED and x.attempts)
    assert max(asking.values(), default=0) <= 1
    followed = Counter(x.flight.id for x in joined if x.flight is not None and not x.attempts)
    assert all(flights[id_].followers >= followed[id_] for id_ in followed)
    known = [x for x in records if x.request.fields.get(b"x-tenant") is None and x.flight is not None]
    if not late and not any(x.attempts for x in known if x.role is Role.JOINED):  # else some followed twice
        followers = {x.flight.id: x.flight.followers for x in known if x.flight is not None}
        assert sum(followers.values()) == sum(x.role is Role.JOINED for x in known)


def check_loop() -> None:
    """No task and no timer of the sidecar's is left: nobody waits for what is over."""
    loop = asyncio.get_running_loop()
    assert asyncio.all_tasks(loop) == {asyncio.current_task()}
    timers = [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
    assert [timer for timer in timers if owner(timer._callback).startswith("proxy.exchange.")] == []


def owner(callback: Callable[..., object]) -> str:
    """Return the module of a method's object: a compiled method names no module itself."""
    held = getattr(callback, "__self__", None)
    return type(held).__module__ if held is not None else str(callback.__module__)


@EITHER_WAY
@settings(max_examples=150, deadline=None)
@given(day=st.one_of(BUSY, OVERLAPPING, QUIET, STRANGE))
@simulated
async def test_any_schedule(day: tuple[list[Act], list[Behaviour]], eager: bool) -> None:
    """The promises that hold whatever happens, over random schedules."""
    who_comes, what_is_done = day
    backend = Backend(what_is_done)
    world = World(backend.play, ROUTES, RULES, eager=eager)
    play = Play(world, backend)
    await play.run(who_comes)
    for each in play.seen:
        check_caller(each)
    check_anonymous(play.seen)
    check_world(world, play.seen)
    check_flights(world.ledger.records)
    check_loop()


def check_cached(seen: list[Seen]) -> None:
    """Whoever comes within two seconds of an answer to the same question is given that one: nobody took it away."""
    filled: dict[tuple[str, str, str], list[float]] = {}
    for each in seen:
        if each.act.kind not in WRITES and each.visitor.exchange.ending == "answered":
            filled.setdefault((each.act.kind, each.act.user, each.act.about), []).append(each.visitor.client.at_ms)
    for each in seen:
        act, came_ms = each.act, each.visitor.came_ms
        times = filled.get((act.kind, act.user, act.about), [])
        if any(came_ms - 1999 < at_ms < came_ms for at_ms in times):
            assert each.visitor.exchange.attempts == [], f"{act} was asked for anew"


@EITHER_WAY
@settings(max_examples=60, deadline=None)
@given(day=REFUSING)
@simulated
async def test_refused_writes_take_nothing_away(day: tuple[list[Act], list[Behaviour]], eager: bool) -> None:
    """Whatever is written and refused, or never sent, by whomever: every answer that is kept stays for its time."""
    who_comes, what_is_refused = day
    backend, reads = Backend(what_is_refused), Backend([Behaviour("ok", 20, 0.0)])
    world = World(
        lambda request, number: (reads if request.safe else backend).play(request, number), ROUTES, CALM, eager=eager
    )
    play = Play(world, backend)
    await play.run(who_comes)
    check_cached(play.seen)
    for each in play.seen:
        check_caller(each)
    check_world(world, play.seen)
