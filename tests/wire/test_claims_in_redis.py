"""Claims of two replicas in a real Redis: one that lost a claim takes nothing from the one that took it over."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from proxy.clock import SystemClock
from proxy.policy.claim_rules import Acquired, Claim, ClaimState, HeldByOther, Orphaned, Settled
from proxy.policy.recovery_plan import Result
from proxy.store.redis_claims import LEASE_S, RedisClaims
from tests.e2e.sidecar import PATIENCE
from tests.e2e.store.redis import needs_redis
from tests.wire.test_redis_replies import Stage, body_of, response, stage

pytestmark = needs_redis
_clock = SystemClock()
ALICE = Claim("alice", "print", "key", 60.0, 60.0, subject="subject")
CLAIM, LEASE = "backstay:claim:alice", "backstay:lease:alice"
PAID = Result(response(b"paid"))
LONG_S = 20.0  # until a test says that nothing more will happen, on a busy machine too


async def until(true: Callable[[], Awaitable[bool]], within_s: float = PATIENCE) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(within_s):
        while not await true():
            await _clock.sleep(0.02)


@asynccontextmanager
async def looking(on: Stage) -> AsyncIterator[Redis]:
    """Look into Redis."""
    async with on.redis.client() as client:
        yield client


def claims_of(bundle: object) -> RedisClaims:
    """Return a replica's claims."""
    claims = bundle.claims  # type: ignore[attr-defined]
    assert isinstance(claims, RedisClaims)
    return claims


async def taken(state: Awaitable[ClaimState]) -> Acquired:
    """Return a claim that was free."""
    mine = await state
    assert isinstance(mine, Acquired)
    return mine


async def taken_over(on: Stage, client: Redis) -> Acquired:
    """Let the second replica take the claim over, whose lease has lapsed."""
    async with asyncio.timeout(PATIENCE):
        while True:
            await client.delete(LEASE)  # the first may renew it meanwhile
            found = await on.two.claims.claim(ALICE)
            if isinstance(found, Orphaned):
                state = await on.two.claims.take_over(ALICE, found)
                if isinstance(state, Acquired):
                    return state


async def test_a_living_owner_keeps_its_claim_beyond_a_lease(tmp_path: Path) -> None:
    """It renews the lease while it waits for the backend. Before this test, none waited longer than a lease."""
    async with stage(tmp_path) as on, looking(on) as client:
        await taken(on.one.claims.claim(ALICE))
        renewals, left_ms = 0, int(LEASE_S * 1000)
        async with asyncio.timeout(LONG_S):
            while renewals < 6:  # a quarter of a lease apart: together longer than a lease
                now_ms = await client.pttl(LEASE)
                renewals += now_ms > left_ms
                left_ms = now_ms
                await _clock.sleep(0.01)


@pytest.mark.parametrize("keep", [True, False])
async def test_an_owner_that_settles_late_takes_nothing_from_its_successor(tmp_path: Path, keep: bool) -> None:
    """Claim and lease are the successor's: a third request must not be sent while the second one is."""
    async with stage(tmp_path) as on, looking(on) as client:
        mine = await taken(on.one.claims.claim(ALICE))
        claims_of(on.one).close()  # it hangs, and renews no more
        await taken_over(on, client)
        before = await client.get(CLAIM)
        await on.one.claims.settle(ALICE, mine, PAID, keep=keep)
        assert await client.get(CLAIM) == before
        assert await client.pttl(LEASE) > 0


async def test_a_replica_renews_no_lease_of_its_successor(tmp_path: Path) -> None:
    """The successor dies too: its lease lapses, although the first replica believes that it has the claim."""
    async with stage(tmp_path) as on, looking(on) as client:
        await taken(on.one.claims.claim(ALICE))
        await taken_over(on, client)
        claims_of(on.two).close()

        async def lapsed() -> bool:
            return bool(await client.pttl(LEASE) == -2)

        await until(lapsed, LONG_S)


async def test_an_owner_that_was_only_late_is_not_overtaken(tmp_path: Path) -> None:
    """Its lease had lapsed at the look, and it renewed it before the claim was taken over."""
    async with stage(tmp_path) as on, looking(on) as client:
        await taken(on.one.claims.claim(ALICE))
        claims_of(on.one).close()
        await client.delete(LEASE)
        orphan = await on.two.claims.claim(ALICE)
        assert isinstance(orphan, Orphaned)
        await client.set(LEASE, "", px=60_000)
        assert isinstance(await on.two.claims.take_over(ALICE, orphan), HeldByOther)


async def test_a_landing_wakes_those_who_wait_elsewhere(tmp_path: Path) -> None:
    """At once, not when they look again because the owner's lease may have lapsed."""
    async with stage(tmp_path) as on:
        mine = await taken(on.one.claims.claim(ALICE))
        held = await on.two.claims.claim(ALICE)
        assert isinstance(held, HeldByOther)
        patient = held._replace(lease_s=10 * LONG_S)
        waiting = asyncio.ensure_future(on.two.claims.wait(ALICE, patient, LONG_S))
        async with asyncio.timeout(PATIENCE):
            while not claims_of(on.two)._pubsub._landings:
                await _clock.sleep(0.001)
        assert on.two.replicas is not None
        await on.two.replicas.flushed()  # its look for an outcome is answered
        await on.one.claims.settle(ALICE, mine, PAID, keep=False)
        assert body_of(await waiting) == b"paid"


async def test_an_erased_claim_expires_when_it_would_have(tmp_path: Path) -> None:
    """Its key stays used as long as it was, and not for ever."""
    async with stage(tmp_path) as on, looking(on) as client:
        await on.settle("alice", b"of alice")
        assert (await on.two.erase("subject")).complete
        assert b"of alice" not in (await client.get(CLAIM) or b"")
        assert 0 < await client.pttl(CLAIM) <= 60_000


async def test_a_claim_that_was_settled_in_an_outage_is_settled_after_it(tmp_path: Path) -> None:
    """Otherwise a later request with this key would get "outcome unknown" for a day."""
    async with stage(tmp_path) as on, looking(on) as client:
        claims_of(on.one).close()  # its lease is nobody's concern here
        mine = await taken(on.two.claims.claim(ALICE))
        await on.proxy.close()  # the second replica alone is cut off
        await on.two.claims.settle(ALICE, mine, PAID, keep=True)
        await on.until_up()

        async def settled() -> bool:
            return b'"settled":true' in (await client.get(CLAIM) or b"")

        await until(settled, LONG_S)
        found = await on.one.claims.claim(ALICE)
    assert isinstance(found, Settled)
    assert body_of(found) == b"paid"
