"""Claims in Redis whose owner settles them between two commands of a waiter."""

from typing import Any

from proxy.clock import SystemClock
from proxy.policy.claim_rules import Acquired, Claim, HeldByOther, Orphaned, Settled
from proxy.store.command_queue import CommandQueue
from proxy.store.packing import pack
from proxy.store.pubsub import ReplicaPubSub
from proxy.store.redis_claims import RedisClaims
from proxy.store.redis_connection import RedisConnection
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

    async def execute(self, operation: str, *arguments: Any) -> Any:
        """Return the next reply."""
        self.sent.append(operation)
        return self.replies.pop(0)

    def fire_and_forget(self, *arguments: Any) -> None:
        """Count a command that needs no reply."""
        self.undone += 1


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
