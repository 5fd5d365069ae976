"""One sidecar of the simulation: the product's composition root without sockets, started, killed and restarted."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from proxy.app import Sidecar
from proxy.config.settings import Settings
from proxy.errors import StartError
from proxy.memory_budget import MemoryBudget
from proxy.server.client_connection import ClientConnection
from tests.simulation.whole.backend import ADDRESS as BACKEND
from tests.simulation.whole.backend import PORT as BACKEND_PORT
from tests.simulation.whole.disk import Disk
from tests.simulation.whole.loop import Life, Process, ProcessClock, SimulatedLoop
from tests.simulation.whole.network import Network
from tests.simulation.whole.plan import Plan

PORT = 8080
REDIS = "10.0.2.1"
AGAIN_S = 0.3  # until a sidecar that could not start is started again
DEADLINE_S = 2.0


def settings_of(plan: Plan, folder: Path) -> Settings:
    """Return the settings of a replica whose trail is in this folder."""
    keyed = {"upstream_honours_idempotency": plan.honours}
    create = {"operation": "create", "match": "POST /api/sessions", "subject": "body:/reportId", "coalesce": "subject"}
    if plan.unique:
        create["on_conflict"] = "GET /api/sessions/{subject}"
    about = {"subject": "path:report_id"}
    kept = {"reuse": "2s", "stale_if_error": "10m"}
    missing, fallback = {}, {}
    if plan.recovers:
        missing = {"on_missing": {"request": "POST /api/sessions", "body": {"reportId": "{subject}"}}}
        fallback = {"fallback": {"status": 200, "body": {"lists": []}}}
    return Settings.model_validate(
        {
            "listen": {"address": "127.0.0.1:0"},
            "admin": {"address": "127.0.0.1:0"},
            "audit": {
                "path": str(folder / "audit.jsonl"), "durability": plan.durability, "compress": False,
                "rotate_size": "4KiB" if plan.rotate else "none", "checkpoint_every": 10,
            },
            "store": {"url": f"redis://{REDIS}:6379/0" if plan.shared else "memory://"},
            "upstreams": {
                "sessions": {
                    "url": f"http://{BACKEND}:{BACKEND_PORT}",
                    "breaker": {"failure_threshold": 3, "reset_timeout": "500ms"},
                }
            },
            "routes": [
                {**create, **keyed, "idempotency": "replay"},
                {"operation": "load", "match": "GET /api/sessions/{report_id}", **about, **missing},
                {"operation": "update", "match": "PATCH /api/sessions/{report_id}", **about},
                {"operation": "history", "match": "GET /api/history/{report_id}", **about, **kept},
                {"operation": "lists", "match": "GET /api/lists", **kept, **fallback},
                {"operation": "touch", "match": "POST /api/touch"},
            ],
        }
    )  # fmt: skip


class Replica:
    """A host with a disk, on which one sidecar at a time runs."""

    def __init__(
        self, number: int, plan: Plan, loop: SimulatedLoop, network: Network, disk: Disk,
        tell: Callable[[str, str], None],
    ) -> None:  # fmt: skip
        self.name = f"r{number}"
        self.address = f"10.0.1.{number + 1}"
        self.disk = disk
        self._plan = plan
        self._loop = loop
        self._network = network
        self._tell = tell
        self._settings = settings_of(plan, disk.folder)
        self.processes: list[Process] = []
        self.sidecar: Sidecar | None = None
        self._draining: Process | None = None
        self._ended: list[Sidecar | None] = []
        self.wall_offset = 0.0
        self.killed: list[tuple[float, bool]] = []  # when, and whether the power failed
        self.stopped: list[float] = []  # when a process had ended after SIGTERM
        self.task: asyncio.Task[None] | None = None
        network.name(self.address, self.name)

    @property
    def process(self) -> Process:
        """Return the newest process."""
        return self.processes[-1]

    @property
    def store_errors(self) -> int:
        """Return how many questions to Redis failed or took too long, in all its processes."""
        sidecars = [sidecar for sidecar in (*self._ended, self.sidecar) if sidecar is not None]
        return int(sum(sum(sidecar.metrics.store_errors.counts.values()) for sidecar in sidecars))

    def start(self) -> None:
        """Start a new process."""
        random = self._plan.generator(f"{self.name}.{len(self.processes)}")
        process = Process(f"{self.name}.{len(self.processes)}", random, self.disk)
        process.wall_offset = self.wall_offset
        if self.processes:
            self._network.power_on(self.process)
        self.processes.append(process)
        self.task = self._loop.create_task(self._start(process), context=process.context)

    async def _start(self, process: Process) -> None:
        random = self._plan.generator(f"ids of {process.name}")
        sidecar = Sidecar(self._settings, ProcessClock(process, self._loop), random)
        sidecar._memory = MemoryBudget(None, lambda: None)  # that of the machine is none of the plan's
        try:
            await sidecar._ledger.start()
            await sidecar._open_store()
        except StartError as error:
            self._tell(process.name, f"cannot start: {str(error).rpartition('/')[2]}")
            self.kill(power=False)
            self._loop.call_later(AGAIN_S, self.start, context=self._network.kernel)
            return
        sidecar._sweep()
        sidecar._ready = True
        self.sidecar = sidecar
        self._network.listen(self.address, PORT, process, partial(ClientConnection, sidecar.server_state))
        self._tell(process.name, "is ready")

    def kill(self, *, power: bool) -> None:
        """Kill the process; without power, what was not durable on its disk is lost."""
        process = self.process
        if process.life is Life.DEAD:
            return
        self._tell(process.name, "loses power" if power else "is killed")
        self.killed.append((self._loop.time(), power))
        self._end(power=power)

    def _end(self, *, power: bool) -> None:
        process = self.process
        process.kill()
        self.disk.end_process()
        self._network.drop(process, silently=power)
        if power:
            self.disk.lose_power()
        self._ended.append(self.sidecar)
        self.sidecar = None

    def reload(self) -> None:
        """Read the settings again, as after SIGHUP."""
        if self.sidecar is not None and self.process.life is Life.RUNNING:
            self._tell(self.process.name, "reads its settings again")
            reloading = self.sidecar.reload(lambda: self._settings)
            self._loop.create_task(reloading, context=self.process.context)

    def drain(self, for_s: float) -> None:
        """Stop as after SIGTERM, and start a new process afterwards."""
        if self.sidecar is not None and self.process.life is Life.RUNNING and self._draining is not self.process:
            self._tell(self.process.name, "drains")
            self._draining = self.process
            self._loop.create_task(self._drain(self.process, for_s), context=self._network.kernel)

    async def _drain(self, process: Process, for_s: float) -> None:
        await self.stop()
        if self.process is process and process.life is not Life.DEAD:
            self._tell(process.name, "has stopped")
            self.stopped.append(self._loop.time())
            self._end(power=False)
            await asyncio.sleep(for_s)  # noqa: TID251 - virtual
            self.restart()

    def restart(self) -> None:
        """Start again after a kill."""
        if self.process.life is Life.DEAD:
            self.start()

    async def stop(self) -> None:
        """Drain and stop, as after SIGTERM."""
        self._network.close(self.address, PORT)
        if self.sidecar is not None:
            stopping = self._loop.create_task(self.sidecar.stop(delay_s=0.0), context=self.process.context)
            with suppress(asyncio.CancelledError):
                await stopping
