"""A process that is suspended and continues, as by a debugger or a frozen cgroup."""

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from proxy.clock import SystemClock
from tests.e2e.raw import Call, Client, Origin, answer, request
from tests.e2e.sidecar import sidecar

pytestmark = pytest.mark.asyncio(loop_scope="module")

TIMEOUT_S = 4.0  # of a request
SUSPENDED_S = 5.0  # longer than that, and than every idle time below
ASKED = 8  # more failures than open a circuit


async def test_what_was_answered_meanwhile_is_no_timeout(origin: Origin, tmp_path: Path) -> None:
    """The answers stand in the sockets when it goes on: they are given, and the circuit stays closed."""
    came, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def hold(call: Call) -> bytes:
        came.release()
        await go_on.wait()
        return answer(b"held")

    origin.on("/held", hold)
    origin.on("/fine", answer(b"fine"))
    config = (
        '[listen]\nkeepalive_timeout = "4s"\n[upstreams.sessions]\n[defaults]\n'
        f'total_timeout = "{TIMEOUT_S:g}s"\nidle_timeout = "4s"\n'
        '[[routes]]\nmatch = "GET /held"\noperation = "held"\nupstream = "sessions"\n'
    )
    async with AsyncExitStack() as stack:
        child = await stack.enter_async_context(sidecar(tmp_path, origin.url, config))
        clients = [await stack.enter_async_context(await Client.connect(child.url)) for _ in range(ASKED)]
        group = await stack.enter_async_context(asyncio.TaskGroup())
        asking = [group.create_task(client.ask(request("GET", f"/held?{n}"))) for n, client in enumerate(clients)]
        for _ in clients:
            await came.acquire()
        child.send(signal.SIGSTOP)
        go_on.set()
        await SystemClock().sleep(SUSPENDED_S)  # the time of the suspension is what this is about
        child.send(signal.SIGCONT)
        assert [(await asked).status for asked in asking] == [200] * ASKED
        assert (await clients[0].ask(request("GET", "/fine"))).status == 200  # the connection was not idle
        assert (await child.scrape()).total("backstay_circuit_transitions_total") == 0
        await child.logged('"suspended"')
