"""One function that takes bytes or text from outside, and the fixed text around the growing input."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from proxy.audit.files import TrailError
from proxy.config.objections import ConfigError, Objection
from proxy.errors import (
    BadResponse,
    BrokenBody,
    MalformedFieldLines,
    StartError,
    TooManyFieldLines,
)
from proxy.http.problems import Refusal
from proxy.inject.manifests import InjectError
from tests.growth.inputs import FILLINGS, Around

# Each of these is an answer to bad input; anything else that is raised fails the test.
REFUSALS = (
    Refusal, BrokenBody, BadResponse, MalformedFieldLines, TooManyFieldLines, Objection, TrailError, ConfigError,
    InjectError, StartError,
)  # fmt: skip
TEXT = "latin-1"
T = TypeVar("T")
PLAIN = (Around(),)


@dataclass(frozen=True, slots=True)
class Case:
    """One function, called with the input; `around` are the places in its input at which text grows."""

    name: str
    call: Callable[[bytes], object]
    around: tuple[Around, ...] = PLAIN
    fillings: tuple[str, ...] = tuple(FILLINGS)
    times: int = 1  # how many times smaller its inputs are: what is slow by nature, such as one byte a segment

    def run(self, data: bytes) -> None:
        """Call it; what it refuses is refused."""
        try:
            self.call(data)
        except REFUSALS as refusal:
            str(refusal)


def in_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """Return a call that reads a file with the input in it."""

    def call(data: bytes) -> object:
        path = Path(f"{name}-{len(data)}", f"{name}.jsonl")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return read(path)

    return call


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        found: T = done.value
        return found
    raise AssertionError("it waits")
