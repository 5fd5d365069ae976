"""One target in a process of its own, which may crash: `python -m tests.fuzz.worker TARGET ENGINE SEED SECONDS FILE`.

Nothing of the sidecar is imported before `main` has settled which one is meant.
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import cast

from tests.fuzz.engine import guide, mutate
from tests.fuzz.last_input import LastInput
from tests.fuzz.target import Target

ROOT = Path(__file__).parents[2]


def find(name: str) -> Target:
    """Return the target of this name; it brings the sidecar with it."""
    targets = import_module("tests.fuzz.targets").TARGETS
    return cast(Target, targets[name])


def use_installed() -> None:
    """Import the installed sidecar instead of the checkout's, which stands first where Python is run with -m."""
    sys.path[:] = [entry for entry in sys.path if entry and Path(entry).resolve() != ROOT]


def tell() -> None:
    """Say which sidecar it is."""
    build, proxy = import_module("proxy.build"), import_module("proxy")
    print(
        f"sidecar: {Path(str(proxy.__file__)).parent}, {'compiled' if build.COMPILED else 'not compiled'}", flush=True
    )


def main(name: str, engine: str, seed: str, seconds: str, file: str) -> None:
    """Run one target; the process ends with another status than 0 for a finding."""
    note = LastInput(Path(file)).note
    if engine == "atheris":
        guide(lambda: find(name), seed, seconds=float(seconds), note=note)
    else:
        mutate(find(name), seed, seconds=float(seconds), note=note)


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument != "--installed"]
    if len(arguments) < len(sys.argv) - 1:
        use_installed()
    tell()
    main(*arguments)
