"""A scripted backend: it responds, fails or hangs after virtual delays, and records each call."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from proxy.errors import BrokenBody
from proxy.exchange.ports import Interim
from proxy.http.fields import Fields, Lines
from proxy.http.message import (
    Collected,
    Failure,
    Framing,
    Lost,
    Outcome,
    Request,
    Response,
)
from proxy.http.problems import Reason
from proxy.runtime.immediate_future import ImmediateFuture, immediate_future
from tests.simulation.virtual import now_ms


def _nothing() -> None:
    """Take no effect."""


class Step(NamedTuple):
    """One thing the backend does: `outcome` after `after_s` virtual seconds, its effect `effect_s` after its call."""

    outcome: Outcome
    after_s: float = 0.0
    effect: Callable[[], None] = _nothing
    effect_s: float = 0.0


def answers(status: int = 200, body: bytes = b"ok", after_s: float = 0.0, **fields: str) -> Step:
    """Answer. A field's name is written with underscores."""
    lines = tuple((name.replace("_", "-").encode(), value.encode()) for name, value in fields.items())
    return Step(Response(status, b"", Fields(lines), body, Framing.LENGTH), after_s)


def fails(reason: Reason = Reason.CONNECTION_TERMINATED, after_s: float = 0.0, *, sent: bool = True) -> Step:
    """Break off without an answer."""
    return Step(Failure(reason, sent), after_s)


def refuses() -> Step:
    """Refuse the connection: nothing was sent."""
    return fails(Reason.CONNECTION_REFUSED, sent=False)


def hangs() -> Step:
    """Never answer."""
    return fails(after_s=inf)


@dataclass(slots=True)
class Call:
    """One call that reached the backend."""

    at_ms: float
    request: Request
    more: Lines
    timeout_s: float
    ended: str = "under way"

    @property
    def said(self) -> str:
        """Return the method and target."""
        return f"{self.request.method} {self.request.target.decode()}"

    def field(self, name: bytes) -> bytes | None:
        """Return what the sidecar added under a lower-case `name`."""
        return Fields(self.more).get(name)


Play = Callable[[Request, int], Step]


class ScriptedUpstream:
    """Play a script's steps in the order of the calls; its last step for all calls after it."""

    def __init__(self, script: Iterable[Step] | Play) -> None:
        self._play = script if callable(script) else _in_order(list(script))
        self.calls: list[Call] = []
        self.has_healthy_address = False  # it has one address
        self.last_address = "10.0.0.7:8000"

    @property
    def times_ms(self) -> list[float]:
        """Return when each call came."""
        return [call.at_ms for call in self.calls]

    @property
    def said(self) -> list[str]:
        """Return what was asked, in order."""
        return [call.said for call in self.calls]

    async def send(self, request: Request, more: Lines, timeout_s: float, interim: Interim) -> Outcome:
        """Do what the script says, or time out."""
        call = Call(now_ms(), request, more, timeout_s)
        self.calls.append(call)
        step = self._play(request, len(self.calls))
        try:
            await _pause(min(step.effect_s, timeout_s))
            step.effect()
            await _pause(min(step.after_s, timeout_s) - min(step.effect_s, timeout_s))
        except asyncio.CancelledError:
            call.ended = "cancelled"
            raise
        call.ended = "done" if step.after_s <= timeout_s else "timed out"
        return step.outcome if call.ended == "done" else Failure(Reason.RESPONSE_TIMEOUT, sent=True)


async def _pause(seconds: float) -> None:
    """Wait as a request does for a connection's answer: an eager task goes on at the very instant of the result."""
    loop = asyncio.get_running_loop()
    over: ImmediateFuture[None] = immediate_future(loop)
    timer = loop.call_later(seconds, _tell, over)
    try:
        await over
    finally:
        timer.cancel()


def _tell(over: ImmediateFuture[None]) -> None:
    if not over.done():  # else it was cancelled in this very instant
        over.resolve_now(None)


def _in_order(steps: list[Step]) -> Play:
    return lambda request, number: steps[min(number, len(steps)) - 1]


class ScriptedStream:
    """A streamed body that counts its readers; its pieces are all here, and it may break off after them."""

    def __init__(self, *pieces: bytes, broken: bool = False) -> None:
        self.pieces = pieces
        self.broken = broken
        self.opened = self.closed = 0
        self.discarded = False

    def open(self) -> "ScriptedReader":
        """Return a reader at the first byte."""
        self.opened += 1
        return ScriptedReader(self)

    def discard(self) -> None:
        """Say that nobody will read it."""
        self.discarded = True

    def offer(self, over: Callable[[], None]) -> None:
        """Have none for newcomers: all of it is here."""
        over()

    def collect(self, limit: int, collected: Collected) -> None:
        """Be collected at once: all of it is here."""
        body = b"".join(self.pieces)
        collected(Lost.BROKEN if self.broken else Lost.TOO_LARGE if len(body) > limit else body, ())

    def withdraw(self) -> None:
        """Never be asked to: nothing was offered."""
        raise AssertionError("nothing was offered")


class ScriptedReader:
    """One reader's place in a scripted stream."""

    def __init__(self, stream: ScriptedStream) -> None:
        self._stream = stream
        self._at = 0
        self._closed = False
        self.lost = False
        self.trailers: Lines = ()

    async def read(self) -> bytes:
        """Return the next piece."""
        if self._at < len(self._stream.pieces):
            self._at += 1
            return self._stream.pieces[self._at - 1]
        if self._stream.broken:
            raise BrokenBody("the script says so")
        return b""

    def cut(self) -> None:
        """Break off."""
        self._stream.broken = True

    def close(self) -> None:
        """Count the reader out, once."""
        if not self._closed:
            self._closed = True
            self._stream.closed += 1
