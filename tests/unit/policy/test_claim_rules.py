"""What the state of a claim means for a request."""

from dataclasses import replace

import pytest

from proxy.http.fields import Fields
from proxy.http.message import (
    Failure,
    Framing,
    Lost,
    Peer,
    Request,
    Response,
)
from proxy.http.problems import Reason
from proxy.policy import claim_rules
from proxy.policy.claim_rules import (
    UNKNOWN,
    Acquired,
    Ask,
    Claim,
    ClaimAction,
    ClaimState,
    HeldByOther,
    Misuse,
    Orphaned,
    RespondWith,
    Settled,
    StoreUnavailable,
    TakeOver,
    Wait,
)
from proxy.policy.idempotency import IdempotencyKey
from proxy.policy.recovery_plan import (
    RecoveryKind,
    RequestTemplate,
    Result,
)
from proxy.policy.routing import Route
from tests.settings import a_route, recovery_rules
from tests.unit.policy.samples import Endless, request

PLAIN = a_route("create", "POST", "/api/sessions", "sessions", "sessions")
HONOURING = replace(PLAIN, honours_idempotency=True)
LOADING = replace(PLAIN, recovery=recovery_rules(on_conflict=RequestTemplate("GET", "/api/sessions/{subject}")))
CLAIM = Claim("name", "this request", "k1", claim_rules.REPLAY_S, claim_rules.REPLAY_S)
CREATED = Result(Response(201, b"", Fields(()), b"s1"))
HELD = HeldByOther("this request", "k0", "t0", 1.0)
ORPHAN = Orphaned("this request", "k0", "t0")
UNSHARED = Settled("this request", "k0", None, 5.0)


@pytest.mark.parametrize(
    ("state", "route", "judgement"),
    [
        (Acquired("t"), PLAIN, Ask()),
        (StoreUnavailable(), PLAIN, Ask()),
        (HELD, PLAIN, Wait(HELD)),
        (Settled("this request", "k0", CREATED, 5.0), PLAIN, RespondWith(CREATED)),
        (HeldByOther("another", "k0", "t0"), PLAIN, Misuse()),
        (Orphaned("another", "k0", "t0"), HONOURING, Misuse()),
        (Settled("another", "k0", CREATED, 5.0), PLAIN, Misuse()),
        (ORPHAN, PLAIN, RespondWith(UNKNOWN)),
        (ORPHAN, HONOURING, TakeOver(ORPHAN)),
        (ORPHAN, LOADING, TakeOver(ORPHAN)),
        (ORPHAN._replace(key=""), HONOURING, RespondWith(UNKNOWN)),
        (UNSHARED, PLAIN, RespondWith(UNKNOWN)),
        (Settled("this request", "k0", claim_rules.TOO_LARGE, 5.0), PLAIN, RespondWith(claim_rules.TOO_LARGE)),
        (Settled("this request", "k0", claim_rules.TOO_LARGE, 5.0), HONOURING, Ask("k0")),
        (Settled("this request", "k0", claim_rules.BROKE_OFF, 0.0), PLAIN, RespondWith(claim_rules.BROKE_OFF)),
        (Settled("this request", "k0", claim_rules.BROKE_OFF, 0.0), LOADING, Ask("k0")),
        (UNSHARED, HONOURING, Ask("k0")),
        (UNSHARED, LOADING, Ask("k0")),
    ],
)
def test_each_state_has_one_meaning(state: ClaimState, route: Route, judgement: ClaimAction) -> None:
    """What may have been done is asked again only with its own key, or where a 409 would find it."""
    assert claim_rules.judge(CLAIM, state, route) == judgement


def test_who_waits_when_the_store_goes_down_judges_as_of_a_dead_owner() -> None:
    """Nobody can tell any more whether the other one is still asking."""
    assert claim_rules.store_lost(PLAIN, HELD) == RespondWith(UNKNOWN)
    assert claim_rules.store_lost(HONOURING, HELD) == Ask("k0")


def response(status: int) -> Result:
    """Return an answer from upstream."""
    return Result(Response(status, b"", Fields(()), b"x"))


@pytest.mark.parametrize(
    ("result", "kept"),
    [
        (response(201), True),
        (response(400), True),
        (response(409), True),
        (response(422), True),
        (response(303), True),
        *((response(status), False) for status in (101, 401, 403, 404, 407, 408, 421, 423, 425, 429)),
        (response(500), False),
        (response(503), False),
        (Result(Failure(Reason.RESPONSE_TIMEOUT, sent=True)), False),
        (response(200)._replace(recovery=RecoveryKind.EXISTING, received_status=409), True),
        (response(200)._replace(recovery=RecoveryKind.FALLBACK), False),
    ],
)
def test_only_a_final_answer_from_upstream_is_replayed(result: Result, kept: bool) -> None:
    """429, 5xx, what depends on who asks or on when, and what the sidecar says itself free the key.

    A flight's answer is never stored.
    """
    assert claim_rules.to_keep(CLAIM, result) is kept
    assert not claim_rules.to_keep(CLAIM._replace(keep_s=0.0), result)


