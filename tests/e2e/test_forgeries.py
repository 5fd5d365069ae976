"""Forged tokens without end take neither verified users' place nor the issuer's time. Nothing here measures speed."""

from pathlib import Path

from proxy.policy.token_memory import MOST_FAILURES, MOST_REFUSED
from tests.e2e.forgeries import loaded, scene

FORGERIES, SECONDS = 3_000, 1.0


async def test_forgeries_fetch_no_keys_fill_no_memory_and_are_never_verified(tmp_path: Path) -> None:
    """Seven kinds, each token unlike the others. What a user has cached is found by a refreshed token all the while."""
    async with scene(tmp_path) as on:
        assert (await on.ask_kept(on.token(sub="kept"), 1)).kept == 0
        assert (await on.results())["verified"] == 1
        fetched = on.site.asked
        forged = await loaded(on.order(FORGERIES / SECONDS, SECONDS, forged=True))
        assert (await on.ask_kept(on.token(sub="kept", jti="new"), 1)).kept == 1
        results, view = await on.results(), await on.view()
    assert forged.statuses == {401: FORGERIES}
    assert on.site.asked - fetched <= 1
    assert results.pop("verified") == 2
    assert sum(results.values()) == FORGERIES
    examined = FORGERIES - results["too_many_failures"]
    assert examined <= MOST_FAILURES * (forged.seconds + 2)
    assert view["tokens"] <= min(examined, MOST_REFUSED) + 2
    seen = {"signature", "unknown_key", "algorithm", "duplicate_member", "key_in_header", "too_many_failures"}
    assert {name for name, number in results.items() if number} == seen
