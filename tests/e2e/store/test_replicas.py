"""Two sidecars, one Redis, one backend: a create is one call even if a replica dies, and both see a write."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import orjson
import pytest

from proxy.clock import SystemClock
from tests.e2e.raw import BROKEN, Answer, ask, request
from tests.e2e.sidecar import Child, sidecar
from tests.e2e.store.keyed import KeyedBackend, keyed_backend
from tests.e2e.store.redis import RedisServer, needs_redis, redis_server

pytestmark = needs_redis

REPORTS = 20
CREATES = 200
DEADLINE_S = 60.0
LATENCY_S = 2.0  # so long that all creates of a round overlap, on a busy machine too
SOON_S = 0.2  # well within a claim's lease, where nothing need overlap: a starved process renews its lease too late
_clock = SystemClock()

CONFIG = """
[upstreams.sessions]
url = "http://stand-in"  # the environment's
[[routes]]
operation = "session-create"
match = "POST /api/sessions"
subject = "body:/reportId"
coalesce = "subject"
idempotency = "inject"
upstream_honours_idempotency = {honours}
total_timeout = "{deadline_s}s"
[[routes]]
operation = "stream"
match = "POST /api/streams"
idempotency = "replay"
replay_answer_limit = "1MiB"
[[routes]]
operation = "session-load"
match = "GET /api/sessions/{{report_id}}"
subject = "path:report_id"
reuse = "60s"
[[routes]]
operation = "session-update"
match = "PATCH /api/sessions/{{report_id}}"
subject = "path:report_id"
"""


class Stage(NamedTuple):
    """Two replicas and what they share."""

    one: Child
    two: Child
    redis: RedisServer
    backend: KeyedBackend


PATIENT = "20s"  # where a count must be exact: on a machine that is busy, Redis is slow as well


@asynccontextmanager
async def replicas(
    folder: Path,
    *,
    honours: bool = True,
    latency_s: float = LATENCY_S,
    deadline_s: float = DEADLINE_S,
    patience: str = PATIENT,
    most: int = 10_000,
) -> AsyncIterator[Stage]:
    """Run all four."""
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(redis_server(folder))
        backend = await stack.enter_async_context(keyed_backend(latency_s))
        config = CONFIG.format(honours=str(honours).lower(), deadline_s=deadline_s)
        children = []
        for name in ("one", "two"):
            (folder / name).mkdir()
            store = {"store__url": redis.url, "store__timeout": patience, "store__max_entries": str(most)}
            children.append(await stack.enter_async_context(sidecar(folder / name, backend.url, config, **store)))
        yield Stage(children[0], children[1], redis, backend)


def create(number: int, report: str) -> bytes:
    """Return a create of one tab, with a key of its own as browsers' tabs have."""
    fields = {"Authorization": "Bearer ada", "Content-Type": "application/json", "Idempotency-Key": f"tab-{number}"}
    return request("POST", "/api/sessions", orjson.dumps({"reportId": report}), **fields)


async def timed(url: str, data: bytes) -> tuple[Answer | None, float]:
    """Ask, and say how long it took; no answer from a sidecar that was killed."""
    began = _clock.now()
    try:
        answer = await ask(url, data)
    except (*BROKEN, OSError):
        return None, _clock.now() - began
    return answer, _clock.now() - began


Asked = list[asyncio.Task[tuple[Answer | None, float]]]


