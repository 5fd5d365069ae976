"""Every state of a folder at a start: one line each, and never a copy that a write has made old."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.errors import StartError
from tests.unit.store.disk.kit import ADA, a_claim, crashed, has, keep, on_disk, opened

ONE, TWO = ("11" * 32), ("22" * 32)


def keys(tmp_path: Path, *lines: str) -> str:
    """Return a key file."""
    file = tmp_path / "keys"
    file.write_text("\n".join(lines))
    return str(file)


async def filled(folder: Path, key_file: str = "none") -> None:
    """Keep two responses and a used key, and close the store."""
    async with opened(folder, key_file=key_file) as bundle:
        await keep(bundle, b"k-1", "r-1", ADA, body=b"planted-secret-1")
        await keep(bundle, b"k-2", "r-2", ADA, body=b"planted-secret-2")
        claim = a_claim()
        state = await bundle.claims.claim(claim)
        await bundle.claims.settle(claim, state, None, keep=True)  # type: ignore[arg-type]
        await on_disk(bundle)


def sql(folder: Path, *statements: str) -> None:
    """Change the file by hand."""
    with sqlite3.connect(folder / "cache.db") as db:
        for statement in statements:
            db.execute(statement)
    db.close()


async def events(folder: Path, key_file: str = "none") -> tuple[list[str], list[bool], str]:
    """Open the folder; return the log's events, which responses are there, and the state of the used key."""
    with capture_logs() as logs:
        async with opened(folder, key_file=key_file) as bundle:
            there = [await has(bundle, key) for key in (b"k-1", b"k-2")]
            used = type(await bundle.claims.claim(a_claim())).__name__
    return [str(line["event"]) for line in logs], there, used


async def test_a_folder_is_taken_over(tmp_path: Path) -> None:
    """What was kept is there, and the used key is used."""
    await filled(tmp_path / "kept")
    assert await events(tmp_path / "kept") == (["store_opened"], [True, True], "Settled")


def cut(file: Path) -> None:
    os.truncate(file, 5000)


