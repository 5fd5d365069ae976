"""Every request is counted once where it is decided, and recorded once, however it ended."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.raw import BROKEN, Call, Client, Origin, answer, chunked, request, reset
from tests.e2e.sidecar import EXAMPLE, Child, Scrape, sidecar

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROLES = ("led", "joined", "alone")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def child(origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Child]:
    """Run the example configuration with a circuit that stays closed."""
    patient = {"CIRCUIT_BREAKER_FAILURE_THRESHOLD": "100000", "RETRY_INITIAL_DELAY": "1"}
    async with sidecar(tmp_path_factory.mktemp("accounting"), origin.url, EXAMPLE, **patient) as child:
        yield child


def roles(scrape: Scrape) -> dict[str, float]:
    """Return how many requests led, joined and went alone."""
    return {role: scrape.total("backstay_coalesced_total", role=role) for role in ROLES}


class Held:
    """A backend that answers when it is told to."""

    def __init__(self, origin: Origin, path: str) -> None:
        self.asked = asyncio.Event()
        self.released = asyncio.Event()
        origin.on(path, self.answer)

    async def answer(self, call: Call) -> bytes:
        """Wait, then answer."""
        self.asked.set()
        await self.released.wait()
        return answer(b"late")


@pytest.mark.parametrize("leaves_first", ["the only caller", "the leader", "the follower"])
async def test_a_caller_who_leaves_is_recorded_and_disturbs_nobody(
    child: Child, origin: Origin, leaves_first: str
) -> None:
    """Who leaves in mid-wait gets a 499 record; who stays gets the answer, of one backend call."""
    target = f"/api/sessions/{leaves_first.replace(' ', '-')}"
    held, before = Held(origin, target), roles(await child.scrape())
    ids = [f"{target[14:]}-{number}" for number in range(2)]
    async with await Client.connect(child.url) as first, await Client.connect(child.url) as second:
        first.send(request("GET", target, X_Correlation_ID=ids[0]))
        await held.asked.wait()
        if leaves_first == "the only caller":
            first.leave()
            record = await child.recorded(ids[0])
        else:
            second.send(request("GET", target, X_Correlation_ID=ids[1]))
            await child.until(lambda m: roles(m)["joined"] == before["joined"] + 1)
            left, stays = (first, second) if leaves_first == "the leader" else (second, first)
            await left.leave_seen()
            held.released.set()
            assert (await stays.answer()).body == b"late"
            record = await child.recorded(ids[left is second])
    assert (record["status"], record["outcome"], record["success"]) == (499, "cancelled", False)
    assert len(origin.asked(target)) == 1


async def test_a_write_whose_client_left_still_happens(child: Child, origin: Origin) -> None:
    """A create that is under way runs to its end: the backend keeps its connection, and the record has its attempt."""
    held = Held(origin, "/api/sessions")
    async with await Client.connect(child.url) as client:
        client.send(request("POST", "/api/sessions", b'{"reportId":"left"}', X_Correlation_ID="left-write"))
        await held.asked.wait()
        await client.leave_seen()
    held.released.set()
    record = await child.recorded("left-write")
    assert record["status"] == 499
    assert [attempt["status"] for attempt in record["attempts"]] == [200]


MIXED = 400


async def test_led_joined_and_alone_add_up_after_a_mixed_load(origin: Origin, tmp_path: Path) -> None:
    """Answers, errors, deaths, streams, retries, refused keys and clients who leave: counted once, recorded once."""
    _script(origin)
    chance = random.Random(7)
    async with sidecar(tmp_path, origin.url, EXAMPLE, CIRCUIT_BREAKER_RESET_TIMEOUT="50") as child:
        kinds = [chance.choice(tuple(SENT)) for _ in range(MIXED)]
        await asyncio.gather(*(_one(child.url, kind, chance.randrange(6)) for kind in kinds))
        settled = await child.until(lambda m: m.total("backstay_requests_total") == MIXED)
    by_role = roles(settled)
    assert min(by_role.values()) > 0, by_role
    assert sum(by_role.values()) == settled.total("backstay_requests_total") == MIXED
    records = child.records()
    assert Counter(record["flight"]["role"] for record in records) == by_role
    assert _by_status(settled) == Counter(record["status"] for record in records)
    assert {200, 400, 499} <= {record["status"] for record in records}
    followers = sum(record["flight"]["followers"] for record in records)
    assert followers == by_role["joined"]
    assert settled.total("backstay_flight_followers") == settled.total("backstay_flights") == 0


def _by_status(scrape: Scrape) -> dict[int, int]:
    counts: Counter[int] = Counter()
    for (name, labels), value in scrape.samples.items():
        if name == "backstay_requests_total":
            counts[int(dict(labels)["status"])] += int(value)
    return counts


def _script(origin: Origin) -> None:
    async def die(call: Call) -> None:
        call.writer.write(answer(b"x" * 200_000)[:-1])
        await call.writer.drain()
        reset(call.writer)

    origin.on("/fine", answer(b"fine"))
    origin.on("/stream", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"y" * 100_000))
    origin.on("/dies", die)
    origin.on("/busy", answer(b"", "503 Service Unavailable"))
    origin.on("/api/sessions", answer(b"{}", "201 Created"))
    for number in range(6):
        origin.on(f"/api/sessions/{number}", answer(b"", "503 Service Unavailable" if number % 2 else "200 OK"))


SENT: dict[str, Callable[[int], bytes]] = {
    "read": lambda n: request("GET", f"/fine?{n}"),
    "head": lambda n: request("HEAD", "/fine"),
    "stream": lambda n: request("GET", "/stream"),
    "range": lambda n: request("GET", "/fine", Range="bytes=0-1"),
    "dies": lambda n: request("GET", "/dies"),
    "busy": lambda n: request("GET", "/busy"),
    "create": lambda n: request("POST", "/api/sessions", b'{"reportId":"%d"}' % n),
    "bad key": lambda n: request("POST", "/api/sessions", b"{}", Idempotency_Key="k" * 256),
    "write": lambda n: request("PUT", "/fine", b"x" * 100 * n),
    "load": lambda n: request("GET", f"/api/sessions/{n}"),
    "leaves": lambda n: request("GET", "/stream?leaving"),
}


async def _one(url: str, kind: str, number: int) -> None:
    async with await Client.connect(url) as client:
        client.send(SENT[kind](number))
        if kind == "leaves":
            await client.writer.drain()
            return
        try:
            await client.answer("HEAD" if kind == "head" else "GET")
        except BROKEN:
            assert kind == "dies"
