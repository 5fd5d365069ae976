"""Commands against a real admin listener: exit status, one line, no traceback."""

import asyncio
import signal
import socket
import subprocess
from collections.abc import AsyncIterator

import pytest

from proxy.admin.admin_listener import AdminListener, start_admin
from proxy.cli.circuits import TOKEN_VARIABLE, circuits, drain, health
from proxy.policy.breaker import CircuitMode, CircuitState
from tests.settings import admin_settings
from tests.unit.admin.sidecar import TOKEN, Sidecar

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_token_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the machine's own environment out."""
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)


@pytest.fixture
def sidecar() -> Sidecar:
    return Sidecar()


@pytest.fixture
async def admin(sidecar: Sidecar) -> AsyncIterator[str]:
    """Give the address of the sidecar's admin listener."""
    listener: AdminListener = await start_admin(sidecar.control(), admin_settings())
    yield f"127.0.0.1:{listener.port}"
    await listener.close()


async def test_circuits_are_shown_as_a_table(admin: str, sidecar: Sidecar, capsys: Captured) -> None:
    """One aligned line a circuit, no token needed."""
    sidecar.trip("sessions")
    assert await asyncio.to_thread(circuits, None, None, admin, None) == 0
    assert capsys.readouterr().out == (
        "CIRCUIT      STATE   FAILURES  MODE  PROBES IN\n"
        "sessions     OPEN    5         auto  30.0s\n"
        "restoration  CLOSED  0         auto  -\n"
    )


async def test_reset_closes_the_circuit_and_shows_it(admin: str, sidecar: Sidecar, capsys: Captured) -> None:
    """The circuit is closed and the table shows that one."""
    sidecar.trip("sessions")
    assert await asyncio.to_thread(circuits, "reset", "sessions", admin, TOKEN) == 0
    assert sidecar.circuits["sessions"].state is CircuitState.CLOSED
    assert capsys.readouterr().out.splitlines()[1].split() == ["sessions", "CLOSED", "0", "auto", "-"]


@pytest.mark.parametrize(("action", "mode"), [("open", CircuitMode.FORCED_OPEN), ("close", CircuitMode.FORCED_CLOSED)])
async def test_a_circuit_can_be_forced_and_given_back(
    admin: str, sidecar: Sidecar, action: str, mode: CircuitMode
) -> None:
    """open and close hold until auto."""
    circuit = sidecar.circuits["restoration"]
    assert await asyncio.to_thread(circuits, action, "restoration", admin, TOKEN) == 0
    assert circuit.mode is mode
    assert await asyncio.to_thread(circuits, "auto", "restoration", admin, TOKEN) == 0
    assert circuit.mode is CircuitMode.AUTO


@pytest.mark.parametrize("name", ["session", "no such/name?", "ü"])
async def test_an_unknown_circuit_lists_the_right_names(admin: str, capsys: Captured, name: str) -> None:
    """What the user typed was wrong: exit 2, and what to type instead."""
    assert await asyncio.to_thread(circuits, "reset", name, admin, TOKEN) == 2
    error = capsys.readouterr().err
    assert error == f"backstay: No circuit is called {name!r}: there are restoration, sessions.\n"


@pytest.mark.parametrize(
    ("action", "name", "hint"), [("melt", "sessions", "reset, open, close, auto"), ("reset", None, "which circuit")]
)
def test_what_cannot_be_meant_is_not_sent(action: str, name: str | None, hint: str, capsys: Captured) -> None:
    """A wrong action or a missing name exits 2 without a listener."""
    assert circuits(action, name, "127.0.0.1:1", None) == 2
    assert hint in capsys.readouterr().err


async def test_the_token_comes_from_the_environment(
    admin: str, sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container has its token there already; a typed one wins."""
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    assert await asyncio.to_thread(drain, admin, "typed and wrong") == 2
    assert not sidecar.draining
    assert await asyncio.to_thread(drain, admin, None) == 0
    assert sidecar.draining


async def test_without_a_token_the_line_says_what_is_missing(admin: str, capsys: Captured) -> None:
    """Exit 2 and one line, which names the option."""
    assert await asyncio.to_thread(drain, admin, None) == 2
    said = capsys.readouterr().err
    assert said.startswith("backstay: This needs the admin token")
    assert said.endswith(f"Give --token, or set {TOKEN_VARIABLE}.\n")


async def test_a_wrong_token_is_told_from_a_missing_one(admin: str, capsys: Captured) -> None:
    """With a wrong token the message does not ask for a token, but says that it is wrong."""
    assert await asyncio.to_thread(drain, admin, "wrong") == 2
    assert capsys.readouterr().err.startswith("backstay: The admin token that was sent is not the configured one.")


def test_a_process_is_told_to_drain_without_a_token(capsys: Captured) -> None:
    """A container's preStop hook has no token to show: the signal that its process drains on is enough."""
    with subprocess.Popen(["sleep", "600"]) as process:
        assert drain("127.0.0.1:1", None, process.pid) == 0
        assert process.wait(60) == -signal.SIGTERM
    assert drain("127.0.0.1:1", None, process.pid) == 1
    assert capsys.readouterr().err == f"backstay: process {process.pid} cannot be signalled: no such process\n"


async def test_health_means_alive_and_ready_means_ready(admin: str, sidecar: Sidecar, capsys: Captured) -> None:
    """A draining sidecar is alive and not ready."""
    assert await asyncio.to_thread(health, admin) == 0
    assert await asyncio.to_thread(health, admin, ready=True) == 0
    sidecar.ready = False
    assert await asyncio.to_thread(health, admin) == 0
    assert await asyncio.to_thread(health, admin, ready=True) == 1
    assert capsys.readouterr().err == "backstay: The sidecar is starting or draining.\n"


async def test_a_proxy_in_the_environment_is_not_asked(admin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's HTTP_PROXY must not stand between it and its own health."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert await asyncio.to_thread(health, f"http://{admin}/") == 0


@pytest.mark.parametrize("admin", ["127.0.0.1:1", "127.0.0.1:x"])
def test_nobody_answers(admin: str, capsys: Captured) -> None:
    """One line that names the address, exit 1, no traceback."""
    assert health(admin) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"backstay: the admin listener at {admin} does not answer: ")
    assert error.count("\n") == 1


async def test_something_else_answers(capsys: Captured) -> None:
    """Another HTTP server at the address is told apart."""

    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(other, "127.0.0.1", 0, family=socket.AF_INET)
    async with server:
        admin = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert await asyncio.to_thread(health, admin) == 1
    assert "is not a Backstay admin listener" in capsys.readouterr().err
