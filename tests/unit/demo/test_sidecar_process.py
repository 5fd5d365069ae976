"""Start and stop the sidecar's process, with a few lines of Python in its place."""

import asyncio
import os
import sys
import tomllib
from pathlib import Path

import pytest

from proxy.clock import SystemClock
from proxy.demo.sidecar_process import DemoSidecar, SidecarError

CLOCK = SystemClock()
READY = "print('backstay ready: proxy http://127.0.0.1:11 admin http://127.0.0.1:12', flush=True);"
BEFORE = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM});"  # so that it waits to be taken
UNTIL_TERM = "signal.sigwait({signal.SIGTERM})"


def python(code: str) -> tuple[str, ...]:
    """Return the command that runs `code`."""
    return (sys.executable, "-S", "-c", code)


async def test_the_ready_line_is_read_and_sigterm_is_sent(tmp_path: Path) -> None:
    """Both addresses come from the one line on stdout; stop() returns the process's own status."""
    command = python(BEFORE + READY + UNTIL_TERM)
    sidecar = await DemoSidecar.start(tmp_path, "http://127.0.0.1:1", command=command)
    assert (sidecar.url, sidecar.admin) == ("http://127.0.0.1:11", "http://127.0.0.1:12")
    assert await sidecar.stop() == 0


async def test_every_run_has_a_token_of_its_own(tmp_path: Path) -> None:
    """It is in a file that only its owner reads, and the sidecar's configuration names that file."""
    tokens = set()
    for run in ("one", "two"):
        (tmp_path / run).mkdir()
        command = python(BEFORE + READY + UNTIL_TERM)
        sidecar = await DemoSidecar.start(tmp_path / run, "http://127.0.0.1:1", command=command)
        await sidecar.stop()
        assert stored_token(tmp_path / run) == (sidecar.token, 0o600)
        tokens.add(sidecar.token)
    assert len(tokens) == 2


def stored_token(folder: Path) -> tuple[str, int]:
    """Return what the file that the configuration names holds, and who may read it."""
    file = Path(tomllib.loads((folder / "backstay.toml").read_text())["admin"]["token_file"])
    return file.read_text(), file.stat().st_mode & 0o777


async def test_stop_tells_how_it_ended(tmp_path: Path) -> None:
    """A sidecar that does not handle SIGTERM is told apart from a clean stop; a second stop changes nothing."""
    command = python(READY + "import signal; signal.pause()")
    sidecar = await DemoSidecar.start(tmp_path, "http://127.0.0.1:1", command=command)
    assert await sidecar.stop() == -15
    assert await sidecar.stop() == -15


async def test_an_early_end_shows_what_was_said(tmp_path: Path) -> None:
    """A sidecar that exits instead of getting ready is an error with its stderr."""
    with pytest.raises(SidecarError, match="the port is taken"):
        await DemoSidecar.start(tmp_path, "http://127.0.0.1:1", command=python("raise SystemExit('the port is taken')"))


async def test_a_cancelled_start_leaves_nobody_behind(tmp_path: Path) -> None:
    """A process that is not ready yet is ended when the one who waits for it gives up."""
    pid_file = tmp_path / "pid"
    code = f"import os, signal; print(os.getpid(), file=open({str(pid_file)!r}, 'w'), flush=True); signal.pause()"
    starting = asyncio.ensure_future(DemoSidecar.start(tmp_path, "http://127.0.0.1:1", command=python(code)))
    while not (pid_file.exists() and pid_file.read_text().endswith("\n")):
        await CLOCK.sleep(0.01)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


async def test_settings_in_the_environment_do_not_reach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tour's file is what counts, not the settings that happen to be in the user's shell."""
    monkeypatch.setenv("BACKSTAY_LISTEN__ADDRESS", "x")
    monkeypatch.setenv("RETRY_MAX_ATTEMPTS", "9")
    monkeypatch.setenv("UNRELATED", "kept")
    said = "import os; raise SystemExit([n for n in os.environ if n.startswith(('BACKSTAY', 'RETRY', 'UNRELATED'))])"
    with pytest.raises(SidecarError, match=r"\['UNRELATED'\]"):
        await DemoSidecar.start(tmp_path, "http://127.0.0.1:1", command=python(said))


async def test_the_configuration_is_toml(tmp_path: Path) -> None:
    """The written file parses, and asks for the port, the upstream and no drain delay."""
    folder = tmp_path / 'with "quotes"'
    folder.mkdir()
    sidecar = await DemoSidecar.start(folder, "http://127.0.0.1:1", 8123, python(READY))
    await sidecar.stop()
    config = tomllib.loads((folder / "backstay.toml").read_text())
    assert config["listen"] == {"address": "127.0.0.1:8123", "drain_delay": "0s"}
    assert config["upstreams"]["sessions"]["url"] == "http://127.0.0.1:1"
    assert config["audit"]["path"] == str(folder / "audit.jsonl")
    assert [route["operation"] for route in config["routes"]] == ["session-create", "status", "history"]


async def test_only_whole_records_of_requests_are_read(tmp_path: Path) -> None:
    """A line still being written, and records that are no request's, are left out."""
    sidecar = await DemoSidecar.start(tmp_path, "http://127.0.0.1:1", command=python(READY))
    assert sidecar.records() == []
    (tmp_path / "audit.jsonl").write_text('{"method":"GET","seq":1}\n{"gap":3}\n{"method":"PO')
    assert sidecar.records() == [{"method": "GET", "seq": 1}]
    await sidecar.stop()
