"""The ways in which the demo backend misbehaves on command. This file decides; the backend acts."""

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter


class FaultKind(StrEnum):
    """What goes wrong."""

    SLOW = "slow"  # the answer comes `seconds` later than usual
    FAIL = "fail"  # answers `status` at once
    RATE_LIMIT = "rate_limit"  # answers 429 at once, with `retry_after` if there is one
    HANG = "hang"  # accepts and never answers, until the faults are reset
    DROP = "drop"  # closes the connection without an answer, before the request is processed


@dataclass(frozen=True, slots=True)
class Fault:
    """Misbehave for the next `times` requests whose path starts with `prefix`; without `times`, until reset."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    kind: FaultKind
    prefix: str = "/"
    times: int | None = None
    status: int = 503
    seconds: float = 0.0
    retry_after: str | None = "1"


@dataclass(frozen=True, slots=True)
class Reset:
    """Behave again."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    kind: Literal["reset"]


ORDER: TypeAdapter[Fault | Reset] = TypeAdapter(Fault | Reset)
"""Reads the JSON of `POST /_demo/faults`; raises pydantic's ValidationError, which names every wrong field."""


@dataclass(slots=True)
class _Armed:
    fault: Fault
    left: int | None


class Faults:
    """The faults waiting for their requests; the oldest that matches is taken first."""

    __slots__ = ("_armed", "released")

    def __init__(self) -> None:
        self._armed: list[_Armed] = []
        self.released = asyncio.Event()

    def add(self, fault: Fault) -> None:
        """Arm `fault`, behind those already armed."""
        self._armed.append(_Armed(fault, fault.times))

    def slow(self, seconds: float, prefix: str = "/") -> None:
        """Answer `seconds` late."""
        self.add(Fault(FaultKind.SLOW, prefix, seconds=seconds))

    def fail(self, times: int, status: int = 503, prefix: str = "/") -> None:
        """Answer `status`, `times` times."""
        self.add(Fault(FaultKind.FAIL, prefix, times, status))

    def rate_limit(self, times: int, retry_after: str | None = "1", prefix: str = "/") -> None:
        """Answer 429, `times` times."""
        self.add(Fault(FaultKind.RATE_LIMIT, prefix, times, retry_after=retry_after))

    def hang(self, prefix: str = "/") -> None:
        """Never answer, until reset."""
        self.add(Fault(FaultKind.HANG, prefix))

    def drop(self, times: int, prefix: str = "/") -> None:
        """Close the connection without an answer, `times` times."""
        self.add(Fault(FaultKind.DROP, prefix, times))

    def take(self, path: str) -> Fault | None:
        """Return the fault that the request for `path` meets, and use it up by one."""
        for armed in self._armed:
            if armed.left != 0 and path.startswith(armed.fault.prefix):
                if armed.left is not None:
                    armed.left -= 1
                return armed.fault
        return None

    def reset(self) -> None:
        """Forget every fault and let go of the requests that hang: their connections close."""
        self._armed.clear()
        self.released.set()
        self.released = asyncio.Event()
