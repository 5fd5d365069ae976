"""One reply of Redis too many, or of another kind: nobody is told what another asked for, and nobody is told 500."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.raw import Answer, Call, Origin, answer, ask, request
from tests.e2e.sidecar import Child, sidecar
from tests.e2e.store.between import Between, Once, between
from tests.e2e.store.redis import needs_redis, redis_server

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
operation = "load"
match = "GET /kept"
reuse = "10m"
"""
USERS = ("alice", "bob")


class Stage(NamedTuple):
    """Two replicas: what Redis replies to the second may be changed."""

    one: Child
    two: Child
    proxy: Between
    origin: Origin

    async def until_up(self) -> None:
        """Wait until the second replica has found its store again."""
        await self.two.until(lambda scrape: scrape.total("backstay_store_up") == 1)


async def load(child: Child, user: str) -> bytes:
    """Read what is a user's own."""
    return (await ask(child.url, request("GET", "/kept", Authorization=f"Bearer {user}"))).body


async def pay(child: Child, user: str, key: str, path: str = "/pay") -> Answer:
    """Pay with a key."""
    return await ask(child.url, request("POST", path, b"{}", Authorization=f"Bearer {user}", Idempotency_Key=key))


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    """Run all of it."""
    origin = Origin()

    async def own(call: Call) -> bytes:
        return answer(f"{call.header('authorization')} {call.header('idempotency-key')}".encode())

    for path in ("/pay", "/strict", "/kept"):
        origin.on(path, own)
    await origin.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(origin.stop)
        redis = await stack.enter_async_context(redis_server(folder))
        proxy = await stack.enter_async_context(between(redis.port))
        children = []
        for name, url in (("one", redis.url), ("two", proxy.url)):
            (folder / name).mkdir()
            started = sidecar(folder / name, origin.url, CONFIG, store__url=url, store__timeout="20s")
            children.append(await stack.enter_async_context(started))
        yield Stage(children[0], children[1], proxy, origin)
        assert "Traceback" not in children[1].log


async def test_a_reply_that_comes_twice_shows_nobody_the_bytes_of_another(tmp_path: Path) -> None:
    """Before, every later hit was another user's, with no end, and nothing was logged."""
    async with stage(tmp_path) as on:
        for user in USERS * 2:
            await load(on.two, user)
        on.proxy.tamper = once = Once(b"MGET", lambda reply: [reply, reply])
        for user in USERS * 5:
            assert await load(on.two, user) == f"Bearer {user} ".encode()
        assert once.done.is_set()
        await on.two.logged("store_down")


async def test_a_reply_that_comes_twice_replays_nobodys_payment(tmp_path: Path) -> None:
    """Before, a repetition was answered with another user's payment, and a new key with an old one: it was not sent."""
    async with stage(tmp_path) as on:
        for user in USERS:
            await pay(on.one, user, f"key-of-{user}")
        on.proxy.tamper = Once(b"EVALSHA", lambda reply: [reply, reply])
        for key in ("key-of-{}", "new-key-of-{}", "newer-key-of-{}"):
            for user in USERS:
                told = await pay(on.two, user, key.format(user))
                assert told.body == f"Bearer {user} {key.format(user)}".encode()


@pytest.mark.parametrize("reply", [b"*-5\r\n", b":7\r\n", b"+OK\r\n", b"%1\r\n*0\r\n+b\r\n"])
async def test_a_reply_of_another_shape_is_no_500_and_uses_no_key_up(tmp_path: Path, reply: bytes) -> None:
    """The store cannot tell: 503 where it is required, and the same key works once it is up again."""
    async with stage(tmp_path) as on:
        on.proxy.tamper = Once(b"EVALSHA", lambda _: [reply])
        told = await pay(on.two, "alice", "k-1", "/strict")
        assert told.status in (200, 503)  # 200 where the connection was made anew within the time that it is waited for
        on.proxy.tamper = Once(b"MGET", lambda _: [reply])
        await on.until_up()
        assert await load(on.two, "alice") == b"Bearer alice "
        await on.until_up()
        told = await pay(on.one, "alice", "k-1", "/strict")
        assert (told.status, told.body) == (200, b"Bearer alice k-1")
