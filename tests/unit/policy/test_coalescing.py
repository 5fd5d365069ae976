"""Which requests lead, follow or go alone, and the effect of a flight's end on each."""

from typing import Any

import pytest

from proxy.http.fields import Fields
from proxy.http.message import Failure, Request, Response
from proxy.http.problems import Reason
from proxy.policy.coalescing import (
    MAX_APART,
    MAX_ELECTIONS,
    Flight,
    Flights,
    FlightStage,
    Joined,
    Overflow,
    Role,
    elects,
    never_shared,
    shareable,
)
from proxy.policy.invalidation import Invalidations
from proxy.policy.recovery_plan import Result
from proxy.policy.request_key import Identifier, Identity
from proxy.policy.routing import Coalesce, Route
from tests.settings import OWN_FIELDS
from tests.unit.policy.samples import OPEN, PEER, RESET, TIMED_OUT, Endless, request, response, route

ANSWER = Result(response())
LOST = Result(Failure(Reason.INTERNAL, sent=True))


def join(
    flights: Flights, asked: Request, subject: str | None = "r1", now: float = 0.0, **changes: Any
) -> Joined | Overflow:
    """Ask for a place on a route with these changes."""
    on = route(**changes)
    identifier = Identifier(on, OWN_FIELDS)
    return flights.join(on, asked, subject, identifier.identify(asked, subject), identifier.owners, now)


def led(flights: Flights, asked: Request | None = None, subject: str | None = "r1", **changes: Any) -> Flight:
    """Lead a new flight."""
    place = join(flights, asked or request(), subject, **changes)
    assert isinstance(place, Joined)
    assert place.role is Role.LED
    assert place.flight is not None
    return place.flight


def followed(flights: Flights, flight: Flight, results: list[Result | None], asked: Request | None = None) -> int:
    """Follow a flight, and have its result written down; return the ticket."""
    assert join(flights, asked or request()) == Joined(Role.JOINED, flight)
    return flight.wait(results.append, request())


def test_the_second_follows_the_first() -> None:
    """Equal questions share one flight, another question has its own."""
    flights = Flights(Invalidations())
    flight = led(flights)
    assert join(flights, request()) == Joined(Role.JOINED, flight)
    assert led(flights, request(Authorization="bob")) is not flight
    assert len(flights) == 2


def test_a_landing_tells_everybody_once() -> None:
    """Every follower gets the result in the step that takes the flight away."""
    flights, results = Flights(Invalidations()), list[Result | None]()
    flight = led(flights)
    for _ in range(3):
        followed(flights, flight, results)
    flights.land(flight, ANSWER, request(), 0.0)
    assert results == [ANSWER] * 3
    assert (len(flights), flight.stage) == (0, FlightStage.LANDED)
    flights.land(flight, LOST, request(), 0.0)
    assert results == [ANSWER] * 3


def test_a_newcomer_never_gets_a_finished_flight() -> None:
    """Even who asks while the landing is being told leads a flight of its own."""
    flights = Flights(Invalidations())
    flight = led(flights)
    newcomers: list[Joined | Overflow] = []
    assert join(flights, request()) == Joined(Role.JOINED, flight)
    flight.wait(lambda result: newcomers.append(join(flights, request())), request())
    flights.land(flight, ANSWER, request(), 0.0)
    (newcomer,) = newcomers
    assert isinstance(newcomer, Joined)
    assert newcomer.role is Role.LED
    assert newcomer.flight is not flight


def test_each_flight_has_an_id_of_its_own() -> None:
    """Records name their flight, also when one question flies twice."""
    flights = Flights(Invalidations(), "f")
    first = led(flights)
    flights.land(first, ANSWER, request(), 0.0)
    assert (first.id, led(flights).id) == ("f-1", "f-2")


def test_leaving_is_counted_and_the_last_one_is_told() -> None:
    """The flight is deserted when its last caller leaves, leader or follower, and only then."""
    flights, told = Flights(Invalidations()), list[str]()
    flight = led(flights)
    flight.when_deserted = lambda: told.append("deserted")
    ticket = followed(flights, flight, [])
    flight.leave()
    assert (told, flight.callers) == ([], 1)
    flight.leave(ticket)
    assert (told, flight.callers) == (["deserted"], 0)


