"""The image, built and run as its user where there is a builder: buildah, over a base made by debootstrap."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.tools import CACHE, one_at_a_time, system_tool

ROOT = Path(__file__).parents[2]
BASE = "localhost/backstay-test-base"
IMAGE = "localhost/backstay-test"
LIMIT_MB = 150
BUILDER = "localhost/backstay-test-builder"
PACKAGES = "python3,python3-venv,python3-pip,ca-certificates"
TOOLS = "gcc,libc6-dev,python3-dev"
START = """
export BACKSTAY_LISTEN__ADDRESS=127.0.0.1:0 BACKSTAY_ADMIN__ADDRESS=127.0.0.1:0
id -u
backstay --version | grep -q compiled || exit 7
backstay run --upstream http://127.0.0.1:1 >/tmp/out 2>/dev/null & pid=$!
until grep -q ready /tmp/out; do kill -0 $pid || exit 9; done
BACKSTAY_ADMIN__ADDRESS=$(sed 's,.*admin http://,,' /tmp/out) backstay health || exit 8
kill -INT $pid; wait $pid
"""

pytestmark = pytest.mark.timeout(1200)


class Builder:
    """buildah without a daemon, a kernel's help or a trace outside `place`."""

    def __init__(self, place: Path) -> None:
        self._command = [system_tool("buildah"), "--root", str(place / "store"), "--runroot", str(place / "run")]

    def __call__(self, *arguments: str) -> str:
        """Run it; return what it says, or fail with it."""
        command = [*self._command, "--storage-driver", "vfs", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout.strip()


def _base(name: str, packages: str) -> Path:
    """Return a root file system like one of the Dockerfile's default bases, made once."""
    place = CACHE / name
    with one_at_a_time():
        if not (place / "usr/bin/python").exists():
            shutil.rmtree(place, ignore_errors=True)
            command = [system_tool("debootstrap"), "--variant=minbase", f"--include={packages}", "bookworm", str(place)]
            if subprocess.run(command, capture_output=True, check=False).returncode:
                pytest.skip("debootstrap gets no Debian")
            (place / "usr/bin/python").symlink_to("python3")
    return place


def _wheels(place: Path) -> None:
    """Fetch what the locks name, for Python 3.11, with this machine's own pip."""
    for lock in ("requirements.lock", "build.lock"):
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes"]
        wanted = ["--python-version", "3.11", "--only-binary", ":all:", "-r", str(ROOT / lock), "-d", str(place)]
        if subprocess.run([*command, *wanted], capture_output=True, check=False).returncode:
            pytest.skip(f"pip does not give what {lock} names")


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    """Give a builder that has built the image."""
    if not os.environ.get("BACKSTAY_TEST_IMAGE"):
        pytest.skip("set BACKSTAY_TEST_IMAGE=1 to build the image: it takes minutes")
    if os.geteuid():
        pytest.skip("building with chroot isolation wants root")
    place = tmp_path_factory.mktemp("image")
    build = Builder(place)
    for image, root in ((BASE, _base("base", PACKAGES)), (BUILDER, _base("builder", f"{PACKAGES},{TOOLS}"))):
        base = build("from", "scratch")
        build("copy", "--quiet", base, str(root), "/")
        build("commit", "--quiet", "--rm", base, image)
    _wheels(place / "wheels")
    (place / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    mounts = ["-v", f"{place}/wheels:/wheels:ro", "-v", f"{place}/pip.conf:/etc/pip.conf:ro"]
    build(
        "build",
        "--isolation",
        "chroot",
        "--format",
        "docker",
        "--build-arg",
        f"BASE={BASE}",
        "--build-arg",
        f"BUILDER={BUILDER}",
        *mounts,
        "-t",
        IMAGE,
        str(ROOT),
    )
    yield build
    shutil.rmtree(place, ignore_errors=True)


def test_it_runs_as_a_user_that_owns_nothing(builder: Builder) -> None:
    """It starts, its own health check is content, it stops cleanly; its user is the fixed one."""
    container = builder("from", IMAGE)
    assert builder("run", "--isolation", "chroot", container, "--", "sh", "-c", START).split()[0] == "10001"


def test_it_is_small_and_has_no_tools(builder: Builder) -> None:
    """What it adds to its base is under 150 MB, without compilers or caches, and nothing is for its user to write."""
    container = builder("from", IMAGE)
    looked = (
        'du -sm /opt/backstay | cut -f1; command -v gcc; find / -xdev -path "*/.cache/pip*" 2>/dev/null | head -1; '
    )
    looked += "find /opt/backstay -writable ! -type l | head -1"
    (megabytes,) = builder("run", "--isolation", "chroot", container, "--", "sh", "-c", f"{looked}; true").split()
    assert int(megabytes) < LIMIT_MB


def test_its_configuration_is_the_promised_one(builder: Builder) -> None:
    """User, signal, health check, labels and ports, as docker reads them."""
    config = json.loads(builder("inspect", "--type", "image", IMAGE))["Docker"]["config"]
    assert (config["User"], config["StopSignal"]) == ("10001:10001", "SIGTERM")
    assert config["Healthcheck"]["Test"] == ["CMD", "backstay", "health"]
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert config["ExposedPorts"].keys() == {"8080/tcp", "9901/tcp"}
