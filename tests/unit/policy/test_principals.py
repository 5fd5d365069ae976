"""How the tokens of a request are judged, and what of them is remembered."""

from typing import Any

import pytest

from proxy.http.caller import Standing
from proxy.http.fields import Fields
from proxy.policy.principals import RoutePrincipals, TokenJudge
from proxy.policy.token_memory import MOST_FAILURES, MOST_REFUSED, FailureLimit
from tests.tokens import LIFETIME_S, NOW, Issuer, Told, a_judge, claims, known_keys, rules

ISSUED = Issuer("k1")
AT = "10.0.0.1"


def fields(token: bytes, *more: tuple[bytes, bytes], scheme: bytes = b"Bearer ") -> Fields:
    """Return a request's fields with a token."""
    return Fields(((b"Host", b"a"), (b"Authorization", scheme + token), *more))


def standing(of: RoutePrincipals, shown: Fields, wall: float = NOW, now: float = 0.0) -> Standing:
    """Return how a request is judged."""
    return of.standing(shown, AT, wall, now)


def test_a_token_is_examined_once() -> None:
    """Then it is known by its digest, on any connection, and on one that repeats its fields without even that."""
    told = Told()
    of = RoutePrincipals([a_judge(ISSUED, told)])
    token, shown = ISSUED.token(claims()), None
    for _ in range(3):
        shown = fields(token)
        first = standing(of, shown)
        assert first.caller is not None
        assert standing(of, shown) is first
    assert told.results == ["verified"]


@pytest.mark.parametrize("scheme", [b"Bearer ", b"bearer ", b"BEARER "])
def test_the_scheme_has_no_case(scheme: bytes) -> None:
    """RFC 9110 section 11.1."""
    of = RoutePrincipals([a_judge(ISSUED)])
    assert standing(of, fields(ISSUED.token(claims()), scheme=scheme)).caller is not None


@pytest.mark.parametrize(
    ("shown", "refused"),
    [
        (Fields(((b"Host", b"a"),)), False),
        (fields(b"dXNlcjpw", scheme=b"Basic "), False),
        (fields(b"opaque"), True),
        (fields(ISSUED.token(claims()), scheme=b"Bearer  "), True),
        (fields(ISSUED.token(claims()) + b", Bearer x"), True),
        (fields(ISSUED.token(claims()), (b"authorization", b"Bearer x")), True),
        (fields(ISSUED.token(claims()), (b"AUTHORIZATION", b"Bearer " + ISSUED.token(claims()))), True),
    ],
)
def test_what_is_not_one_token_names_nobody(shown: Fields, *, refused: bool) -> None:
    """No token is as without a table; two, or something else than one, get no stale responses either."""
    told = Told()
    found = standing(RoutePrincipals([a_judge(ISSUED, told)]), shown)
    assert (found.caller, found.offline, found.refused) == (None, None, refused)
    several = len(shown.all(b"authorization")) > 1
    assert told.results == (["several_tokens"] if several else ["malformed"] if refused else [])


def test_a_token_goes_through_its_life() -> None:
    """Verified until it expires, then for stale responses alone, then not at all. Its verdict is remembered."""
    told = Told()
    of = RoutePrincipals([a_judge(ISSUED, told, leeway="30s", max_offline="1h")])
    shown, ends = fields(ISSUED.token(claims())), NOW + LIFETIME_S
    first = standing(of, shown).caller
    assert first is not None
    assert standing(of, shown, ends + 29).caller is first
    late = standing(of, shown, ends + 30)
    assert (late.caller, late.offline, late.refused) == (None, first, False)
    gone = standing(of, shown, ends + 3600)
    assert (gone.caller, gone.offline, gone.refused) == (None, None, True)
    assert told.results[:1] == ["verified"]
    assert set(told.results[1:]) <= {"expired"}


def test_a_token_that_comes_expired_gets_stale_responses_only_if_its_signature_is_right() -> None:
    """It counts as one that failed: it is not verified."""
    told = Told()
    of = RoutePrincipals([a_judge(ISSUED, told)])
    token = ISSUED.token(claims(NOW - LIFETIME_S - 60))
    found = standing(of, fields(token))
    assert (found.caller is None, found.offline is None, found.refused) == (True, False, False)
    forged = Issuer("k1", first=1).token(claims(NOW - LIFETIME_S - 60))
    assert standing(of, fields(forged)).refused
    assert told.results == ["expired", "signature"]


