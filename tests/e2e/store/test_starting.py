"""The sidecar starts without its store, unless a route requires the store."""

from pathlib import Path

from tests.e2e.raw import ask, request
from tests.e2e.sidecar import backstay, sidecar
from tests.e2e.store.keyed import keyed_backend
from tests.e2e.store.redis import needs_redis, redis_server

NOWHERE = "redis://127.0.0.1:1/0"
REQUIRED = """
[[routes]]
operation = "session-load"
match = "GET /api/sessions/{report_id}"
store_required = true
"""
LOAD = request("GET", "/api/sessions/r-1")


async def test_it_starts_without_its_redis(tmp_path: Path) -> None:
    """Requests go on; the log says once that there is no store."""
    async with keyed_backend(0.0) as backend, sidecar(tmp_path, backend.url, store__url=NOWHERE) as child:
        answer = await ask(child.url, LOAD)
        up = (await child.scrape()).total("backstay_store_up")
    assert (answer.status, up) == (200, 0)


async def test_a_required_store_that_is_away_is_fatal_at_start(tmp_path: Path) -> None:
    """One line that names the route and both settings, and exit 1."""
    (tmp_path / "backstay.toml").write_text(REQUIRED)
    ended = await backstay(
        "run", "--config", "backstay.toml", "--upstream", "http://127.0.0.1:1", cwd=tmp_path, store__url=NOWHERE,
        listen__address="127.0.0.1:0", admin__address="127.0.0.1:0",
    )  # fmt: skip
    last = ended.err.splitlines()[-1]
    assert ended.status == 1
    assert "session-load requires it (store_required)" in last
    assert "store.url" in last
    assert "Traceback" not in ended.err


@needs_redis
async def test_a_required_store_that_goes_away_is_a_503(tmp_path: Path) -> None:
    """And the route is back when the store is."""
    async with (
        redis_server(tmp_path) as redis,
        keyed_backend(0.0) as backend,
        sidecar(tmp_path, backend.url, REQUIRED, store__url=redis.url, store__timeout="20s") as child,
    ):
        before = await ask(child.url, LOAD)
        await redis.kill()
        await child.logged("store_down")
        during = await ask(child.url, LOAD)
        await redis.start()
        await child.until(lambda scrape: scrape.total("backstay_store_up") == 1)
        after = await ask(child.url, LOAD)
    assert (before.status, during.status, after.status) == (200, 503, 200)
    assert b"the store that this route requires" in during.body
