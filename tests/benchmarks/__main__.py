"""Measure Backstay and its peers in one run: `python -m tests.benchmarks` (see docs/performance.md)."""

import argparse
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import orjson

from tests.benchmarks import builds
from tests.benchmarks.builds import Build, BuildError
from tests.benchmarks.figures import Results
from tests.benchmarks.machine import Cores, cores, describe, found, raise_file_limit, settle_on
from tests.benchmarks.measures import MEASURES
from tests.benchmarks.peers import PEERS, Peer, backstay
from tests.benchmarks.plot import draw
from tests.benchmarks.report import render
from tests.benchmarks.soak import soak
from tests.benchmarks.stage import Stage

ROUNDS = 5
SECONDS = 2
GUESTS = 10_000  # idle connections


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help="in which everybody takes a turn (default %(default)s)"
    )
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of one turn (default %(default)s)")
    parser.add_argument(
        "--quick", action="store_true", help="one round of one second: to try the command, not for figures"
    )
    parser.add_argument(
        "--only", nargs="+", choices=MEASURES, default=list(MEASURES), metavar="MEASURE", help=", ".join(MEASURES)
    )
    parser.add_argument(
        "--peers",
        nargs="+",
        choices=[peer.name for peer in PEERS],
        metavar="PEER",
        help="default: whoever is installed",
    )
    builds.add_option(parser)
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="instead: is the sidecar's memory flat?")
    parser.add_argument("--report", type=Path, metavar="FILE.md", help="write the table of docs/performance.md")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw it (needs the extra `plots`)")
    parser.add_argument("--save", type=Path, metavar="FILE.json", help="write every round")
    parser.add_argument("--load", type=Path, metavar="FILE.json", help="measure nothing: report what was saved")
    return parser.parse_args(given)


def chosen(wanted: Sequence[str] | None, made: Sequence[Build], results: Results) -> list[Peer]:
    """Return our builds, and the peers that are wanted and installed; name the missing."""
    peers = []
    for peer in (*map(backstay, made), *(peer for peer in PEERS if wanted is None or peer.name in wanted)):
        if missing := peer.missing():
            results.remark(f"{peer.name} is left out: {missing} is not installed")
            continue
        results.versions[peer.name] = peer.tell_version()
        peers.append(peer)
    return peers


def measure(options: argparse.Namespace, folder: Path, own: Cores, made: Sequence[Build]) -> Results:
    """Measure everything that is asked for."""
    results = Results(about=describe() | {"command": shlex.join(("python", "-m", "tests.benchmarks", *sys.argv[1:]))})
    rounds, seconds, guests = (1, 1, GUESTS // 10) if options.quick else (options.rounds, options.seconds, GUESTS)
    if options.quick:
        results.remark("one short round: good for trying the command, not for figures")
    files = raise_file_limit()
    stage = Stage(folder, own, made, files=files, rounds=rounds, seconds=seconds, guests=guests, results=results)
    peers = chosen(options.peers, made, results)
    for name in options.only:
        began = perf_counter()
        MEASURES[name](stage, peers)
        print(f"{name}: {perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        if options.save:
            options.save.write_bytes(orjson.dumps(results, option=orjson.OPT_INDENT_2))
    return results


def main(given: Sequence[str]) -> int:
    """Measure, or read what was measured, and tell."""
    options = arguments(given)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    if options.load:
        results = Results.read(orjson.loads(options.load.read_bytes()))
    else:
        if found("wrk") is None:
            print("benchmarks: wrk is not installed (Debian: apt-get install wrk)", file=sys.stderr)
            return 2
        own = cores()
        with TemporaryDirectory(prefix="backstay-bench-") as name:
            folder = Path(name)
            try:
                made = builds.make(options.builds[:1] if options.soak else options.builds, folder)
            except BuildError as error:
                print(f"benchmarks: {error}", file=sys.stderr)
                return 2
            settle_on(own.load)
            if options.soak:
                files = raise_file_limit()
                stage = Stage(folder, own, made, files=files, rounds=1, seconds=1, guests=0, results=Results())
                return 0 if soak(stage, options.soak) else 1
            results = measure(options, folder, own, made)
    print(render(results, detailed=True))
    if options.report:
        options.report.write_text(render(results, detailed=False))
    if options.plot:
        try:
            draw(results, options.plot)
        except (ImportError, ValueError) as error:
            print(f"benchmarks: nothing is drawn: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
