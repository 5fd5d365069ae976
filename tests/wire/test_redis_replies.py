"""A reply of Redis that belongs to another command is never used: the connection is closed, and the store is down.

Each test has a real Redis behind a proxy that repeats, drops, swaps or replaces replies.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest

from proxy.clock import SystemClock
from proxy.config.settings import StoreTable
from proxy.exchange.ports import Look, Scope
from proxy.http.fields import Fields
from proxy.http.message import Response
from proxy.policy.claim_rules import Acquired, Claim, HeldByOther, Settled, StoreUnavailable
from proxy.policy.recovery_plan import Result
from proxy.policy.response_cache import CachedResponse
from proxy.store.erased import Erased
from proxy.store.redis_connection import StoreDown
from proxy.store.shared import RedisBundle
from tests.e2e.sidecar import PATIENCE
from tests.e2e.store.between import Between, Once, Words, between
from tests.e2e.store.redis import RedisServer, needs_redis, redis_server

pytestmark = needs_redis
_clock = SystemClock()
SCOPE = Scope("subject", (b"owner",))


class Stage(NamedTuple):
    """Two replicas and their Redis; the replies to the second pass through a proxy."""

    one: RedisBundle
    two: RedisBundle
    proxy: Between
    redis: RedisServer
    errors: list[str]

    async def until_up(self) -> None:
        """Wait until the second has reached Redis again."""
        async with asyncio.timeout(PATIENCE):
            while not self.two.responses.up:
                await _clock.sleep(0.01)

    async def settle(self, name: str, body: bytes) -> Claim:
        """Have the first replica keep an answer under a key."""
        claim = Claim(name, "print", "key", 60.0, 60.0, subject="subject")
        mine = await self.one.claims.claim(claim)
        assert isinstance(mine, Acquired)
        await self.one.claims.settle(claim, mine, Result(response(body)), keep=True)
        return claim


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    """Run all of it."""
    errors: list[str] = []
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(redis_server(folder))
        proxy = await stack.enter_async_context(between(redis.port))
        bundles = []
        for name, url in (("one", redis.url), ("two", proxy.url)):
            bundle = RedisBundle(StoreTable.model_validate({"url": url, "timeout": "20s"}), name, _clock, errors.append)
            await bundle.start()
            stack.push_async_callback(bundle.close)
            bundles.append(bundle)
        assert all(bundle.responses.up for bundle in bundles)
        yield Stage(bundles[0], bundles[1], proxy, redis, errors)


def response(body: bytes) -> Response:
    """Return an answer."""
    return Response(200, b"OK", Fields(()), body)


def body_of(told: object) -> object:
    """Return the body of what was found, or what else was found."""
    if isinstance(told, Look):
        return None if told.cached is None else told.cached.response.body
    if isinstance(told, Settled) and told.result is not None and isinstance(told.result.outcome, Response):
        return told.result.outcome.body
    return told


async def keep(on: RedisBundle, key: bytes, body: bytes, scope: Scope = SCOPE) -> None:
    """Have a response cached."""
    before = await on.responses.look(key, scope)
    await on.responses.put(key, CachedResponse(response(body), 1.0, 7), 60.0, scope, before.mark)


# what is asked, and what is told when the store cannot tell


async def look(on: Stage) -> object:
    return body_of(await on.two.responses.look(b"alice", SCOPE))


async def claim(on: Stage) -> object:
    return body_of(await on.two.claims.claim(Claim("alice", "print", "key", 60.0, 60.0)))


async def erase(on: Stage) -> object:
    return (await on.two.erase("nobody")).complete


class Question(NamedTuple):
    """One way to ask the store; the command whose reply is tampered with, and what is told of a reply that is wrong."""

    command: bytes
    ask: Callable[[Stage], Awaitable[object]]
    right: object
    unknown: object


QUESTIONS = (
    Question(b"MGET", look, b"of alice", None),
    Question(b"EVALSHA", claim, b"paid by alice", StoreUnavailable()),
    Question(b"SCAN", erase, True, False),
    Question(b"GETRANGE", erase, True, False),
)
CHANGES: dict[str, Callable[[bytes], list[bytes]]] = {
    "repeated": lambda reply: [reply, reply],
    "dropped": lambda reply: [],
    "a surplus one before it": lambda reply: [b"+OK\r\n", reply],
    "a surplus one after it": lambda reply: [reply, b"+OK\r\n"],
    "a number": lambda reply: [b":7\r\n"],
    "a huge number": lambda reply: [b":" + b"7" * 5000 + b"\r\n"],
    "no number": lambda reply: [b":x\r\n"],
    "a list of -5": lambda reply: [b"*-5\r\n"],
    "an empty list": lambda reply: [b"*0\r\n"],
    "a list of nulls": lambda reply: [b"*4\r\n" + b"_\r\n" * 4],
    "a text of -5": lambda reply: [b"$-5\r\n"],
    "a map": lambda reply: [b"%1\r\n+a\r\n+b\r\n"],
    "a map of lists": lambda reply: [b"%1\r\n*0\r\n+b\r\n"],
    "true": lambda reply: [b"#t\r\n"],
    "an empty push": lambda reply: [b">0\r\n", reply],
    "deep": lambda reply: [b"*1\r\n" * 20_000 + b":1\r\n"],
    "garbage": lambda reply: [b"\xff\xfe!!\r\n"],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_a_reply_of_another_shape_is_a_store_that_is_down(
    tmp_path: Path, change: Callable[[bytes], list[bytes]]
) -> None:
    """No exception and no bytes of others; afterwards everything is as it was.

    Before, it was a TypeError or an AttributeError on every request, or another user's answer from then on.
    """
    async with stage(tmp_path) as on:
        await on.settle("alice", b"paid by alice")
        await keep(on.one, b"alice", b"of alice")
        for command, ask, right, unknown in QUESTIONS:
            errors = len(on.errors)
            on.proxy.tamper = once = Once(command, change)
            told = await ask(on)
            await once.done.wait()
            assert (type(told), told) == (type(unknown), unknown), command
            assert len(on.errors) > errors
            await on.until_up()
            on.two.invalidations.drop_all()  # what was kept before counts as old; it is kept anew
            await keep(on.two, b"alice", b"of alice")
            assert await ask(on) == right, command


@pytest.mark.parametrize("change", ["a number", "a list of -5", "dropped", "repeated", "a surplus one before it"])
async def test_a_claim_whose_reply_is_wrong_is_given_back(tmp_path: Path, change: str) -> None:
    """Redis has taken it, and nobody was asked: the key is free again. Before, it was 504, "outcome unknown"."""
    async with stage(tmp_path) as on:
        on.proxy.tamper = Once(b"EVALSHA", CHANGES[change])
        assert isinstance(await claim(on), StoreUnavailable)
        await on.until_up()
        told = await on.one.claims.claim(Claim("alice", "print", "key", 60.0, 60.0))
    assert isinstance(told, Acquired)


async def test_a_takeover_whose_reply_is_wrong_is_given_back(tmp_path: Path) -> None:
    """As a claim is."""
    mine = Claim("alice", "print", "key", 60.0, 60.0)
    async with stage(tmp_path) as on:
        assert isinstance(await on.one.claims.claim(mine), Acquired)
        await on.one.close()  # it stops to renew
        async with asyncio.timeout(PATIENCE):
            while isinstance(orphan := await on.two.claims.claim(mine), HeldByOther):
                await _clock.sleep(0.05)
        on.proxy.tamper = Once(b"EVALSHA", CHANGES["a number"])
        state = await on.two.claims.take_over(mine, orphan)  # type: ignore[arg-type]
        assert isinstance(state, StoreUnavailable)
        await on.until_up()
        assert isinstance(await on.two.claims.claim(mine), Acquired)


class Swapped:
    """Holds the first reply to a command back, and sends it after the second one to this command."""

    def __init__(self, command: bytes) -> None:
        self._command = command
        self._held: list[bytes] = []
        self.done = False

    def __call__(self, words: Words, reply: bytes) -> list[bytes]:
        if not self.done and words and words[0] == self._command:
            if not self._held:
                self._held.append(reply)
                return []
            self.done = True
            return [reply, *self._held]
        return [reply]


async def test_swapped_replies_of_one_batch_reach_nobody(tmp_path: Path) -> None:
    """Two claims travel together, and their replies are of the right shape: each names its key."""
    async with stage(tmp_path) as on:
        claims = [await on.settle(name, b"paid by " + name.encode()) for name in ("alice", "bob")]
        on.proxy.tamper = swapped = Swapped(b"EVALSHA")
        told = await asyncio.gather(*(on.two.claims.claim(claim) for claim in claims))
        assert swapped.done
        assert [type(one) for one in told] == [StoreUnavailable] * 2
        await on.until_up()
        found = await asyncio.gather(*(on.two.claims.claim(claim) for claim in claims))
    assert [body_of(one) for one in found] == [b"paid by alice", b"paid by bob"]


async def test_a_free_claim_and_a_used_one_are_not_swapped(tmp_path: Path) -> None:
    """ "It is free" belongs to one key: else a payment that was made is made again."""
    async with stage(tmp_path) as on:
        used = await on.settle("alice", b"paid by alice")
        on.proxy.tamper = Swapped(b"EVALSHA")
        told = await asyncio.gather(*(on.two.claims.claim(one) for one in (used, used._replace(name="new"))))
        assert [type(one) for one in told] == [StoreUnavailable] * 2


class Replaced:
    """Sends the first reply to a command again, in place of the second."""

    def __init__(self, command: bytes) -> None:
        self._command = command
        self._first: bytes | None = None
        self._count = count()

    def __call__(self, words: Words, reply: bytes) -> list[bytes]:
        if not words or words[0] != self._command:
            return [reply]
        match next(self._count):
            case 0:
                self._first = reply
            case 1:
                assert self._first is not None
                return [self._first]
        return [reply]


async def test_a_cached_response_of_another_is_not_served(tmp_path: Path) -> None:
    """The reply has the right shape, and the connection ends as it should: the value names its key."""
    async with stage(tmp_path) as on:
        for name in (b"alice", b"bob"):
            await keep(on.one, name, b"of " + name)
        on.proxy.tamper = Replaced(b"MGET")
        assert body_of(await on.two.responses.look(b"alice", SCOPE)) == b"of alice"
        assert await on.two.responses.look(b"bob", SCOPE) == Look(None)
        assert on.errors == ["look"]
        assert not on.two.responses.up


async def test_marks_of_another_are_not_taken(tmp_path: Path) -> None:
    """They would make a response current that is old."""
    scopes = [Scope(name, (name.encode(),)) for name in ("alice", "bob")]
    async with stage(tmp_path) as on:
        for name, owners, _ in scopes:
            on.one.invalidations.invalidate(name, owners)
        assert on.one.replicas is not None
        await on.one.replicas.flushed()
        on.proxy.tamper = Replaced(b"MGET")
        first, second = [await on.two.responses.look(b"key", scope) for scope in scopes]
        assert any(first.mark or ())
        assert second == Look(None)
        assert on.errors == ["look"]


async def test_an_outcome_of_another_is_not_served(tmp_path: Path) -> None:
    """Two wait for two landings; the first outcome comes twice."""
    claims = [Claim(name, "print", "key", 0.0, 60.0) for name in ("alice", "bob")]
    async with stage(tmp_path) as on:
        mine = [await on.one.claims.claim(claim) for claim in claims]
        held = [await on.two.claims.claim(claim) for claim in claims]
        for claim, acquired in zip(claims, mine, strict=True):
            assert isinstance(acquired, Acquired)
            await on.one.claims.settle(claim, acquired, Result(response(claim.name.encode())), keep=False)
        on.proxy.tamper = Replaced(b"GET")
        told = []
        for claim, other in zip(claims, held, strict=True):
            assert isinstance(other, HeldByOther)
            told.append(body_of(await on.two.claims.wait(claim, other, PATIENCE)))
        assert told[0] == b"alice"
        assert told[1] == b"bob" or isinstance(told[1], StoreUnavailable | Acquired)  # his own outcome, or none
        assert "send" in on.errors


async def test_unread_bytes_close_a_connection(tmp_path: Path) -> None:
    """A surplus reply after an exchange is read by nobody; the store stays up."""
    async with stage(tmp_path) as on:
        await keep(on.two, b"alice", b"of alice")
        await keep(on.two, b"bob", b"of bob")
        on.proxy.tamper = once = Once(b"PING", lambda reply: [reply, b"+OK\r\n"])
        for name in (b"alice", b"bob") * 3:
            assert body_of(await on.two.responses.look(name, SCOPE)) == b"of " + name
        assert once.done.is_set()
        assert on.errors == []


PUSHES = {
    "a text": b"+OK\r\n",
    "a number": b":7\r\n",
    "an empty push": b">0\r\n",
    "another channel": b">3\r\n$7\r\nmessage\r\n$5\r\nother\r\n$2\r\n{}\r\n",
    "another kind": b">3\r\n$9\r\nsubscribe\r\n$5\r\nother\r\n:1\r\n",
    "a number as data": b">3\r\n$7\r\nmessage\r\n$13\r\nbackstay:news\r\n:1\r\n",
    "the reply to a script": b"*4\r\n$1\r\na\r\n$1\r\nb\r\n:1\r\n:1\r\n",
    "garbage": b"\xff\xfe!!\r\n",
}


@pytest.mark.parametrize("push", PUSHES.values(), ids=PUSHES)
async def test_a_reply_among_messages_makes_everything_old(tmp_path: Path, push: bytes) -> None:
    """What else was lost on that connection is unknown. Before, it was ignored, or a traceback in the log."""
    async with stage(tmp_path) as on:
        before, swapped = on.two.invalidations.stamp(), asyncio.Event()

        def replace(words: Words, reply: bytes) -> list[bytes]:
            if words or swapped.is_set():
                return [reply]
            swapped.set()
            return [push]

        on.proxy.tamper = replace
        on.one.invalidations.invalidate("another", [b"another"])
        await swapped.wait()
        async with asyncio.timeout(PATIENCE):
            while not on.errors:
                await _clock.sleep(0.01)
        await on.until_up()
        assert set(on.errors) == {"listen"}
        assert not on.two.invalidations.fresh(before, "subject", [b"owner"])


async def test_an_erasure_finds_a_value_whose_head_was_swapped(tmp_path: Path) -> None:
    """It would leave the subject's answer where it is, and erase another's."""
    async with stage(tmp_path) as on:
        for name, subject in ((b"alice", "alice"), (b"bob", "bob")):
            before = await on.one.responses.look(name, Scope(subject, (name,)))
            kept = CachedResponse(response(b"of " + name), 1.0, 7, b"", subject)
            await on.one.responses.put(name, kept, 60.0, Scope(subject, (name,)), before.mark)
        on.proxy.tamper = Swapped(b"GETRANGE")
        assert await on.two.erase("alice") == Erased(1, 0)
        async with on.redis.client() as client:
            values = [await client.get(key) or b"" for key in await client.keys("*")]
        assert sum(b"of bob" in value for value in values) == 1


async def test_a_command_that_is_refused_is_no_reply_of_another(tmp_path: Path) -> None:
    """An error is a reply to any command: it is told to the one who asked, and the connection goes on."""
    async with stage(tmp_path) as on:
        connections = on.proxy.connections
        on.proxy.tamper = Once(b"MGET", lambda reply: [b"-ERR no such thing\r\n"])
        with pytest.raises(StoreDown):
            await on.two._connection.run("look", lambda: on.two._connection.cache.multi_get(["a"]))
        await on.until_up()
        assert on.proxy.connections <= connections + 1  # the listener's


async def test_a_listener_that_was_made_anew_starts_over(tmp_path: Path) -> None:
    """The Redis client may reconnect by itself: messages may be lost in between, and the store stays up."""
    async with stage(tmp_path) as on:
        before, listeners = on.two.invalidations.stamp(), on.proxy.connections
        confirmed = b">3\r\n$9\r\nsubscribe\r\n$13\r\nbackstay:news\r\n:2\r\n"
        on.proxy.tamper = lambda words, reply: [reply] if words or on.proxy.connections > listeners else [confirmed]
        on.one.invalidations.invalidate("another", [b"another"])
        async with asyncio.timeout(PATIENCE):
            while on.two.invalidations.fresh(before, "subject", [b"owner"]):
                await _clock.sleep(0.01)
        assert on.two.responses.up
        assert on.errors == []
