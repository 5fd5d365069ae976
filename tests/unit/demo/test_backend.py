"""The demo backend over real sockets: sessions, counting, and faults on command."""

import asyncio
from typing import Any

import aiohttp
import pytest

from proxy.demo.backend import Backend
from proxy.demo.client import NetworkError

HISTORY = "/api/conversations/val_1/history"


async def create(client: aiohttp.ClientSession, report_id: str, key: str | None = None) -> tuple[int, Any]:
    """Create a session; return status and body."""
    headers = {"Idempotency-Key": key} if key else {}
    async with client.post("/api/sessions", json={"reportId": report_id, "view": "manual"}, headers=headers) as answer:
        return answer.status, await answer.json()


async def order(client: aiohttp.ClientSession, **fault: Any) -> int:
    """Tell the backend to misbehave, as another process would; return the status."""
    async with client.post("/_demo/faults", json=fault) as answer:
        return answer.status


async def status_of(client: aiohttp.ClientSession, path: str) -> int:
    """Get `path`; return the status."""
    async with client.get(path) as answer:
        return answer.status


async def test_a_second_create_conflicts(client: aiohttp.ClientSession) -> None:
    """One session per report: 201, then 409 for another key and for none."""
    assert (await create(client, "val_1", "a"))[0] == 201
    assert (await create(client, "val_1", "b"))[0] == 409
    assert (await create(client, "val_1"))[0] == 409
    assert (await create(client, "val_2", "b"))[0] == 201


async def test_two_keyless_creates_conflict(client: aiohttp.ClientSession) -> None:
    """No key equals no other: a create without one never replays another's."""
    assert (await create(client, "val_1"))[0] == 201
    assert (await create(client, "val_1"))[0] == 409


async def test_the_same_key_gets_the_same_session(client: aiohttp.ClientSession) -> None:
    """A repeated create is told the existing session, not 409, as the seed document says."""
    first = await create(client, "val_1", "a")
    again = await create(client, "val_1", "a")
    assert first == (201, again[1])
    assert again[0] == 200


async def test_of_simultaneous_creates_one_wins(client: aiohttp.ClientSession) -> None:
    """Fifty tabs at once, each with its own key: one 201 and forty-nine 409."""
    answers = await asyncio.gather(*(create(client, "val_1", f"tab-{n}") for n in range(50)))
    assert sorted(status for status, _ in answers) == [201] + [409] * 49


async def test_a_session_is_loaded_changed_and_switched(client: aiohttp.ClientSession) -> None:
    """What PATCH and the view switch write, the next GET reads."""
    await create(client, "val_1")
    async with client.patch("/api/sessions/val_1", json={"revenue": 4}) as answer:
        assert answer.status == 200
    async with client.post("/api/sessions/val_1/view", json={"view": "conversational"}) as answer:
        assert answer.status == 200
    async with client.get("/api/sessions/val_1") as answer:
        session = await answer.json()
    assert (session["view"], session["data"]) == ("conversational", {"revenue": 4})


async def test_an_absent_session_is_404(client: aiohttp.ClientSession) -> None:
    """Loading, changing or switching a session that was never created finds nothing."""
    assert await status_of(client, "/api/sessions/val_1") == 404
    async with client.patch("/api/sessions/val_1", json={}) as answer:
        assert answer.status == 404
    async with client.post("/api/sessions/val_1/view", json={}) as answer:
        assert answer.status == 404


async def test_a_conversation_is_restored(client: aiohttp.ClientSession, backend: Backend) -> None:
    """A known report has status and messages; an unknown one is empty, which is no error."""
    backend.seed("val_1")
    async with client.get("/api/conversations/val_1/status") as answer:
        assert await answer.json() == {"reportId": "val_1", "exists": True}
    async with client.get(HISTORY) as answer:
        assert len((await answer.json())["messages"]) == 2
    async with client.get("/api/conversations/val_2/history") as answer:
        assert await answer.json() == {"messages": []}


@pytest.mark.parametrize("body", ["", "[]", "{", '{"reportId": 7}', '{"view": "manual"}'])
async def test_a_bad_create_is_400(client: aiohttp.ClientSession, body: str) -> None:
    """A create that names no report is the client's mistake."""
    async with client.post("/api/sessions", data=body) as answer:
        assert answer.status == 400


async def test_calls_are_counted_by_method_and_path(client: aiohttp.ClientSession, backend: Backend) -> None:
    """Every call that arrived is counted, the demo's own controls are not."""
    await create(client, "val_1")
    await status_of(client, HISTORY)
    await status_of(client, HISTORY)
    async with client.get("/_demo/calls") as answer:
        counted = await answer.json()
    assert counted == {"POST /api/sessions": 1, f"GET {HISTORY}": 2} == backend.calls


