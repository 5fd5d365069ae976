"""The fixtures of the audit tests: one backend, and a folder for each trail."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.audit.kit import Backend


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    """Run a backend that says yes to everything."""
    backend = Backend()
    yield backend
    backend.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an empty folder for a trail."""
    folder = tmp_path / "trail"
    folder.mkdir()
    return folder
