"""Make a copy of the source with the compiled wheel laid over it: `python -m tests.compiled PLACE`.

`python -m pytest --compiled` in that folder runs tests on the compiled modules, and refuses to run on others.
"""

import argparse
import runpy
import shutil
import sys
import tempfile
import zipfile
from contextlib import chdir
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from tests.benchmarks.builds import COMPILED, BuildError, wheel
from tests.e2e.sidecar import ROOT

NOT_COPIED = (".git", ".venv", "venv", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis", "*.so")


def make(place: Path) -> None:
    """Make the folder anew. Raises BuildError where there is no compiler, or it fails."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(ROOT, place, ignore=shutil.ignore_patterns(*NOT_COPIED))
    with tempfile.TemporaryDirectory(prefix="compiled-") as folder:
        zipfile.ZipFile(wheel(COMPILED, Path(folder))).extractall(place)


def not_compiled() -> list[str]:
    """Return the modules that setup.py compiles and that are not machine code of this folder here."""
    with chdir(ROOT):
        paths = runpy.run_path("setup.py")["modules"]()
    names = [path.removesuffix(".py").replace("/", ".") for path in paths]
    return [name for name in names if not _is_compiled(Path(str(import_module(name).__file__)))]


def _is_compiled(file: Path) -> bool:
    return file.resolve().is_relative_to(ROOT) and file.name.endswith(tuple(EXTENSION_SUFFIXES))


def main() -> int:
    """Make a folder; return the exit status."""
    parser = argparse.ArgumentParser("python -m tests.compiled", description=__doc__)
    parser.add_argument("place", type=Path, help="the folder to make; what is there is removed first")
    place = parser.parse_args().place.resolve()
    if place.exists() and not (place / "setup.py").exists() and any(place.iterdir()):
        parser.error(f"{place} is another folder: name one that is empty, or not there")
    try:
        make(place)
    except BuildError as error:
        print(f"compiling needs a C compiler and Python's headers: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
