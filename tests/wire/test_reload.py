"""A reload may hang without stopping requests; a removed route takes its cached responses with it."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from structlog.testing import capture_logs

from proxy import app
from proxy.app import Sidecar
from proxy.config.load import load
from proxy.config.settings import Settings
from tests.hanging import SUFFIX, open_slowly
from tests.wire.conftest import Start
from tests.wire.kit import Backend, Line, Wire, exposition, soon

GET = b"GET /sessions/1 HTTP/1.1\r\nHost: a\r\nAuthorization: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
KEEPS = '[[routes]]\noperation = "%b"\nmatch = "GET %b"\nreuse = "10m"\nstale_if_error = "10m"\n'
ROUTE = KEEPS.replace("%b", "session-load", 1).replace("%b", "/sessions/{id}")
WIDER = KEEPS.replace("%b", "any", 1).replace("%b", "/{kind}/{id}")


@pytest.fixture
def again(tmp_path: Path) -> Callable[..., Settings]:
    """Return a function that gives the settings of the first sidecar with this in the place of what `more` said."""

    def settings(before: str, after: str) -> Settings:
        file = tmp_path / "config-0.toml"
        text = file.read_text()
        assert before in text
        file.write_text(text.replace(before, after))
        return load(file, environ={})

    return settings


async def asked(wire: Wire, client: Line, body: bytes | None) -> bytes:
    """Ask on a client's connection; `body` is what the backend says, None where it must not be asked."""
    await client.send(GET)
    if body is not None:
        backend = wire.backend.lines[-1] if wire.backend.lines else await wire.backend.connection()
        await backend.head()
        await backend.send(OK + body)
    return (await client.message()).body


async def test_requests_go_on_while_a_reload_reads(start: Start) -> None:
    """A configuration on a server that is gone stopped every request, health included."""
    wire, read = await start(), threading.Event()

    def slowly() -> Settings:
        read.wait()
        return wire.sidecar.settings.model_copy(update={"dry_run": True})

    client = await wire.client()
    reloading = asyncio.get_running_loop().create_task(wire.sidecar.reload(slowly))
    for body in (b"ab", b"cd"):
        assert await asked(wire, client, body) == body
    assert not wire.sidecar.settings.dry_run
    read.set()
    await soon(reloading)
    assert wire.sidecar.settings.dry_run


