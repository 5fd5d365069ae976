"""One run: a plan's clients, backend, Redis and replicas in one virtual loop, from the first start to the last stop."""

import asyncio
import itertools
import traceback
from collections.abc import Iterator, MutableMapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import structlog

from proxy.exchange.handler import RequestHandler
from proxy.store import checked_redis
from tests.simulation.virtual import BEGINNING
from tests.simulation.whole.backend import Backend, serve
from tests.simulation.whole.clients import Clients
from tests.simulation.whole.disk import new_disk, simulated_disks
from tests.simulation.whole.loop import PROCESS, Life, Process, SimulatedLoop
from tests.simulation.whole.network import Network
from tests.simulation.whole.plan import END_MS, HEALED_MS, Act, Fault, Plan
from tests.simulation.whole.redis_server import RedisServer
from tests.simulation.whole.replica import REDIS, Replica
from tests.simulation.whole.threads import simulated_threads

MEMORY = Path("/dev/shm")
KEPT: list["Played"] = []


class World:
    """Everything of one run, and the conversation."""

    def __init__(self, plan: Plan, loop: SimulatedLoop, folder: Path) -> None:
        self.plan = plan
        self.loop = loop
        self.folder = folder
        self.said: list[str] = []
        loop.network = self.network = Network(loop, plan.generator("network"), plan.split)
        self.backend = Backend(plan, loop, self.tell)
        serve(self.backend, self.network)
        self.redis = RedisServer(self.network, loop, plan.generator("redis"), REDIS) if plan.shared else None
        people = Process("clients", plan.generator("clients"))
        self.clients = Clients(loop, self.network, self.tell, people)
        self.replicas = [
            Replica(number, plan, loop, self.network, new_disk(folder / f"r{number}", plan.generator(f"disk {number}")),
                    self.tell)
            for number in range(plan.replicas)
        ]  # fmt: skip
        self.begun = loop.time()
        self.restless: list[str] = []  # what was left behind at the end

    def tell(self, who: str, what: str) -> None:
        """Add a line to the conversation."""
        self.said.append(f"{(self.loop.time() - BEGINNING) * 1000:10.3f}  {who:<8} {what}")

    def at(self, ms: float) -> float:
        """Return the loop's time of a moment of the plan."""
        return self.begun + ms / 1000

    async def run(self) -> None:
        """Play the plan, heal everything, wait until nothing is under way, and stop."""
        for replica in self.replicas:
            replica.start()
        await self._until_ready()
        self.begun = self.loop.time()
        for act in self.plan.acts:
            self.loop.call_at(self.at(act.at_ms), self._come, act, context=self.clients.process.context)
        for fault in self.plan.faults:
            self.loop.call_at(self.at(fault.at_ms), self._break, fault, context=self.network.kernel)
        await self._pass(HEALED_MS)
        for replica in self.replicas:
            self.loop.call_soon(replica.restart, context=self.network.kernel)
        await self._pass(END_MS)
        self.clients.leave()
        await self._pass(END_MS + 1000)
        self._look_for_leftovers()
        for replica in self.replicas:
            await replica.stop()
        await self._pass(END_MS + 4000)
        ended = [replica.process for replica in self.replicas if replica.process.life is not Life.DEAD]
        self.restless += [f"{process.name} has a thread" for process in ended for thread in process.threads if thread]

    async def _until_ready(self) -> None:
        await asyncio.wait([replica.task for replica in self.replicas if replica.task is not None])

    async def _pass(self, until_ms: float) -> None:
        await asyncio.sleep(max(0.0, self.at(until_ms) - self.loop.time()))  # noqa: TID251 - virtual

    def _come(self, act: Act) -> None:
        self.clients.ask(act, self.replicas[act.replica % len(self.replicas)])

    def _look_for_leftovers(self) -> None:
        """Note what no request, connection or thread should hold any more."""
        for replica in self.replicas:
            sidecar = replica.sidecar
            if sidecar is None:
                self.restless.append(f"{replica.name} does not run")
                continue
            ports = sidecar._ports
            leases = sum(len(breaker._leases) for breaker in sidecar._assembly.breakers.values())
            left = {
                "flights": len(ports.flights), "followers": ports.flights.followers, "permits": leases,
                "probes": len(ports.probes), "requests without a record": sidecar.running,
                "client connections": len(sidecar.server_state.connections), "queued records": sidecar.audit.queued,
                "backend connections": sum(not pool.empty for pool in sidecar._assembly.pools.values()),
                "claims": len(getattr(sidecar._bundle.claims, "_held", ())),
            }  # fmt: skip
            self.restless += [f"{replica.name} has {count} {what}" for what, count in left.items() if count]

    # faults

    def _break(self, fault: Fault) -> None:
        self.tell("fault", f"{fault.kind} at {fault.where}, {fault.other}, for {fault.for_ms} ms")
        replica = self.replicas[int(fault.where[1:]) % len(self.replicas)]
        getattr(self, f"_{fault.kind.replace(' ', '_')}")(fault, replica)

    def _later(self, fault: Fault, call: Any, *arguments: Any) -> None:
        self.loop.call_later(fault.for_ms / 1000, call, *arguments, context=self.network.kernel)

    def _reset(self, fault: Fault, replica: Replica) -> None:
        self.network.reset_between(replica.name, fault.other)

    def _cut(self, fault: Fault, replica: Replica) -> None:
        self.network.link(replica.name, fault.other).cut_until = self.loop.time() + fault.for_ms / 1000

    def _slow(self, fault: Fault, replica: Replica) -> None:
        link = self.network.link(replica.name, fault.other)
        before, link.delay_s = link.delay_s, link.delay_s + 0.03
        self._later(fault, setattr, link, "delay_s", before)

    def _loss(self, fault: Fault, replica: Replica) -> None:
        link = self.network.link(replica.name, fault.other)
        link.loss = 0.2
        self._later(fault, setattr, link, "loss", 0.0)

    def _isolated(self, fault: Fault, replica: Replica) -> None:
        for link in self.network.links_of(replica.name):
            link.cut_until = self.loop.time() + fault.for_ms / 1000

    def _reload(self, fault: Fault, replica: Replica) -> None:
        replica.reload()

    def _drain(self, fault: Fault, replica: Replica) -> None:
        replica.drain(fault.for_ms / 1000)

    def _kill(self, fault: Fault, replica: Replica) -> None:
        replica.kill(power=False)
        self._later(fault, replica.restart)

    def _power(self, fault: Fault, replica: Replica) -> None:
        replica.kill(power=True)
        self._later(fault, replica.restart)

    def _pause(self, fault: Fault, replica: Replica) -> None:
        process = replica.process
        process.pause()
        self._later(fault, process.resume, self.loop)

    def _clock(self, fault: Fault, replica: Replica) -> None:
        replica.wall_offset += (-1) ** fault.at_ms * fault.for_ms * 20
        replica.process.wall_offset = replica.wall_offset

    def _full(self, fault: Fault, replica: Replica) -> None:
        replica.disk.full = True
        self._later(fault, setattr, replica.disk, "full", False)

    def _slow_disk(self, fault: Fault, replica: Replica) -> None:
        replica.disk.slow_s = 0.1
        self._later(fault, setattr, replica.disk, "slow_s", 0.0)

    def _fsync(self, fault: Fault, replica: Replica) -> None:
        replica.disk.fails = 0.5
        self._later(fault, setattr, replica.disk, "fails", 0.0)

    def _short(self, fault: Fault, replica: Replica) -> None:
        replica.disk.short = 0.5
        self._later(fault, setattr, replica.disk, "short", 0.0)

    def _redis_stalls(self, fault: Fault, replica: Replica) -> None:
        self._redis().stall(fault.for_ms / 1000)

    def _redis_away(self, fault: Fault, replica: Replica) -> None:
        self._redis().stop()
        self._later(fault, self._redis().start)

    def _redis_empty(self, fault: Fault, replica: Replica) -> None:
        self._redis().stop()
        self._later(fault, self._redis().restart_empty)

    def _redis_fails_over(self, fault: Fault, replica: Replica) -> None:
        """Lose the primary; its copy, which is so far behind, takes over at once."""
        self._redis().copy()
        self._later(fault, self._fail_over)

    def _fail_over(self) -> None:
        self.tell("redis", "fails over to its copy")
        self._redis().stop()
        self._redis().fail_over()

    def _redis_refuses(self, fault: Fault, replica: Replica) -> None:
        self._redis().refuses_writes = True
        self._later(fault, setattr, self._redis(), "refuses_writes", False)

    def _redis(self) -> RedisServer:
        assert self.redis is not None
        return self.redis


