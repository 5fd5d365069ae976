"""Every wire test runs twice: once with whole segments, once with every segment split."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from proxy.app import Sidecar
from proxy.config.load import load
from tests.loop import CheckedLoop
from tests.wire.kit import Backend, Wire

BASE = """
[listen]
address = "{address}"
drain_timeout = "60s"
{listen}
[admin]
address = "127.0.0.1:0"
[audit]
path = "{audit}"
[upstreams.backend]
url = "http://127.0.0.1:{port}"
{upstream}
[defaults]
{defaults}
{more}
"""
# So long that only a test which says otherwise meets them: a busy machine makes every step late.
PATIENT = {
    "upstream": {"connect_timeout": "60s", "idle_timeout": "60s", "queue_timeout": "60s"},
    "defaults": {"total_timeout": "60s"},
}
Start = Callable[..., Awaitable[Wire]]


def patient(table: str, said: str) -> str:
    """Return the settings that a test gives for a table, and long times for those that it does not give."""
    left = [f'{name} = "{time}"' for name, time in PATIENT[table].items() if not re.search(rf"^{name}\b", said, re.M)]
    return "\n".join((*left, said))


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run on the loop that the sidecar runs on."""
    return {"uvloop": CheckedLoop}


@pytest.fixture(params=["whole", "split"])
def split(request: pytest.FixtureRequest) -> bool:
    """Tell whether what is said goes out in many segments."""
    return bool(request.param == "split")


@pytest.fixture
async def start(split: bool, tmp_path: Path) -> AsyncIterator[Start]:
    """Start sidecars with settings of their own: texts for the tables `listen`, `upstream`, `defaults`, and `more`.

    `address` is where it listens.
    """
    wires: list[Wire] = []

    async def started(
        *, listen: str = "", upstream: str = "", defaults: str = "", more: str = "", address: str = "127.0.0.1:0"
    ) -> Wire:
        backend = await Backend(split=split).start()
        audit = tmp_path / f"audit-{len(wires)}.jsonl"
        file = tmp_path / f"config-{len(wires)}.toml"
        given = {
            "address": address,
            "upstream": patient("upstream", upstream),
            "defaults": patient("defaults", defaults),
        }
        file.write_text(
            BASE.format(audit=audit, port=backend.port, listen=listen, more=more, **given),
            encoding="utf-8",
        )
        try:
            sidecar = Sidecar(load(file, environ={}))
            await sidecar.start()
        except BaseException:  # else the backend's listener is left open
            await backend.close()
            raise
        wires.append(Wire(sidecar, backend, split=split))
        return wires[-1]

    yield started
    for wire in wires:
        await wire.close()


@pytest.fixture
async def wire(start: Start) -> Wire:
    """Return a sidecar with every setting at its default."""
    return await start()
