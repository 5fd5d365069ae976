"""Recovery from backend failures over real sockets: fallback, stale responses, creation of missing sessions."""

import asyncio
import json

from tests.e2e.matrix.conftest import Start, ask
from tests.e2e.matrix.scripted import HANG, RESET, ScriptedBackend, answer

CONFIG = """
[upstreams.sessions]
url = {url}
[defaults]
total_timeout = "{total}"
[defaults.retry]
jitter = false
max_retries = 1
[[routes]]
operation = "history"
match = "GET /history/{{id}}"
subject = "path:id"
explain = true
{history}
[[routes]]
operation = "write"
match = "PATCH /history/{{id}}"
subject = "path:id"
"""
FALLBACK = 'fallback = { status = 200, body = { id = "{subject}", messages = [], degraded = true } }'


def config(*backends: ScriptedBackend, history: str = "", total: str = "60s") -> str:
    """Return the configuration for these addresses."""
    return CONFIG.format(url=json.dumps([backend.url for backend in backends]), history=history, total=total)


async def test_an_outage_is_answered_with_the_fallback(start: Start, backend: ScriptedBackend) -> None:
    """The route's own document with its names filled in, and what it stands for in Proxy-Status."""
    backend.script = (answer(503),) * 2
    await backend.start()
    sidecar = await start(config(backend, history=FALLBACK))
    got = await ask(sidecar.port, "GET", "/history/val%22_1")
    assert got.status == 200
    assert json.loads(got.body) == {"id": 'val"_1', "messages": [], "degraded": True}
    assert got.fields["proxy-status"] == "backstay; received-status=503"
    assert "cache-status" not in got.fields
    [record] = await sidecar.records()
    assert (record["outcome"], record["success"]) == ("recovered", True)


async def test_a_stale_answer_comes_before_the_fallback(start: Start, backend: ScriptedBackend) -> None:
    """What the same principal was given before, with its true age; nobody else's."""
    backend.script = (answer(200, body=b'"kept"'), *(RESET,) * 9)
    await backend.start()
    sidecar = await start(config(backend, history='stale_if_error = "10m"\n' + FALLBACK))
    me = "Authorization: Bearer me\r\n"
    assert (await ask(sidecar.port, "GET", "/history/a", me)).body == b'"kept"'
    stale = await ask(sidecar.port, "GET", "/history/a", me)
    assert (stale.status, stale.body) == (200, b'"kept"')
    assert 0 <= int(stale.fields["age"]) < 60
    assert stale.fields["cache-status"].startswith("backstay; hit; ttl=-")
    other = await ask(sidecar.port, "GET", "/history/a", "Authorization: Bearer you\r\n")
    assert json.loads(other.body)["degraded"] is True


async def test_a_write_drops_what_could_have_been_served_stale(start: Start, backend: ScriptedBackend) -> None:
    """After a write to the subject, an older answer is never given, not even in an outage."""
    backend.script = (answer(200, body=b'"old"'), answer(200), *(RESET,) * 9)
    await backend.start()
    sidecar = await start(config(backend, history='stale_if_error = "10m"'))
    assert (await ask(sidecar.port, "GET", "/history/a")).body == b'"old"'
    assert (await ask(sidecar.port, "PATCH", "/history/a", "", b"{}")).status == 200
    assert (await ask(sidecar.port, "GET", "/history/a")).status == 502


async def test_a_strangers_refused_write_takes_nothing_away(start: Start, backend: ScriptedBackend) -> None:
    """A PATCH that is answered 401, and one in the outage that was never sent, leave the offline copy to its owner."""
    backend.script = (answer(200, body=b'"old"'), answer(401), *(RESET,) * 9)
    await backend.start()
    sidecar = await start(config(backend, history='stale_if_error = "10m"'))
    owner = "Authorization: Bearer ada\r\n"
    assert (await ask(sidecar.port, "GET", "/history/a", owner)).body == b'"old"'
    assert (await ask(sidecar.port, "PATCH", "/history/a", "", b"{}")).status == 401
    stale = await ask(sidecar.port, "GET", "/history/a", owner)
    assert (stale.status, stale.body) == (200, b'"old"')
    await backend.stop()
    assert (await ask(sidecar.port, "PATCH", "/history/a", "", b"{}")).status == 502
    assert (await ask(sidecar.port, "GET", "/history/a", owner)).body == b'"old"'


