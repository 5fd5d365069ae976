"""The promises of tests/conftest.py for every test, verified by a separate run."""

import subprocess
import sys
from pathlib import Path

from tests.e2e.sidecar import ROOT, environment

HANGS = """
import asyncio
import uvloop

def test_on_uvloop():
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.Event().wait())

def test_on_asyncio():
    asyncio.run(asyncio.Event().wait())
"""
DISPOSITIONS = """
import subprocess, sys

def test_children_have_the_default():
    asked = "from signal import *; print(getsignal(SIGINT) is default_int_handler, getsignal(SIGTERM) is SIG_DFL)"
    assert subprocess.check_output([sys.executable, "-c", asked], text=True) == "True True\\n"
"""


def ran(folder: Path, tests: str, *options: str, before: str = "") -> str:
    """Run these tests under the plugin that tests/conftest.py is, and return what pytest printed."""
    (folder / "test_it.py").write_text(tests)
    pytest = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "-q", *options]
    command = ["sh", "-c", f'{before} exec "$@"', "sh", *pytest, "test_it.py"]
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    return subprocess.run(
        command, cwd=folder, env=environment(PYTHONPATH=str(ROOT)), capture_output=True, text=True
    ).stdout


def test_a_test_that_hangs_reaches_its_time_limit_on_every_loop(tmp_path: Path) -> None:
    """On uvloop too, which swallows what a signal handler raises."""
    said = ran(tmp_path, HANGS, "--timeout", "1")
    assert "2 failed" in said.splitlines()[-1], said


def test_signals_that_the_shell_ignores_are_not_ignored_by_children(tmp_path: Path) -> None:
    """As under nohup, or in the background of a script."""
    said = ran(tmp_path, DISPOSITIONS, before="trap '' INT TERM;")
    assert "1 passed" in said.splitlines()[-1], said
