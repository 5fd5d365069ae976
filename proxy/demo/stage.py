"""The stage on which a failure mode is played twice: once straight to the backend, once through the sidecar."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from proxy.clock import Clock
from proxy.demo.backend import Backend
from proxy.demo.client import Browser, BrowserAnswer, ask_on_one_connection

T = TypeVar("T")

PATIENCE = 2.0  # seconds until the tour's browser gives up; a real one waits for 30 or more


@dataclass(frozen=True, slots=True)
class Promise:
    """Something the sidecar promises, whether it held, and the figure that says so."""

    name: str
    held: bool
    measured: str


@dataclass(frozen=True, slots=True)
class Side:
    """One column of the table: what the user saw, the calls that reached the backend, and the time it took."""

    saw: str
    calls: int
    ms: float


@dataclass(frozen=True, slots=True)
class FailureMode:
    """One failure mode, played: both sides of it, and the promises."""

    title: str
    without: Side
    through: Side
    promises: tuple[Promise, ...]


@dataclass(frozen=True, slots=True)
class Played(Generic[T]):
    """What a scene returned, the backend calls it caused, and its milliseconds."""

    value: T
    calls: int
    ms: float

    def side(self, saw: str) -> Side:
        """Return this as a column of the table."""
        return Side(saw, self.calls, self.ms)


class DemoStage:
    """A backend, the way round the sidecar and the way through it."""

    __slots__ = ("_patience", "backend", "clock", "sent", "sidecar")

    def __init__(self, backend: Backend, sidecar: str, clock: Clock, patience: float = PATIENCE) -> None:
        self._patience = patience
        self.backend = backend
        self.sidecar = sidecar
        self.clock = clock
        self.sent = 0  # requests to the sidecar, each of which wants an audit record

    async def both(self, scene: Callable[[Browser], Awaitable[T]]) -> tuple[Played[T], Played[T]]:
        """Play `scene` without and then through the sidecar, each on a backend that has forgotten everything."""
        without = await self._on_fresh_backend(self.backend.url, scene)
        through = await self._on_fresh_backend(self.sidecar, scene)
        return without, through

    async def again(self, scene: Callable[[Browser], Awaitable[T]]) -> Played[T]:
        """Play `scene` through the sidecar, on the backend as it stands."""
        return await self._play(self.sidecar, scene)

    async def on_one_connection(self, paths: Sequence[str]) -> list[BrowserAnswer]:
        """GET `paths` through the sidecar, one after the other on one raw socket."""
        answers = await ask_on_one_connection(self.sidecar, paths, self.clock, self._patience)
        self.sent += len(answers)
        return answers

    async def _on_fresh_backend(self, base: str, scene: Callable[[Browser], Awaitable[T]]) -> Played[T]:
        self.backend.forget()
        # No connection survives from the scene before, so each scene meets the network as the first one did.
        await self.backend.restart()
        return await self._play(base, scene)

    async def _play(self, base: str, scene: Callable[[Browser], Awaitable[T]]) -> Played[T]:
        before, began = self.backend.calls.total(), self.clock.now()
        async with Browser(base, self.clock, self._patience) as browser:
            value = await scene(browser)
        if base == self.sidecar:
            self.sent += browser.sent
        return Played(value, self.backend.calls.total() - before, (self.clock.now() - began) * 1000)
