"""The faults of the demo backend. This module chooses the fault for a request; the backend applies it."""

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter


class FaultKind(StrEnum):
    """Name the kinds of faults."""

    SLOW = "slow"  # the response comes `seconds` later
    FAIL = "fail"  # responds with `status` at once
    RATE_LIMIT = "rate_limit"  # responds with 429 at once, with `retry_after` if set
    HANG = "hang"  # accepts the request and sends no response until the faults are reset
    DROP = "drop"  # closes the connection without a response, before the request is processed


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault for the next `times` requests whose path starts with `prefix`; without `times`, until reset."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    kind: FaultKind
    prefix: str = "/"
    times: int | None = None
    status: int = 503
    seconds: float = 0.0
    retry_after: str | None = "1"


@dataclass(frozen=True, slots=True)
class Reset:
    """The order to remove every fault."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    kind: Literal["reset"]


ORDER: TypeAdapter[Fault | Reset] = TypeAdapter(Fault | Reset)
"""Parses the JSON of `POST /_demo/faults`. Raises pydantic's ValidationError, which names every wrong field."""


@dataclass(slots=True)
class _Armed:
    fault: Fault
    left: int | None


class Faults:
    """The active faults. A request gets the oldest fault that matches."""

    __slots__ = ("_armed", "released")

    def __init__(self) -> None:
        self._armed: list[_Armed] = []
        self.released = asyncio.Event()

    def add(self, fault: Fault) -> None:
        """Add `fault` after the active ones."""
        self._armed.append(_Armed(fault, fault.times))

    def slow(self, seconds: float, prefix: str = "/") -> None:
        """Delay each response by `seconds`."""
        self.add(Fault(FaultKind.SLOW, prefix, seconds=seconds))

    def fail(self, times: int, status: int = 503, prefix: str = "/") -> None:
        """Respond with `status`, `times` times."""
        self.add(Fault(FaultKind.FAIL, prefix, times, status))

    def rate_limit(self, times: int, retry_after: str | None = "1", prefix: str = "/") -> None:
        """Respond with 429, `times` times."""
        self.add(Fault(FaultKind.RATE_LIMIT, prefix, times, retry_after=retry_after))

    def hang(self, prefix: str = "/") -> None:
        """Send no response until reset."""
        self.add(Fault(FaultKind.HANG, prefix))

    def drop(self, times: int, prefix: str = "/") -> None:
        """Close the connection without a response, `times` times."""
        self.add(Fault(FaultKind.DROP, prefix, times))

    def take(self, path: str) -> Fault | None:
        """Return the fault for a request to `path` and decrement its count; `None` if none matches."""
        for armed in self._armed:
            if armed.left != 0 and path.startswith(armed.fault.prefix):
                if armed.left is not None:
                    armed.left -= 1
                return armed.fault
        return None

    def reset(self) -> None:
        """Remove every fault and end the hanging requests, whose connections close."""
        self._armed.clear()
        self.released.set()
        self.released = asyncio.Event()