@pytest.mark.parametrize("name", ["token_file", "tls_ca"])
async def test_a_file_that_hangs_is_given_up_and_nothing_has_changed(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """A file on a server that is gone, as the admin token or an authority; the next reload does not wait for it."""
    wire = await start()
    monkeypatch.setattr(app, "RELOAD_WITHIN_S", 0.05)
    monkeypatch.setattr(os, "open", open_slowly)
    hanging = tmp_path / "file"
    os.mkfifo(f"{hanging}{SUFFIX}")
    settings = wire.sidecar.settings
    upstream = settings.upstreams["backend"].model_copy(update={"url": ("https://a",), "tls_ca": str(hanging)})
    changes: dict[str, object] = {"upstreams": {"backend": upstream}}
    if name == "token_file":
        changes = {"admin": settings.admin.model_copy(update={"token_file": str(hanging)})}
    parts, pools = wire.sidecar._ports, dict(wire.sidecar._assembly.pools)
    await soon(wire.sidecar.reload(lambda: settings.model_copy(update=changes)))
    said = capsys.readouterr()
    assert "reload_refused" in said.out + said.err
    assert f"{name}) could not be read" in said.out + said.err or f"({name}, " in said.out + said.err
    assert wire.sidecar._ports is parts
    assert wire.sidecar._assembly.pools == pools
    assert await asked(wire, await wire.client(), b"ab") == b"ab"
    monkeypatch.setattr(app, "RELOAD_WITHIN_S", 60.0)
    await soon(wire.sidecar.reload(lambda: settings.model_copy(update={"dry_run": True})))
    assert wire.sidecar.settings.dry_run
    for result, times in {"applied": 1.0, "partial": 0.0, "refused": 1.0}.items():
        assert wire.counted(f'backstay_reloads_total{{result="{result}"}} {times}')
    os.close(os.open(f"{hanging}{SUFFIX}", os.O_RDWR))  # lets the thread end that still waits


@pytest.fixture
async def tokened(tmp_path: Path) -> AsyncIterator[tuple[Sidecar, Path]]:
    """Run a sidecar whose admin token stands in a file."""
    token, file = tmp_path / "token", tmp_path / "config.toml"
    token.write_text("first\n")
    file.write_text(
        f'[listen]\naddress = "127.0.0.1:0"\n[admin]\naddress = "127.0.0.1:0"\ntoken_file = "{token}"\n'
        f'[audit]\npath = "{tmp_path}/audit.jsonl"\n[upstreams.a]\nurl = "http://127.0.0.1:1"\n'
    )
    sidecar = Sidecar(load(file, environ={}))
    await sidecar.start()
    yield sidecar, token
    await sidecar.stop(delay_s=0.0)


async def status(sidecar: Sidecar, token: str) -> int:
    """Return what the control plane answers to whoever shows this token."""
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as session, session.get(f"{sidecar.admin_url}/audit", headers=headers) as answer:
        return answer.status


async def test_a_token_that_was_replaced_opens_nothing(tokened: tuple[Sidecar, Path]) -> None:
    """Before, the old one did until the next start, and the new one did not."""
    sidecar, token = tokened
    settings = sidecar.settings
    token.write_text("second\n")
    await sidecar.reload(lambda: settings)
    assert [await status(sidecar, text) for text in ("first", "second")] == [401, 200]
    token.write_text("\n")
    await sidecar.reload(lambda: settings)  # refused: an empty file is a mistake
    assert [await status(sidecar, text) for text in ("second", "")] == [200, 401]
    none = settings.model_copy(update={"admin": settings.admin.model_copy(update={"token_file": None})})
    await sidecar.reload(lambda: none)
    assert [await status(sidecar, text) for text in ("second", "")] == [403, 403]


async def test_the_control_plane_shows_what_applies_after_a_reload(tokened: tuple[Sidecar, Path]) -> None:
    """What only a restart changes is shown as at the start, the rest as the file says. Seed variables are logged."""
    sidecar, token = tokened
    file = token.with_name("config.toml")
    more = '[log]\nlevel = "error"\n[defaults]\nmax_body = "1MiB"\n[audit]\n'
    file.write_text(file.read_text().replace("[audit]\n", more))
    now = load(file, environ={"RETRY_MAX_ATTEMPTS": "9"})
    with capture_logs() as logs:
        await sidecar.reload(lambda: now)
    assert [each["sets"] for each in logs if each["event"] == "seed_variable"] == [("defaults.retry.max_retries = 9",)]
    headers = {"Authorization": "Bearer first"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{sidecar.admin_url}/config", headers=headers) as answer,
    ):
        shown = {each["key"]: (each["value"], each["where"]) for each in (await answer.json())["settings"]}
    assert shown["audit.path"] == (f"{token.parent}/audit.jsonl", f"{file}:7")
    assert shown["log.level"] == ("info", "")
    assert shown["admin.token_file"] == (str(token), f"{file}:5")
    assert shown["defaults.max_body"] == ("1MiB", f"{file}:9")
    assert shown["defaults.retry.max_retries"] == (9, "RETRY_MAX_ATTEMPTS")


async def test_a_removed_route_takes_its_answers_along(start: Start, again: Callable[..., Settings]) -> None:
    """Neither a wider route that is left reads them, nor the route itself when it is there again."""
    wire = await start(more=ROUTE + WIDER)
    client = await wire.client()
    assert await asked(wire, client, b"v1") == b"v1"
    assert await asked(wire, client, None) == b"v1"
    without = again(ROUTE, "")
    await wire.sidecar.reload(lambda: without)
    assert await asked(wire, client, b"v2") == b"v2"
    assert await asked(wire, client, None) == b"v2"
    back = again(WIDER, ROUTE + WIDER)
    await wire.sidecar.reload(lambda: back)
    assert await asked(wire, client, b"v3") == b"v3"
    same = again(WIDER, WIDER.replace("10m", "11m"))
    await wire.sidecar.reload(lambda: same)
    assert await asked(wire, client, None) == b"v3"


async def test_an_answer_that_comes_after_its_route_has_gone_is_not_given_out(
    start: Start, again: Callable[..., Settings]
) -> None:
    """It is kept when it arrives, for the route that asked; that is another one by the time it is back."""
    wire = await start(more=ROUTE)
    client = await wire.client()
    await client.send(GET)
    backend = await wire.backend.connection()
    await backend.head()
    without = again(ROUTE, "")
    await wire.sidecar.reload(lambda: without)
    await backend.send(OK + b"v1")
    assert (await client.message()).body == b"v1"
    back = again("[defaults]", ROUTE + "[defaults]")
    await wire.sidecar.reload(lambda: back)
    assert await asked(wire, client, b"v2") == b"v2"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('reuse = "10m"\nstale_if_error = "10m"\n', ""),
        ('stale_if_error = "10m"\n', ""),
        (ROUTE, ROUTE + "honour_no_store = true\n"),
        (ROUTE, ROUTE + 'ignore_directives = ["private"]\n'),
        (ROUTE, ROUTE + 'principal = ["authorization"]\n'),
        (ROUTE, ROUTE + 'neutral_headers = ["x-tab"]\n'),
    ],
    ids=lambda value: value[-24:].strip() or "nothing",
)
async def test_what_was_kept_under_other_settings_is_not_given_out(
    start: Start, again: Callable[..., Settings], before: str, after: str
) -> None:
    """Neither after the settings have changed, nor when they are back: the caller has read newer ones since.

    Before, a `no-store` answer went on to be given out under `honour_no_store`, and an old one came back with `reuse`.
    """
    wire = await start(more=ROUTE)
    client = await wire.client()
    assert await asked(wire, client, b"v1") == b"v1"
    assert await asked(wire, client, None) == b"v1"
    changed = again(before, after)
    await wire.sidecar.reload(lambda: changed)
    assert await asked(wire, client, b"v2") == b"v2"
    back = (
        again(after, before)
        if after
        else again('match = "GET /sessions/{id}"\n', f'match = "GET /sessions/{{id}}"\n{before}')
    )
    await wire.sidecar.reload(lambda: back)
    assert await asked(wire, client, b"v3") == b"v3"


