"""Generated pairs of callers: two that differ in anything but neutral fields share no response and no information.

`python -m tests.simulation.strangers --pairs 1000000` makes so many. Each pair meets the policies; every fiftieth asks
a whole sidecar, at the same moment. Who a caller is, the generator knows: it chose the values.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import NamedTuple

from proxy.http.fields import Fields
from proxy.http.message import Peer, Request, Response
from proxy.policy import claim_rules
from proxy.policy.coalescing import Flights, Joined, Role, given_in_person
from proxy.policy.idempotency import IdempotencyKey
from proxy.policy.invalidation import Invalidations
from proxy.policy.recovery_plan import Result
from proxy.policy.request_key import Identifier, Identity
from proxy.policy.routing import Coalesce, Idempotency, Route, SubjectRule
from tests.settings import OWN_FIELDS, a_route, changed
from tests.simulation.scripted import Step, answers
from tests.simulation.virtual import simulated
from tests.simulation.world import EXACT, World

WHOLE_EVERY = 50  # of the pairs, one asks a whole sidecar
READ = a_route("read", "GET", "/read", "sessions", "sessions", retry=EXACT)
WRITE = a_route(
    "write", "POST", "/write", "sessions", "sessions", subject=SubjectRule("body", "/id"),
    idempotency=Idempotency.REPLAY, retry=EXACT,
)  # fmt: skip
PRINCIPALS = (None, ("authorization", "cookie:sid"), ("x-user",))

# Values that name somebody, by the place that they stand in, and values that name nobody there.
SOMEBODY = {
    "authorization": ("Bearer ada", "Bearer bob", "Basic YWRhOnB3", "Token token=x1", "opaque"),
    "sid": ("0a1b2c3d4e5f60718", "9f8e7d6c5b4a39281", "6c84fb90-12c4-11e1-840d-7b25c5ee775a"),
    "x-user": ("ada", "bob"),
}
NO_IDENTITY = {
    "authorization": (
        "", "Bearer", "Bearer null", "bearer undefined", "Basic Og==", "null", "Token token=", "Bearer {{token}}",
        "Bearer ${TOKEN}", "Bearer <token>", "Bearer %TOKEN%", "Bearer [object Object]", "Bearer Bearer",
        "Bearer null,null", "Bearer null, Bearer null", "Bearer null;", "Basic dW5kZWZpbmVkOnVuZGVmaW5lZA",
    ),
    "sid": ("", "null", "undefined", "deleted", "{{sid_1a2b3c4d5e6f7}}", "${SID_1A2B3C4D5E6F7}", "null,null"),
    "x-user": ("", "null", "undefined", "anonymous", "{{user}}", "${USER}", "%USER%", "Bearer null", "null,"),
}  # fmt: skip
# Many callers have these alike, and no pattern tells them from a session id.
COMMON = (
    "release=3f9a1b2c4d5e6f70", "canary=v2-2026-11-30-build1a2b3c", "ab=exp12b_ctl7a_new3c9",
    "_optimizely=A1B2C3D4E5F60718",
)  # fmt: skip
PREFERENCES = (
    *COMMON, "lang=en", "lang=de", "theme=dark", "consent=2024-01-01T00:00:00Z", "tz=America%2FNew_York", "seen",
)  # fmt: skip
OTHERS = {"user-agent": ("Firefox", "Chrome"), "x-api-key": ("k-1", "k-2"), "x-tenant": ("acme", "null")}
NEUTRAL = {
    "x-request-id": ("1", "2"),
    "traceparent": ("a", "b"),
    "referer": ("/a", "/b"),
    "cache-control": ("no-cache",),
}
ADDRESSES = ("10.0.0.1", "10.0.0.2", "2001:db8::1")
CERTIFICATES = (None, None, None, "aa", "bb")


@dataclass(frozen=True)
class Caller:
    """Who asks. A place without a value is not sent."""

    address: str
    certificate: str | None
    shows: dict[str, str] = field(default_factory=dict)  # what may name it: authorization, sid, x-user
    cookies: tuple[str, ...] = ()  # preferences
    others: dict[str, str] = field(default_factory=dict)
    neutral: dict[str, str] = field(default_factory=dict)
    upper: bool = False  # field names in capitals

    def names(self, place: str) -> bool:
        """Tell whether somebody is named in a place."""
        return self.shows.get(place) in SOMEBODY[place]

    def naming(self, place: str) -> str | None:
        """Return what names it in a place."""
        return self.shows[place] if self.names(place) else None

    def cookie(self) -> str | None:
        """Return its Cookie field."""
        pairs = [*self.cookies, *([f"sid={self.shows['sid']}"] if "sid" in self.shows else [])]
        return "; ".join(pairs) if pairs else None

    def said(self) -> dict[str, str]:
        """Return its fields, without the neutral ones."""
        fields = {name: value for name, value in self.shows.items() if name != "sid"} | self.others
        cookie = self.cookie()
        return fields if cookie is None else fields | {"cookie": cookie}

    def request(self, method: str, target: str, body: bytes = b"") -> Request:
        """Return what it asks."""
        said = self.said() | self.neutral | ({"idempotency-key": "1"} if method == "POST" else {})
        lines = tuple(
            ((name.upper() if self.upper else name).encode(), value.encode()) for name, value in sorted(said.items())
        )
        peer = Peer(self.address, 40_000, certificate=self.certificate)
        return Request(method, target.encode(), Fields(lines), peer, body, authority=b"sidecar")


def any_of(random: Random, places: Mapping[str, tuple[str, ...]], share: float) -> dict[str, str]:
    """Return values for some of the places."""
    return {name: random.choice(values) for name, values in places.items() if random.random() < share}


def shown(random: Random) -> dict[str, str]:
    """Return what a caller shows of itself, half of it without a meaning."""
    return any_of(random, NO_IDENTITY, 0.4) | any_of(random, SOMEBODY, 0.25)


def caller(random: Random) -> Caller:
    """Return anybody."""
    return Caller(
        random.choice(ADDRESSES), random.choice(CERTIFICATES), shown(random),
        tuple(random.sample(PREFERENCES, random.randrange(3))), any_of(random, OTHERS, 0.3),
        any_of(random, NEUTRAL, 0.3), random.random() < 0.2,
    )  # fmt: skip


def another(random: Random, one: Caller) -> Caller:
    """Return somebody who differs from the first in a place or two, or in neutral ones only."""
    changes: list[Callable[[Caller], Caller]] = [
        lambda c: replace(c, address=random.choice(ADDRESSES)),
        lambda c: replace(c, certificate=random.choice(CERTIFICATES)),
        lambda c: replace(c, shows=c.shows | any_of(random, NO_IDENTITY, 0.4)),
        lambda c: replace(c, shows=c.shows | any_of(random, SOMEBODY, 0.4)),
        lambda c: replace(c, shows={name: value for name, value in c.shows.items() if random.random() < 0.5}),
        lambda c: replace(c, cookies=tuple(random.sample(PREFERENCES, random.randrange(3)))),
        lambda c: replace(c, others=any_of(random, OTHERS, 0.3)),
        lambda c: replace(c, neutral=any_of(random, NEUTRAL, 0.5)),
        lambda c: replace(c, upper=not c.upper),
    ]
    for change in random.sample(changes, random.randrange(3)):
        one = change(one)
    return one


def is_named(one: Caller, principal: tuple[str, ...] | None) -> bool:
    """Tell whether a caller shows what names it on such a route for certain: no cookie does if the route names none."""
    return any(one.names(place) for place in _places(principal))


def _places(principal: tuple[str, ...] | None) -> tuple[str, ...]:
    if principal is None:
        return ("authorization",)
    return ("authorization", "sid") if "cookie:sid" in principal else ("x-user",)


def is_in_person(one: Caller, principal: tuple[str, ...] | None) -> bool:
    """Tell whether a new `sid` is for one connection: of a caller who is not named, unless it may be its next one."""
    return not is_named(one, principal) and not (principal is None and one.names("sid"))


def are_one(one: Caller, other: Caller, principal: tuple[str, ...] | None) -> bool:
    """Tell whether two are the same principal: by what the route names, else by all that they send and by address."""
    if one.certificate != other.certificate or is_named(one, principal) != is_named(other, principal):
        return False
    if not is_named(one, principal):
        return one.said() == other.said() and one.address == other.address
    if principal is None:
        return one.said() == other.said()
    return all(one.naming(place) == other.naming(place) for place in _places(principal))


class Found(NamedTuple):
    """How many pairs were strangers, and how many were one caller."""

    strangers: int
    same: int


class Meeting:
    """The policies of one kind of route, as pairs of callers meet them."""

    def __init__(self, principal: tuple[str, ...] | None) -> None:
        self.principal = principal
        self.read = changed(READ, principal=principal)
        self.write = changed(WRITE, principal=principal, coalesce=Coalesce.SUBJECT)
        self._reads, self._writes = Identifier(self.read, OWN_FIELDS), Identifier(self.write, OWN_FIELDS)

    def check(self, one: Caller, other: Caller) -> bool:
        """Check that two strangers share nothing; tell whether they were strangers."""
        strangers = not are_one(one, other, self.principal)
        reads = [caller.request("GET", "/read") for caller in (one, other)]
        writes = [caller.request("POST", "/write", b'{"id":"r1"}') for caller in (one, other)]
        sent = [self._reads.identify(request, None) for request in reads]
        written = [self._writes.identify(request, "r1") for request in writes]
        assert (sent[0].principal == sent[1].principal) is not strangers, (self.principal, one, other)
        assert [each.anonymous or each.guessed for each in sent] == [
            not is_named(c, self.principal) for c in (one, other)
        ], (one, other)
        assert given_in_person(NEW_SESSION, sent[0], reads[0]) is is_in_person(one, self.principal), (one, other)
        self._check_flights(reads, sent, self.read, self._reads, apart=strangers or one.said() != other.said())
        self._check_flights(writes, written, self.write, self._writes, apart=strangers)
        if strangers:
            self._check_keys(writes, written, (one, other))
        return strangers

    def _check_flights(
        self, requests: list[Request], sent: list[Identity], route: Route, identifier: Identifier, *, apart: bool
    ) -> None:
        flights = Flights(Invalidations())
        places = [
            flights.join(route, request, None, identity, identifier.owners, 0.0)
            for request, identity in zip(requests, sent, strict=True)
        ]
        roles = [place.role for place in places if isinstance(place, Joined)]
        assert roles == [Role.LED, Role.LED if apart else Role.JOINED], (self.principal, requests)

    def _check_keys(self, writes: list[Request], written: list[Identity], callers: tuple[Caller, Caller]) -> None:
        """The same key of two strangers is two keys, whatever they ask: there is no replay, and no 422."""
        names = {
            claim_rules.of_key(self.write, request, identity.principal, IdempotencyKey(b"1", "client")).name
            for request, identity in zip(writes, written, strict=True)
        }
        assert len(names) == 2, (self.principal, callers)


NEW_SESSION = Result(Response(200, b"", Fields(((b"Set-Cookie", b"sid=new; HttpOnly"),))))


def session(request: Request, number: int) -> Step:
    """Give each caller bytes and a cookie of its own."""
    return answers(200, b"token %d" % number, after_s=0.1, Set_Cookie=f"sid=given-{number}")


@simulated
async def check_whole(one: Caller, other: Caller, meeting: Meeting) -> None:
    """Two strangers ask a sidecar at one moment, and again later: bytes, cookies, status, time and Cache-Status."""
    world = World(session, (meeting.read, meeting.write))
    for _ in range(2):
        visits = [
            world.send(caller.request(method, target, body))
            for method, target, bodies in (
                ("GET", "/read", (b"", b"")),
                ("POST", "/write", (b'{"id":"1"}', b'{"id":"2"}')),
            )
            for caller, body in zip((one, other), bodies, strict=True)
        ]
        for visit in visits:
            await visit.finish()
        for first, second in (visits[:2], visits[2:]):
            assert first.client.body != second.client.body or {first.status, second.status} == {504}, (one, other)
            cookies = [visit.client.fields.get(b"set-cookie") for visit in (first, second)]
            assert cookies[0] != cookies[1] or cookies == [None, None], (one, other)
            assert second.status != 422
            assert b"collapsed" not in (second.client.fields.get(b"cache-status") or b"")
            assert first.waited_ms == second.waited_ms
    assert world.at_rest()


@simulated
async def check_in_person(one: Caller, meeting: Meeting) -> None:
    """Two who look alike ask at one moment: they may be strangers behind one address, so each has its own session."""
    world = World(session, (meeting.read,))
    visits = [world.send(one.request("GET", "/read")) for _ in range(2)]
    first, second = [await visit.finish() for visit in visits]
    assert first.client.body != second.client.body, one
    assert first.client.fields.get(b"set-cookie") != second.client.fields.get(b"set-cookie"), one


def check(pairs: int, seed: int = 7) -> Found:
    """Check so many pairs; return what they were. Raises AssertionError with the first pair that shared something."""
    random, strangers = Random(seed), 0
    meetings = [Meeting(principal) for principal in PRINCIPALS]
    for number in range(pairs):
        one = caller(random)
        other, meeting = another(random, one), meetings[number % len(meetings)]
        apart = meeting.check(one, other)
        strangers += apart
        if apart and number % WHOLE_EVERY == 0:
            check_whole(one, other, meeting)
        if number % WHOLE_EVERY == 1 and is_in_person(one, meeting.principal):
            check_in_person(one, meeting)
    return Found(strangers, pairs - strangers)


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    found = check(given.pairs, given.seed)
    print(f"{given.pairs} pairs: {found.strangers} of strangers, who shared nothing; {found.same} of one caller")


if __name__ == "__main__":
    main()
