"""Claims in this process: bounded, and never lost or doubled. Sequences of requests are in tests/simulation."""

import asyncio

from proxy.http.fields import Fields
from proxy.http.message import Response
from proxy.policy.bounded import Holder
from proxy.policy.claim_rules import (
    ERASED,
    NO_ROOM,
    TOO_LARGE,
    Acquired,
    Claim,
    HeldByOther,
    Orphaned,
    Settled,
)
from proxy.policy.recovery_plan import Result
from proxy.store.local_claims import DROPPED_AT_ONCE, LocalClaims
from tests.settings import local_claims
from tests.simulation.virtual import VirtualClock, simulated


def claim(name: str, keep_s: float = 60.0) -> Claim:
    """Return a claim that is kept for a minute."""
    return Claim(name, "print", "key", keep_s, keep_s)


def answer(body: bytes = b"x") -> Result:
    """Return an answer."""
    return Result(Response(200, b"", Fields(()), body))


async def settle(local: LocalClaims, name: str, body: bytes = b"x") -> None:
    """Claim, and settle with a body."""
    mine = await local.claim(claim(name))
    assert isinstance(mine, Acquired)
    await local.settle(claim(name), mine, answer(body), keep=True)


@simulated
async def test_the_oldest_answers_give_way() -> None:
    """At most so many entries, and so many bytes."""
    local = local_claims(VirtualClock(), max_entries=2, max_bytes=2000)
    for name in ("a", "b", "c"):
        await settle(local, name)
    assert len(local) == 2
    assert isinstance(await local.claim(claim("a")), Acquired)
    await settle(local, "large", bytes(1600))
    assert isinstance(await local.claim(claim("large")), Settled)
    assert isinstance(await local.claim(claim("c")), Acquired)


@simulated
async def test_a_head_counts_like_a_body() -> None:
    """Before, an answer of 60 kB of fields weighed 256 bytes, and ten thousand of them filled the memory."""
    local = local_claims(VirtualClock(), max_entries=100, max_bytes=50_000)
    for name in ("a", "b"):
        mine = await local.claim(claim(name))
        assert isinstance(mine, Acquired)
        lines = tuple((b"X-%d" % number, bytes(100)) for number in range(100))
        await local.settle(claim(name), mine, Result(Response(201, b"", Fields(lines), b"")), keep=True)
    assert isinstance(await local.claim(claim("a")), Acquired)
    assert isinstance(await local.claim(claim("b")), Settled)


@simulated
async def test_a_caller_cannot_push_out_anothers_replays() -> None:
    """Before, whoever stored most pushed out everybody's: a repeated key was asked again."""
    local = local_claims(VirtualClock(), max_entries=10, max_bytes=1_000_000)
    ada, eve = (claim(name)._replace(holder=Holder("10.0.0.1", name.encode())) for name in ("ada", "eve"))
    for one in (ada, *(eve._replace(name=f"eve {number}") for number in range(100))):
        mine = await local.claim(one)
        assert isinstance(mine, Acquired)
        await local.settle(one, mine, answer(), keep=True)
    assert isinstance(await local.claim(ada), Settled)


@simulated
async def test_an_answer_says_how_long_it_is_kept_still() -> None:
    """And afterwards its claim is free."""
    clock = VirtualClock()
    local = local_claims(clock)
    await settle(local, "a")
    await clock.sleep(20)
    found = await local.claim(claim("a"))
    assert isinstance(found, Settled)
    assert (found.result, found.ttl_s) == (answer(), 40.0)
    await clock.sleep(41)
    assert isinstance(await local.claim(claim("a")), Acquired)


@simulated
async def test_what_is_held_is_told_to_be() -> None:
    """Nobody has it twice, and nothing here outlives its owner: there is nobody to take over from."""
    local = local_claims(VirtualClock())
    first = await local.claim(claim("a"))
    held = HeldByOther("print", "key", "1")
    assert (first, await local.claim(claim("a"))) == (Acquired("1"), held)
    assert await local.take_over(claim("a"), Orphaned("print", "key", "1")) == held
    assert await local.wait(claim("a"), held, 0.5) is None