async def test_what_needs_a_restart_is_not_taken_in_part(start: Start, again: Callable[..., Settings]) -> None:
    """The listener kept its old settings, while its new deadline field and `via` counted."""
    wire = await start(more=ROUTE)
    client = await wire.client()
    changed = again("[listen]\n", '[listen]\ndeadline_header = "X-Deadline"\nvia = false\n')
    await wire.sidecar.reload(lambda: changed)
    await client.send(GET)
    backend = await wire.backend.connection()
    names = {line.partition(b":")[0].lower() for line in (await backend.head()).lines}
    assert names >= {b"x-request-deadline-ms", b"via"}
    assert b"x-deadline" not in names
    assert wire.counted('backstay_reloads_total{result="partial"} 1.0')
    await backend.send(OK + b"v1")
    assert (await client.message()).body == b"v1"


async def test_a_flight_is_not_joined_by_a_route_that_honours_no_store(
    start: Start, again: Callable[..., Settings]
) -> None:
    """The flight was begun under other settings, so its response is for those who had joined it."""
    wire = await start(more=ROUTE)
    clients = [await wire.client() for _ in range(2)]
    await clients[0].send(GET)
    backend = await wire.backend.connection()
    await backend.head()
    strict = again(ROUTE, ROUTE + "honour_no_store = true\n")
    await wire.sidecar.reload(lambda: strict)
    await clients[1].send(GET)
    second = await wire.backend.connection()
    await second.head()
    await second.send(OK + b"v2")
    assert (await clients[1].message()).body == b"v2"
    await backend.send(OK + b"v1")
    assert (await clients[0].message()).body == b"v1"


