"""Settings of the listeners and of the pool that have an effect on the wire alone."""

import asyncio
from pathlib import Path

import pytest

from proxy.app import Sidecar
from proxy.config.objections import ConfigError
from proxy.config.settings import Settings
from proxy.errors import StartError
from proxy.loaded import Loader
from tests.wire.conftest import Start
from tests.wire.kit import until
from tests.wire.test_tls import issue

GET = b"GET /a/target/of/20/bytes HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nX-Two: %b\r\n\r\n" % (b"2" * 2_000)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@pytest.mark.parametrize(
    ("setting", "status"), [('max_head = "1KiB"', 431), ("max_fields = 2", 431), ("max_target = 8", 414)]
)
async def test_a_limit_of_a_head(start: Start, setting: str, status: int) -> None:
    """A head that is fine by default is refused."""
    wire = await start()
    client, backend, _ = await wire.asked(GET)
    await backend.send(OK)
    assert (await client.message()).status == 200
    limited = await start(listen=setting)
    refused = await limited.client()
    await refused.send(GET)
    assert (await refused.message()).status == status


@pytest.mark.parametrize(("setting", "used_again"), [("60s", True), ("5s", False)])
async def test_the_idle_time_of_an_upstream(start: Start, setting: str, used_again: bool) -> None:
    """A connection to the backend is used again within it, and closed after it."""
    wire = await start(upstream=f'idle_timeout = "{setting}"')
    client, backend, _ = await wire.asked(GET)
    await backend.send(OK)
    await client.message()
    wire.let_pass(10.0)
    if used_again:
        await client.send(GET)
        assert (await backend.head()).start.startswith(b"GET")
        await backend.send(OK)
        assert (await client.message()).status == 200
    else:
        assert await backend.ending() == "fin"


@pytest.mark.parametrize(("setting", "kept"), [("", True), ("max_idle = 0", False)])
async def test_the_idle_connections_of_an_upstream(start: Start, setting: str, kept: bool) -> None:
    """So many are kept; another is closed after its answer."""
    wire = await start(upstream=setting)
    client, backend, _ = await wire.asked(GET)
    await backend.send(OK)
    await client.message()
    if kept:
        await client.send(GET)
        assert (await backend.head()).start.startswith(b"GET")
        await backend.send(OK)
        await client.message()
    else:
        assert await backend.ending() == "fin"


@pytest.mark.parametrize("table", ["listen", "admin"])
async def test_the_mode_of_a_socket(tmp_path: Path, table: str) -> None:
    """The file has the mode of the settings."""
    modes = []
    for mode in ("0600", "0640"):
        path = tmp_path / f"{mode}.sock"
        document = {
            "listen": {"address": "127.0.0.1:0"}, "admin": {"address": "127.0.0.1:0"},
            "audit": {"path": str(tmp_path / f"{mode}.jsonl")}, "upstreams": {"one": {"url": "http://127.0.0.1:1"}},
            table: {"address": f"unix:{path}", "socket_mode": mode},
        }  # fmt: skip
        sidecar = Sidecar(Settings.model_validate(document))
        await sidecar.start()
        made = await asyncio.to_thread(path.stat)
        modes.append(f"{made.st_mode & 0o777:04o}")
        await sidecar.stop(delay_s=0.0)
    assert modes == ["0600", "0640"]


async def test_the_delay_of_a_drain(start: Start) -> None:
    """New clients are let in until it is over."""
    wire = await start(listen='drain_delay = "1h"')
    clock = wire.set_clock()
    clock.stop()
    stopping = asyncio.create_task(wire.sidecar.stop())  # noqa: TID251 - the test is its owner
    await until(lambda: wire.sidecar.server_state.draining)
    clock.go_on(3500.0)
    client, backend, _ = await wire.asked(GET)
    await backend.send(OK)
    assert (await client.message()).status == 200
    clock.go_on(3600.0)
    await stopping


@pytest.mark.parametrize("table", ["listen", "upstream"])
async def test_a_key_in_a_file_of_its_own(tmp_path: Path, table: str) -> None:
    """`tls_key` names the file of the key where the certificate's file has none."""
    both = await asyncio.to_thread(lambda: issue(tmp_path, "one").read_text())
    at = both.index("-----BEGIN CERTIFICATE")
    for name, text in (("chain.pem", both[at:]), ("key.pem", both[:at])):
        await asyncio.to_thread((tmp_path / name).write_text, text)
    given = {"tls_certificate": str(tmp_path / "chain.pem")}
    with pytest.raises((ConfigError, StartError)):
        _load(table, given)
    _load(table, {**given, "tls_key": str(tmp_path / "key.pem")})


def _load(table: str, tls: dict[str, str]) -> None:
    upstream = {"url": "https://127.0.0.1:1"} | (tls if table == "upstream" else {})
    document = {"listen": tls if table == "listen" else {}, "upstreams": {"one": upstream}}
    Loader(lambda: Settings.model_validate(document)).run()
