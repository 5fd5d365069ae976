"""Out of file descriptors: the healthy backend is not blamed, nothing spins, and it ends with the want."""

import asyncio
import os
import resource
from pathlib import Path

import pytest

from proxy.clock import SystemClock
from tests.e2e.raw import Client, Origin, answer, ask, request
from tests.e2e.sidecar import PATIENCE, Child, sidecar

pytestmark = pytest.mark.asyncio(loop_scope="module")

SPARE = 8  # descriptors that are left for clients
CLIENTS = 40
_clock = SystemClock()


def opened(child: Child) -> int:
    """Return how many descriptors the sidecar has."""
    return len(list(Path(f"/proc/{child.process.pid}/fd").iterdir()))


async def exhausted(child: Child) -> list[Client]:
    """Leave the sidecar a few more descriptors than it has, a limit that it cannot raise, and take them all."""
    limit = opened(child) + SPARE
    resource.prlimit(child.process.pid, resource.RLIMIT_NOFILE, (limit, limit))
    clients = [await Client.connect(child.url) for _ in range(CLIENTS)]
    async with asyncio.timeout(PATIENCE):
        while opened(child) < limit:
            await _clock.sleep(0.01)
    return clients


def cpu_s(child: Child) -> float:
    """Return the CPU time that the sidecar has used."""
    fields = Path(f"/proc/{child.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def test_out_of_descriptors(origin: Origin, tmp_path: Path) -> None:
    """Clients that take all of them are told 503 with the cure; when they have left, all is as before."""
    origin.on("/fine", answer(b"fine"))
    asking = request("GET", "/fine")
    async with sidecar(tmp_path, origin.url, upstreams__sessions__max_idle="0") as child:
        assert (await ask(child.url, asking)).body == b"fine"
        held = opened(child)
        clients = await exhausted(child)
        first = clients[0]
        for _ in range(6):  # more than open a circuit
            refused = await first.ask(asking)
            assert refused.status == 503
            assert refused.header("proxy-status") == "backstay; error=connection_limit_reached"
            assert b"no file descriptor left" in refused.body
            assert refused.header("retry-after") == "1"
        before = cpu_s(child)
        await _clock.sleep(1.0)
        assert cpu_s(child) - before < 0.5  # it does not ask again and again for whom it cannot take
        for client in clients:
            client.leave()
        async with asyncio.timeout(PATIENCE):
            while opened(child) > held + SPARE // 2:
                await _clock.sleep(0.01)
        assert (await ask(child.url, asking)).body == b"fine"
        scraped = await child.scrape()
    assert scraped.total("backstay_circuit_transitions_total") == 0
    assert child.log.count("no file descriptor left") == 1
    assert len(child.log.splitlines()) < 30