async def test_what_is_missing_is_created(start: Start, backend: ScriptedBackend) -> None:
    """404, create, and the created resource is the answer to the first question."""
    backend.script = (answer(404), answer(201, body=b'{"id":"a"}'))
    await backend.start()
    missing = 'on_missing = { request = "POST /history", body = { id = "{subject}" } }'
    sidecar = await start(config(backend, history=missing))
    got = await ask(sidecar.port, "GET", "/history/a")
    assert (got.status, got.body) == (200, b'{"id":"a"}')
    assert got.fields["proxy-status"] == "backstay; received-status=404"
    create = backend.calls[1]
    assert (create.line, json.loads(create.body)) == ("POST /history HTTP/1.1", {"id": "a"})
    assert create.fields["idempotency-key"].startswith("a-history-")


async def test_what_somebody_else_created_meanwhile_is_loaded(start: Start, backend: ScriptedBackend) -> None:
    """The create says 409, so the first question is asked once more."""
    backend.script = (answer(404), answer(409), answer(200, body=b'{"id":"theirs"}'))
    await backend.start()
    missing = 'on_missing = { request = "POST /history", body = { id = "{subject}" } }'
    sidecar = await start(config(backend, history=missing))
    got = await ask(sidecar.port, "GET", "/history/a")
    assert (got.status, got.body) == (200, b'{"id":"theirs"}')


async def test_an_attempt_after_a_failure_goes_to_another_address(start: Start, backend: ScriptedBackend) -> None:
    """Several addresses: the one that reset is not asked again by the same request."""
    backend.script = (RESET,)
    await backend.start()
    other = await ScriptedBackend().start()
    sidecar = await start(config(backend, other))
    assert (await ask(sidecar.port, "GET", "/history/a")).status == 200
    assert (len(backend.calls), len(other.calls)) == (1, 1)
    await other.stop()


async def test_a_full_upstream_refuses_with_retry_after(start: Start, backend: ScriptedBackend) -> None:
    """max_connections bounds what the backend gets at once; a short line waits a short time, then 503 (RFC 9110)."""
    backend.script = (HANG,) * 3
    await backend.start()
    limits = ']\nmax_connections = 2\nqueue = 1\nqueue_timeout = "100ms"\n'
    sidecar = await start(config(backend, total="4s").replace(f'["{backend.url}"]\n', f'["{backend.url}"{limits}'))
    loop = asyncio.get_running_loop()
    asked = [loop.create_task(ask(sidecar.port, "GET", f"/history/{name}")) for name in "abcd"]
    done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    full = next(iter(done)).result()
    assert (full.status, full.fields["retry-after"]) == (503, "1")
    assert full.fields["proxy-status"] == "backstay; error=connection_limit_reached"
    answers = await asyncio.gather(*asked)
    assert sorted(answer.status for answer in answers) == [503, 503, 504, 504]
    assert len(backend.calls) == 2


async def test_the_decisions_are_explained_to_whoever_may_ask(start: Start, backend: ScriptedBackend) -> None:
    """X-Backstay-Explain: 1 on a route that allows it returns the attempts and their reasons."""
    backend.script = (answer(503),)
    await backend.start()
    sidecar = await start(config(backend))
    got = await ask(sidecar.port, "GET", "/history/a", "X-Backstay-Explain: 1\r\n")
    first, second = got.fields["x-backstay-explain"].split("; ")
    assert first.startswith("attempt 1 after 0 ms: 503 in ")
    assert first.endswith("unavailable")
    assert second.startswith("attempt 2 after 100 ms: 200 in ")
    assert "x-backstay-explain" not in (await ask(sidecar.port, "GET", "/history/b")).fields
    assert "x-backstay-explain" not in backend.calls[0].fields


async def test_a_dry_run_only_forwards(start: Start, backend: ScriptedBackend) -> None:
    """dry_run: every answer goes through as it came, once, and the record tells what would have been done."""
    backend.script = (answer(503), answer(409))
    await backend.start()
    text = config(backend, history=FALLBACK + '\non_conflict = "GET /history/{subject}"')
    sidecar = await start(text, top="dry_run = true")
    got = await asyncio.gather(*(ask(sidecar.port, "GET", "/history/a") for _ in range(2)))
    assert sorted(answer.status for answer in got) == [409, 503]
    assert "x-correlation-id" not in got[0].fields
    assert len(backend.calls) == 2
    records = await sidecar.records()
    noted = [note for record in records for note in _would(record)]
    assert "retry: unavailable" in noted
    assert "recover: LoadExisting" in noted
    assert any(note.startswith("join ") for note in noted)


def _would(record: dict[str, object]) -> list[str]:
    metadata = record["metadata"]
    assert isinstance(metadata, dict)
    would: list[str] = metadata["would"]
    return would
