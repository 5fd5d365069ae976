"""Claims in Redis: leases, outages, callers that leave, and owners that settle between two commands of a waiter."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from proxy.clock import SystemClock
from proxy.policy.claim_rules import Acquired, Claim, ClaimState, HeldByOther, Orphaned, Settled, StoreUnavailable
from proxy.store.command_queue import CommandQueue
from proxy.store.packing import pack
from proxy.store.pubsub import ReplicaPubSub
from proxy.store.redis_claims import LEASE_S, RedisClaims, claim_state
from proxy.store.redis_connection import RedisConnection, StoreDown
from proxy.store.scripts import RENEW, SETTLE, SHA
from tests.settings import local_claims
from tests.simulation.virtual import VirtualClock, simulated

FLIGHT = Claim("flight", "", "", 0.0, 60.0)
OUTCOME = pack({"settled": True, "fingerprint": "", "key": "first"}, key="test:outcome:them-1")
FREE = [b"test:claim:flight", None, 0, 0]  # the reply to CLAIM: its key, no value before, and two lifetimes
TOO_LATE = [b"test:claim:flight", 0]  # the reply to TAKE_OVER


class Scripted(CommandQueue):
    """A Redis that gives these replies, in order."""

    def __init__(self, connection: RedisConnection, *replies: object) -> None:
        super().__init__(connection)
        self.replies = list(replies)
        self.sent: list[str] = []
        self.undone = 0
        self.commands: list[tuple[Any, ...]] = []
        self.at_s: list[float] = []  # of each command that needs no reply

    async def execute(self, operation: str, *arguments: Any) -> Any:
        """Return the next reply, or raise it; None left: wait for ever."""
        self.sent.append(operation)
        if not self.replies:
            await asyncio.get_running_loop().create_future()
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def fire_and_forget(self, *arguments: Any) -> None:
        """Count a command that needs no reply."""
        self.undone += 1
        self.commands.append(arguments)
        self.at_s.append(asyncio.get_running_loop().time())

    def ran(self, script: str) -> list[float]:
        """Return when a script was run without waiting for a reply."""
        found = zip(self.at_s, self.commands, strict=True)
        return [at_s for at_s, command in found if command[:2] == ("EVALSHA", SHA[script])]


def claims(*replies: object) -> tuple[RedisClaims, Scripted]:
    """Return claims in a Redis that gives these replies."""
    connection = RedisConnection("redis://127.0.0.1:1", "test", 5.0, lambda operation: None)
    redis = Scripted(connection, *replies)
    bus = ReplicaPubSub(connection, redis, "us", SystemClock())
    return RedisClaims(connection, redis, bus, "us", local_claims(VirtualClock())), redis


@simulated
async def test_an_owner_that_settles_as_its_lease_is_checked_is_not_overtaken() -> None:
    """Its flight was pending at the look and free at the claim: the waiter gets the outcome and sends nothing."""
    shared, redis = claims(None, None, FREE, OUTCOME)
    state = await shared.wait(FLIGHT, HeldByOther("", "first", "them-1", 1.0), 30.0)
    shared.close()
    assert state == Settled("", "first", None, 0.0)
    assert redis.sent == ["outcome", "outcome", "claim", "outcome"]
    assert redis.undone == 1  # the claim is free again


@simulated
async def test_an_orphan_that_is_settled_after_all_is_not_sent_again() -> None:
    """Its owner was late, not dead: the claim cannot be taken over, and is free a moment later."""
    shared, redis = claims(TOO_LATE, FREE, OUTCOME)
    state = await shared.take_over(FLIGHT, Orphaned("", "first", "them-1"))
    shared.close()
    assert state == Settled("", "first", None, 0.0)
    assert (redis.sent, redis.undone) == (["take_over", "claim", "outcome"], 1)


@simulated
async def test_a_claim_without_an_outcome_is_taken() -> None:
    """Its owner gave it up before anything was sent."""
    shared, redis = claims(None, None, FREE, None)
    state = await shared.wait(FLIGHT, HeldByOther("", "first", "them-1", 1.0), 30.0)
    shared.close()
    assert isinstance(state, Acquired)
    assert redis.undone == 0


KEPT = Claim("payment", "print", "key", 60.0, 60.0)
FREE_PAYMENT = [b"test:claim:payment", None, 0, 0]


@simulated
async def test_a_lease_is_renewed_as_long_as_its_claim_is_held() -> None:
    """However long the backend takes: two renewals are never a lease apart, each is for a whole lease."""
    shared, redis = claims(FREE_PAYMENT)
    shared._connection.reached()
    mine = await shared.claim(KEPT)
    assert isinstance(mine, Acquired)
    began, clock = asyncio.get_running_loop().time(), VirtualClock()
    await clock.sleep(20 * LEASE_S)
    times = [began, *redis.ran(RENEW), asyncio.get_running_loop().time()]
    assert max(later - earlier for earlier, later in pairwise(times)) < LEASE_S / 2
    assert {command[-1] for command in redis.commands} == {1000}  # milliseconds
    shared.release(KEPT, mine, sent=True)
    await clock.sleep(LEASE_S)  # the running timer ends
    renewed = len(redis.ran(RENEW))
    await clock.sleep(20 * LEASE_S)
    assert len(redis.ran(RENEW)) == renewed
    shared.close()


@simulated
async def test_a_claim_is_settled_again_when_redis_was_away() -> None:
    """The command is queued: otherwise a later request with this key would get an unknown outcome."""
    shared, redis = claims(FREE_PAYMENT, StoreDown("settle"))
    mine = await shared.claim(KEPT)
    assert isinstance(mine, Acquired)
    await shared.settle(KEPT, mine, None, keep=True)
    shared.close()
    (command,) = redis.commands
    assert command[:2] == ("EVALSHA", SHA[SETTLE])
    assert command[4] == "test:lease:payment"


@simulated
async def test_a_claim_is_settled_in_the_background_when_its_caller_does_not_wait() -> None:
    """The caller's deadline passed before Redis replied."""
    shared, redis = claims(FREE_PAYMENT)
    mine = await shared.claim(KEPT)
    assert isinstance(mine, Acquired)
    settled = asyncio.ensure_future(shared.settle(KEPT, mine, None, keep=True))
    await VirtualClock().sleep(0.01)
    settled.cancel()
    (told,) = await asyncio.gather(settled, return_exceptions=True)
    assert isinstance(told, asyncio.CancelledError)
    assert (redis.sent, len(redis.ran(SETTLE))) == (["claim", "settle"], 1)
    shared.close()


