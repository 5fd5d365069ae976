"""The life of a sidecar: ready, reloaded, drained, stopped; its output, and its trail."""

import asyncio
import signal
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
import pytest_asyncio

from tests.e2e.raw import Call, Client, Origin, answer, ask, request
from tests.e2e.sidecar import EXAMPLE, PATIENCE, Child, backstay, sidecar

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOKEN = "let-me-in"


@pytest_asyncio.fixture(loop_scope="module")
async def held(origin: Origin) -> asyncio.Event:
    """Let the backend answer /fine at once, and /held once this is set."""
    released = asyncio.Event()

    async def hold(call: Call) -> bytes:
        await released.wait()
        return answer(b"held")

    origin.on("/fine", answer(b"fine"))
    origin.on("/held", hold)
    return released


@pytest.mark.parametrize("wanted", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_with_0_and_a_trail_that_verifies(
    origin: Origin, held: asyncio.Event, tmp_path: Path, wanted: signal.Signals
) -> None:
    """Everything answered is in the trail, whose chain is whole, and what the log says agrees."""
    async with sidecar(tmp_path, origin.url) as child:
        async with await Client.connect(child.url) as client:
            for number in range(100):
                assert (await client.ask(request("GET", f"/fine?{number}"))).status == 200
            child.send(wanted)
            assert await client.rest() == b""  # an idle connection does not hold it up
        assert await child.stop() == 0
    assert len(child.records()) == 100
    assert orjson.loads(child.log.splitlines()[-1])["records"] == 100
    verified = await backstay("audit", "verify", "audit.jsonl", cwd=tmp_path)
    assert (verified.status, verified.err) == (0, "")


async def test_a_trail_goes_on_where_the_last_run_ended(origin: Origin, held: asyncio.Event, tmp_path: Path) -> None:
    """Two runs write one chain; a changed byte in it is found."""
    for _ in range(2):
        async with sidecar(tmp_path, origin.url) as child:
            await ask(child.url, request("GET", "/fine"))
    assert [line["seq"] for line in child.lines()] == list(range(1, len(child.lines()) + 1))
    assert len(child.records()) == 2
    assert (await backstay("audit", "verify", "audit.jsonl", cwd=tmp_path)).status == 0
    child.audit.write_bytes(child.audit.read_bytes().replace(b'"status":200', b'"status":500', 1))
    assert (await backstay("audit", "verify", "audit.jsonl", cwd=tmp_path)).status == 10


async def test_draining_finishes_what_is_under_way(origin: Origin, held: asyncio.Event, tmp_path: Path) -> None:
    """Not ready at once; accepting for a while; then the request under way gets its answer, and a close with it."""
    async with (
        sidecar(tmp_path, origin.url, listen__drain_delay="4s") as child,
        await Client.connect(child.url) as old,
    ):
        old.send(request("GET", "/held"))
        await child.until(lambda m: m.total("backstay_flights") == 1)
        assert (await child.ask_admin("/readyz")).status == 200
        child.send(signal.SIGTERM)
        await child.logged("draining")
        assert (await child.ask_admin("/readyz")).status == 503
        assert (await child.ask_admin("/healthz")).status == 200
        assert (await ask(child.url, request("GET", "/fine"))).status == 200
        while await _opens(child):
            pass
        held.set()
        got = await old.answer()
        assert (got.body, got.header("connection")) == (b"held", "close")
        assert await child.stop() == 0
    assert len(child.records()) == 2


async def _opens(child: Child) -> bool:
    try:
        async with await Client.connect(child.url):
            return True
    except (ConnectionRefusedError, ConnectionResetError):  # reset: it knocked in the moment of the closing
        return False


async def test_what_does_not_end_in_time_is_cut_and_recorded(
    origin: Origin, held: asyncio.Event, tmp_path: Path
) -> None:
    """A request that outlives the drain is cut, and leaves its record all the same; the exit is 0."""
    running = sidecar(tmp_path, origin.url, listen__drain_timeout="100ms")
    async with running as child, await Client.connect(child.url) as client:
        client.send(request("GET", "/held"))
        await child.until(lambda m: m.total("backstay_flights") == 1)
        assert await child.stop() == 0
    held.set()
    assert [record["status"] for record in child.records()] == [499]


CONFIG = """
[upstreams.sessions]
url = "http://127.0.0.1:1"
[[routes]]
operation = "{operation}"
match = "GET /fine"
[upstreams.sessions.breaker]
failure_threshold = {threshold}
"""


async def test_a_reload_takes_over_a_good_file_and_refuses_a_bad_one(
    origin: Origin, held: asyncio.Event, tmp_path: Path
) -> None:
    """SIGHUP: new routes count from the next request on, also on open connections; a bad file only says why."""
    file = tmp_path / "backstay.toml"
    running = sidecar(tmp_path, origin.url, CONFIG.format(operation="before", threshold=5))
    async with running as child, await Client.connect(child.url) as client:
        await client.ask(request("GET", "/fine"))
        file.write_text(CONFIG.format(operation="after", threshold=5))
        child.send(signal.SIGHUP)
        await child.logged('"reloaded"')
        await client.ask(request("GET", "/fine"))
        file.write_text(CONFIG.format(operation="never", threshold='"many"'))
        child.send(signal.SIGHUP)
        await child.logged('"reload_refused"')
        await client.ask(request("GET", "/fine"))
    assert [record["operation"] for record in child.records()] == ["before", "after", "after"]
    refused = next(line for line in map(orjson.loads, child.log.splitlines()) if line["event"] == "reload_refused")
    assert "failure_threshold" in refused["problems"][0]


async def test_a_reload_names_what_only_a_restart_changes(origin: Origin, tmp_path: Path) -> None:
    """Else an operator waits for a store, or a log level, that never comes; and every reload says so again."""
    file = tmp_path / "backstay.toml"
    async with sidecar(tmp_path, origin.url, CONFIG.format(operation="before", threshold=5)) as child:
        file.write_text(
            CONFIG.format(operation="after", threshold=5) + '[store]\nnamespace = "b"\n[log]\nlevel = "debug"\n'
        )
        for times in (1, 2):
            child.send(signal.SIGHUP)
            await child.logged('"reloaded"', times)
    told = [line for line in map(orjson.loads, child.log.splitlines()) if line["event"] == "reload_partial"]
    assert [line["changed"] for line in told] == [["store", "log"]] * 2


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Child]:
    """Run the example configuration with a token."""
    folder = tmp_path_factory.mktemp("admin")
    async with sidecar(folder, origin.url, EXAMPLE, admin__token=TOKEN) as child:
        yield child


