"""A command whose output cannot be written says so in one line, or ends quietly where its reader has left."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.demo.sidecar_process import COMMAND
from tests.e2e.sidecar import READY_WITHIN, environment
from tests.unit.audit.samples import chained

COMMANDS = [
    "--version",
    "--help",
    "",
    "run --help",
    "audit",
    "check c.toml",
    "schema",
    "uninject m.yaml",
    "audit query audit.jsonl --format table",
    "audit stats audit.jsonl --format csv",
    "audit export audit.jsonl",
    "audit verify audit.jsonl",
    "audit tail -f audit.jsonl",
]
MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
spec: {template: {spec: {containers: [{name: a, image: a}]}}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a configuration, a manifest and a trail that fills more than one buffer."""
    folder = tmp_path_factory.mktemp("folder")
    (folder / "c.toml").write_text('[upstreams.a]\nurl = "http://127.0.0.1:1"\n')
    (folder / "m.yaml").write_text(MANIFEST)
    (folder / "audit.jsonl").write_bytes(b"".join(chained(500)))
    return folder


def full_device() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def closed_pipe() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def ended(
    words: str, folder: Path, output: Callable[[], int], *, errors_too: bool = False, **settings: str
) -> tuple[int, str]:
    """Run a command into `output`; return its exit status and its standard error."""
    into = output()
    try:
        process = subprocess.run(
            [*COMMAND, *words.split()], cwd=folder, env=environment(**settings), stdin=subprocess.DEVNULL,
            stdout=into, stderr=into if errors_too else subprocess.PIPE, timeout=READY_WITHIN, check=False,
        )  # fmt: skip
    finally:
        os.close(into)
    return process.returncode, (process.stderr or b"").decode()


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
@pytest.mark.parametrize("words", COMMANDS)
def test_a_full_device_is_one_line(folder: Path, words: str) -> None:
    """Before, most commands ended with a traceback, or with Python's own status 120 if the output was buffered."""
    if "uninject" in words:
        pytest.importorskip("ruamel.yaml")
    assert ended(words, folder, full_device) == (1, "backstay: standard output: No space left on device\n")


@pytest.mark.parametrize("words", COMMANDS)
def test_a_reader_that_left_ends_a_command_quietly(folder: Path, words: str) -> None:
    """As `head` does. Before, it was status 1 or 120, and 141 for some commands."""
    if "uninject" in words:
        pytest.importorskip("ruamel.yaml")
    assert ended(words, folder, closed_pipe) == (141, "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_buffering_makes_no_difference(folder: Path, unbuffered: str) -> None:
    assert ended("check c.toml", folder, closed_pipe, PYTHONUNBUFFERED=unbuffered) == (141, "")


@pytest.mark.parametrize(
    ("words", "status"), [("bogus", 2), ("check nothing.toml", 2), ("audit query nothing", 2), ("--version", 141)]
)
def test_errors_that_nobody_reads_change_no_exit_status(folder: Path, words: str, status: int) -> None:
    """Before, a mistake ended with 1 where standard error was closed too."""
    assert ended(words, folder, closed_pipe, errors_too=True)[0] == status


@pytest.mark.parametrize("form", ["json", "csv"])
def test_an_export_file_that_cannot_grow_is_named(folder: Path, tmp_path: Path, form: str) -> None:
    """Before, the line blamed the standard output."""
    out = tmp_path / "out"
    process = subprocess.run(
        [*COMMAND, "audit", "export", "audit.jsonl", "--format", form, "-o", str(out)],
        cwd=folder, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        timeout=READY_WITHIN, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )  # fmt: skip
    assert (process.returncode, process.stderr) == (1, f"backstay audit: {out}: File too large\n")