def test_a_ticket_counts_once() -> None:
    """A follower that leaves twice, or after it was told, takes nobody else out."""
    flights, results = Flights(Invalidations()), list[Result | None]()
    flight = led(flights)
    one, two = followed(flights, flight, results), followed(flights, flight, results)
    flight.leave(one)
    flight.leave(one)
    assert flight.callers == 2
    flights.land(flight, ANSWER, request(), 0.0)
    flight.leave(two)
    assert (results, flight.callers) == ([ANSWER], 2)


def test_nobody_joins_an_abandoned_flight() -> None:
    """Once its last caller left, the next one leads anew; the old one's landing disturbs nothing."""
    flights = Flights(Invalidations())
    old = led(flights)
    flights.abandon(old)
    new = led(flights)
    flights.land(old, ANSWER, request(), 0.0)
    assert (len(flights), old.stage) == (1, FlightStage.ABANDONED)
    assert join(flights, request()) == Joined(Role.JOINED, new)


def test_nobody_joins_a_sealed_flight() -> None:
    """After a write to its subject a read is left to its callers, who still get their answer."""
    flights, results = Flights(Invalidations()), list[Result | None]()
    old = led(flights)
    followed(flights, old, results)
    flights.invalidations.invalidate("r1", (b"whoever",))
    new = led(flights)
    assert join(flights, request()) == Joined(Role.JOINED, new)
    flights.land(old, ANSWER, request(), 0.0)
    assert results == [ANSWER]
    assert join(flights, request()) == Joined(Role.JOINED, new)


def test_an_unsafe_flight_is_not_sealed() -> None:
    """A second create joins the first across any write."""
    flights = Flights(Invalidations())
    asked = request("POST", "/api/sessions", Content_Type="application/json")
    flight = led(flights, asked, coalesce=Coalesce.SUBJECT)
    flights.invalidations.invalidate("r1", (b"whoever",))
    assert join(flights, asked, coalesce=Coalesce.SUBJECT) == Joined(Role.JOINED, flight)


@pytest.mark.parametrize(
    ("on", "asked", "subject", "why"),
    [
        (route(), request(), "r1", None),
        (route(), request("HEAD"), None, None),
        (route(coalesce=Coalesce.IDENTICAL), request("POST"), None, None),
        (route(coalesce=Coalesce.SUBJECT), request("POST"), "r1", None),
        (route(coalesce=Coalesce.OFF), request(), "r1", "off"),
        (route(), request("POST"), "r1", "off"),
        (route(), request("DELETE"), "r1", "off"),
        (route(coalesce=Coalesce.SUBJECT), request("POST"), None, "no_subject"),
        (route(), request(Range="bytes=0-9"), "r1", "range"),
        (route(no_cache_leads=True), request(Cache_Control="no-cache"), "r1", "no_cache"),
        (route(), request(Cache_Control="no-cache"), "r1", None),
        (route(), request(Pragma="no-cache"), "r1", None),
    ],
)
def test_who_goes_alone(on: Route, asked: Request, subject: str | None, why: str | None) -> None:
    """Reads join by default, unsafe requests do not; a subject's route needs the subject."""
    assert Flights(Invalidations()).alone(on, asked, subject) == why


def test_the_switch_lets_everybody_go_alone() -> None:
    """Coalescing can be turned off at run time."""
    flights = Flights(Invalidations())
    flights.enabled = False
    assert flights.alone(route(), request(), "r1") == "switched_off"


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (request(Range="bytes=0-"), "range"),
        (request(Expect="100-continue"), "expect"),
        (request(Upgrade="websocket"), "upgrade"),
        (request(Accept="text/event-stream"), "event_stream"),
        (request(Accept="text/html, text/event-stream;q=0.5"), "event_stream"),
        (request(Accept="TEXT/EVENT-STREAM"), "event_stream"),
        (request("CONNECT"), "method"),
        (request("TRACE"), "method"),
        (Request("POST", b"/", Fields(()), PEER, Endless()), "body_over_replay_limit"),
        (request(Accept="*/*"), None),
        (request("OPTIONS"), None),
    ],
)
def test_what_is_never_shared(asked: Request, why: str | None) -> None:
    """Partial answers, upgrades, event streams, bodies over the replay limit, CONNECT and TRACE go alone."""
    assert never_shared(asked) == why


