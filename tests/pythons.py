"""The unit tests on every other Python from 3.11 on that this machine has: `python -m tests.pythons [ARGUMENT...]`.

Each gets an environment of its own in `build/`, which is kept. `--list` only names what is found. A machine without
another Python passes, and is told so.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

OLDEST = (3, 11)
ROOT = Path(__file__).parents[1]
TESTS = "tests/unit"
_ASK = "import sys; print(*sys.version_info[:2], sys.version_info.releaselevel, sys.implementation.name)"

Version = tuple[int, int]


def candidates(path: str, home: Path) -> Iterator[Path]:
    """Yield what may be a Python: `python3.N` on the search path, and what pyenv and uv keep, newest patch first."""
    for folder in map(Path, path.split(os.pathsep)):
        yield from sorted(folder.glob("python3.[0-9]*"))
    for kept in (home / ".pyenv/versions", home / ".local/share/uv/python"):
        yield from sorted(kept.glob("*/bin/python3"), reverse=True)


def version(python: Path) -> Version | None:
    """Return the version of a Python; None for what is no released CPython, or does not run."""
    try:
        done = subprocess.run([python, "-I", "-c", _ASK], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = done.stdout.split()
    return (int(said[0]), int(said[1])) if done.returncode == 0 and said[2:] == ["final", "cpython"] else None


def others(found: Iterable[Path], own: Version) -> dict[Version, Path]:
    """Return one Python for each version from the oldest on but the running one's, oldest first."""
    chosen: dict[Version, Path] = {}
    for python in found:
        which = version(python)
        if which is not None and which >= OLDEST and which != own:
            chosen.setdefault(which, python)
    return dict(sorted(chosen.items()))


def run(python: Path, name: str, arguments: list[str]) -> bool:
    """Make the environment of a Python and run the unit tests in it; tell whether they pass."""
    place = ROOT / "build" / name
    within = place / "bin/python"
    commands: list[list[str | Path]] = [
        [python, "-m", "venv", place],
        [within, "-m", "pip", "install", "-q", "-e", ".[test]"],
        [within, "-m", "pytest", "-p", "no:cacheprovider", TESTS, *arguments],
    ]
    return all(subprocess.run(command, cwd=ROOT, check=False).returncode == 0 for command in commands)


def main() -> int:
    """Run all; return the exit status."""
    parser = argparse.ArgumentParser("python -m tests.pythons", description=__doc__)
    parser.add_argument("--list", action="store_true", help="only name the Pythons that are found")
    options, arguments = parser.parse_known_args()
    found = others(candidates(os.environ.get("PATH", ""), Path.home()), sys.version_info[:2])
    if not found:
        print("PYTHON: this machine has no other Python from 3.11 on", flush=True)
    failed = []
    for (major, minor), python in found.items():
        name = f"python{major}.{minor}"
        print(f"PYTHON {major}.{minor}: {python}", flush=True)
        if not options.list and not run(python, name, arguments):
            failed.append(name)
    if failed:
        print(f"The unit tests fail on {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