@simulated
async def test_who_waits_for_what_has_landed_already_claims_anew() -> None:
    """Between a look and a wait the owner may have settled."""
    local = local_claims(VirtualClock())
    mine = await local.claim(claim("a"))
    held = await local.claim(claim("a"))
    assert isinstance(mine, Acquired)
    assert isinstance(held, HeldByOther)
    await local.settle(claim("a"), mine, answer(), keep=False)
    assert isinstance(await local.wait(claim("a"), held, 1.0), Acquired)


@simulated
async def test_what_the_store_cannot_hold_is_remembered_as_done() -> None:
    """An answer over the whole bound: before, its key was free, and a repetition was done again."""
    local = local_claims(VirtualClock(), max_bytes=1000)
    await settle(local, "a", bytes(2000))
    found = await local.claim(claim("a"))
    assert isinstance(found, Settled)
    assert found.result is TOO_LARGE


@simulated
async def test_where_memory_is_scarce_answers_go_and_keys_stay_used() -> None:
    """Those of who keeps most go first; a request under a key whose answer went is not done again."""
    local = local_claims(VirtualClock())
    honest = claim("honest")._replace(holder=Holder("198.51.100.1", b"ada"))
    mine = await local.claim(honest)
    assert isinstance(mine, Acquired)
    await local.settle(honest, mine, answer(), keep=True)
    names = [f"k{number}" for number in range(DROPPED_AT_ONCE + 20)]
    for name in names:
        await settle(local, name, bytes(1000))
    count = len(local)
    for _ in range(2):
        local.make_room(5_000)
    assert len(local) == count
    states = [await local.claim(claim(name)) for name in names]
    results = [state.result for state in states if isinstance(state, Settled)]
    assert len(results) == len(names)
    assert 0 < len(names) - results.count(NO_ROOM) < 5
    cached = await local.claim(honest)
    assert isinstance(cached, Settled)
    assert cached.result == answer()


@simulated
async def test_what_is_counted_as_kept_goes_with_its_key() -> None:
    """An answer that gave way with its key, or whose time is over, is not counted any more."""
    clock = VirtualClock()
    local = local_claims(clock, max_entries=2)
    for name in ("a", "b", "c", "d"):
        await settle(local, name)
    assert len(local._with_response) == len(local) == 2
    await clock.sleep(61.0)
    await settle(local, "e")
    assert len(local._with_response) == len(local) == 1


@simulated
async def test_an_erased_response_leaves_its_key_used() -> None:
    """Forgetting it could execute the request twice. It expires when it would have; other subjects keep theirs."""
    clock = VirtualClock()
    local = local_claims(clock)
    for name, subject in (("a", "ada"), ("b", "bob")):
        mine = await local.claim(claim(name)._replace(subject=subject))
        assert isinstance(mine, Acquired)
        await local.settle(claim(name)._replace(subject=subject), mine, answer(), keep=True)
    assert local.erase("ada") == {"a"}
    erased, other = await local.claim(claim("a")), await local.claim(claim("b"))
    assert isinstance(erased, Settled)
    assert isinstance(other, Settled)
    assert (erased.result, erased.fingerprint, erased.key, erased.ttl_s) == (ERASED, "print", "", 60.0)
    assert other.result == answer()
    assert local.erase("ada") == set()
    await clock.sleep(60)
    assert isinstance(await local.claim(claim("a")), Acquired)


@simulated
async def test_a_waiter_that_was_told_leaves_no_timer() -> None:
    """A thousand of them a second, each with a minute's deadline, would be sixty thousand timers."""
    local, loop = local_claims(VirtualClock()), asyncio.get_running_loop()
    mine, held = await local.claim(claim("a")), await local.claim(claim("a"))
    assert isinstance(mine, Acquired)
    assert isinstance(held, HeldByOther)
    waiting = asyncio.ensure_future(local.wait(claim("a"), held, 60.0))
    await VirtualClock().sleep(0.1)
    await local.settle(claim("a"), mine, answer(), keep=False)
    assert isinstance(await waiting, Settled)
    assert [timer for timer in loop._scheduled if not timer.cancelled()] == []  # type: ignore[attr-defined]