def test_an_answer_is_stored_up_to_a_limit() -> None:
    """`replay_answer_limit`: what has a larger body is known to be done, and too large."""
    whole = Result(Response(201, b"", Fields(()), b"12345"))
    assert claim_rules.stored(whole, 5) is whole
    assert claim_rules.stored(whole, 4) is claim_rules.TOO_LARGE
    assert claim_rules.stored(UNKNOWN, 0) is UNKNOWN


def test_an_answer_that_broke_off_uses_its_key_up() -> None:
    """The backend said 201 and then broke off: it was done. Before, the key was free, and it was done again."""
    partial = Response(201, b"", Fields(()), Endless(), Framing.LENGTH)
    result = Result(Failure(Reason.RESPONSE_INCOMPLETE, sent=True, partial=partial))
    assert claim_rules.to_keep(CLAIM, result)
    assert claim_rules.stored(result, 1000) is claim_rules.BROKE_OFF
    unavailable = partial._replace(status=503)
    assert not claim_rules.to_keep(CLAIM, Result(Failure(Reason.RESPONSE_INCOMPLETE, sent=True, partial=unavailable)))


def test_an_answer_that_came_in_pieces_is_stored_as_a_whole() -> None:
    """Its head, its body and its trailers; or why it cannot be given again."""
    result = Result(Response(201, b"Made", Fields(()), Endless(), Framing.CHUNKED))
    whole = claim_rules.collected(result, b"body", ((b"Checksum", b"1"),)).outcome
    assert whole == Response(201, b"Made", Fields(()), b"body", Framing.CHUNKED, ((b"Checksum", b"1"),))
    assert claim_rules.collected(result, Lost.TOO_LARGE, ()) is claim_rules.TOO_LARGE
    assert claim_rules.collected(result, Lost.BROKEN, ()) is claim_rules.BROKE_OFF
    assert [claim_rules.is_lost(one) for one in (claim_rules.TOO_LARGE, claim_rules.BROKE_OFF, UNKNOWN, CREATED)] == [
        True, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "own_key", "flight"),
    [
        (Response(201, b"", Fields(()), Endless(), Framing.CHUNKED), True, True),
        (Response(200, b"", Fields(((b"Content-Type", b"Text/Event-Stream; x"),)), Endless()), True, False),
        (Response(101, b"", Fields(()), Endless()), False, False),
    ],
)
def test_who_waits_for_the_end_of_an_answer(answer: Response, own_key: bool, flight: bool) -> None:
    """A key's repetition; not another replica for a stream of events, and nobody for a changed protocol."""
    assert claim_rules.may_wait(CLAIM, Result(answer)) is own_key
    assert claim_rules.may_wait(CLAIM._replace(keep_s=0.0), Result(answer)) is flight


def asked(body: bytes = b"{}", target: bytes = b"/api/sessions", method: str = "POST") -> Request:
    """Return a request."""
    return Request(method, target, Fields(()), Peer("10.0.0.1", 1), body, Framing.LENGTH)


def test_a_key_is_its_principals_and_its_routes() -> None:
    """Principal, route and key name a claim; method, target and body are what it is for."""
    first = claim_rules.of_key(PLAIN, asked(), b"ada", IdempotencyKey(b"k", "client"))
    assert first == claim_rules.of_key(PLAIN, asked(), b"ada", IdempotencyKey(b"k", "client"))
    others = [
        claim_rules.of_key(PLAIN, asked(), b"bob", IdempotencyKey(b"k", "client")),
        claim_rules.of_key(replace(PLAIN, operation="other"), asked(), b"ada", IdempotencyKey(b"k", "client")),
        claim_rules.of_key(PLAIN, asked(), b"ada", IdempotencyKey(b"l", "client")),
    ]
    assert len({first.name, *(other.name for other in others)}) == 4
    misused = [asked(b"[]"), asked(target=b"/api/sessions?x"), asked(method="PUT")]
    prints = {
        claim_rules.of_key(PLAIN, request, b"ada", IdempotencyKey(b"k", "client")).fingerprint for request in misused
    }
    assert len({first.fingerprint, *prints}) == 4


def test_parts_of_a_name_cannot_run_into_each_other() -> None:
    """A principal that ends as another's key begins is still another."""
    one = claim_rules.of_key(PLAIN, asked(), b"ada", IdempotencyKey(b"x1", "client"))
    two = claim_rules.of_key(PLAIN, asked(), b"adax", IdempotencyKey(b"1", "client"))
    assert one.name != two.name


def test_trailers_and_a_streams_length_tell_requests_of_one_key_apart() -> None:
    """A body is compared with its trailers; one that is streamed is compared by its length."""

    def fingerprint(body: bytes | Endless, length: str, trailer: bytes = b"") -> str:
        asked = request("POST", "/api/sessions", Content_Length=length)
        asked.body = body
        asked.trailers = ((b"Checksum", trailer),) if trailer else ()
        return claim_rules.of_key(PLAIN, asked, b"ada", IdempotencyKey(b"k1", "client")).fingerprint

    told = [
        fingerprint(b"x", "1"), fingerprint(b"x", "1", b"1"), fingerprint(b"x", "1", b"2"),
        fingerprint(Endless(), "70000"), fingerprint(Endless(), "70001"),
    ]  # fmt: skip
    assert len(set(told)) == len(told)
    assert fingerprint(b"x", "2") == told[0]