def test_without_leave_to_be_offline_an_expired_token_gets_nothing() -> None:
    """`max_offline = "0s"`."""
    of = RoutePrincipals([a_judge(ISSUED, max_offline="0s", leeway="0s")])
    found = standing(of, fields(ISSUED.token(claims())), NOW + LIFETIME_S)
    assert (found.caller, found.offline, found.refused) == (None, None, True)


def test_new_keys_judge_again() -> None:
    """What an unknown key had signed may be verified now; what a withdrawn key had signed is not, at once."""
    told, other = Told(), Issuer("k2", first=1)
    judge = a_judge(ISSUED, told)
    of = RoutePrincipals([judge])
    old, new = fields(ISSUED.token(claims())), fields(other.token(claims()))
    assert standing(of, old).caller is not None
    assert standing(of, new).caller is None
    assert judge.keys.wanted
    judge.keys.replace(known_keys(other).check, 1)
    assert standing(of, old).caller is None
    assert standing(of, new).caller is not None
    assert told.results == ["verified", "unknown_key", "unknown_key", "verified"]


def test_without_keys_nothing_is_examined_and_keys_are_wanted() -> None:
    """And nothing is remembered: the next request is judged with the keys that have come."""
    told = Told()
    judge = a_judge(ISSUED, told)
    known, judge.keys.count = judge.keys.count, 0
    of, shown = RoutePrincipals([judge]), fields(ISSUED.token(claims()))
    assert standing(of, shown).refused
    assert (judge.keys.wanted, told.results, judge.remembered) == (True, ["no_keys"], 0)
    judge.keys.count = known
    assert standing(of, shown).caller is not None


def test_of_failing_tokens_only_so_many_are_examined() -> None:
    """Those of one address a quarter of 200 in any second: others' tokens are still verified meanwhile."""
    told = Told()
    judge = a_judge(ISSUED, told)
    of = RoutePrincipals([judge])
    for n in range(1_000):
        assert of.standing(fields(b"a.b.%d" % n), AT, NOW, n / 1_000).refused
    assert told.results.count("malformed") == MOST_FAILURES // 4
    assert told.results.count("too_many_failures") == 1_000 - MOST_FAILURES // 4
    assert of.standing(fields(ISSUED.token(claims())), "10.0.0.2", NOW, 1.0).caller is not None
    assert of.standing(fields(ISSUED.token(claims(sub="bo"))), AT, NOW, 2.5).caller is not None


def test_the_limit_holds_in_any_second() -> None:
    """Not only in those that begin with a whole number."""
    limit, allowed = FailureLimit(), list[float]()
    for step in range(30_000):
        now, address = step / 10_000, f"10.0.0.{step % 7}"
        if limit.allows(address, now):
            limit.count(address, now)
            allowed.append(now)
    assert MOST_FAILURES // 2 < max(among(allowed, at) for at in allowed[::20]) <= MOST_FAILURES


def among(times: list[float], at: float) -> int:
    """Return how many of these times are in the second that ends at one of them."""
    return sum(1 for one in times if at - 1.0 < one <= at)


@pytest.mark.parametrize("attackers", [1, 2, 7, 50, 140])
def test_an_address_without_failures_is_examined_while_many_others_fail(attackers: int) -> None:
    """Each attacker fails whenever it may: none can fill the limit, and together they hardly can."""
    limit, now = FailureLimit(), 0.0
    for step in range(20_000):
        now, address = step / 10_000, f"10.0.0.{step % attackers}"
        if limit.allows(address, now):
            limit.count(address, now)
        assert limit.allows("192.0.2.1", now)


def test_without_end_of_addresses_the_limit_holds() -> None:
    """Then nobody new is examined; a token that earlier keys verified is."""
    limit, allowed = FailureLimit(), list[float]()
    for step in range(20_000):
        now, address = step / 10_000, f"10.0.{step % 256}.{step % 250}"
        if limit.allows(address, now):
            limit.count(address, now)
            allowed.append(now)
        assert limit.allows(address, now, known=True)
    assert max(among(allowed, at) for at in allowed[::20]) == MOST_FAILURES * 3 // 4


