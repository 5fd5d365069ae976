"""Keyed requests are executed once, whatever one caller does to the shared store."""

from pathlib import Path

from tests.e2e.store.payments import run
from tests.e2e.store.redis import needs_redis


@needs_redis
async def test_no_payment_is_made_twice_under_attack(tmp_path: Path) -> None:
    """Two hundred, repeated through the other replica; `python -m tests.e2e.store.payments` takes ten thousand."""
    seen = await run(tmp_path, 200)
    assert (seen.doubled, seen.missing) == (0, 0), f"{seen}"
    assert min(seen.attacks[name] for name in ("cookies", "keys", "reads", "hang-ups", "slow commands")) > 0
