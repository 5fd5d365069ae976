"""A user's data is erased in Redis and in each replica's memory, and the response has the numbers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import orjson

from proxy.clock import SystemClock
from tests.e2e.raw import Call, Origin, answer, ask, request
from tests.e2e.sidecar import PATIENCE, Child, Ended, sidecar
from tests.e2e.store.redis import RedisServer, needs_redis, redis_server

CONFIG = """
[[routes]]
operation = "pay"
match = "POST /pay/{who}"
subject = "path:who"
idempotency = "replay"
[[routes]]
operation = "load"
match = "GET /load/{who}"
subject = "path:who"
reuse = "60s"
restoration = "status"
"""
NAMES = ("alice", "bob")
TOKEN = "open-sesame"
_clock = SystemClock()


def body(who: str) -> bytes:
    """Return what names a person in every answer."""
    return f"{who}@example.test".encode()


def pay(who: str) -> bytes:
    """Return a payment under a key that names the person."""
    return request("POST", f"/pay/{who}", b"{}", Authorization=f"Bearer {who}", Idempotency_Key=f"key-of-{who}")


def load(who: str) -> bytes:
    """Return a read that is kept."""
    return request("GET", f"/load/{who}", Authorization=f"Bearer {who}")


async def erase(child: Child, who: str) -> Ended:
    """Erase what is kept of somebody."""
    return await child.ask_admin(f"/kept?subject={who}", "DELETE", TOKEN)


async def restoration(child: Child, who: str) -> str:
    """Return what the control plane knows of somebody's restoration."""
    return (await child.ask_admin(f"/restorations/{who}", token=TOKEN)).out


class Stage(NamedTuple):
    """Sidecars over one backend, and what each request brought first."""

    children: list[Child]
    origin: Origin


@asynccontextmanager
async def stage(folder: Path, store: str, count: int) -> AsyncIterator[Stage]:
    """Start sidecars, and have two people's reads and payments kept through the first."""
    origin = Origin()

    async def of_path(call: Call) -> bytes:
        return answer(body(call.target.rpartition("/")[2]), "200 OK")

    for who in NAMES:
        origin.on(f"/pay/{who}", of_path)
        origin.on(f"/load/{who}", of_path)
    await origin.start()
    async with AsyncExitStack() as stack:
        children = []
        for name in range(count):
            (folder / f"{name}").mkdir()
            started = sidecar(
                folder / f"{name}", origin.url, CONFIG, store__url=store, store__timeout="20s",
                admin__token=TOKEN,
            )  # fmt: skip
            children.append(await stack.enter_async_context(started))
        for what in (pay, load):
            for who in NAMES:
                assert (await ask(children[0].url, what(who))).body == body(who)
        await children[0].settled()
        yield Stage(children, origin)
    await origin.stop()


async def values(redis: RedisServer) -> bytes:
    """Return everything that is in Redis, but for the outcomes that are there for 5 s."""
    async with redis.client() as client:
        return b"".join([key + (await client.get(key) or b"") async for key in client.scan_iter(count=1000)])


async def is_erased(child: Child, who: str) -> bool:
    """Tell whether a repetition is told that the answer was erased."""
    again = await ask(child.url, pay(who))
    return again.status == 409 and b"was erased" in again.body


@needs_redis
async def test_nothing_of_the_subject_stays_in_redis_or_in_a_replica(tmp_path: Path) -> None:
    """Before, bodies and keys stood in Redis for up to 24 h, and each replica replayed from its own copy."""
    async with redis_server(tmp_path) as redis, stage(tmp_path, redis.url, 2) as (children, origin):
        one, two = children
        assert (await ask(two.url, pay("alice"))).header("idempotent-replayed") == "true"
        assert b"alice@example.test" in await values(redis)
        said = orjson.loads((await erase(two, "alice")).out)
        assert said == {"subject": "alice", "status": "dropped", "cached": 1, "idempotent": 1, "restorations": 0}
        left = await values(redis)
        assert b"alice" not in left
        assert b"bob@example.test" in left
        async with asyncio.timeout(PATIENCE):
            while not await is_erased(one, "alice"):
                await _clock.sleep(0.005)
        assert orjson.loads(await restoration(one, "alice"))["state"] == "NotRestored"
        assert await is_erased(two, "alice")
        assert (await ask(two.url, pay("bob"))).header("idempotent-replayed") == "true"
        assert [call.target for call in origin.calls].count("/pay/alice") == 1
        gone = orjson.loads((await erase(one, "alice")).out)
        assert [gone[name] for name in ("cached", "idempotent", "restorations")] == [0, 0, 0]


@needs_redis
async def test_a_store_that_cannot_be_reached_is_told(tmp_path: Path) -> None:
    """The answer was "dropped", whether anything was or not."""
    async with redis_server(tmp_path) as redis, stage(tmp_path, redis.url, 1) as (children, _):
        await redis.kill()
        told = await erase(children[0], "alice")
        assert (told.status, "could not be reached" in told.out) == (503, True)


async def test_memory_is_erased_too(tmp_path: Path) -> None:
    """The key stays used: a payment is not made twice because its answer is gone."""
    async with stage(tmp_path, "memory://", 1) as (children, origin):
        said = orjson.loads((await erase(children[0], "alice")).out)
        assert said == {"subject": "alice", "status": "dropped", "cached": 1, "idempotent": 1, "restorations": 1}
        assert await is_erased(children[0], "alice")
        assert (await ask(children[0].url, pay("bob"))).header("idempotent-replayed") == "true"
        assert (await ask(children[0].url, load("alice"))).body == body("alice")
        assert [call.target for call in origin.calls].count("/load/alice") == 2
