"""All tabs of one user share a response, and two users never do."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest
import pytest_asyncio

from proxy.demo.backend import Backend
from tests.e2e.raw import Answer, Call, Client, Origin, answer, ask, request
from tests.e2e.sidecar import EXAMPLE, Child, sidecar

pytestmark = pytest.mark.asyncio(loop_scope="module")

TABS = 50
PRINCIPALS = 100


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def child(origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Child]:
    """Run the example configuration in front of the scripted backend."""
    async with sidecar(tmp_path_factory.mktemp("coalescing"), origin.url, EXAMPLE) as child:
        yield child


async def test_fifty_tabs_create_one_session(tmp_path: Path) -> None:
    """Fifty creates of one report, each with a key of its own: one backend call, one body, one flight, fifty ids."""
    backend = Backend()
    await backend.start()
    backend.faults.slow(0.3)
    body = orjson.dumps({"reportId": "r-1", "view": "manual"})
    keys = [f"tab-{number}" for number in range(TABS)]
    try:
        async with sidecar(tmp_path, backend.url, EXAMPLE) as child:
            creates = [_create(body, key) for key in keys]
            answers = await asyncio.gather(*(ask(child.url, create) for create in creates))
            await child.stop()
    finally:
        await backend.stop()

    assert backend.calls == {"POST /api/sessions": 1}
    assert Counter(answer.status for answer in answers) == {201: TABS}
    assert len({answer.body for answer in answers}) == 1
    assert len({answer.header("x-correlation-id") for answer in answers}) == TABS
    _assert_one_flight(child, {answer.header("x-correlation-id") for answer in answers})


def _create(body: bytes, key: str) -> bytes:
    fields = {"Authorization": "Bearer user", "Content-Type": "application/json", "Idempotency-Key": key}
    return request("POST", "/api/sessions", body, **fields)


def _assert_one_flight(child: Child, correlation_ids: set[str]) -> None:
    """Fifty records, one flight; the leader's says how many followed, the followers' had no attempt of their own."""
    records = child.records()
    flights = [record["flight"] for record in records]
    assert {record["correlation_id"] for record in records} == correlation_ids
    assert len({flight["id"] for flight in flights}) == 1
    assert Counter(flight["role"] for flight in flights) == {"led": 1, "joined": TABS - 1}
    assert {flight["role"]: flight["followers"] for flight in flights} == {"led": TABS - 1, "joined": 0}
    assert Counter(len(record["attempts"]) for record in records) == {1: 1, 0: TABS - 1}
    assert {record["subject"] for record in records} == {"r-1"}


NAMING = ("authorization", "cookie", "x-unheard-of-api-key", "x-forwarded-for")


class Who(NamedTuple):
    """One principal: the field that he sends, if any, and the address that he comes from."""

    fields: dict[str, str]
    source: str = "127.0.0.1"

    @property
    def sent(self) -> dict[str, str]:
        """What the backend hears of him."""
        return {name.lower(): value for name, value in self.fields.items()} | {"x-forwarded-for": self.source}


MARKS: dict[str, Callable[[int], Who]] = {
    "authorization": lambda n: Who({"Authorization": f"Bearer user-{n}"}),
    "cookie": lambda n: Who({"Cookie": f"theme=dark; sid={n}"}),
    "api key": lambda n: Who({"X-Unheard-Of-Api-Key": f"key-{n}"}),
    "address": lambda n: Who({}, f"127.0.0.{n + 2}"),
    "each by another": lambda n: list(MARKS.values())[n % 4](n),
}


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_hundred_principals_never_share_and_each_shares_with_itself(
    child: Child, origin: Origin, method: str, mark: str
) -> None:
    """A hundred callers and a second tab of each, interleaved, about one subject: everybody gets his own answer."""
    target = "/api/sessions" if method == "POST" else "/api/sessions/one-report"
    people = [MARKS[mark](number) for number in range(PRINCIPALS)]
    before, joined, released = len(origin.asked(target)), await _joined(child), asyncio.Event()

    async def echo_caller(call: Call) -> bytes:
        await released.wait()
        return answer(_name({name: values[0] for name, values in call.headers.items()}).encode())

    origin.on(target, echo_caller)

    asking = asyncio.gather(*(_ask_as(child, who, method, target) for who in chain(people, people)))
    await child.until(lambda m: m.total("backstay_coalesced_total", role="joined") == joined + PRINCIPALS)
    released.set()
    answers = await asking

    assert [answer.status for answer in answers] == [200] * 2 * PRINCIPALS
    assert len(origin.asked(target)) - before == PRINCIPALS
    for who, first, second in zip(people, answers[:PRINCIPALS], answers[PRINCIPALS:], strict=True):
        assert first.body == second.body == _name(who.sent).encode()


def _name(sent: dict[str, str]) -> str:
    return "|".join(sent.get(name, "") for name in NAMING)


async def _ask_as(child: Child, who: Who, method: str, target: str) -> Answer:
    body = b'{"reportId":"one-report"}' if method == "POST" else None
    async with await Client.connect(child.url, who.source) as client:
        return await client.ask(request(method, target, body, **who.fields))


async def _joined(child: Child) -> float:
    return (await child.scrape()).total("backstay_coalesced_total", role="joined")
