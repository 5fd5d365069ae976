"""The package as users install it: an environment for each build, made from a wheel and checked before measuring."""

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.e2e.sidecar import ROOT, environment

OURS = "Backstay"
COMPILED = "compiled"
PLAIN = "plain"
KINDS = (COMPILED, PLAIN)
SOURCE = ("proxy", "setup.py", "pyproject.toml", "README.md", "LICENSE")  # all that a wheel is made of
MARK = "(compiled)"  # in what `backstay --version` says


class BuildError(Exception):
    """A build that cannot be made, or that is not what its name says."""


class Build(NamedTuple):
    """One build in an environment of its own."""

    kind: str
    place: Path

    @property
    def name(self) -> str:
        """Return what its rows are called."""
        return f"{OURS}, {self.kind}"

    def program(self, name: str) -> str:
        """Return the path of a program of its environment."""
        return str(self.place / "bin" / name)

    def environment(self, **settings: str) -> dict[str, str]:
        """Return the variables to run it with."""
        return environment(**settings) | self.path()

    def path(self) -> dict[str, str]:
        """Return what keeps the checkout's `proxy` off the path, also where the program is started in its folder."""
        return {"PYTHONPATH": str(self.place / "instruments"), "PYTHONSAFEPATH": "1"}

    def output_of(self, *command: str) -> str:
        """Return what one of its programs prints. Raises BuildError if it fails."""
        return _output((self.program(command[0]), *command[1:]), cwd=self.place, env=self.environment())


def add_option(parser: argparse.ArgumentParser) -> None:
    """Let a command line choose the builds."""
    parser.add_argument(
        "--builds", nargs="+", choices=KINDS, default=list(KINDS), metavar="BUILD",
        help=f"of Backstay, made for this run: {', '.join(KINDS)} (default: both; compiling takes minutes)",
    )  # fmt: skip


def make(kinds: Iterable[str], folder: Path) -> list[Build]:
    """Build each kind in a folder of its own below `folder`. Raises BuildError where one is not what it should be."""
    builds = []
    for kind in kinds:
        print(f"building {OURS}, {kind}", file=sys.stderr, flush=True)
        builds.append(_install(kind, wheel(kind, folder / f"{kind}-wheel"), folder / kind))
        check(builds[-1])
    return builds


def run_each(kinds: Iterable[str], folder: Path, module: str, *arguments: str) -> int:
    """Run a module of the tests with each build in turn; return the first exit status that is not 0."""
    try:
        made = make(kinds, folder)
    except BuildError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    for build in made:
        command = (build.program("python"), "-m", module, *arguments)
        if status := subprocess.run(command, cwd=folder, env=build.environment()).returncode:
            return status
    return 0


def wheel(kind: str, folder: Path) -> Path:
    """Build the wheel from a copy of the source, so that nothing of the checkout gets in and nothing is left there."""
    source = folder / "source"
    for name in SOURCE:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        source.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, source / name)
    for left in [*source.rglob("*.so"), *source.rglob("*.pyc")]:
        left.unlink()
    compiling = {"BACKSTAY_COMPILE": "1"} if kind == COMPILED else {}
    _output(_pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(source)), cwd=folder, env=_clean() | compiling)
    (wheel,) = folder.glob("*.whl")
    return wheel


def _install(kind: str, wheel: Path, place: Path) -> Build:
    """Make an environment that has the wheel, and beside it what this interpreter has: the same for every build."""
    _output((sys.executable, "-m", "venv", "--without-pip", str(place)), cwd=wheel.parent, env=_clean())
    own = Path(sysconfig.get_path("purelib", "venv", {"base": str(place), "platbase": str(place)}))
    paths = sysconfig.get_paths()
    # A path file of a path file is not read: an editable install there stays out.
    (own / "dependencies.pth").write_text("".join(f"{paths[name]}\n" for name in ("purelib", "platlib")))
    (place / "instruments").mkdir()
    (place / "instruments" / "tests").symlink_to(ROOT / "tests")
    into = _pip("--python", str(place / "bin" / "python"), "install", "--no-deps", "--no-index", str(wheel))
    _output(into, cwd=place, env=_clean())
    return Build(kind, place)


def check(build: Build) -> None:
    """Raise BuildError unless the build says of itself what its name says, and runs from its own folder."""
    said = build.output_of("backstay", "--version").strip()
    if (MARK in said) is not (build.kind == COMPILED):
        raise BuildError(f"the {build.kind} build is not {build.kind}: `backstay --version` says {said!r}")
    found = Path(build.output_of("python", "-c", "import proxy; print(proxy.__file__)").strip())
    if not found.resolve().is_relative_to(build.place.resolve()):
        raise BuildError(f"the {build.kind} build is shadowed: `import proxy` finds {found}, not {build.place}")


def _clean() -> dict[str, str]:
    """Return our environment without what would let pip find the checkout, or compile."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "BACKSTAY_COMPILE")}


def _pip(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)


def _output(command: Sequence[str], *, cwd: Path, env: dict[str, str]) -> str:
    """Run a command that ends by itself, and return what it prints. Raises BuildError with its last words."""
    try:
        ended = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except OSError as error:
        raise BuildError(f"{' '.join(command)} cannot be run: {error}") from error
    if ended.returncode:
        words = (ended.stdout + ended.stderr).strip()[-2_000:]
        raise BuildError(f"{' '.join(command)} failed with {ended.returncode}:\n{words}")
    return ended.stdout
