"""Measure 50 and 300 concurrent equal requests: `python -m tests.benchmarks.coalescing [--rounds 3]`.

Plays seven cases against Backstay, nginx and Varnish in one run, and prints what reached the backend and what the
clients saw. Exits with 1 if Backstay misses a promise: one call a case (one for each user, one ladder after resets),
the median follower within 15 ms of his leader in the best round, one status for all, no answer to a wrong user. A proxy
that is not installed is left out by name. Both builds of Backstay are made for the run. Run it with an interpreter as
fast as the image's: Debian's, not pyenv's.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop

from tests.benchmarks import builds
from tests.benchmarks.builds import Build, BuildError
from tests.benchmarks.report import is_ours
from tests.benchmarks.sharing.backend import Backend, backend
from tests.benchmarks.sharing.cases import CASES, Case
from tests.benchmarks.sharing.clients import Result, play
from tests.benchmarks.sharing.peers import PEERS, Start, built, found
from tests.benchmarks.sharing.table import Row, markdown, summary

CLIENTS = (50, 300)


async def compare(made: Sequence[Build], folder: Path, rounds: int) -> bool:
    """Play every case with every proxy, print the tables, and tell whether Backstay kept its promises."""
    starts: dict[str, Start] = {build.name: built(build) for build in made}
    starts |= {name: start for name, (program, start) in PEERS.items() if found(program)}
    for name in PEERS.keys() - starts.keys():
        print(f"{name} is not installed: left out")
    async with backend(CASES) as scripted, AsyncExitStack() as stack:
        ports: dict[str, int] = {}
        for name, start in starts.items():
            (folder / name).mkdir()
            ports[name] = await stack.enter_async_context(start(folder / name, scripted.url))
            await play(CASES[0], scripted, ports[name], max(CLIENTS), f"warm-{in_path(name)}")
        tables = {count: [row for case in CASES for row in await rows(case, scripted, ports, count, rounds)]
                  for count in CLIENTS}  # fmt: skip
    for count, table in tables.items():
        print(f"\n{count} clients, {rounds} rounds:\n\n{markdown(table)}")
    print(f"\n{' / '.join(map(str, CLIENTS))} clients, calls and p50:\n\n{summary(tables)}\n")
    return kept(tables)


async def rows(case: Case, scripted: Backend, ports: dict[str, int], count: int, rounds: int) -> list[Row]:
    """Let the proxies take turns with one case, because others use this machine too."""
    results: dict[str, list[Result]] = {name: [] for name in ports}
    for number in range(rounds):
        for name, port in ports.items():
            results[name].append(await play(case, scripted, port, count, f"{in_path(name)}-{count}-{number}"))
    return [Row(case, name, found) for name, found in results.items()]


def in_path(name: str) -> str:
    """Return a proxy's name as a path may have it."""
    return name.replace(", ", "-")


def kept(tables: dict[int, list[Row]]) -> bool:
    """Say which promises Backstay missed, and tell whether there was none."""
    ours = [(count, row) for count, table in tables.items() for row in table if is_ours(row.proxy)]
    missed = [f"{row.proxy}, {count} clients, {what}" for count, row in ours for what in row.missed()]
    print("\n".join(missed) or f"{builds.OURS} kept every promise")
    return not missed


def main() -> int:
    """Read the command line, run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    builds.add_option(parser)
    arguments = parser.parse_args()
    with TemporaryDirectory(prefix="backstay-bench-") as folder:
        try:
            made = builds.make(arguments.builds, Path(folder) / "builds")
        except BuildError as error:
            print(f"benchmarks: {error}", file=sys.stderr)
            return 2
        return 0 if uvloop.run(compare(made, Path(folder), arguments.rounds)) else 1


if __name__ == "__main__":
    sys.exit(main())
