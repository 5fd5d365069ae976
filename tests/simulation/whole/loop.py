"""An event loop of virtual time for several processes: each callback belongs to one, which may be paused or killed.

The loop has no sockets. `create_connection` connects through the simulated network, and a call from another thread is
a call from a greenlet (`threads.py`) in the same one.
"""

import asyncio
import heapq
from asyncio import events
from collections.abc import Callable
from contextvars import Context, ContextVar
from enum import Enum
from random import Random
from typing import TYPE_CHECKING, Any, TypeVarTuple

from greenlet import greenlet

from tests.simulation.virtual import BEGINNING, WALL

if TYPE_CHECKING:
    from tests.simulation.whole.disk import Disk
    from tests.simulation.whole.network import Network

Ts = TypeVarTuple("Ts")
LONGEST_TURN = 20_000  # callbacks at one virtual instant: more are a loop without end


class Life(Enum):
    """RUNNING --pause--> PAUSED --resume--> RUNNING; either --kill--> DEAD"""

    RUNNING = "runs"
    PAUSED = "is stopped by a signal, or waits for a processor"
    DEAD = "was killed: nothing of it runs any more"


class Process:
    """A process on a host of its own. What it calls on the loop carries its context, and so do all callbacks of that.

    `wall_offset` is how far its wall clock is from the true time, in seconds.
    """

    def __init__(self, name: str, random: Random, disk: "Disk | None" = None) -> None:
        self.name = name
        self.disk = disk
        self._random = random
        self.threads: list[greenlet] = []
        self.life = Life.RUNNING
        self.wall_offset = 0.0
        self.context = Context()
        self.context.run(PROCESS.set, self)
        self._deferred: list[events.Handle] = []

    def __repr__(self) -> str:
        return f"<Process {self.name} {self.life.name}>"

    def lag(self) -> float:
        """Return the seconds until the kernel runs a thread that was woken; now and then many."""
        return self._random.random() * (0.02 if self._random.random() < 0.05 else 0.0003)

    def run(self, handle: events.Handle) -> None:
        """Run a callback of this process now, once it goes on, or never."""
        if self.life is Life.RUNNING:
            events.Handle._run(handle)
        else:  # a dead process keeps it: collected, a coroutine would run its `finally` blocks
            self._deferred.append(handle)

    def pause(self) -> None:
        """Stop it, as SIGSTOP does."""
        if self.life is Life.RUNNING:
            self.life = Life.PAUSED

    def resume(self, loop: "SimulatedLoop") -> None:
        """Let it go on: timers that are due run before what arrived meanwhile."""
        if self.life is not Life.PAUSED:
            return
        self.life = Life.RUNNING
        deferred, self._deferred = self._deferred, []
        timers = [handle for handle in deferred if isinstance(handle, _OwnedTimer)]
        others = [handle for handle in deferred if not isinstance(handle, _OwnedTimer)]
        loop.ready((*timers, *others))

    def kill(self) -> None:
        """End it: no callback and no thread of it goes on, and no `finally` block runs."""
        self.life = Life.DEAD


PROCESS: ContextVar[Process] = ContextVar("PROCESS")


def this_process() -> Process:
    """Return the process whose code runs."""
    return PROCESS.get()


class _OwnedHandle(events.Handle):
    __slots__ = ()

    def _run(self) -> None:
        _run_owned(self)


class _OwnedTimer(events.TimerHandle):
    __slots__ = ()

    def _run(self) -> None:
        _run_owned(self)


def _run_owned(handle: events.Handle) -> None:
    process = handle._context.get(PROCESS)  # type: ignore[attr-defined]  # the stub has no private members
    if process is None:
        events.Handle._run(handle)
    else:
        process.run(handle)


class _Jump:
    """A selector without sockets: it lets the time pass that the loop would wait."""

    def __init__(self, pass_time: Callable[[float | None], None]) -> None:
        self._pass_time = pass_time

    def select(self, timeout: float | None = None) -> list[Any]:
        self._pass_time(timeout)
        return []


class SimulatedLoop(asyncio.BaseEventLoop):
    """Run callbacks in the order of virtual time."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual_now = BEGINNING
        self._turns = 0
        self._selector = _Jump(self._pass_time)
        self.network: Network | None = None

    def time(self) -> float:
        return self._virtual_now

    def _pass_time(self, seconds: float | None) -> None:
        if seconds is None:
            raise RuntimeError("everybody waits and no timer is set: this run would hang for ever")
        self._turns = 0 if seconds > 0 else self._turns + 1
        if self._turns > LONGEST_TURN:
            raise RuntimeError("no time passes: callbacks call one another without end")
        self._virtual_now += max(0.0, seconds)

    def call_soon(self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None) -> events.Handle:
        handle = _OwnedHandle(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> events.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> events.TimerHandle:
        return self.call_at(self._virtual_now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> events.TimerHandle:
        timer = _OwnedTimer(when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)  # type: ignore[attr-defined]
        timer._scheduled = True  # type: ignore[attr-defined]
        return timer

    def ready(self, handles: tuple[events.Handle, ...]) -> None:
        """Run these next, in order; those that were cancelled are skipped."""
        self._ready.extend(handle for handle in handles if not handle.cancelled())  # type: ignore[attr-defined]

    def forget(self) -> None:
        """Drop every callback."""
        self._ready.clear()  # type: ignore[attr-defined]
        self._scheduled.clear()  # type: ignore[attr-defined]

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **kw: Any) -> Any:
        """Connect through the simulated network, from the process that asks."""
        assert self.network is not None
        return await self.network.connect(this_process(), protocol_factory, str(host), int(port))

    def _process_events(self, event_list: list[Any]) -> None:
        """Do nothing: there are no sockets."""

    def _write_to_self(self) -> None:
        """Do nothing: the loop never sleeps."""

    @property
    def timers(self) -> list[events.TimerHandle]:
        """Return the timers that are set."""
        return [timer for timer in self._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]


class ProcessClock:
    """The clock of one process: the loop's time, and a wall clock that may be wrong and may jump."""

    def __init__(self, process: Process, loop: SimulatedLoop) -> None:
        self._process = process
        self._loop = loop

    def now(self) -> float:
        return self._loop.time()

    def wall(self) -> float:
        return WALL + self._loop.time() - BEGINNING + self._process.wall_offset

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # noqa: TID251 - virtual seconds
