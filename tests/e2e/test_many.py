"""Five thousand concurrent clients are served, and nothing of them is left afterwards."""

import asyncio
import resource
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.raw import Call, Client, Origin, answer, ask, request
from tests.e2e.sidecar import Child, sidecar

pytestmark = pytest.mark.asyncio(loop_scope="module")

MANY = 5_000
ROUNDS = 2
PATIENT = {"upstreams__sessions__connect_timeout": "300s", "defaults__total_timeout": "300s"}


@pytest.fixture(autouse=True)
def enough_files() -> Iterator[None]:
    """Allow three sockets a request, for us and for the child, as far as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 3 * MANY
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"only {hard} open files are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.timeout(600)
async def test_five_thousand_at_once_leave_nothing_behind(origin: Origin, tmp_path: Path) -> None:
    """Distinct reads on kept-alive connections, all under way together, twice: no flight, socket or task is left."""
    crowd = Crowd()
    origin.on("/crowd", crowd.answer)
    async with sidecar(tmp_path, origin.url, **PATIENT) as child:
        await ask(child.url, request("GET", "/crowd?first"))
        process = psutil.Process(child.process.pid)
        files = process.num_fds()
        clients = [await Client.connect(child.url) for _ in range(MANY)]
        for turn in range(ROUNDS):
            await _ask_all(child, crowd, clients, turn)
        for client in clients:
            client.leave()
        await child.until(lambda m: process.num_fds() <= files + KEPT)
        settled = await child.settled()
    assert settled.total("backstay_flight_followers") == 0
    assert settled.total("backstay_coalesced_total", role="led") == ROUNDS * MANY + 1
    assert len({record["flight"]["id"] for record in child.records()}) == ROUNDS * MANY + 1


KEPT = 64 + 8  # idle connections to the backend, and the scrape's own


class Crowd:
    """A backend that answers nobody before everybody has come."""

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self.released.set()

    async def answer(self, call: Call) -> bytes:
        """Wait for the others."""
        await self.released.wait()
        return answer(call.target.encode())


async def _ask_all(child: Child, crowd: Crowd, clients: list[Client], turn: int) -> None:
    crowd.released.clear()
    targets = [f"/crowd?{turn}-{number}" for number in range(len(clients))]
    for client, target in zip(clients, targets, strict=True):
        client.send(request("GET", target))
    await child.until(lambda m: m.total("backstay_flights") == len(clients))
    crowd.released.set()
    answers = await asyncio.gather(*(client.answer() for client in clients))
    assert Counter(got.status for got in answers) == {200: len(clients)}
    assert [got.body.decode() for got in answers] == targets
