"""Damaged values in Redis are counted and not used: a response is fetched again, a key's claim stays used."""

from contextlib import AsyncExitStack
from pathlib import Path

from tests.e2e.raw import Call, Origin, answer, ask, request
from tests.e2e.sidecar import Child, sidecar
from tests.e2e.store.redis import RedisServer, needs_redis, redis_server

pytestmark = needs_redis

CONFIG = """
[[routes]]
operation = "pay"
match = "POST /pay"
idempotency = "replay"
[[routes]]
operation = "load"
match = "GET /kept"
reuse = "60s"
"""
PAY = request("POST", "/pay", b"{}", Authorization="Bearer ada", Idempotency_Key="k-1")
LOAD = request("GET", "/kept", Authorization="Bearer ada")


async def damage(redis: RedisServer) -> int:
    """Cut the last byte off every value of ours; return how many there were."""
    count = 0
    async with redis.client() as client:
        async for key in client.scan_iter():
            value = await client.get(key)
            assert isinstance(value, bytes)
            if value.startswith(b"backstay-"):
                await client.set(key, value[:-1], keepttl=True)
                count += 1
    return count


async def errors(child: Child, operation: str) -> float:
    """Return how many failures of an operation were counted."""
    return (await child.scrape()).total("backstay_store_errors_total", operation=operation)


async def test_what_is_damaged_is_a_miss_and_never_a_second_payment(tmp_path: Path) -> None:
    """Before, both were a 500, and a body that was cut was answered as a whole one."""
    origin = Origin()

    async def number(call: Call) -> bytes:
        return answer(b"%d" % len(origin.calls), "200 OK")

    for path in ("/pay", "/kept"):
        origin.on(path, number)
    await origin.start()
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(redis_server(tmp_path))
        children = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            started = sidecar(tmp_path / name, origin.url, CONFIG, store__url=redis.url, store__timeout="20s")
            children.append(await stack.enter_async_context(started))
        one, two = children
        assert [(await ask(one.url, what)).body for what in (PAY, LOAD)] == [b"1", b"2"]
        assert (await ask(two.url, LOAD)).body == b"2"
        assert await damage(redis) >= 2  # the outcome, which those who wait may fetch, is there for 5 s
        paid, loaded = [await ask(two.url, what) for what in (PAY, LOAD)]
        assert (loaded.status, loaded.body) == (200, b"3")
        assert (paid.status, b"outcome unknown" in paid.body) == (504, True)
        assert [call.target for call in origin.calls] == ["/pay", "/kept", "/kept"]
        assert [await errors(two, operation) for operation in ("claim", "look")] == [1, 1]
        assert two.log.count("store_value_damaged") == 1
        assert (await two.scrape()).total("backstay_store_up") == 1
    await origin.stop()
