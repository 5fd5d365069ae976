"""At each named point of a write: `python -m tests.e2e.store.crashes` plays each 20 times."""

from pathlib import Path

import pytest

from tests.e2e.store.crash_points import POINTS
from tests.e2e.store.crashes import crash


@pytest.mark.parametrize("point", POINTS)
async def test_no_crash_brings_back_what_a_write_made_old(tmp_path: Path, point: str) -> None:
    """Killed with SIGKILL, and started again on the same folder."""
    seen = await crash(tmp_path, point)
    assert seen.holds(point), f"{seen}"
