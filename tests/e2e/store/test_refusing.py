"""A Redis that replies and refuses commands is not working: responses that cannot be invalidated are not read."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import pytest

from tests.e2e.raw import ask, request
from tests.e2e.sidecar import Child, backstay, sidecar
from tests.e2e.store.keyed import keyed_backend
from tests.e2e.store.redis import RedisServer, needs_redis, redis_server

CONFIG = """
[[routes]]
operation = "session-load"
match = "GET /api/sessions/{report_id}"
subject = "path:report_id"
reuse = "10m"
[[routes]]
operation = "session-update"
match = "PATCH /api/sessions/{report_id}"
subject = "path:report_id"
"""
LOAD = request("GET", "/api/sessions/r-1", Authorization="Bearer ada")
UPDATE = request("PATCH", "/api/sessions/r-1", b"{}", Authorization="Bearer ada")

Change = Callable[[RedisServer], Awaitable[None]]


async def be_full(redis: RedisServer) -> None:
    await redis.configure(maxmemory="1mb")


async def have_room(redis: RedisServer) -> None:
    await redis.configure(maxmemory="0")


async def want_replicas(redis: RedisServer) -> None:
    await redis.configure(min_replicas_to_write="1")


async def want_none(redis: RedisServer) -> None:
    await redis.configure(min_replicas_to_write="0")


async def be_a_replica(redis: RedisServer) -> None:
    async with redis.client() as client:
        await client.replicaof("127.0.0.1", 1)


async def be_the_primary(redis: RedisServer) -> None:
    async with redis.client() as client:
        await client.replicaof("NO", "ONE")


async def version(child: Child) -> int:
    """Return what a reader is told."""
    return int(orjson.loads((await ask(child.url, LOAD)).body)["version"])


async def until_up(child: Child, up: int) -> None:
    """Wait until the sidecar takes its store for working, or not."""
    await child.until(lambda scrape: scrape.total("backstay_store_up") == up)


@needs_redis
@pytest.mark.parametrize(
    ("refuse", "recover"), [(be_full, have_room), (want_replicas, want_none), (be_a_replica, be_the_primary)]
)
async def test_nobody_reads_what_is_older_than_his_write(tmp_path: Path, refuse: Change, recover: Change) -> None:
    """Full, without its replicas, or read-only: not while it refuses writes, and not after it has recovered.

    Before, what was kept was read on, for ten minutes, and the log flapped between up and down.
    """
    async with (
        redis_server(tmp_path) as redis,
        keyed_backend(0.0) as backend,
        sidecar(tmp_path, backend.url, CONFIG, store__url=redis.url, store__timeout="2s") as child,
    ):
        assert [await version(child) for _ in range(2)] == [0, 0]
        await refuse(redis)
        for written in range(1, 4):
            assert (await ask(child.url, UPDATE)).status == 204
            assert await version(child) == written
        await until_up(child, 0)
        await child.until(lambda scrape: scrape.total("backstay_store_errors_total") > 5)
        assert child.log.count("store_down") == 1
        await recover(redis)
        await until_up(child, 1)
        assert [await version(child) for _ in range(2)] == [3, 3]
        assert child.log.count("store_up") == 2


@needs_redis
async def test_a_reader_notices_without_a_write_of_his_own(tmp_path: Path) -> None:
    """Another replica's write could not be told to this one: it looks for itself whether writes are accepted."""
    async with (
        redis_server(tmp_path) as redis,
        keyed_backend(0.0) as backend,
        sidecar(tmp_path, backend.url, CONFIG, store__url=redis.url, store__timeout="2s") as child,
    ):
        assert await version(child) == 0
        await be_full(redis)
        await until_up(child, 0)


@needs_redis
@pytest.mark.parametrize(
    ("url", "cure"),
    [
        ("redis://127.0.0.1:{port}/0", "the user or the password in store.url"),
        ("redis://:wrong@127.0.0.1:{port}/0", "the user or the password in store.url"),
        ("redis://:secret@127.0.0.1:{port}/99", "the database number in store.url"),
        ("rediss://:secret@127.0.0.1:{port}/0", "rediss:// if Redis uses TLS"),
        ("redis://nobody.invalid:{port}/0", "check host, port and scheme in store.url"),
    ],
)
async def test_a_store_that_is_wrong_from_the_start_is_one_line(tmp_path: Path, url: str, cure: str) -> None:
    """However often it is tried; the line says what to change, and requests go on."""
    async with redis_server(tmp_path) as redis, keyed_backend(0.0) as backend:
        await redis.configure(requirepass="secret")
        async with sidecar(tmp_path, backend.url, store__url=url.format(port=redis.port)) as child:
            await child.until(lambda scrape: scrape.total("backstay_store_errors_total") >= 3)
            assert (await ask(child.url, LOAD)).status == 200
            about = [line for line in child.log.splitlines() if "store" in line]
    assert len(about) == 1, about
    assert cure in about[0]
    assert "secret" not in about[0]


@pytest.mark.parametrize("url", ["redis://h:x/0", "redis://h:1/0?unheard_of=1", "redis://h:1/0?socket_timeout=x"])
async def test_a_url_that_no_store_has_is_fatal_at_start(tmp_path: Path, url: str) -> None:
    """One line that names the setting, and no traceback."""
    ended = await backstay("run", "--upstream", "http://127.0.0.1:1", cwd=tmp_path, store__url=url)
    assert ended.status in (1, 2)
    assert "store.url" in ended.err.splitlines()[-1]
    assert "Traceback" not in ended.err
