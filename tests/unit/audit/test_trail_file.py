"""The trail's file: what of it is on disk, when it is rotated, and what a failed fsync takes back."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.audit.chain import Chain, timestamp
from proxy.audit.trail_file import TrailFile, rotated_name
from tests.settings import rotation

WALL = 1_765_751_234.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a free path for a trail, in a folder of its own."""
    (tmp_path / "trail").mkdir()
    return tmp_path / "trail" / "audit.jsonl"


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list of what was fsynced, by name."""
    names: list[str] = []
    fsync = os.fsync

    def noting(fd: int) -> None:
        names.append(Path(f"/proc/self/fd/{fd}").readlink().name)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noting)
    return names


def opened(path: Path, wall: Callable[[], float] = lambda: WALL, **rules: float) -> TrailFile:
    """Return an open file."""
    file = TrailFile(path, rotation(**rules), wall=wall)
    file.open()
    return file


def test_the_name_of_a_new_trail_is_on_disk(path: Path, synced: list[str]) -> None:
    """A crash of the machine after the first fsync must not lose the file: its folder is fsynced too."""
    file = opened(path)
    assert synced == ["trail"]
    file.write(memoryview(b"line\n"))
    file.sync()
    assert synced == ["trail", "audit.jsonl"]
    file.close()


@pytest.mark.parametrize("change", ["rotate", "reopen"])
def test_the_name_of_the_next_file_is_on_disk(path: Path, synced: list[str], change: str) -> None:
    """After our own rotation, and after another program's."""
    file = opened(path)
    file.write(memoryview(b"line\n"))
    synced.clear()
    if change == "rotate":
        file.rotate()
    else:
        path.rename(path.with_name("audit.jsonl.1"))
        file.reopen()
    assert synced == ["trail"]
    assert (path.exists(), path.stat().st_size) == (True, 0)
    file.close()


def test_a_failed_fsync_takes_back_what_is_not_on_disk(path: Path) -> None:
    """The bytes since the last fsync, of this file alone: the next one begins empty."""
    file = opened(path)
    file.write(memoryview(b"synced\n"))
    file.sync()
    file.write(memoryview(b"lost\n"))
    file.rewind()
    assert path.read_bytes() == b"synced\n"
    file.rotate()
    file.write(memoryview(b"lost too\n"))
    file.rewind()
    assert path.read_bytes() == b""
    file.close()


@pytest.mark.parametrize(("age_s", "due"), [(99.0, True), (100.0, True), (101.0, False)])
def test_an_age_goes_on_over_a_restart(path: Path, age_s: float, due: bool) -> None:
    """It counts from the first record, not from the start."""
    path.write_bytes(Chain().append({"ts": timestamp(WALL - 100)}))
    file = opened(path, age_s=age_s)
    assert file.due() is due
    file.close()


@pytest.mark.parametrize("rule", ["size", "age_s"])
def test_an_empty_file_is_not_rotated(path: Path, rule: str) -> None:
    """However old it is: a rotation in each second would leave a folder full of empty files."""
    file = opened(path, lambda: WALL, **{rule: 0})
    assert not file.due()
    file.write(memoryview(b"x"))
    assert file.due()
    file.close()


@pytest.mark.parametrize(("size", "due"), [(9, True), (10, True), (11, False)])
def test_a_file_is_rotated_at_its_size(path: Path, size: int, due: bool) -> None:
    file = opened(path, size=size)
    file.write(memoryview(b"x" * 10))
    assert file.due() is due
    file.close()


@pytest.mark.parametrize("taken", ["", ".gz"])
def test_a_rotated_file_overwrites_no_other(path: Path, taken: str) -> None:
    """Two rotations in one microsecond, or one whose file was gzipped already: the next name is free."""
    first = rotated_name(path, WALL)
    first.with_name(first.name + taken).write_bytes(b"records")
    second = rotated_name(path, WALL)
    assert second != first
    assert second.name > first.name