async def test_what_the_control_plane_shows_is_live(guarded: Child, origin: Origin) -> None:
    """/stats counts what just happened, /circuits knows every circuit, /audit has the record, with the token only."""
    body = b'{"reportId":"seen"}'
    origin.on("/api/sessions", answer(b"{}", "201 Created"))
    assert (await ask(guarded.url, request("POST", "/api/sessions", body))).status == 201
    stats = orjson.loads((await guarded.ask_admin("/stats")).out)
    assert (stats["successfulOperations"], stats["failedOperations"]) == (1, 0)
    circuits = orjson.loads((await guarded.ask_admin("/circuits")).out)
    assert {circuit["name"]: circuit["state"] for circuit in circuits} == {
        "sessions": "CLOSED",
        "restoration": "CLOSED",
    }
    assert (await guarded.ask_admin("/audit?report_id=seen")).status == 401
    found = orjson.loads((await guarded.ask_admin("/audit?report_id=seen", token=TOKEN)).out)
    assert [record["operation"] for record in found] == ["session-create"]


async def test_a_circuit_can_be_opened_and_closed_by_hand(guarded: Child, origin: Origin) -> None:
    """An opened circuit answers 503 at once with Retry-After, without asking the backend; closed, it asks again."""
    origin.on("/by-hand", answer(b"asked"))
    for action, status in (("open", 503), ("auto", 200)):
        assert (await guarded.ask_admin(f"/circuits/sessions/{action}", "POST", TOKEN)).status == 200
        got = await ask(guarded.url, request("GET", "/by-hand"))
        assert got.status == status
        assert ("retry-after" in got.headers) is (status == 503)
    assert len(origin.asked("/by-hand")) == 1


async def test_it_can_be_drained_by_the_control_plane(origin: Origin, held: asyncio.Event, tmp_path: Path) -> None:
    """A preStop hook's POST /drain ends it as SIGTERM does."""
    async with sidecar(tmp_path, origin.url, admin__token=TOKEN) as child:
        assert (await child.ask_admin("/drain", "POST")).status == 401
        assert (await ask(child.url, request("GET", "/fine"))).status == 200
        assert (await child.ask_admin("/drain", "POST", TOKEN)).status == 202
        async with asyncio.timeout(PATIENCE):
            assert await child.process.wait() == 0


async def test_unix_sockets_on_both_legs(tmp_path: Path) -> None:
    """A listener and an upstream may both be Unix sockets."""
    origin = Origin()
    await origin.start(str(tmp_path / "origin.sock"))
    origin.on("/fine", answer(b"over two sockets"))
    listen = f"unix:{tmp_path / 'proxy.sock'}"
    try:
        async with sidecar(tmp_path, origin.url, listen__address=listen) as child:
            assert child.url == listen
            assert (await ask(child.url, request("GET", "/fine"))).body == b"over two sockets"
    finally:
        await origin.stop()
    assert origin.calls[0].header("host") == "app.example"


async def test_a_unix_socket_has_one_owner_and_leaves_no_file(origin: Origin, tmp_path: Path) -> None:
    """A second sidecar is refused in one line; the end removes the file; what a crash leaves, the next start clears."""
    origin.on("/fine", answer(b"fine"))
    path = tmp_path / "proxy.sock"
    (tmp_path / "second").mkdir()
    listen = f"unix:{path}"
    settings = {"listen__address": listen, "listen__socket_mode": "0600"}
    async with sidecar(tmp_path, origin.url, **settings) as child:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        second = await backstay(
            "run", "--listen", listen, "--upstream", origin.url, "--admin", "127.0.0.1:0", cwd=tmp_path / "second"
        )
        assert second.status == 1
        assert "another process listens there" in second.err.splitlines()[-1]
        assert (await ask(child.url, request("GET", "/fine"))).body == b"fine"
    assert not path.exists()
    async with sidecar(tmp_path, origin.url, **settings) as child:
        child.process.kill()
        await child.process.wait()
    assert path.exists()
    async with sidecar(tmp_path, origin.url, **settings) as child:
        assert (await ask(child.url, request("GET", "/fine"))).body == b"fine"
