"""Each signal in each phase of the process: none is lost, and none kills a process that should run."""

import asyncio
import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest

from proxy.clock import SystemClock
from proxy.demo.sidecar_process import COMMAND
from tests.e2e.raw import Client, Origin, answer, request
from tests.e2e.sidecar import PATIENCE, PATIENT, READY, READY_WITHIN, Child, environment, sidecar
from tests.hanging import SUFFIX, hang_in

pytestmark = pytest.mark.asyncio(loop_scope="module")
CONFIG = '[upstreams.a]\nurl = "http://127.0.0.1:1"\n'
NAMESPACE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")  # where a process is PID 1
_clock = SystemClock()
DETACHES = """
import signal
from proxy.signals import HANDLED, ProcessSignals

def ignored(number):
    with open("/proc/self/status") as status:
        (line,) = (line for line in status if line.startswith("SigIgn:"))
    return int(line.split()[1], 16) >> number - 1 & 1

def replace(number, handler, replace=signal.signal):
    if handler is signal.SIG_IGN:
        print(int(number), ignored(number))
    return replace(number, handler)

signals = ProcessSignals()
signals.install()
signal.signal = replace
signals.detach()
print([signal.getsignal(number).name for number in HANDLED])
"""


def _makes_namespaces() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run((*NAMESPACE, "true"), capture_output=True, check=False).returncode == 0


as_first_process = pytest.mark.skipif(not _makes_namespaces(), reason="this system makes no PID namespace")


class Starting:
    """A sidecar that waits at a file that is a pipe, in the middle of its start."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path, pid: int) -> None:
        self._process = process
        self._said = folder / "stderr.log"
        self._pid = pid

    @property
    def log(self) -> str:
        return self._said.read_text()

    def send(self, what: signal.Signals) -> None:
        os.kill(self._pid, what)

    async def ended(self) -> int:
        async with asyncio.timeout(PATIENCE):
            return await self._process.wait()

    async def stopped(self, what: signal.Signals) -> int:
        """Send the signal until the process ends.

        Python looks for signals before a system call, not in it: one that comes in between waits for the next. The
        pipe is opened by the reader in the very moment in which the first signal is sent.
        """
        async with asyncio.timeout(PATIENCE):
            while self._process.returncode is None:
                with suppress(ProcessLookupError):
                    self.send(what)
                await _clock.sleep(0.05)
            return self._process.returncode

    async def ready(self) -> str:
        """Return its ready line."""
        assert self._process.stdout is not None
        async with asyncio.timeout(READY_WITHIN):
            return (await self._process.stdout.readline()).decode().strip()

    async def logged(self, text: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while text not in self.log:
                await _clock.sleep(0.005)


@asynccontextmanager
async def starting(folder: Path, *before: str, **settings: str) -> AsyncIterator[Starting]:
    """Start a sidecar whose configuration is `backstay.toml`, behind the command `before`."""
    ours = {"listen__address": "127.0.0.1:0", "listen__drain_delay": "0s", "admin__address": "127.0.0.1:0"}
    given = environment(**PATIENT | ours | settings)
    with (folder / "stderr.log").open("wb") as said:
        process = await asyncio.create_subprocess_exec(
            *before, *COMMAND, "run", "--config", "backstay.toml", cwd=folder, env=given,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=said,
        )  # fmt: skip
    try:
        pid = process.pid if not before else await _child(process.pid)
        yield Starting(process, folder, pid)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _child(pid: int) -> int:
    async with asyncio.timeout(PATIENCE):
        while not (children := psutil.Process(pid).children()):
            await _clock.sleep(0.005)
    return int(children[0].pid)


async def _waits_at(pipe: Path) -> int:
    """Wait until somebody reads the pipe; return its writing end, until whose close he waits."""
    async with asyncio.timeout(READY_WITHIN):
        while True:
            try:
                return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
            await _clock.sleep(0.005)


def _let_go(pipe: Path, held: int) -> None:
    """End what waits at the pipe; nothing waits there any more."""
    pipe.unlink()
    os.close(held)


@pytest.fixture(autouse=True)
def files_may_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the sidecar's process wait at a file beside which there is a pipe."""
    monkeypatch.setenv("PYTHONPATH", hang_in(tmp_path / "hanging"), prepend=os.pathsep)


