"""One process a folder, on a local disk; the epoch file says whether the last process wrote everything down."""

import os
from pathlib import Path

import pytest

from proxy.errors import StartError
from proxy.store.disk.folder import StoreFolder, filesystem
from tests.unit.store.disk.kit import trusted


def test_a_second_process_is_refused_in_one_line(tmp_path: Path) -> None:
    """And can have the folder when the first is gone."""
    folder = StoreFolder(tmp_path / "kept")
    with pytest.raises(StartError, match=r"another process uses .*kept: give each process a folder of its own"):
        StoreFolder(tmp_path / "kept")
    folder.close()
    StoreFolder(tmp_path / "kept").close()


def test_only_this_user_reads_the_folder_and_its_files(tmp_path: Path) -> None:
    """Whatever the umask is."""
    folder = StoreFolder(tmp_path / "kept")
    folder.create_cache()
    folder.close()
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o700
    assert {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "kept").iterdir()} == {
        "cache.db": 0o600, "epoch": 0o600, "lock": 0o600,
    }  # fmt: skip


def test_the_epoch_is_void_until_it_is_trusted_and_after_it_was_voided(tmp_path: Path) -> None:
    """Also for the next process, and if the file was removed."""
    folder = StoreFolder(tmp_path)
    assert not trusted(folder)
    folder.trust()
    assert trusted(folder)
    folder.void()
    folder.close()
    folder = StoreFolder(tmp_path)
    assert not trusted(folder)
    folder.trust()
    folder.close()
    (tmp_path / "epoch").unlink()
    folder = StoreFolder(tmp_path)
    assert not trusted(folder)
    folder.close()


def test_an_epoch_file_that_cannot_be_written_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing one means the same as a void one."""

    def refuse(fd: int) -> None:
        raise OSError(5, "Input/output error")

    folder = StoreFolder(tmp_path)
    folder.trust()
    monkeypatch.setattr(os, "fdatasync", refuse)
    folder.void()
    folder.close()
    assert not (tmp_path / "epoch").exists()


def test_a_folder_that_cannot_be_made_is_one_line_with_the_cure(tmp_path: Path) -> None:
    """It names the path and what is to be done."""
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "none/kept"):
        with pytest.raises(StartError, match="name a folder on a local disk that this user can write"):
            StoreFolder(path)


def test_a_link_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    """Nobody has the sidecar write into a file of another place."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StartError, match="kept/lock"):
        StoreFolder(tmp_path / "kept")
    assert not (tmp_path / "elsewhere").exists()


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:40 / {base}/net rw shared:2 - nfs4 server:/export rw
41 22 0:41 / {base}/with\\040space rw - cifs //server/share rw
42 40 0:42 / {base}/net/local rw - xfs /dev/sdb1 rw
"""


@pytest.mark.parametrize(
    ("path", "kind"), [("a", "ext4"), ("net/x", "nfs4"), ("with space/x", "cifs"), ("net/local/x", "xfs")]
)
def test_the_file_system_is_the_one_of_the_nearest_mount(tmp_path: Path, path: str, kind: str) -> None:
    """As the kernel lists them."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.format(base=tmp_path))
    assert filesystem(tmp_path / path, mounts) == kind
    assert filesystem(tmp_path, tmp_path / "none") == ""


def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its name and the cure."""
    monkeypatch.setattr("proxy.store.disk.folder.filesystem", lambda path: "nfs4")
    with pytest.raises(StartError, match=r"network file system \(nfs4\).*: name a folder on a local disk"):
        StoreFolder(tmp_path / "kept")


def test_a_file_that_is_set_aside_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    """At most one is there, and erasure removes it."""
    folder = StoreFolder(tmp_path)
    for when in ("20261130T170000", "20261130T180000"):
        folder.create_cache()
        folder.set_aside(when)
    assert [file.name for file in tmp_path.glob("cache.db*")] == ["cache.db.damaged-20261130T180000"]
    folder.erase_aside()
    assert list(tmp_path.glob("cache.db*")) == []
    folder.close()
