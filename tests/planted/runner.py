"""Apply one mistake at a time to a copy of the source, and run the tests that must find it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Generic, NamedTuple, Protocol, TypeVar

from proxy.clock import SystemClock
from tests.compiled import NOT_COPIED
from tests.e2e.sidecar import ROOT

LIMIT_S = 600.0  # of all tests of one mistake; a test that hangs ends earlier
HANG_S = 60  # after which one test counts as hanging, and so as failed
_FAILED = re.compile(r"^(?:FAILED|ERROR) (tests/.+?)(?: - .*)?$", re.MULTILINE)
_PASSED, _SOME_FAILED, _NOT_COLLECTED = 0, 1, 2  # exit statuses of pytest


class BadRunError(Exception):
    """Report that the tests could not be run, so that nothing is known."""


class Planted(Protocol):
    """A change of one file, and the test files that must find it."""

    @property
    def file(self) -> str:
        """Return the path of the file, relative to the root."""
        ...

    @property
    def test_files(self) -> Sequence[str]:
        """Return the paths of the test files, relative to the root."""
        ...

    def mutated(self, root: Path) -> str:
        """Return the text of the file with the change."""
        ...


P = TypeVar("P", bound=Planted)


class Verdict(NamedTuple, Generic[P]):
    """What the tests said: the first one that failed, "" if the mistake survived."""

    mistake: P
    found_by: str
    seconds: float


class Tree:
    """A copy of the source. One mistake at a time is in it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def mistaken(self, mistake: Planted) -> Iterator[None]:
        """Have the mistake in the tree. Raise OutOfStepError."""
        file = self.root / mistake.file
        before = file.read_bytes()
        self._write(file, mistake.mutated(self.root).encode())
        try:
            yield
        finally:
            self._write(file, before)

    @staticmethod
    def _write(file: Path, content: bytes) -> None:
        """Write a file. Remove its bytecode, which Python tells apart by whole seconds and the size only."""
        file.write_bytes(content)
        for cached in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
            cached.unlink()

    def test(self, files: Iterable[str], limit_s: float = LIMIT_S) -> str:
        """Run tests until one fails and return its name, "" if all pass. Raise BadRunError."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "--tb=no", "-rfE"]
        command += ["-p", "no:cacheprovider", "-o", f"timeout={HANG_S}", *files]
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
        with subprocess.Popen(
            command, cwd=self.root, env=ours | {"PYTHONPATH": str(self.root)}, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            try:
                said, _ = process.communicate(timeout=limit_s)
            except subprocess.TimeoutExpired:
                raise BadRunError(f"the tests took longer than {limit_s:g} s: {' '.join(files)}") from None
            finally:
                with suppress(ProcessLookupError):  # what the tests started and did not end
                    os.killpg(process.pid, signal.SIGKILL)
        return _first_failed(process.returncode, said)


def _first_failed(status: int, said: str) -> str:
    if status == _PASSED:
        return ""
    failed = _FAILED.search(said)
    if status not in (_SOME_FAILED, _NOT_COLLECTED) or failed is None:
        raise BadRunError(f"pytest ended with status {status}:\n{said[-2000:]}")
    return failed[1]


@contextmanager
def copied() -> Iterator[Tree]:
    """Copy the source into a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        root = Path(folder) / "backstay"
        shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(*NOT_COPIED))
        yield Tree(root)


def verdicts(tree: Tree, mistakes: Iterable[P]) -> Iterator[Verdict[P]]:
    """Yield what the tests say of each mistake. Raise BadRunError, OutOfStepError."""
    for mistake in mistakes:
        began = SystemClock.now()
        with tree.mistaken(mistake):
            found_by = tree.test(mistake.test_files)
        yield Verdict(mistake, found_by, SystemClock.now() - began)
