"""Measure what a verified token costs a request, for each build: `python -m tests.benchmarks.principals [ROUNDS]`.

Entra's access token, RS256, 1.3 KiB with its groups. Each line is CPU time in µs, the best of ROUNDS (30) rounds, so
that a busy machine changes little. Both builds are made for the run; `--here` measures the checkout as it lies there.
"""

import argparse
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from proxy.build import COMPILED
from proxy.http.fields import Fields
from proxy.http.message import Peer, Request
from proxy.policy.principals import RoutePrincipals
from proxy.policy.request_key import Identifier
from proxy.policy.routing import Route
from tests.benchmarks import builds
from tests.benchmarks.hot_path import quiet_collector
from tests.settings import OWN_FIELDS, a_route
from tests.tokens import NOW, Issuer, a_judge, entra

CALLS = 2_000  # in a round
EXAMINED = 50  # in a round of what takes longer
GROUPS = [f"3f2504e0-4f89-41d3-9a0c-{n:012}" for n in range(8)]
ADDRESS = "10.0.0.1"
ISSUED = Issuer("k1", algorithm="RS256")
TABLE = {"issuer": entra(NOW)["iss"], "audience": entra(NOW)["aud"]}
PRINCIPAL: dict[str, Any] = {"principal": ("user",)}


def token(number: int = 0) -> bytes:
    """Return a token whose refresh has this number."""
    return ISSUED.token(entra(NOW, number, groups=GROUPS))


def fields(shown: bytes) -> Fields:
    """Return the fields of a new connection."""
    return Fields(((b"Host", b"a"), (b"Accept", b"application/json"), (b"Authorization", b"Bearer " + shown)))


def best_us(call: Callable[[Any], object], inputs: Callable[[], list[Any]], rounds: int) -> float:
    """Return the CPU time of a call in µs, without that of the loop around it. Each round has new inputs."""
    best = idle = float("inf")
    with quiet_collector():
        for _ in range(rounds):
            given = inputs()
            began = time.process_time()
            for one in given:
                call(one)
            took = time.process_time() - began
            best = min(best, took / len(given))
            began = time.process_time()
            for one in given:
                _nothing(one)
            idle = min(idle, (time.process_time() - began) / len(given))
    return (best - idle) * 1e6


def _nothing(one: object) -> None:
    """Cost what a call costs."""


def judged(of: RoutePrincipals) -> Callable[[Any], object]:
    """Return what judges the tokens of fields."""
    return lambda shown: of.standing(shown, ADDRESS, NOW, 0.0)


def identifying(route: Route, of: RoutePrincipals | None) -> Callable[[Any], object]:
    """Return what identifies a request from its fields, with its tokens judged or as bytes."""
    identifier = Identifier(route, OWN_FIELDS)

    def identify(shown: Any) -> object:
        request = Request("GET", b"/api/history/1", shown, Peer(ADDRESS, 1), authority=b"a")
        if of is not None:
            request.standing = of.standing(shown, ADDRESS, NOW, 0.0)
        identifier.identify(request, "1")
        return tuple(identifier.owners(request))

    return identify


def measure(rounds: int) -> None:
    """Print what each way costs."""
    judge, shown = a_judge(ISSUED, **TABLE), token()
    of, one, numbers = RoutePrincipals([judge]), fields(shown), count(1)
    judged(of)(one)
    bound = a_route(**PRINCIPAL, verified=(judge.rules,))

    def flooded() -> list[Fields]:
        for number in range(300):  # beyond the limit of failures
            judged(of)(fields(shown[:-8] + b"%08d" % number))
        return [fields(shown[:-8] + b"%08d" % next(numbers)) for _ in range(CALLS)]

    costs = {
        "a connection that repeats its fields": (judged(of), lambda: [one] * CALLS),
        "a known token on a new connection": (judged(of), lambda: [fields(shown) for _ in range(CALLS)]),
        "identity and owners by a known token, new connection": (
            identifying(bound, of), lambda: [fields(shown) for _ in range(CALLS)],
        ),
        "identity and owners by its bytes, new connection": (
            identifying(a_route(principal=("authorization",)), None), lambda: [fields(shown) for _ in range(CALLS)],
        ),
        "the first time": (judged(of), lambda: [fields(token(next(numbers))) for _ in range(EXAMINED)]),
        "a forgery beyond the limit": (judged(of), flooded),
    }  # fmt: skip
    print(f"{builds.COMPILED if COMPILED else builds.PLAIN}, a token of {len(shown)} bytes")
    for name, (call, inputs) in costs.items():
        print(f"  {name}: {best_us(call, inputs, rounds):.2f} µs", flush=True)


def main() -> int:
    """Measure each build in a process of its own environment."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.principals", description=__doc__)
    parser.add_argument("rounds", nargs="?", default="30", metavar="ROUNDS")
    parser.add_argument("--here", action="store_true", help="build nothing: measure what this interpreter imports")
    builds.add_option(parser)
    options = parser.parse_args()
    if options.here:
        measure(int(options.rounds))
        return 0
    with TemporaryDirectory(prefix="backstay-bench-") as folder:
        return builds.run_each(options.builds, Path(folder), "tests.benchmarks.principals", options.rounds, "--here")


if __name__ == "__main__":
    sys.exit(main())