class Played:
    """A run that is over, with its files still there."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.error: BaseException | None = None


@contextmanager
def played(plan: Plan) -> Iterator[Played]:
    """Play a plan in a loop, with threads, disks and a log of its own.

    Only in a child of `apart`: a killed process leaves coroutines that wait for ever, and nothing of it is collected.
    """
    with ExitStack() as stack:
        where = MEMORY if MEMORY.is_dir() else None
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="backstay-", dir=where)))
        loop = SimulatedLoop()
        run = Played(World(plan, loop, folder))
        KEPT.append(run)
        loop.set_exception_handler(lambda loop, context: run.world.tell("loop", _unexpected(context)))
        named = patch("redis.utils.get_lib_version", lambda: "")  # reads files at each connection
        for each in (simulated_threads(), simulated_disks(), _own_log(run.world), _tasks(plan), named):
            stack.enter_context(each)
        checked_redis._OURS, checked_redis._exchanges = b"simulation", itertools.count(1)
        try:
            loop.run_until_complete(run.world.run())
        except Exception as problem:  # a hang, or a mistake of the simulation itself
            run.error = problem
        yield run


@contextmanager
def _tasks(plan: Plan) -> Iterator[None]:
    """Let requests run in ordinary tasks where the plan says so."""

    def start(handler: RequestHandler, loop: asyncio.AbstractEventLoop) -> None:
        handler.exchange.task = loop.create_task(handler.run())

    with nullcontext() if plan.eager else patch.object(RequestHandler, "start", start):
        yield


def _unexpected(context: dict[str, Any]) -> str:
    """Return an exception with its traceback, in one line."""
    error = context.get("exception")
    return str(context) if error is None else " | ".join("".join(traceback.format_exception(error)).splitlines()[-7:])


@contextmanager
def _own_log(world: World) -> Iterator[None]:
    """Make the product's log a part of the conversation."""
    before, folder = structlog.get_config(), str(world.folder)

    def heard(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        process = PROCESS.get(None)
        said = [str(event[name]) for name in ("operation", "error", "circuit", "to") if name in event]
        text = " ".join([f"logs {event.get('event')}", *said]).replace(folder, "")
        world.tell(process.name if process else "?", text)
        raise structlog.DropEvent

    structlog.configure(processors=[heard])
    try:
        yield
    finally:
        structlog.configure(**before)
