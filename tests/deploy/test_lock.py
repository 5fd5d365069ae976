"""The image's lock file has exactly the requirements of pyproject.toml, with hashes and without an index URL."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    """Return each locked distribution's version."""
    return {found[1]: found[2] for found in _PIN.finditer((ROOT / name).read_text(encoding="utf-8"))}


@pytest.mark.parametrize(
    ("lock", "path"),
    [
        ("requirements.lock", "project.dependencies"),
        ("requirements.lock", "project.optional-dependencies.otel"),
        ("requirements.lock", "project.optional-dependencies.principals"),
        ("requirements.lock", "project.optional-dependencies.durable"),
        ("build.lock", "build-system.requires"),
    ],
)
def test_the_lock_satisfies_what_is_asked_for(lock: str, path: str) -> None:
    """Every requirement is pinned within its range; the image can send traces, verify tokens and encrypt."""
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for key in path.split("."):
        asked = asked[key]
    locked = pins(lock)
    for requirement in map(Requirement, asked):
        assert locked[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_the_compiler_is_locked_too() -> None:
    """What setup.py asks for is pinned within its range."""
    compiler = Requirement(runpy.run_path(str(ROOT / "setup.py"))["COMPILER"])
    assert pins("build.lock")[compiler.name] in compiler.specifier


@pytest.mark.parametrize("lock", ["requirements.lock", "build.lock"])
def test_the_lock_names_no_place(lock: str) -> None:
    """No index, no address, no path of the machine that made it; and nothing but pins, hashes and comments."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert not re.search(r"://|--index|--find-links|--trusted|(^|\s)/\w", text)
    left = [line for line in _PIN.sub("", text).splitlines() if line and not line.lstrip().startswith("#")]
    assert left == []
