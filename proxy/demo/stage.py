"""Play a failure mode twice: directly against the backend, then through the sidecar."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from proxy.clock import Clock
from proxy.demo.backend import Backend
from proxy.demo.client import Browser, BrowserResponse, get_on_one_connection

T = TypeVar("T")

PATIENCE = 2.0  # seconds until the tour's browser gives up; a real one waits for 30 s or more


@dataclass(frozen=True, slots=True)
class Promise:
    """A promise of the sidecar, whether it was kept, and the measured figure."""

    name: str
    held: bool
    measured: str


@dataclass(frozen=True, slots=True)
class Side:
    """One column of the table: what the user saw, the number of backend calls, and the time in milliseconds."""

    saw: str
    calls: int
    ms: float


@dataclass(frozen=True, slots=True)
class FailureMode:
    """The results of one failure mode without and with the sidecar, and its promises."""

    title: str
    without: Side
    through: Side
    promises: tuple[Promise, ...]


@dataclass(frozen=True, slots=True)
class Played(Generic[T]):
    """The return value of a scene, the number of backend calls, and the time in milliseconds."""

    value: T
    calls: int
    ms: float

    def side(self, saw: str) -> Side:
        """Return the result as a column of the table."""
        return Side(saw, self.calls, self.ms)


class DemoStage:
    """The backend, and the two ways to it: direct and through the sidecar."""

    __slots__ = ("_patience", "backend", "clock", "sent", "sidecar")

    def __init__(self, backend: Backend, sidecar: str, clock: Clock, patience: float = PATIENCE) -> None:
        self._patience = patience
        self.backend = backend
        self.sidecar = sidecar
        self.clock = clock
        self.sent = 0  # requests to the sidecar; each must have an audit record

    async def both(self, scene: Callable[[Browser], Awaitable[T]]) -> tuple[Played[T], Played[T]]:
        """Play `scene` without and then through the sidecar, each time on a backend without sessions and faults."""
        without = await self._on_fresh_backend(self.backend.url, scene)
        through = await self._on_fresh_backend(self.sidecar, scene)
        return without, through

    async def again(self, scene: Callable[[Browser], Awaitable[T]]) -> Played[T]:
        """Play `scene` through the sidecar, on the backend in its present state."""
        return await self._play(self.sidecar, scene)

    async def on_one_connection(self, paths: Sequence[str]) -> list[BrowserResponse]:
        """GET `paths` through the sidecar, one after another on one raw connection."""
        responses = await get_on_one_connection(self.sidecar, paths, self.clock, self._patience)
        self.sent += len(responses)
        return responses

    async def _on_fresh_backend(self, base: str, scene: Callable[[Browser], Awaitable[T]]) -> Played[T]:
        self.backend.forget()
        # No connection survives from the previous scene, so that each scene starts like the first.
        await self.backend.restart()
        return await self._play(base, scene)

    async def _play(self, base: str, scene: Callable[[Browser], Awaitable[T]]) -> Played[T]:
        before, began = self.backend.calls.total(), self.clock.now()
        async with Browser(base, self.clock, self._patience) as browser:
            value = await scene(browser)
        if base == self.sidecar:
            self.sent += browser.sent
        return Played(value, self.backend.calls.total() - before, (self.clock.now() - began) * 1000)
