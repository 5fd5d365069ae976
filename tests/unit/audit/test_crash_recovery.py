"""Start after a crash: the chain continues after the last complete record."""

import errno
import gzip
import os
from pathlib import Path

import pytest

from proxy.audit.chain import GENESIS, START, parse_link
from proxy.audit.crash_recovery import RecoveredEnd, recover, recover_rotated
from proxy.errors import StartError
from tests.unit.audit.samples import chained

TRAIL = chained(3)


def recovered(path: Path) -> RecoveredEnd:
    """Recover the file as the writer does."""
    fd = os.open(path, os.O_RDWR | os.O_APPEND)
    try:
        return recover(fd, path)
    finally:
        os.close(fd)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file with three whole records."""
    file = tmp_path / "audit.jsonl"
    file.write_bytes(b"".join(TRAIL))
    return file


def test_a_whole_trail_goes_on_from_its_last_record(path: Path) -> None:
    """Nothing is torn, nothing is touched, the last link is returned."""
    assert recovered(path) == RecoveredEnd(parse_link(TRAIL[2]) or GENESIS, 0)
    assert path.read_bytes() == b"".join(TRAIL)
    assert not path.with_name("audit.jsonl.torn").exists()


def test_an_empty_file_begins_a_chain(path: Path) -> None:
    """A new trail starts from the genesis link."""
    path.write_bytes(b"")
    assert recovered(path) == RecoveredEnd(GENESIS, 0)


def test_a_line_torn_at_any_byte_is_set_aside(path: Path) -> None:
    """Wherever the last write stopped, its bytes move to the .torn file, and the chain goes on before them."""
    aside = path.with_name("audit.jsonl.torn")
    for kept in (1, 2, *range(3, len(TRAIL[2]), 29), len(TRAIL[2]) - 1):
        path.write_bytes(b"".join(TRAIL[:2]) + TRAIL[2][:kept])
        aside.unlink(missing_ok=True)
        assert recovered(path) == RecoveredEnd(parse_link(TRAIL[1]) or GENESIS, kept)
        assert path.read_bytes() == b"".join(TRAIL[:2])
        assert aside.read_bytes() == TRAIL[2][:kept] + b"\n"
    assert aside.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kept", [1, len(START), len(START) + 1, 100])
def test_a_torn_first_line_begins_the_chain_again(path: Path, kept: int) -> None:
    """A crash inside the very first line leaves a trail of none."""
    path.write_bytes(TRAIL[0][:kept])
    assert recovered(path) == RecoveredEnd(GENESIS, kept)
    assert path.read_bytes() == b""


def test_zeros_after_a_power_cut_are_a_torn_line(path: Path) -> None:
    """A file system that grew the file but not its bytes leaves zeros: they are set aside like any unfinished line."""
    path.write_bytes(b"".join(TRAIL) + bytes(4096))
    assert recovered(path) == RecoveredEnd(parse_link(TRAIL[2]) or GENESIS, 4096)


def test_an_edited_last_line_stays_as_evidence(path: Path) -> None:
    """A line that ends in a newline was finished: its damage is for the verifier to find, not for us to remove."""
    edited = b"".join(TRAIL) + b'{"v":1,"edited":true}\n'
    path.write_bytes(edited)
    assert recovered(path).last == parse_link(TRAIL[2])
    assert path.read_bytes() == edited


@pytest.mark.parametrize("content", [b"root:x:0:0\n", b"no newline", b"\x7fELF" + bytes(100), b"\n", bytes(3 << 20)])
def test_a_file_that_is_no_trail_is_refused_untouched(path: Path, content: bytes) -> None:
    """A path mistyped onto another file changes nothing in it, and says what to do."""
    path.write_bytes(content)
    with pytest.raises(StartError, match=r"audit\.jsonl: it holds no audit records: move it away"):
        recovered(path)
    assert path.read_bytes() == content


def test_a_trail_of_a_newer_version_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Going on in an older format would leave a trail that neither version can read."""
    monkeypatch.setattr("proxy.audit.chain.VERSION", 2)
    path.write_bytes(chained(1)[0])
    with pytest.raises(StartError, match="written by a newer version"):
        recovered(path)


def test_only_the_end_of_a_long_trail_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The window may begin in the middle of a line; the last whole record is found all the same."""
    monkeypatch.setattr("proxy.audit.crash_recovery._WINDOW", len(TRAIL[2]) + 100)
    assert recovered(path).last == parse_link(TRAIL[2])


@pytest.mark.parametrize("zipped", [True, False])
def test_an_empty_file_goes_on_behind_the_newest_one_put_aside(path: Path, zipped: bool) -> None:
    """A rotation while the sidecar was down, or a crash right after one, does not begin the chain anew."""
    older = b"".join(TRAIL)
    if zipped:
        path.with_name("audit.jsonl-20261122.gz").write_bytes(gzip.compress(older))
    else:
        path.rename(path.with_name("audit.jsonl.1"))
    path.write_bytes(b"")
    assert recover_rotated(path, RecoveredEnd(GENESIS, 0)).last == parse_link(TRAIL[2])


def test_a_file_put_aside_with_a_torn_end_is_mended(path: Path) -> None:
    """A crash, then a rotation, then the start: the torn line leaves the middle of the trail."""
    older = path.rename(path.with_name("audit.jsonl.1"))
    older.write_bytes(b"".join(TRAIL[:2]) + TRAIL[2][:40])
    path.write_bytes(b"")
    assert recover_rotated(path, RecoveredEnd(GENESIS, 0)) == RecoveredEnd(parse_link(TRAIL[1]) or GENESIS, 40)
    assert older.read_bytes() == b"".join(TRAIL[:2])


def test_a_torn_line_is_on_disk_before_it_is_cut_off(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash in between duplicates it; a disk that refuses the copy leaves the trail as it is."""
    torn = b"".join(TRAIL[:2]) + TRAIL[2][:50]
    path.write_bytes(torn)
    done: list[str] = []
    fsync, truncate = os.fsync, os.ftruncate

    def sync(fd: int) -> None:
        done.append(f"sync {Path(f'/proc/self/fd/{fd}').readlink().name}")
        fsync(fd)

    def cut(fd: int, size: int) -> None:
        done.append(f"cut {Path(f'/proc/self/fd/{fd}').readlink().name}")
        truncate(fd, size)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "ftruncate", cut)
    recovered(path)
    assert done == ["sync audit.jsonl.torn", "cut audit.jsonl", "sync audit.jsonl"]

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path.write_bytes(torn)
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        recovered(path)
    assert path.read_bytes() == torn