def test_known_tokens_are_verified_by_new_keys_beside_any_number_of_forgeries() -> None:
    """A rotation would otherwise take its principal from every user as long as the forgeries last."""
    told = Told()
    judge = a_judge(ISSUED, told)
    of, users = RoutePrincipals([judge]), [ISSUED.token(claims(sub=f"u{n}")) for n in range(300)]
    for token in users:
        assert standing(of, fields(token)).caller is not None
    judge.keys.replace(judge.keys.check, 1)
    for n in range(1_000):
        of.standing(fields(b"a.b.%d" % n), f"10.1.{n % 4}.{n % 250}", NOW, 1.0)
    for token in users:
        assert standing(of, fields(token), now=1.0).caller is not None
    assert standing(of, fields(ISSUED.token(claims(sub="new"))), now=1.0).refused
    assert told.results.count("malformed") <= MOST_FAILURES


def test_of_known_tokens_whose_key_is_gone_only_so_many_are_examined() -> None:
    """They fail like any other, and are then remembered as refused."""
    told = Told()
    judge = a_judge(ISSUED, told)
    of, users = RoutePrincipals([judge]), [ISSUED.token(claims(sub=f"u{n}")) for n in range(MOST_FAILURES + 100)]
    for token in users:
        assert standing(of, fields(token)).caller is not None
    judge.keys.replace(known_keys(Issuer("k2", first=1)).check, 1)
    for token in users:
        assert standing(of, fields(token), now=1.0).caller is None
    assert told.results.count("unknown_key") == MOST_FAILURES


def test_the_memory_of_tokens_is_bounded_and_refused_ones_displace_no_verified_one() -> None:
    """Whoever sends most loses its own oldest."""
    judge = a_judge(ISSUED)
    of, token = RoutePrincipals([judge]), ISSUED.token(claims())
    assert standing(of, fields(token)).caller is not None
    for n in range(MOST_REFUSED + 500):
        of.standing(fields(b"a.b.%d" % n), f"10.0.{n % 4}.1", NOW, n / 10)
    assert judge.remembered == MOST_REFUSED + 1
    told = Told()
    judge._observer = told
    assert standing(of, fields(token), now=1_000.0).caller is not None
    assert told.results == []


def test_two_tokens_in_two_places_are_one_caller_together() -> None:
    """Each separates; where one is not verified its bytes do."""
    user = a_judge(ISSUED, name="user")
    device = TokenJudge(rules("device", token="cookie:dev"), known_keys(ISSUED), Told())
    of = RoutePrincipals([user, device])

    def shown(one: bytes, other: bytes) -> Fields:
        return fields(one, (b"Cookie", b"lang=en; dev=" + other))

    ada, phone, tablet = ISSUED.token(claims()), ISSUED.token(claims(sub="phone")), ISSUED.token(claims(sub="tablet"))
    both, other = standing(of, shown(ada, phone)).caller, standing(of, shown(ada, tablet)).caller
    assert both is not None
    assert other is not None
    assert both.key != other.key
    assert len(both.places) == 2
    half = standing(of, shown(ada, b"a.b.c"))
    assert half.refused
    assert half.caller is not None
    assert half.caller.places == ((b"authorization", b""),)


def test_of_two_issuers_in_one_place_the_one_that_verifies_decides() -> None:
    """The other's refusal changes nothing."""
    elsewhere = Issuer("p1", first=2)
    partner = TokenJudge(rules("partner", issuer="https://partner"), known_keys(elsewhere), Told())
    of = RoutePrincipals([a_judge(ISSUED), partner])
    ours = standing(of, fields(ISSUED.token(claims())))
    theirs = standing(of, fields(elsewhere.token(claims(iss="https://partner"))))
    assert ours.caller is not None
    assert theirs.caller is not None
    assert not theirs.refused
    assert theirs.claimed == ()
    assert ours.caller.key != theirs.caller.key


def test_a_known_token_of_one_issuer_is_no_failure_of_another() -> None:
    """Nor is a new one: only the judge of the issuer that a token names examines it."""
    elsewhere, told = Issuer("p1", first=2), Told()
    partner = TokenJudge(rules("partner", issuer="https://partner"), known_keys(elsewhere), Told())
    ours = a_judge(ISSUED, told)
    of = RoutePrincipals([ours, partner])
    token = elsewhere.token(claims(iss="https://partner"))
    assert standing(of, fields(token)).caller is not None
    ours.keys.replace(ours.keys.check, 1)  # nothing that is remembered counts any more
    for _ in range(3):
        assert standing(of, fields(token)).caller is not None
    assert told.results == []
    stranger = elsewhere.token(claims(iss="https://nobody"))
    assert standing(of, fields(stranger)).refused
    assert told.results == ["issuer"]


