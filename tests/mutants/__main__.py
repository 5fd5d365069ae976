"""Generate mutants of modules, and run the tests that mirror each module: `python -m tests.mutants [PATH...]`.

PATH is a file or a folder of `proxy/`; without one: the policies. The exit status is 1 if an unexplained one survives.
"""

import argparse
import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.e2e.sidecar import ROOT
from tests.mutants.explained import EXPLAINED
from tests.mutants.operators import Change, changes
from tests.planted.runner import BadRunError, copied, verdicts

USUAL = "proxy/policy"
ELSEWHERE = {"exchange": "tests/simulation"}  # the tests of rooms without unit tests


class Mutant(NamedTuple):
    """One change of one file."""

    file: str
    change: Change
    test_files: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return the place of the change, and what it does."""
        return f"{self.file}:{self.change.line}: {self.shown}"

    @property
    def shown(self) -> str:
        """Return the change as `explained` has it."""
        return self.change.shown((ROOT / self.file).read_text(encoding="utf-8"))

    @property
    def explanation(self) -> str:
        """Return why no test finds it, "" if that is not known."""
        return EXPLAINED.get((self.file, self.shown), "")

    def mutated(self, root: Path) -> str:
        """Return the text of the file with the change."""
        return self.change.apply((root / self.file).read_text(encoding="utf-8"))


def mirroring(file: Path) -> tuple[str, ...]:
    """Return the test files that mirror a module; those of its room if it has none of its own."""
    within = file.parent.relative_to("proxy")
    room = Path(ELSEWHERE.get(within.parts[0], f"tests/unit/{within}") if within.parts else "tests/unit")
    own = room / f"test_{file.name}"
    found = (
        [own] if (ROOT / own).exists() else sorted(path.relative_to(ROOT) for path in (ROOT / room).glob("test_*.py"))
    )
    return tuple(map(str, found))


def mutants(paths: Iterable[str]) -> Iterator[Mutant]:
    """Yield every mutant of these files and folders."""
    for path in paths:
        place = ROOT / path
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            within = file.relative_to(ROOT)
            tests = mirroring(within)
            if tests:
                yield from (Mutant(str(within), change, tests) for change in changes(file.read_text(encoding="utf-8")))


def run(chosen: Sequence[Mutant]) -> list[Mutant]:
    """Print and return each mutant that survives. One with which the tests do not end is found."""
    survived = []
    with copied() as tree:
        for number, mutant in enumerate(chosen, start=1):
            try:
                (verdict,) = verdicts(tree, [mutant])
            except BadRunError as error:
                print(f"{mutant.name}: {error}", file=sys.stderr, flush=True)
                continue
            if not verdict.found_by:
                survived.append(mutant)
                print(mutant.name, flush=True)
            if not number % 20:
                print(f"{number} of {len(chosen)}", file=sys.stderr, flush=True)
    return survived


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser("python -m tests.mutants", description=__doc__)
    parser.add_argument("paths", nargs="*", default=[USUAL], metavar="PATH")
    parser.add_argument("--count", type=int, default=300, help="at most so many, chosen by --seed; default 300")
    parser.add_argument("--seed", default="0", help="any text")
    parser.add_argument("--list", action="store_true", help="print the chosen mutants and run no test")
    options = parser.parse_args(arguments)
    everything = [mutant for mutant in mutants(options.paths) if not mutant.explanation]
    chosen = random.Random(options.seed).sample(everything, min(options.count, len(everything)))
    print(f"{len(chosen)} of {len(everything)} mutants", flush=True)
    if options.list:
        print("\n".join(mutant.name for mutant in chosen))
        return 0
    survived = run(chosen)
    print(f"{len(chosen) - len(survived)} of {len(chosen)} found")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
