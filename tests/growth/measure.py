"""Measure how the work of a function grows with its input, independently of the machine's speed and load.

Two measures. Lines of Python executed are counted, and the same everywhere. What C code does (patterns, copies) is
taken as the processor time of this thread: the least of several runs, at two sizes 16 apart, and compared by ratio.
Linear work grows 16 times and quadratic work 256 times; the bound of 64 stands between them.
"""

import sys
from collections.abc import Callable
from time import thread_time
from types import FrameType
from typing import Any, NamedTuple

TIMES = 16  # how much larger the large input is
MOST_TIMES = 64
MOST_STEPS_TIMES = 24
ENOUGH_STEPS = 2_000  # fewer are as good as none: a constant start-up cost is among them
RUNS = 5

Run = Callable[[], object]


class Growth(NamedTuple):
    """What a large input cost: milliseconds and lines of Python, and how many times those of the small one."""

    ms: float
    times: float
    steps: int
    steps_times: float

    @property
    def linear(self) -> bool:
        """Tell whether the work grew no faster than the input, as far as that can be told."""
        return self.times <= MOST_TIMES and self.steps_times <= MOST_STEPS_TIMES


def seconds(run: Run, runs: int) -> float:
    """Return the least processor time of some runs."""
    return min(_once(run) for _ in range(runs))


def _once(run: Run) -> float:
    began = thread_time()
    run()
    return thread_time() - began


def yardstick() -> float:
    """Return the seconds that looking at each of 64 KiB takes here: what costs no more than that is not suspected."""
    data = bytes(65_536)

    def look() -> int:
        found = 0
        for byte in data:
            found += byte
        return found

    return seconds(look, RUNS)


def steps(run: Run) -> int:
    """Return how many lines of Python are executed; none where the code is compiled."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
    return count


def growth(small: Run, large: Run, enough_s: float) -> Growth:
    """Return how the work grows from `small` to `large`; what takes less than `enough_s` seconds is not suspected."""
    took = seconds(large, 1)
    times = 1.0
    if took > enough_s:
        took = seconds(large, RUNS)
        times = took / max(seconds(small, RUNS), 1e-6)
    many = steps(large)
    return Growth(took * 1000, times, many, many / max(steps(small), ENOUGH_STEPS / TIMES))