@pytest.fixture(params=["backstay.toml", "salt"], ids=["before the loop", "on the loop"])
def pipe(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Let a start stop where it reads its configuration, or where it opens its trail."""
    (tmp_path / "backstay.toml").write_text(CONFIG)
    path = tmp_path / f"{request.param}{SUFFIX}"
    os.mkfifo(path, 0o600)
    return path


@pytest.mark.parametrize("what", [signal.SIGTERM, signal.SIGINT])
async def test_a_start_is_given_up(pipe: Path, tmp_path: Path, what: signal.Signals) -> None:
    """Nothing is served yet: the end is prompt, also where a file hangs that the start waits for."""
    async with starting(tmp_path, audit__salt_file="salt") as child:
        held = await _waits_at(pipe)
        assert await child.stopped(what) in (0, 128 + what, 128 + signal.SIGTERM)
        os.close(held)
        assert "Traceback" not in child.log
        assert '"ready"' not in child.log


@as_first_process
async def test_the_first_process_of_a_container_gives_up_its_start(pipe: Path, tmp_path: Path) -> None:
    """The kernel keeps from PID 1 every signal that it does not handle: SIGTERM would be lost, and then served on."""
    async with starting(tmp_path, *NAMESPACE, audit__salt_file="salt") as child:
        held = await _waits_at(pipe)
        assert await child.stopped(signal.SIGTERM) in (0, 128 + signal.SIGTERM)
        os.close(held)


async def test_a_reload_that_comes_too_early_is_made_once_ready(pipe: Path, tmp_path: Path) -> None:
    """SIGHUP while it starts neither kills nor is lost: the file may have changed after it was read."""
    async with starting(tmp_path, audit__salt_file="salt") as child:
        held = await _waits_at(pipe)
        for what in (signal.SIGHUP, signal.SIGPIPE, signal.SIGHUP):
            child.send(what)
        _let_go(pipe, held)
        assert READY.fullmatch(await child.ready())
        await child.logged('"reloaded"')
        child.send(signal.SIGTERM)
        assert await child.ended() == 0


async def test_a_configuration_that_hangs_stops_no_request(origin: Origin, tmp_path: Path) -> None:
    """A file on a server that is gone: requests and the control plane go on, and what was asked meanwhile is done."""
    text = '[[routes]]\noperation = "{}"\nmatch = "GET /fine"\n'
    origin.on("/fine", answer(b"fine"))
    async with sidecar(tmp_path, origin.url, text.format("before")) as child:
        pipe = tmp_path / f"backstay.toml{SUFFIX}"
        os.mkfifo(pipe)
        child.send(signal.SIGHUP)
        held = await _waits_at(pipe)
        async with await Client.connect(child.url) as client:
            assert (await client.ask(request("GET", "/fine"))).status == 200
            assert (await child.ask_admin("/healthz")).status == 200
            child.send(signal.SIGHUP)
            (tmp_path / "backstay.toml").write_text(text.format("after"))
            pipe.unlink()
            os.write(held, b"no = TOML = at all")
            os.close(held)
            await child.logged('"reload_refused"')
            await child.logged('"reloaded"')
            assert (await client.ask(request("GET", "/fine"))).status == 200
    assert [record["operation"] for record in child.records()] == ["before", "after"]


async def test_a_start_that_waits_for_its_store_is_given_up(tmp_path: Path) -> None:
    """What waits on the network, and not in the kernel, is tidied up, and the exit is clean."""
    (tmp_path / "backstay.toml").write_text(CONFIG)
    met = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.set()
        await reader.read()  # the hello
        writer.close()

    silent = await asyncio.start_server(hold, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{silent.sockets[0].getsockname()[1]}/0"
    async with silent, starting(tmp_path, store__url=url) as child:
        async with asyncio.timeout(READY_WITHIN):
            await met.wait()
        child.send(signal.SIGTERM)
        assert await child.ended() == 0
        assert "Traceback" not in child.log


async def _held(child: Child, client: Client) -> None:
    """Have a request wait for the backend."""
    client.send(request("GET", "/held"))
    await child.until(lambda m: m.total("backstay_flights") == 1)


@pytest.fixture
async def held(origin: Origin) -> AsyncIterator[asyncio.Event]:
    """Let the backend hold every request for /held until this is set."""
    go = asyncio.Event()

    async def hold(call: object) -> bytes:
        await go.wait()
        return answer(b"held")

    origin.on("/held", hold)
    yield go
    go.set()


async def test_a_person_waits_neither_for_a_load_balancer_nor_for_a_request(
    origin: Origin, held: asyncio.Event, tmp_path: Path
) -> None:
    """SIGINT while it drains ends the delay; once more, and what is under way is cut, and recorded."""
    long = {"listen__drain_delay": "1h", "listen__drain_timeout": "1h"}
    async with sidecar(tmp_path, origin.url, **long) as child, await Client.connect(child.url) as client:
        await _held(child, client)
        child.send(signal.SIGTERM)
        await child.logged('"draining"')
        child.send(signal.SIGINT)
        async with asyncio.timeout(PATIENCE):
            while await _accepts(child):
                await _clock.sleep(0.02)
        assert child.process.returncode is None
        child.send(signal.SIGINT)
        async with asyncio.timeout(PATIENCE):
            assert await child.process.wait() == 0
    assert [record["status"] for record in child.records()] == [499]


async def _accepts(child: Child) -> bool:
    try:
        async with await Client.connect(child.url):
            return True
    except (ConnectionRefusedError, ConnectionResetError):
        return False


async def test_while_it_drains_nothing_else_disturbs(origin: Origin, held: asyncio.Event, tmp_path: Path) -> None:
    """A repeated SIGTERM, a SIGHUP and a SIGPIPE cut nothing short: the request under way gets its answer."""
    async with (
        sidecar(tmp_path, origin.url, listen__drain_timeout="1h") as child,
        await Client.connect(child.url) as client,
    ):
        await _held(child, client)
        child.send(signal.SIGTERM)
        await child.logged('"draining"')
        for what in (signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            child.send(what)
        await child.logged('"reload_refused"')
        held.set()
        assert (await client.answer()).body == b"held"
        assert await child.stop() == 0


async def test_a_signal_in_the_last_moment_changes_no_exit_status(origin: Origin, tmp_path: Path) -> None:
    """Between the loop's end and the process's: a supervisor that asks again must not see a crash."""
    async with sidecar(tmp_path, origin.url) as child:
        while child.process.returncode is None:
            with suppress(ProcessLookupError):
                for what in (signal.SIGTERM, signal.SIGHUP):
                    os.kill(child.process.pid, what)
            await _clock.sleep(0)
        assert child.process.returncode == 0


async def test_the_system_ignores_a_signal_before_its_handler_is_gone(tmp_path: Path) -> None:
    """Otherwise Python may note one for no handler: "OSError: Signal 1 ignored due to race condition"."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DETACHES, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE):
        said, _ = await process.communicate()
    assert process.returncode == 0
    assert said.decode().splitlines() == ["15 1", "2 1", "1 1", "['SIG_IGN', 'SIG_IGN', 'SIG_IGN']"]