@pytest.mark.parametrize("cut_off", ["cancelled", "late"])
@simulated
async def test_a_claim_whose_reply_nobody_got_is_undone(cut_off: str) -> None:
    """Redis may have taken it: the caller left, or the time limit passed. The key must not stay taken."""
    shared, redis = claims(*([StoreDown("claim")] if cut_off == "late" else []))
    asked = asyncio.ensure_future(shared.claim(KEPT))
    await VirtualClock().sleep(0.01)
    assert redis.sent == ["claim"]
    asked.cancel()
    (told,) = await asyncio.gather(asked, return_exceptions=True)
    assert isinstance(told, asyncio.CancelledError if cut_off == "cancelled" else StoreUnavailable)
    ((*_, token),) = redis.commands
    assert (len(redis.ran(SETTLE)), token) == (1, "none")
    shared.close()


@pytest.mark.parametrize(("sent", "commands"), [(False, 1), (True, 0)])
@simulated
async def test_a_claim_is_freed_at_once_only_if_nothing_was_sent(sent: bool, commands: int) -> None:
    """Otherwise its lease lapses, and it is orphaned: whoever comes then knows that it may have been executed."""
    shared, redis = claims(FREE_PAYMENT)
    mine = await shared.claim(KEPT)
    assert isinstance(mine, Acquired)
    shared.release(KEPT, mine, sent=sent)
    assert len(redis.ran(SETTLE)) == commands
    shared.close()


@simulated
async def test_what_was_settled_here_is_not_asked_for() -> None:
    """Redis may have been restarted, empty, since then."""
    shared, redis = claims(FREE_PAYMENT, None)
    mine = await shared.claim(KEPT)
    assert isinstance(mine, Acquired)
    await shared.settle(KEPT, mine, None, keep=True)
    assert isinstance(await shared.claim(KEPT), Settled)
    assert redis.sent == ["claim", "settle"]
    shared.close()


@pytest.mark.parametrize(
    ("lease_ms", "state"),
    [
        (-2, Orphaned("print", "key", "them-1")),  # there is no such key
        (0, Orphaned("print", "key", "them-1")),
        (1, HeldByOther("print", "key", "them-1", 0.001)),
        (1000, HeldByOther("print", "key", "them-1", 1.0)),
    ],
)
def test_a_claim_is_held_while_it_has_a_lease(lease_ms: int, state: ClaimState) -> None:
    pending = pack({"settled": False, "fingerprint": "print", "key": "key", "token": "them-1"}, key="place")
    assert claim_state("place", pending, lease_ms, 60_000) == state


@simulated
async def test_a_waiter_that_leaves_after_it_took_the_claim_gives_it_back() -> None:
    """It looked whether the owner had settled meanwhile. Before: it held the claim, and renewed it, for ever."""
    shared, redis = claims(TOO_LATE, FREE)
    waiter = asyncio.get_running_loop().create_task(shared.take_over(FLIGHT, Orphaned("", "first", "them-1")))
    await VirtualClock().sleep(0.01)
    waiter.cancel()
    await asyncio.wait({waiter})
    assert waiter.cancelled()
    assert redis.undone == 1
    await VirtualClock().sleep(10.0)
    assert redis.undone == 1  # nothing is renewed
    shared.close()