@pytest.mark.parametrize(
    ("answer", "in_person", "strict", "shared"),
    [
        (response(), True, False, True),
        (response(500), True, False, True),
        (response(Cache_Control="no-store, private"), True, False, True),
        (response(Cache_Control="private, No-Store"), True, True, False),
        (response(Cache_Control='x="unclosed, no-store'), False, True, False),
        (response(Cache_Control="max-age=5; no-store"), False, True, False),
        (response(Vary="Origin"), True, False, True),
        (response(Vary="*"), True, False, False),
        (response(Vary="Origin, *"), True, False, False),
        (response(Content_Type="text/event-stream"), True, False, False),
        (response(Content_Type="Text/Event-Stream; charset=utf-8"), True, False, False),
        (response(Set_Cookie="a=b"), True, False, False),
        (response(Set_Cookie="a=b"), False, False, True),
    ],
)
def test_what_may_be_shared(answer: Response, in_person: bool, strict: bool, shared: bool) -> None:
    """In flight all is shared whatever its Cache-Control, but for what is one caller's alone."""
    assert shareable(Result(answer), in_person=in_person, strict=strict) is shared


@pytest.mark.parametrize("outcome", [RESET, TIMED_OUT, OPEN])
def test_a_failure_is_shared(outcome: Failure) -> None:
    """Never one ladder per follower."""
    assert shareable(Result(outcome), in_person=True)


def test_an_unshareable_landing_sends_everybody_upstream() -> None:
    """Followers are told that there is nothing for them; an unsafe flight's answer is shared all the same."""
    results = list[Result | None]()
    flights = Flights(Invalidations())
    flight = led(flights)
    followed(flights, flight, results)
    flights.land(flight, Result(response(Vary="*")), request(), 0.0)
    assert results == [None]

    unsafe, created = request("POST"), Result(response(201, Vary="*"))
    flight = led(flights, unsafe, coalesce=Coalesce.IDENTICAL)
    flight.wait(results.append, unsafe)
    flights.land(flight, created, unsafe, 0.0)
    assert results == [None, created]


def test_a_strangers_cookie_is_given_to_nobody_else() -> None:
    """A create of a caller without credentials sets a cookie: his followers get nothing of it."""
    results, created = list[Result | None](), Result(response(201, Set_Cookie="sid=1"))
    for asked in (request("POST"), request("POST", Authorization="x")):
        flights = Flights(Invalidations())
        flight = led(flights, asked, coalesce=Coalesce.IDENTICAL)
        flight.wait(results.append, asked)
        flights.land(flight, created, asked, 0.0)
    assert results == [None, created]


def test_an_answer_that_varies_is_for_those_who_asked_alike() -> None:
    """`Vary: Referer`, which is neutral: the follower with the leader's shares, the one with another does not."""
    flights, one, two = Flights(Invalidations()), request(Referer="/a"), request(Referer="/b")
    same, other = list[Result | None](), list[Result | None]()
    flight = led(flights, one)
    flight.wait(same.append, one)
    flight.wait(other.append, two)
    answer = Result(response(Vary="Accept, referer"))
    flights.land(flight, answer, one, 0.0)
    assert (same, other) == ([answer], [None])


def test_a_question_that_cannot_be_shared_is_remembered_for_a_while() -> None:
    """Nobody waits for an answer that he will not be given: for 30 s such a question goes alone."""
    flights = Flights(Invalidations())
    flights.land(led(flights), Result(response(Vary="*")), request(), 10.0)
    assert join(flights, request(), now=39.9) == Joined(Role.ALONE, reason="unshareable")
    assert led(flights, request(target="/other")).followers == 0
    assert led(flights, request(), now=40.0).followers == 0


