"""Without free file descriptors the healthy backend is not blamed, nothing spins, and the sidecar recovers."""

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


async def exhausted(child: Child, share: int = 0) -> list[Client]:
    """Leave the sidecar a few more descriptors than it has, and take them all.

    `share`: by how many it can raise that limit, for the control plane.
    """
    limit = opened(child) + SPARE
    resource.prlimit(child.process.pid, resource.RLIMIT_NOFILE, (limit, limit + share))
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


async def test_the_control_plane_answers_when_clients_have_taken_all_descriptors(
    origin: Origin, tmp_path: Path
) -> None:
    """It has a share of its own: a flood of clients must not have the pod killed by its probes."""
    async with sidecar(tmp_path, origin.url) as child:
        clients = await exhausted(child, share=64)
        for path in ("/healthz", "/readyz", "/metrics") * 3:
            assert (await child.ask_admin(path)).status == 200
        for client in clients:
            client.leave()


async def test_clients_are_served_while_the_control_plane_is_flooded(origin: Origin, tmp_path: Path) -> None:
    """Its connections are bounded by a limit of their own, and a probe finds a place among them."""
    origin.on("/fine", answer(b"fine"))
    async with sidecar(tmp_path, origin.url, admin__max_connections="16", admin__max_viewers="4") as child:
        before = opened(child)
        flood = [await Client.connect(child.admin) for _ in range(200)]
        assert (await ask(child.url, request("GET", "/fine"))).body == b"fine"
        assert (await child.ask_admin("/readyz")).status == 200
        async with asyncio.timeout(PATIENCE):
            while opened(child) > before + 2 * 16:
                await _clock.sleep(0.01)
        for each in flood:
            each.leave()
