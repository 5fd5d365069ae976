"""What is kept in a folder outlives the process, also one that is killed; what a write made old never comes back."""

import asyncio
from pathlib import Path

from proxy.clock import SystemClock
from tests.e2e.raw import ask, request
from tests.e2e.store.durable import ROUTES, durable, killed, written
from tests.e2e.store.keyed import keyed_backend
from tests.e2e.store.requests import ADA, LOAD, UPDATE, create


async def test_a_cached_response_outlives_a_kill(tmp_path: Path) -> None:
    """The backend is down, the process was killed: its user reads what he had, with its true age; nobody else does."""
    async with keyed_backend(0.0) as backend:
        async with durable(tmp_path, backend.url) as child:
            first = await ask(child.url, LOAD)
            await written(child)
            await killed(child)
        url = backend.url
    async with durable(tmp_path, url) as child:
        await SystemClock().sleep(1.1)
        again = await ask(child.url, LOAD)
        other = await ask(child.url, request("GET", "/api/sessions/r-1", Authorization="Bearer eve-0123456789"))
    assert (first.status, again.status, other.status) == (200, 200, 502)
    assert again.body == first.body
    assert 1 <= int(again.header("age")) < 60


async def test_what_a_write_made_old_does_not_come_back(tmp_path: Path) -> None:
    """The write was answered, then the process was killed: the copy from before it is gone."""
    async with keyed_backend(0.0) as backend:
        async with durable(tmp_path, backend.url) as child:
            await ask(child.url, LOAD)
            await written(child)
            wrote = await ask(child.url, UPDATE)
            await killed(child)
        url = backend.url
    async with durable(tmp_path, url) as child:
        again = await ask(child.url, LOAD)
    assert (wrote.status, again.status) == (204, 502)


async def test_a_refused_or_unsent_write_makes_nothing_old(tmp_path: Path) -> None:
    """A 403, a 503, and one that found no backend: the copy is there, before and after a kill."""
    async with keyed_backend(0.0) as backend, durable(tmp_path, backend.url) as child:
        first = await ask(child.url, LOAD)
        refused = [
            (await ask(child.url, request("PATCH", "/api/sessions/r-1", b"{}", X_Refuse=status, **ADA))).status
            for status in ("403", "503")
        ]
        url = backend.url
        await backend.stop()
        unsent = await ask(child.url, UPDATE)
        await written(child)
        await killed(child)
        await backend.start()
    async with durable(tmp_path, url) as child:
        again = await ask(child.url, LOAD)
    assert (refused, unsent.status) == ([403, 503], 502)
    assert again.body == first.body


async def test_a_write_under_way_at_a_kill_is_in_doubt(tmp_path: Path) -> None:
    """It was sent and not answered: the copy is gone after the start, and nothing is cached for a while."""
    async with keyed_backend(0.0) as backend:
        async with durable(tmp_path, backend.url) as child:
            await ask(child.url, LOAD)
            await written(child)
            backend.latency_s = 60.0
            slow = asyncio.ensure_future(
                ask(child.url, request("PATCH", "/api/sessions/r-1", b"{}", X_Slow="1", **ADA))
            )
            await backend.until_calls(2)
            await written(child)
            await killed(child)
            slow.cancel()
        async with durable(tmp_path, backend.url) as child:
            reads = [await ask(child.url, LOAD) for _ in range(2)]
    assert [read.status for read in reads] == [200, 200]
    assert backend.calls == 4


async def test_a_used_key_stays_used_and_its_response_is_replayed(tmp_path: Path) -> None:
    """The create was answered, the process was killed: its repetition gets the same response, and is not sent."""
    async with keyed_backend(0.0) as backend:
        async with durable(tmp_path, backend.url) as child:
            first = await ask(child.url, create("r-1"))
            await killed(child)
        async with durable(tmp_path, backend.url) as child:
            again = await ask(child.url, create("r-1"))
            other = await ask(child.url, create("r-2"))
    assert (first.status, again.status, other.status) == (201, 201, 422)
    assert again.body == first.body
    assert backend.calls == 1


async def test_a_key_whose_request_was_under_way_at_a_kill_is_not_sent_again(tmp_path: Path) -> None:
    """Nobody knows what became of it: 504, and the backend hears nothing. Where it honours keys, it is sent again."""
    async with keyed_backend(60.0) as backend:
        async with durable(tmp_path, backend.url) as child:
            slow = asyncio.ensure_future(ask(child.url, create("r-1")))
            await backend.until_calls(1)
            await killed(child)
            slow.cancel()
        backend.latency_s = 0.0
        async with durable(tmp_path, backend.url) as child:
            unknown = await ask(child.url, create("r-1"))
        honoured = ROUTES.replace(
            'idempotency = "replay"', 'idempotency = "replay"\nupstream_honours_idempotency = true'
        )
        async with durable(tmp_path, backend.url, honoured) as child:
            known = await ask(child.url, create("r-1"))
    assert (unknown.status, known.status) == (504, 201)
    assert (backend.calls, backend.duplicates) == (2, {})


async def test_a_logout_outlives_a_kill(tmp_path: Path) -> None:
    """A route with `ends_session`: what was cached for its sender is gone before its response goes out."""
    async with keyed_backend(0.0) as backend:
        async with durable(tmp_path, backend.url) as child:
            await ask(child.url, LOAD)
            await ask(child.url, create("r-2"))
            await written(child)
            left = await ask(child.url, request("DELETE", "/api/login", None, **ADA))
            await killed(child)
        url = backend.url
    async with durable(tmp_path, url) as child:
        again = await ask(child.url, LOAD)
        replayed = await ask(child.url, create("r-2"))
    assert (left.status, again.status, replayed.status) == (204, 502, 409)