def flood(child: Child, first: int = 0) -> Asked:
    """Send 100 creates of 20 reports to one of the two."""
    loop, half = asyncio.get_running_loop(), range(first, first + CREATES // 2)
    return [loop.create_task(timed(child.url, create(number, report_of(number)))) for number in half]


def report_of(number: int) -> str:
    """Return what the create of that number is for."""
    return f"r-{number % REPORTS}"


async def test_a_create_through_two_replicas_is_one_call(tmp_path: Path) -> None:
    """200 concurrent creates of 20 reports, split over both: 20 calls, 200 times 201, one session a report."""
    async with replicas(tmp_path) as stage:
        answers = [answer for answer, _ in await asyncio.gather(*flood(stage.one), *flood(stage.two, CREATES // 2))]
        notes = [(await child.scrape()) for child in (stage.one, stage.two)]
    assert Counter(answer.status if answer else None for answer in answers) == {201: CREATES}
    assert stage.backend.calls == REPORTS
    bodies = {(report_of(number), answer.body) for number, answer in enumerate(answers) if answer}
    assert len(bodies) == REPORTS
    claimed = sum(note.total("backstay_idempotency_total", result="claimed") for note in notes)
    assert claimed == REPORTS


@pytest.mark.parametrize("honours", [True, False])
async def test_the_death_of_a_replica_makes_no_duplicate(tmp_path: Path, honours: bool) -> None:
    """Killed in mid-flight, its claims are taken over with their keys, or the outcome is said to be unknown."""
    deadline_s, latency_s = (
        12.0,
        4.0,
    )  # so that on a busy machine too the second half comes before the first is answered
    async with replicas(tmp_path, honours=honours, latency_s=latency_s, deadline_s=deadline_s) as stage:
        dying = flood(stage.one)
        await stage.backend.until_calls(REPORTS)
        surviving = flood(stage.two, CREATES // 2)
        await stage.two.until(lambda scrape: scrape.total("backstay_flights") == REPORTS)
        stage.one.process.kill()
        await stage.one.process.wait()
        survivors = await asyncio.gather(*surviving)  # nobody hangs
        await asyncio.gather(*dying)
        notes = await stage.two.scrape()
    assert not stage.backend.duplicates, sorted(stage.backend.heard)
    statuses = Counter(answer.status if answer else None for answer, _ in survivors)
    assert statuses == {201 if honours else 504: CREATES // 2}
    if honours:
        assert notes.total("backstay_idempotency_total", result="taken_over") == REPORTS
        assert {answer.body for answer, _ in survivors if answer} == set(stage.backend.bodies())
    else:
        details = {orjson.loads(answer.body)["detail"] for answer, _ in survivors if answer}
        assert len(details) == 1
        assert "outcome unknown" in details.pop()


@pytest.mark.parametrize("how", ["killed", "hanging"])
async def test_every_client_is_answered_while_redis_is_gone(tmp_path: Path, how: str) -> None:
    """Redis ends, or hangs, in mid-flight and stays away: nobody waits past his deadline, nobody sees an error."""
    async with replicas(tmp_path, patience="1s") as stage:
        tasks = [*flood(stage.one), *flood(stage.two, CREATES // 2)]
        await stage.backend.until_calls(1)
        if how == "killed":
            await stage.redis.kill()
        else:
            stage.redis.pause()
        answers = await asyncio.gather(*tasks)
        after, _ = await timed(stage.two.url, create(999, "r-after"))
        if how == "hanging":
            stage.redis.resume()
        errors = (await stage.two.scrape()).total("backstay_store_errors_total")
    assert {answer.status if answer else None for answer, _ in answers} == {201}
    assert after is not None
    assert after.status == 201
    assert errors > 0


async def test_redis_comes_back(tmp_path: Path) -> None:
    """After an outage the replicas know each other's creates again, without a restart."""
    async with replicas(tmp_path) as stage:
        await stage.redis.kill()
        for child in (stage.one, stage.two):
            await child.logged("store_down")
        await stage.redis.start()
        for child in (stage.one, stage.two):
            await child.until(lambda scrape: scrape.total("backstay_store_up") == 1)
        both = await asyncio.gather(*(timed(child.url, create(1, "r-1")) for child in (stage.one, stage.two)))
    assert [answer.status for answer, _ in both if answer] == [201, 201]
    assert stage.backend.calls == 1


@pytest.mark.parametrize("kind", ["normal", "pubsub"])
async def test_connections_that_idled_out_are_made_again(tmp_path: Path, kind: str) -> None:
    """Redis closes what was idle: the next create is claimed all the same, and the store was never down.

    Before, the first command met the closed connection, and both replicas asked.
    """
    async with replicas(tmp_path, latency_s=SOON_S) as stage:
        for number in range(1, 4):
            children = (stage.one, stage.two)
            both = await asyncio.gather(*(timed(child.url, create(number, f"r-{number}")) for child in children))
            assert [answer.status for answer, _ in both if answer] == [201, 201]
            assert stage.backend.calls == number
            await stage.redis.hang_up(kind)
        errors = [(await child.scrape()).total("backstay_store_errors_total") for child in children]
    assert errors == [0, 0]
    assert not [line for child in children for line in child.log.splitlines() if "store_down" in line]


async def test_a_write_is_heard_of_after_the_listeners_connection_broke(tmp_path: Path) -> None:
    """What was begun while nobody listened counts as old."""
    load = request("GET", "/api/sessions/r-1", Authorization="Bearer ada")
    update = request("PATCH", "/api/sessions/r-1", b"{}", Authorization="Bearer ada")
    async with replicas(tmp_path) as stage:
        for version in range(1, 4):
            await ask(stage.two.url, load)
            await stage.redis.hang_up("pubsub")
            assert (await ask(stage.one.url, update)).status == 204
            assert orjson.loads((await ask(stage.two.url, load)).body)["version"] == version


async def test_a_write_through_one_replica_is_seen_through_the_other(tmp_path: Path) -> None:
    """What both keep is shared, and dropped for both before the write's answer goes out."""
    load = request("GET", "/api/sessions/r-1", Authorization="Bearer ada")
    update = request("PATCH", "/api/sessions/r-1", b"{}", Authorization="Bearer ada")
    async with replicas(tmp_path) as stage:
        first = await ask(stage.one.url, load)
        kept = await ask(stage.two.url, load)
        assert (first.body, kept.body, stage.backend.calls) == (b'{"version": 0}', b'{"version": 0}', 1)
        assert "hit" in kept.header("cache-status")
        for version in range(1, 21):
            writer, reader = (stage.one, stage.two) if version % 2 else (stage.two, stage.one)
            assert (await ask(writer.url, update)).status == 204
            seen = [await ask(child.url, load) for child in (reader, writer)]
            assert {orjson.loads(answer.body)["version"] for answer in seen} == {version}


async def test_an_answer_in_pieces_is_replayed_through_the_other_replica(tmp_path: Path) -> None:
    """What came through one is given again through the other; what is too large for Redis is known to be done."""
    async with replicas(tmp_path, latency_s=SOON_S) as stage:
        for size, status in ((1000, 201), (300_000, 409)):
            fields = {"Authorization": "Bearer ada", "Idempotency-Key": f"key-{size}"}
            asked = request("POST", f"/api/streams?size={size}", b"{}", **fields)
            first = await ask(stage.one.url, asked)
            again = await ask(stage.two.url, asked)
            while again.status == 201 and not again.header("idempotent-replayed"):  # it came before that was settled
                again = await ask(stage.two.url, asked)
            assert (first.status, len(first.body), again.status) == (201, size + 6, status)
            if status == 201:
                assert (again.body, again.header("idempotent-replayed")) == (first.body, "true")
            else:
                assert "too large to store" in orjson.loads(again.body)["detail"]
        assert stage.backend.calls == 2


async def test_nobody_pushes_anothers_replays_out_of_redis(tmp_path: Path) -> None:
    """What one process keeps there is bounded, and who keeps most gives way: ada's key stays used."""

    def asked(user: str, number: int) -> bytes:
        fields = {"Authorization": f"Bearer {user}", "Idempotency-Key": f"key-{number}"}
        return request("POST", "/api/streams?size=1", b"{}", **fields)

    async with replicas(tmp_path, most=5) as stage:
        await ask(stage.one.url, asked("ada", 0))
        for number in range(20):
            await ask(stage.one.url, asked("eve", number))
        assert (await ask(stage.two.url, asked("ada", 0))).header("idempotent-replayed") == "true"
        assert (await ask(stage.two.url, asked("eve", 19))).header("idempotent-replayed") == "true"
        async with stage.redis.client() as client:
            kept = [key async for key in client.scan_iter("*:claim:*")]
    assert len(kept) == 5


async def test_nobody_pushes_what_another_reads_out_of_redis(tmp_path: Path) -> None:
    """What one process keeps there is bounded, and who keeps most gives way: ada's answer stays."""

    def asked(user: str, report: str) -> bytes:
        return request("GET", f"/api/sessions/{report}", Authorization=f"Bearer {user}")

    async with replicas(tmp_path, most=5) as stage:
        await ask(stage.one.url, asked("ada", "r-1"))
        for number in range(20):
            await ask(stage.one.url, asked("eve", f"s-{number}"))
        assert "hit" in (await ask(stage.two.url, asked("ada", "r-1"))).header("cache-status")
        assert "hit" in (await ask(stage.two.url, asked("eve", "s-19"))).header("cache-status")
        async with stage.redis.client() as client:
            kept = [key async for key in client.scan_iter("*") if len(key.rpartition(b":")[2]) == 40]
    assert len(kept) == 5


async def test_writes_leave_a_bounded_number_of_marks(tmp_path: Path) -> None:
    """However many cookies a write shows, it marks seventeen owners, and each in two of a fixed number of places."""
    cookies = "; ".join(f"c{number}={number:016x}" for number in range(300))
    async with replicas(tmp_path) as stage:
        await ask(stage.one.url, request("PATCH", "/api/sessions/r-1", b"{}", Cookie=cookies))
        async with stage.redis.client() as client:
            marks = [key async for key in client.scan_iter("*:mark:[01]:*")]
    assert 0 < len(marks) <= 2 * (17 + 1)


async def test_a_refused_write_is_refused_for_all_replicas(tmp_path: Path) -> None:
    """What is kept in Redis stays where a write was answered 4xx, through whichever replica it came."""
    load = request("GET", "/api/sessions/r-1", Authorization="Bearer ada")
    refused = request("PATCH", "/api/sessions/r-1", b"{}", Authorization="Bearer eve", X_Refuse="403")
    unknown = request("PATCH", "/api/sessions/r-1", b"{}", Authorization="Bearer eve", X_Refuse="401")
    async with replicas(tmp_path) as stage:
        await ask(stage.one.url, load)
        for child in (stage.one, stage.two):
            assert [(await ask(child.url, write)).status for write in (refused, unknown)] == [403, 401]
        kept = [await ask(child.url, load) for child in (stage.one, stage.two)]
        assert ["hit" in answer.header("cache-status") for answer in kept] == [True, True]
        assert (await ask(stage.two.url, request("PATCH", "/api/sessions/r-1", b"{}"))).status == 204
        after = [await ask(child.url, load) for child in (stage.one, stage.two)]
        assert {orjson.loads(answer.body)["version"] for answer in after} == {1}


async def test_a_401_ends_what_is_kept_for_its_caller_in_all_replicas(tmp_path: Path) -> None:
    """The backend does not know ada any more: through neither replica is she given what was kept for her."""
    load = request("GET", "/api/sessions/r-1", Authorization="Bearer ada")
    unknown = request("PATCH", "/api/sessions/r-9", b"{}", Authorization="Bearer ada", X_Refuse="401")
    async with replicas(tmp_path) as stage:
        await ask(stage.one.url, load)
        assert (await ask(stage.one.url, unknown)).status == 401
        for child in (stage.two, stage.one):
            assert "hit" not in (await ask(child.url, load)).header("cache-status")
            assert (await ask(child.url, unknown)).status == 401


async def test_a_slow_redis_costs_a_request_its_timeout_once(tmp_path: Path) -> None:
    """A Redis that hangs is noticed by one request within `store.timeout`; those after it do not wait for it."""
    load = [request("GET", f"/api/sessions/r-{number}", Authorization="Bearer ada") for number in range(20)]
    patience_s = 4.0
    async with replicas(tmp_path, patience=f"{patience_s}s") as stage:
        await ask(stage.one.url, load[0])
        stage.redis.pause()
        took = [(await timed(stage.one.url, data))[1] for data in load[1:]]
        stage.redis.resume()
    assert took[0] >= 0.95 * patience_s
    assert median(took[1:]) < patience_s / 2
    assert stage.one.log.count("store_down") == 1


async def test_nothing_in_redis_names_a_person(tmp_path: Path) -> None:
    """Keys are digests; no credential, and no subject, can be read from them."""
    async with replicas(tmp_path, latency_s=0.05) as stage:
        await ask(stage.one.url, create(1, "r-secret"))
        await ask(stage.one.url, request("GET", "/api/sessions/r-secret", Authorization="Bearer ada"))
        async with stage.redis.client() as client:
            keys = [key async for key in client.scan_iter()]
    assert keys
    assert not [key for key in keys if b"ada" in key or b"secret" in key or not key.startswith(b"backstay:")]