def test_a_flood_of_one_issuers_tokens_leaves_the_others_their_examinations() -> None:
    """A login of many users at one issuer is no failure at another one, at whatever rate."""
    elsewhere, told = Issuer("p1", first=2), Told()
    partner = TokenJudge(rules("partner", issuer="https://partner"), known_keys(elsewhere), Told())
    of = RoutePrincipals([a_judge(ISSUED, told), partner])
    for n in range(MOST_FAILURES + 10):
        assert standing(of, fields(elsewhere.token(claims(iss="https://partner", sub=str(n))))).caller is not None
    assert standing(of, fields(ISSUED.token(claims()))).caller is not None
    assert told.results == ["verified"]


def test_a_clock_that_is_set_back_makes_an_expired_token_valid_again() -> None:
    """Neither the memory of tokens nor a connection remembers that it has expired: the clock was wrong."""
    of, shown = RoutePrincipals([a_judge(ISSUED)]), fields(ISSUED.token(claims()))
    for wrong in (NOW + LIFETIME_S + 31, NOW + 10 * 86_400):
        assert standing(of, shown, wrong).caller is None
        assert standing(of, shown).caller is not None
        fresh = RoutePrincipals([a_judge(ISSUED)])
        assert standing(fresh, shown, wrong).caller is None
        assert standing(fresh, fields(shown[b"authorization"][7:])).caller is not None
    judge = a_judge(ISSUED)
    judge.keys.count = 0
    unread = RoutePrincipals([judge])
    assert standing(unread, shown, NOW + 86_400).refused
    judge.keys.count = 1
    assert standing(unread, shown).caller is not None


def test_a_token_that_is_too_long_to_verify_claims_its_subject_too() -> None:
    """A role more may make it so long, and its user's writes count all the same."""
    of = RoutePrincipals([a_judge(ISSUED)])
    verified = standing(of, fields(ISSUED.token(claims()))).caller
    long = standing(of, fields(ISSUED.token(claims(groups=["g" * 40] * 200))))
    assert (long.caller, long.refused) == (None, True)
    assert verified is not None
    assert long.claimed == verified.owners[:1]


def test_a_cookie_that_comes_twice_is_not_verified() -> None:
    """The backend may read the other one."""
    judge = TokenJudge(rules(token="cookie:at"), known_keys(ISSUED), Told())
    of, token = RoutePrincipals([judge]), ISSUED.token(claims())
    good = Fields(((b"Cookie", b"lang=en; at=" + token),))
    assert standing(of, good).caller is not None
    assert standing(of, Fields(((b"Cookie", b"xat=1; at=" + token + b"; at2=; AT=3"),))).caller is not None
    for cookies in (
        (b"at=" + token + b"; at=x",), (b"at=x", b"at=" + token), (b"at=; at=" + token,), (b"at=" + token + b";at=",),
        (b"at=" + token + b";\tat= ",),
    ):  # fmt: skip
        twice = Fields(tuple([(b"Cookie", each) for each in cookies]))
        assert standing(of, twice).refused


def test_an_unverified_token_claims_its_subject() -> None:
    """Its write may be carried out, so it makes old what the same user reads with a verified one."""
    judge = a_judge(ISSUED)
    of = RoutePrincipals([judge])
    verified = standing(of, fields(ISSUED.token(claims()))).caller
    assert verified is not None
    unknown = standing(of, fields(Issuer("k9", first=1).token(claims())))
    expired = standing(of, fields(ISSUED.token(claims(NOW - LIFETIME_S - 60))))
    judge.keys.count, judge.keys.generation = 0, 9
    early = standing(of, fields(ISSUED.token(claims(role="x"))))
    for found in (unknown, expired, early):
        assert found.caller is None
        assert found.claimed == verified.owners[:1]
    assert standing(of, fields(b"opaque")).claimed == ()


def test_a_split_is_told_with_its_claim() -> None:
    """Once for each new principal of a subject; a refresh is none, and neither is a device that takes turns."""
    told = Told()
    judge = a_judge(ISSUED, told)
    of = RoutePrincipals([judge])
    admin = {"role": "admin"}
    later: tuple[dict[str, Any], ...] = ({}, {}, admin, {}, admin, {**admin, "azp": "app"})
    for n, more in enumerate(later):
        standing(of, fields(ISSUED.token(claims(jti=str(n), **more))))
    assert told.splits == [("role",), ("azp",)]
    assert (judge.splits.count, judge.splits.by) == (2, {"role": 1, "azp": 1})