async def test_fails_n_times_then_recovers(client: aiohttp.ClientSession) -> None:
    """Told to fail twice with 502, it does so twice, and only under the prefix."""
    assert await order(client, kind="fail", prefix="/api/conversations", times=2, status=502) == 200
    assert (await create(client, "val_1"))[0] == 201
    assert [await status_of(client, HISTORY) for _ in range(3)] == [502, 502, 200]


async def test_rate_limits_with_retry_after(client: aiohttp.ClientSession) -> None:
    """Told to rate-limit once, it says when to come back."""
    await order(client, kind="rate_limit", times=1, retry_after="7")
    async with client.get(HISTORY) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
    assert await status_of(client, HISTORY) == 200


async def test_drops_connections_before_processing(client: aiohttp.ClientSession) -> None:
    """A dropped create was counted but never happened: the next one is the first."""
    await order(client, kind="drop", times=1)
    with pytest.raises(NetworkError):
        await create(client, "val_1", "a")
    assert (await create(client, "val_1", "b"))[0] == 201


async def test_hangs_until_reset(client: aiohttp.ClientSession, backend: Backend) -> None:
    """A hanging request gets no answer at all, and its connection closes at the reset."""
    backend.faults.hang("/api")

    async def reset_once_it_hangs() -> None:
        while not backend.calls.total():
            await status_of(client, "/_demo/calls")
        assert await order(client, kind="reset") == 200

    hanging = asyncio.gather(status_of(client, HISTORY), return_exceptions=True)
    await reset_once_it_hangs()
    assert isinstance((await hanging)[0], NetworkError)
    assert await status_of(client, HISTORY) == 200


async def test_is_slow_by_the_seconds_asked(client: aiohttp.ClientSession) -> None:
    """A slow request is answered late; another prefix is not slowed."""
    await order(client, kind="slow", prefix="/api/conversations", seconds=30)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await status_of(client, HISTORY)
    assert (await create(client, "val_1"))[0] == 201


@pytest.mark.parametrize(
    "fault", [{}, {"kind": "explode"}, {"kind": "drop", "tiems": 2}, {"kind": "fail", "times": "x"}]
)
async def test_an_unclear_order_is_refused(
    client: aiohttp.ClientSession, backend: Backend, fault: dict[str, Any]
) -> None:
    """A misspelt fault is a 400, not a fault that never happens."""
    assert await order(client, **fault) == 400
    assert backend.faults.take("/") is None


async def test_stopped_refuses_and_restarted_remembers(client: aiohttp.ClientSession, backend: Backend) -> None:
    """Stopped, the port refuses; started on the same port, the sessions are still there."""
    await create(client, "val_1")
    await backend.stop()
    with pytest.raises(NetworkError, match="Connect call failed"):
        await status_of(client, "/api/sessions/val_1")
    await backend.start(port=backend.port)
    assert await status_of(client, "/api/sessions/val_1") == 200


async def test_stop_does_not_wait_for_a_hanging_request(client: aiohttp.ClientSession, backend: Backend) -> None:
    """Stopping cuts the requests that hang."""
    backend.faults.hang()
    hanging = asyncio.gather(status_of(client, HISTORY), return_exceptions=True)
    while not backend.calls.total():
        await status_of(client, "/_demo/calls")
    await backend.stop()
    assert isinstance((await hanging)[0], NetworkError)


async def test_a_taken_port_is_an_error(backend: Backend) -> None:
    """Two backends cannot share a port, and the second says so."""
    with pytest.raises(OSError, match="address already in use"):
        await Backend().start(port=backend.port)


async def test_the_page_reaches_the_three_ways(client: aiohttp.ClientSession) -> None:
    """A browser gets a page that uses fetch, EventSource and WebSocket."""
    async with client.get("/") as answer:
        page = await answer.text()
        assert answer.content_type == "text/html"
    assert all(word in page for word in ("fetch(", "EventSource(", "WebSocket("))


async def test_events_come_one_by_one(client: aiohttp.ClientSession) -> None:
    """The event stream is open-ended: numbered events until the client leaves."""
    async with client.get("/api/events") as answer:
        assert answer.content_type == "text/event-stream"
        assert [await answer.content.readuntil(b"\n\n") for _ in range(2)] == [b"data: 1\n\n", b"data: 2\n\n"]


async def test_the_websocket_echoes(client: aiohttp.ClientSession) -> None:
    """What is sent comes back."""
    async with client.ws_connect("/api/ws") as socket:
        await socket.send_str("hello")
        assert await socket.receive_str() == "hello"
