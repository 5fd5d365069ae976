"""A claimed request is not sent twice after a short outage of the connection to Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.raw import Answer, Call, Origin, answer, ask, request
from tests.e2e.sidecar import Child, sidecar
from tests.e2e.store.redis import RedisServer, needs_redis, redis_server

pytestmark = needs_redis

CONFIG = """
[[routes]]
operation = "pay"
match = "POST /pay"
idempotency = "replay"
[[routes]]
operation = "strict"
match = "POST /strict"
idempotency = "replay"
store_required = true
[[routes]]
operation = "shared"
match = "POST /shared"
coalesce = "identical"
store_required = true
"""


class Stage(NamedTuple):
    """A sidecar, its Redis, and a backend that answers each call with a number of its own when it is let go."""

    child: Child
    redis: RedisServer
    origin: Origin
    go: asyncio.Event

    async def pay(self, key: str, path: str = "/pay") -> Answer:
        """Ask with a key."""
        return await ask(self.child.url, request("POST", path, b"{}", Authorization="Bearer ada", Idempotency_Key=key))


@asynccontextmanager
async def stage(folder: Path, patience: str = "3s") -> AsyncIterator[Stage]:
    """Run all three."""
    origin, go = Origin(), asyncio.Event()
    go.set()

    async def number(call: Call) -> bytes:
        told = answer(b"%d" % len(origin.calls), "201 Created")
        await go.wait()
        return told

    for path in ("/pay", "/strict", "/shared"):
        origin.on(path, number)
    await origin.start()
    async with (
        redis_server(folder) as redis,
        sidecar(folder, origin.url, CONFIG, store__url=redis.url, store__timeout=patience) as child,
    ):
        yield Stage(child, redis, origin, go)
    await origin.stop()


@pytest.mark.parametrize("how", ["killed", "hanging"])
async def test_what_was_settled_is_known_while_redis_is_away(tmp_path: Path, how: str) -> None:
    """Before, the repetition was asked anew: a second charge. A new key is asked once, and known when Redis is back."""
    async with stage(tmp_path) as on:
        first = await on.pay("k-1")
        if how == "killed":
            await on.redis.kill()
        else:
            on.redis.pause()
        again = await on.pay("k-1")
        new = [await on.pay("k-2") for _ in range(2)]
        if how == "killed":
            await on.redis.start()
        else:
            on.redis.resume()
        await on.child.until(lambda scrape: scrape.total("backstay_store_up") == 1)
        after = await on.pay("k-2")
    assert (first.body, again.body, again.header("idempotent-replayed")) == (b"1", b"1", "true")
    assert [told.body for told in (*new, after)] == [b"2"] * 3
    assert len(on.origin.calls) == 2


async def test_what_is_settled_while_redis_is_away_is_told_to_it_later(tmp_path: Path) -> None:
    """Another replica, and this one after a restart, know it."""
    async with stage(tmp_path) as on:
        await on.redis.kill()
        assert (await on.pay("k-1")).status == 201
        await on.redis.start()
        await on.child.until(lambda scrape: scrape.total("backstay_store_up") == 1)
        (tmp_path / "other").mkdir()
        async with sidecar(
            tmp_path / "other", on.origin.url, CONFIG, store__url=on.redis.url, store__timeout="20s"
        ) as other:
            asked = request("POST", "/pay", b"{}", Authorization="Bearer ada", Idempotency_Key="k-1")
            told = await ask(other.url, asked)
    assert (told.body, told.header("idempotent-replayed")) == (b"1", "true")


async def test_what_is_under_way_is_waited_for_while_redis_is_away(tmp_path: Path) -> None:
    """It was claimed in Redis, which then went away: the repetition waits for the first answer."""
    async with stage(tmp_path) as on:
        on.go.clear()
        first = asyncio.ensure_future(on.pay("k-1"))
        await on.child.until(lambda scrape: scrape.total("backstay_idempotency_total", result="claimed") == 1)
        await on.redis.kill()
        await on.child.logged("store_down")
        again = asyncio.ensure_future(on.pay("k-1"))
        await on.child.until(lambda scrape: scrape.total("backstay_store_errors_total", operation="listen") > 1)
        on.go.set()
        assert [(await told).body for told in (first, again)] == [b"1", b"1"]
    assert len(on.origin.calls) == 1


async def test_a_required_store_that_cannot_tell_is_a_503(tmp_path: Path) -> None:
    """It hangs, and nobody knows yet: neither a keyed request nor a shared one goes ahead unclaimed."""
    async with stage(tmp_path) as on:
        assert (await on.pay("k-1", "/strict")).status == 201
        on.redis.pause()
        told = [await on.pay("k-2", "/strict"), await on.pay("k-1", "/shared")]
        on.redis.resume()
    assert [answer.status for answer in told] == [503, 503]
    assert all(b"the store that this route requires" in answer.body for answer in told)
    assert len(on.origin.calls) == 1


async def test_a_blink_is_waited_out(tmp_path: Path) -> None:
    """Redis is away for a moment: a keyed request waits for it, and is claimed."""
    async with stage(tmp_path, patience="20s") as on:
        assert (await on.pay("k-1")).status == 201
        on.redis.pause()
        waiting = asyncio.ensure_future(on.pay("k-2"))
        await asyncio.wait({waiting}, timeout=0.1)
        on.redis.resume()
        assert (await waiting).status == 201
        notes = await on.child.scrape()
    assert notes.total("backstay_idempotency_total", result="claimed") == 2
    assert "store_down" not in on.child.log
