"""Histories of many users over a crash; `python -m tests.e2e.store.histories` reads 10,000."""

from pathlib import Path

from tests.e2e.store.histories import run


async def test_every_user_reads_his_own_history_after_a_crash(tmp_path: Path) -> None:
    """Killed, the backend down, started again: each is there with its true Age."""
    seen = await run(tmp_path, 200)
    assert seen.wrong == []
