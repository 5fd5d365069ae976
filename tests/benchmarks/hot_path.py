"""Measure the cost of one request in the process, for each build: `python -m tests.benchmarks.hot_path [ROUNDS]`.

No sockets, no load generator: stubs hand whole segments to the data plane of a real sidecar, audit file and metrics
included: plain requests, a browser's, and ones of which no head is like the one before. Three lanes take turns in one
process, so that the machine's mood hits them alike: everything; both legs with no policy between them (plain); a bare
httptools relay, which is the yardstick. Calls are counted as well, and only reported: how many batches, sweeps and
timers fall into a run depends on the machine's speed. Compiled code makes no calls that Python could count.

Both builds are made for the run. `--here` measures the checkout as it lies there; `functions` lists the calls.
"""

import argparse
import gc
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CodeType, FrameType

import uvloop

import proxy
from proxy.build import COMPILED
from tests.benchmarks import builds
from tests.benchmarks.plane import LOADS, Client, Lane, Plane, Requests, bare

CONNECTIONS = 32
REQUESTS = 3_000  # in a round
COUNTED = 400  # requests whose calls are counted
PAGE = frozenset({"exchange"})
BUILT = f"{builds.OURS}, {builds.COMPILED if COMPILED else builds.PLAIN}"
PROXY = f"{Path(proxy.__file__).resolve().parent}/"


class Calls:
    """Calls a request: of Python functions by room, and of built-in ones."""

    def __init__(self) -> None:
        self._codes: Counter[CodeType] = Counter()
        self._builtin = 0

    def note(self, frame: FrameType, event: str, _: object) -> None:
        """Be the profile function."""
        if event == "call":
            self._codes[frame.f_code] += 1
        elif event == "c_call":
            self._builtin += 1

    @property
    def builtin(self) -> float:
        """Return the calls of built-in functions."""
        return self._builtin / COUNTED

    @property
    def python(self) -> float:
        """Return the calls of Python functions, the stubs' own apart."""
        return sum(self.rooms().values())

    def rooms(self) -> dict[str, float]:
        """Return the calls of Python functions by room, the largest first."""
        rooms: Counter[str] = Counter()
        for code, times in self._codes.items():
            if room := room_of(code.co_filename):
                rooms[room] += times
        return {room: times / COUNTED for room, times in rooms.most_common()}

    def functions(self, most: int) -> list[tuple[str, float]]:
        """Return the functions that are called most."""
        named = ((f"{Path(code.co_filename).stem}.{code.co_qualname}", times) for code, times in self._codes.items())
        return [(name, times / COUNTED) for name, times in sorted(named, key=lambda item: -item[1])[:most]]


def room_of(file: str) -> str:
    """Return the room that a file belongs to; "" for the benchmark's own."""
    if not file.startswith(PROXY):
        return "" if "/tests/" in file else "library"
    room = file.removeprefix(PROXY).partition("/")[0].removesuffix(".py")
    return "page" if room in PAGE else room


async def count_calls(make: Lane, load: bytes) -> Calls:
    """Count the calls of requests that follow one another on one connection."""
    questions, calls = Requests(), Calls()
    clients = [Client(make, load, questions)]
    await questions.ask(clients, 50)  # connections are made, caches are warm
    sys.setprofile(calls.note)
    try:
        await questions.ask(clients, COUNTED)
    finally:
        sys.setprofile(None)
    return calls


def lanes(plane: Plane) -> dict[str, Lane]:
    """Return what is measured, by name. Compiled code takes no stand-in for an exchange, so its wire is not alone."""
    alone = {} if COMPILED else {"wire": plane.wire_only}
    return {"whole": plane.whole, **alone, "bare": bare()}


async def best_us(made: dict[str, Lane], load: bytes, rounds: int) -> dict[str, float]:
    """Return each lane's CPU microseconds a request, the best of so many rounds in turn."""
    questions = Requests()
    clients = {name: [Client(make, load, questions) for _ in range(CONNECTIONS)] for name, make in made.items()}
    best = dict.fromkeys(made, float("inf"))
    for of_lane in clients.values():
        await questions.ask(of_lane, REQUESTS // 4)
    with quiet_collector():
        for _ in range(rounds):
            for name, of_lane in clients.items():
                began = time.process_time()
                await questions.ask(of_lane, REQUESTS)
                best[name] = min(best[name], (time.process_time() - began) / REQUESTS * 1e6)
    return best


@contextmanager
def quiet_collector() -> Iterator[None]:
    """Set the garbage collector as the sidecar does at its start."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)


async def measure(folder: Path, rounds: int) -> None:
    """Print what a request costs, in time and in calls."""
    plane = Plane(folder)
    await plane.sidecar.start()
    for kind, load in LOADS.items():
        cost = await best_us(lanes(plane), load, rounds)
        for name, us in cost.items():
            print(f"{BUILT}: {kind}, {name}: {us:.1f} µs of CPU, {us / cost['bare']:.1f} x bare", flush=True)
        if not COMPILED:
            show_calls(kind, await count_calls(plane.whole, load))
    await plane.sidecar.stop()


def show_calls(kind: str, calls: Calls) -> None:
    """Print how many calls a request makes, and in which rooms."""
    print(f"{BUILT}: {kind}: {calls.python:.0f} Python calls and {calls.builtin:.0f} built-in ones a request")
    print("  " + ", ".join(f"{room} {times:.0f}" for room, times in calls.rooms().items()), flush=True)


async def show_functions(folder: Path) -> None:
    """Print which functions are called, and how often."""
    plane = Plane(folder)
    await plane.sidecar.start()
    for kind, load in LOADS.items():
        calls = await count_calls(plane.whole, load)
        for name, times in calls.functions(250):
            print(f"{kind} {times:7.2f} {name}")
    await plane.sidecar.stop()


def measure_here(what: str) -> int:
    """Measure the package that this interpreter finds."""
    with TemporaryDirectory() as folder:
        uvloop.run(show_functions(Path(folder)) if what == "functions" else measure(Path(folder), int(what)))
    return 0


def main() -> int:
    """Measure each build in a process of its own environment."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.hot_path", description=__doc__)
    parser.add_argument("what", nargs="?", default="8", metavar="ROUNDS", help="or: functions")
    parser.add_argument("--here", action="store_true", help="build nothing: measure what this interpreter imports")
    builds.add_option(parser)
    options = parser.parse_args()
    if options.here or options.what == "functions":
        return measure_here(options.what)
    with TemporaryDirectory(prefix="backstay-bench-") as folder:
        return builds.run_each(options.builds, Path(folder), "tests.benchmarks.hot_path", options.what, "--here")


if __name__ == "__main__":
    sys.exit(main())