async def test_a_flight_is_not_joined_by_a_route_that_asks_another_backend(
    start: Start, again: Callable[..., Settings]
) -> None:
    """What the old backend answers is given to those who asked it."""
    wire = await start(more=ROUTE)
    clients = [await wire.client() for _ in range(2)]
    await clients[0].send(GET)
    backend = await wire.backend.connection()
    await backend.head()
    other = await Backend(split=False).start()
    moved = again(f":{wire.backend.port}", f":{other.port}")
    await wire.sidecar.reload(lambda: moved)
    await clients[1].send(GET)
    asked_now = await other.connection()
    await asked_now.head()
    await asked_now.send(OK + b"v2")
    assert (await clients[1].message()).body == b"v2"
    await backend.send(OK + b"v1")
    assert (await clients[0].message()).body == b"v1"
    await other.close()


CIRCUIT = ROUTE + 'circuit = "own"\n'
PREFLIGHT = (
    b"OPTIONS /sessions/1 HTTP/1.1\r\nHost: a\r\nOrigin: https://app\r\nAccess-Control-Request-Method: GET\r\n\r\n"
)
GRANTED = b"HTTP/1.1 204 No\r\nAccess-Control-Allow-Origin: https://app\r\nAccess-Control-Max-Age: 5\r\n\r\n"


async def test_a_removed_route_takes_its_circuit_its_figures_and_its_preflights_along(
    start: Start, again: Callable[..., Settings]
) -> None:
    """All begin anew when it is there again: its circuit closed, its figures at 0."""
    wire = await start(more=CIRCUIT)
    sidecar, client = wire.sidecar, await wire.client()
    assert await asked(wire, client, b"v1") == b"v1"
    await client.send(PREFLIGHT)
    await wire.backend.lines[-1].head()
    await wire.backend.lines[-1].send(GRANTED)
    assert (await client.message()).status == 204
    before = sidecar._ports.wiring["session-load"]
    before.breaker.force(type(before.breaker.mode).FORCED_OPEN, 0.0)
    assert before.cors._preflights
    without = again(CIRCUIT, "")
    await sidecar.reload(lambda: without)
    assert list(sidecar._assembly.breakers) == ["backend"]
    sidecar.metrics.finished("session-load", "GET", 200, "answered", 0.1, "")  # what was under way
    shown = exposition(sidecar)
    assert "session-load" not in shown
    assert 'circuit="own"' not in shown
    assert 'route="passthrough"' in shown
    back = again("[defaults]", CIRCUIT + "[defaults]")
    await sidecar.reload(lambda: back)
    after = sidecar._ports.wiring["session-load"]
    assert after.breaker is not before.breaker
    assert after.breaker.mode is not before.breaker.mode
    assert not after.cors._preflights
    assert wire.counted('backstay_coalesced_total{role="led",route="session-load"} 0.0')


async def test_another_backend_is_not_refused_for_the_failures_of_the_one_before(
    start: Start, again: Callable[..., Settings]
) -> None:
    """The open circuit refused it until the old `reset_timeout` was over."""
    wire = await start(more='[upstreams.backend.breaker]\nfailure_threshold = 1\nreset_timeout = "1h"\n')
    client = await wire.client()
    await client.send(GET)
    backend = await wire.backend.connection()
    await backend.head()
    await backend.send(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
    assert (await client.message()).status == 503
    await client.send(GET)
    assert b"circuit" in (await client.message()).body
    other = await Backend(split=False).start()
    moved = again(f":{wire.backend.port}", f":{other.port}")
    await wire.sidecar.reload(lambda: moved)
    await client.send(GET)
    asked_now = await other.connection()
    await asked_now.head()
    await asked_now.send(OK + b"v2")
    assert (await client.message()).body == b"v2"
    await other.close()