def scribble(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.seek(4096 * 2)
        stream.write(b"\xff" * 4096 * 3)


def replace(file: Path) -> None:
    file.write_bytes(b"not a database" * 1000)


@pytest.mark.parametrize("damage", [cut, scribble, replace])
async def test_a_damaged_file_is_set_aside(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """One line that names it; the sidecar starts without what was in it, and the next start is a usual one."""
    await filled(tmp_path / "kept")
    damage(tmp_path / "kept/cache.db")
    assert await events(tmp_path / "kept") == (["store_set_aside", "store_opened"], [False, False], "Acquired")
    assert len(list((tmp_path / "kept").glob("cache.db.damaged-*"))) == 1
    assert (await events(tmp_path / "kept"))[0] == ["store_opened"]


async def test_a_wrong_key_refuses_to_start(tmp_path: Path) -> None:
    """One line that names the file and the way out. The right key opens it afterwards."""
    await filled(tmp_path / "kept", keys(tmp_path, ONE))
    with pytest.raises(StartError, match=r"no key in it opens .*cache\.db: put the key .* or remove .*cache\.db"):
        async with opened(tmp_path / "kept", key_file=keys(tmp_path, TWO)):
            pass
    with pytest.raises(StartError, match=r"is encrypted, and no key file is set: put the key"):
        async with opened(tmp_path / "kept"):
            pass
    assert await events(tmp_path / "kept", keys(tmp_path, ONE)) == (["store_opened"], [True, True], "Settled")


async def test_a_new_first_key_replaces_the_old_one(tmp_path: Path) -> None:
    """One line; then the old key can be removed."""
    await filled(tmp_path / "kept", keys(tmp_path, ONE))
    both = await events(tmp_path / "kept", keys(tmp_path, TWO, ONE))
    assert both == (["store_key_renewed", "store_opened"], [True, True], "Settled")
    assert await events(tmp_path / "kept", keys(tmp_path, TWO)) == (["store_opened"], [True, True], "Settled")


async def test_a_plain_file_proves_nothing_where_a_key_is_set(tmp_path: Path) -> None:
    """One line, and it is gone: who can write a file could have written anything into it."""
    await filled(tmp_path / "kept")
    seen = await events(tmp_path / "kept", keys(tmp_path, ONE))
    assert seen == (["store_discarded", "store_opened"], [False, False], "Acquired")
    assert b"planted-secret" not in b"".join(file.read_bytes() for file in (tmp_path / "kept").iterdir())


@pytest.mark.parametrize("encrypted", [True, False])
async def test_rows_that_were_swapped_by_hand_are_not_used(tmp_path: Path, encrypted: bool) -> None:
    """One line that counts them. The other rows are used."""
    key_file = keys(tmp_path, ONE) if encrypted else "none"
    await filled(tmp_path / "kept", key_file)
    with sqlite3.connect(tmp_path / "kept/cache.db") as db:
        (one, first), (two, second) = db.execute("SELECT id, value FROM rows WHERE kind = 'response'")
        db.executemany("UPDATE rows SET value = ? WHERE id = ?", [(second, one), (first, two)])
    db.close()
    seen = await events(tmp_path / "kept", key_file)
    assert seen == (["store_rows_damaged", "store_opened"], [False, False], "Settled")
    assert (await events(tmp_path / "kept", key_file))[0] == ["store_opened"]


async def test_a_damaged_used_key_is_still_used(tmp_path: Path) -> None:
    """Nobody knows for which request, or what became of it: it is not executed again."""
    key_file = keys(tmp_path, ONE)
    await filled(tmp_path / "kept", key_file)
    sql(tmp_path / "kept", "UPDATE rows SET value = substr(value, 1, length(value) - 1) WHERE kind = 'claim'")
    seen = await events(tmp_path / "kept", key_file)
    assert seen == (["store_rows_damaged", "store_opened"], [True, True], "Settled")


async def test_a_damaged_mark_may_concern_anything(tmp_path: Path) -> None:
    """Nothing that was cached is used then."""
    async with opened(tmp_path / "kept") as bundle:
        await keep(bundle, b"k-1", "r-1", ADA)
        bundle.invalidations.begin("r-1", (ADA,), 5.0)
        await on_disk(bundle)
        after = crashed(tmp_path / "kept")
    sql(after, "UPDATE rows SET value = substr(value, 1, length(value) - 1) WHERE kind = 'mark'")
    with capture_logs() as logs:
        async with opened(after) as bundle:
            assert not await has(bundle, b"k-1")
    assert [line["event"] for line in logs] == ["store_rows_damaged", "store_void", "store_opened"]


async def test_a_newer_version_refuses_to_start(tmp_path: Path) -> None:
    """One line; the file stays as it is."""
    await filled(tmp_path / "kept")
    sql(tmp_path / "kept", "PRAGMA user_version = 2")
    with pytest.raises(StartError, match=r"written by a newer version \(format 2; this version reads 1\): use that"):
        async with opened(tmp_path / "kept"):
            pass
    sql(tmp_path / "kept", "PRAGMA user_version = 1")
    assert (await events(tmp_path / "kept"))[1] == [True, True]


async def test_another_programs_file_is_set_aside(tmp_path: Path) -> None:
    """It is a database, and not ours."""
    (tmp_path / "kept").mkdir()
    sql(tmp_path / "kept", "CREATE TABLE theirs (x)")
    assert (await events(tmp_path / "kept"))[0] == ["store_set_aside", "store_opened"]


async def test_a_void_epoch_trusts_nothing_that_was_cached(tmp_path: Path) -> None:
    """One line. Used keys stay used; the next start is a usual one."""
    await filled(tmp_path / "kept")
    (tmp_path / "kept/epoch").unlink()
    assert await events(tmp_path / "kept") == (["store_void", "store_opened"], [False, False], "Settled")
    assert (await events(tmp_path / "kept"))[0] == ["store_opened"]
