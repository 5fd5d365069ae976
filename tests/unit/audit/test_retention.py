"""Rotated files: gzipped so that each record is always in one file, and removed only after the trail records it."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.audit.files import lines, put_aside, trails
from proxy.audit.retention import Retention, RetentionRules
from proxy.audit.verify import Condition, verify
from tests.settings import retention_rules
from tests.unit.audit.samples import chained

TRAIL = chained(8)
ASIDE = [f"audit.jsonl.20261123T15370{second}.000000Z" for second in range(3)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a trail of eight records: two in each of three files put aside, and the two newest."""
    for number, name in enumerate(ASIDE):
        (tmp_path / name).write_bytes(b"".join(TRAIL[2 * number : 2 * number + 2]))
    (tmp_path / "audit.jsonl.1").write_bytes(b"another tool's\n")
    (tmp_path / "audit.jsonl").write_bytes(b"".join(TRAIL[6:]))
    return tmp_path / "audit.jsonl"


def names(path: Path) -> list[str]:
    """Return the names of the rotated files, without the trail's name."""
    return [file.name.removeprefix("audit.jsonl.20261123T1537") for file in put_aside(path)]


def retention(
    path: Path, rules: RetentionRules, announce: Callable[[dict[str, object]], bool] = lambda note: True
) -> Retention:
    """Return a retention that is not started: the tests call it."""
    return Retention(path, rules, announce)


def test_files_put_aside_are_gzipped_and_the_trail_stays_whole(path: Path) -> None:
    """Same lines, mode 0600, and nothing of another tool is touched."""
    path.with_name("audit.jsonl.1").unlink()
    retention(path, retention_rules()).tidy()
    assert names(path) == ["00.000000Z.gz", "01.000000Z.gz", "02.000000Z.gz"]
    assert put_aside(path)[0].stat().st_mode & 0o777 == 0o600
    (trail,) = trails(path)
    assert verify(lines(trail.files)).condition is Condition.WHOLE


def test_half_a_gzip_of_an_earlier_life_is_made_anew(path: Path) -> None:
    """A crash while zipping left a part: the plain file is still there, and is zipped from its beginning."""
    path.with_name(f"{ASIDE[0]}.gz.part").write_bytes(b"half")
    retention(path, retention_rules()).tidy()
    assert gzip.decompress(put_aside(path)[0].read_bytes()) == b"".join(TRAIL[:2])
    assert not path.with_name(f"{ASIDE[0]}.gz.part").exists()


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        (retention_rules(compress=False, max_files=2), ["01.000000Z", "02.000000Z"]),
        (retention_rules(compress=False, max_bytes=len(b"".join(TRAIL[:3]))), ["02.000000Z"]),
        (retention_rules(compress=False, max_files=3, max_bytes=1 << 20), ["00.000000Z", "01.000000Z", "02.000000Z"]),
    ],
)
def test_the_oldest_files_go_first(path: Path, rules: RetentionRules, left: list[str]) -> None:
    """By count and by size, whichever is stricter."""
    retention(path, rules).tidy()
    assert names(path) == left
    assert path.with_name("audit.jsonl.1").exists()


def test_a_file_goes_only_after_the_trail_says_so(path: Path) -> None:
    """The note names the last record that went and its hash; while it cannot be written, everything stays."""
    notes: list[dict[str, object]] = []

    def refuse(note: dict[str, object]) -> bool:
        notes.append(note)
        return False

    retention(path, retention_rules(compress=False, max_files=1), refuse).tidy()
    assert len(names(path)) == 3
    head = TRAIL[3].rsplit(b'"hash":"', 1)[1][:64].decode()
    assert notes == [{"note": "retired", "files": 2, "through": 4, "head": head}]


def test_a_file_goes_when_its_gzip_is_on_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash of the machine in between leaves the plain file, never neither."""
    done: list[str] = []
    unlink, fsync = Path.unlink, os.fsync

    def sync(fd: int) -> None:
        done.append(f"sync {Path(f'/proc/self/fd/{fd}').readlink().suffix}")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", sync)

    def noting(self: Path, missing_ok: bool = False) -> None:
        unlink(self, missing_ok)
        done.append("unlink")

    monkeypatch.setattr(Path, "unlink", noting)
    retention(path, retention_rules()).tidy()
    assert done == ["sync .part", "unlink"] * 3