@pytest.mark.parametrize("referer", ["/a", "/b"])
def test_what_varied_for_nobody_is_not_remembered(referer: str) -> None:
    """An answer that names a field in Vary sets its question apart only if a follower differed in it."""
    flights, one, two = Flights(Invalidations()), request(Referer="/a"), request(Referer=referer)
    flight = led(flights, one)
    flight.wait(lambda result: None, two)
    flights.land(flight, Result(response(Vary="Referer")), one, 0.0)
    place = join(flights, one, now=1.0)
    assert isinstance(place, Joined)
    assert place.role is (Role.LED if referer == "/a" else Role.ALONE)


def test_the_memory_of_unshareable_questions_is_bounded() -> None:
    """The oldest is forgotten first, and then waits once more."""
    flights = Flights(Invalidations())
    for number in range(MAX_APART + 1):
        asked = request(target=f"/{number}")
        flights.land(led(flights, asked), Result(response(Vary="*")), asked, 0.0)
    assert len(flights._apart) == MAX_APART
    assert led(flights, request(target="/0")).followers == 0


def test_beyond_max_followers() -> None:
    """A read past the limit goes alone, counted; a create is refused, and its connection stays."""
    flights = Flights(Invalidations())
    flight = led(flights, max_followers=1)
    followed(flights, flight, [])
    assert join(flights, request(), max_followers=1) == Joined(Role.ALONE, reason="max_followers")
    creating: dict[str, Any] = {"coalesce": Coalesce.SUBJECT, "max_followers": 0}
    led(flights, request("POST"), "r1", **creating)
    refused = join(flights, request("POST"), "r1", **creating)
    assert isinstance(refused, Overflow)
    assert (refused.refusal.status, refused.refusal.metric, refused.refusal.closes) == (503, "max_followers", False)


def test_beyond_max_flights() -> None:
    """With all flights taken a new read goes alone, a create is refused, and followers still join."""
    flights = Flights(Invalidations())
    flight = led(flights, max_flights=1)
    assert join(flights, request(target="/other"), max_flights=1) == Joined(Role.ALONE, reason="max_flights")
    assert join(flights, request(), max_flights=1) == Joined(Role.JOINED, flight)
    full = join(flights, request("POST"), "r1", max_flights=1, coalesce=Coalesce.SUBJECT)
    assert isinstance(full, Overflow)
    assert full.refusal.metric == "max_flights"


def test_a_safe_request_is_never_refused_a_place() -> None:
    """Only an unsafe one could make a duplicate; a read on a `subject` route goes alone like any other."""
    reading: dict[str, Any] = {"coalesce": Coalesce.SUBJECT, "max_followers": 0}
    flights = Flights(Invalidations())
    led(flights, request(), "r1", **reading)
    assert join(flights, request(), "r1", **reading) == Joined(Role.ALONE, reason="max_followers")


def flown(*, safe: bool = True, late: bool = False) -> Flight:
    """Return a flight that has landed."""
    flight = Flight("f-1", Identity(b"", b""), "r1", safe=safe, stamp=0)
    flight.late = late
    return flight


@pytest.mark.parametrize(
    ("flight", "result", "elections", "remaining_s", "again"),
    [
        (flown(), LOST, 0, 1.0, True),
        (flown(), LOST, 1, 1.0, True),
        (flown(), LOST, MAX_ELECTIONS, 1.0, False),
        (flown(), LOST, 0, 0.0, False),
        (flown(safe=False), LOST, 0, 1.0, False),
        (flown(late=True), Result(TIMED_OUT), 0, 1.0, True),
        (flown(late=False), Result(TIMED_OUT), 0, 1.0, False),
        (flown(late=True), Result(RESET), 0, 1.0, False),
        (flown(late=True), Result(response(504)), 0, 1.0, False),
        (flown(), Result(OPEN), 0, 1.0, False),
        (flown(), ANSWER, 0, 1.0, False),
    ],
)
def test_who_leads_again(flight: Flight, result: Result, elections: int, remaining_s: float, again: bool) -> None:
    """Only after a lost or a late flight, only what is safe, at most twice, and while there is time."""
    assert elects(flight, result, elections, remaining_s) is again


def test_a_flights_repr_is_its_state() -> None:
    """Log and admin page show who is on board."""
    flights = Flights(Invalidations(), "f")
    flight = led(flights)
    followed(flights, flight, [])
    assert repr(flight) == "<Flight f-1 OPEN callers=2 followers=1>"
