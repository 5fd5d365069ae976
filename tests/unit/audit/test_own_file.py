"""Files of the trail: no links are followed, no other owner is accepted, and the files are private."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.audit.own_file import NotOwnError, open_own
from proxy.audit.retention import Retention
from proxy.audit.trail_file import TrailFile
from proxy.errors import StartError
from tests.settings import retention_rules, rotation

FLAGS = os.O_RDWR | os.O_CREAT


def symbolic(path: Path) -> None:
    """Put a symbolic link there."""
    path.with_name("elsewhere").write_bytes(b"")
    path.symlink_to("elsewhere")


def dangling(path: Path) -> None:
    """Put a symbolic link there that would create a file elsewhere."""
    path.symlink_to("nowhere")


def hard(path: Path) -> None:
    """Put a second name of another file there."""
    path.with_name("elsewhere").write_bytes(b"")
    path.hardlink_to(path.with_name("elsewhere"))


def pipe(path: Path) -> None:
    """Put a named pipe there, which would make an open wait for its other end."""
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "said"),
    [(symbolic, "symbolic link"), (dangling, "symbolic link"), (hard, "second name"), (pipe, "not a regular file")],
)
def test_what_is_not_our_own_is_refused(tmp_path: Path, make: Callable[[Path], None], said: str) -> None:
    """The error names the cure, at the trail itself and at the files beside it."""
    make(tmp_path / "file")
    with pytest.raises(NotOwnError, match=said):
        open_own(tmp_path / "file", FLAGS)
    for name in ("a.jsonl", "a.jsonl.lock"):
        (tmp_path / name).unlink(missing_ok=True)
        (tmp_path / "elsewhere").unlink(missing_ok=True)
        make(tmp_path / name)
        with pytest.raises(
            StartError, match=r"a symbolic link: name the|second name|neither a file|not a regular file"
        ):
            TrailFile(tmp_path / "a.jsonl", rotation()).open()
        (tmp_path / name).unlink()
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    """He could write it."""
    (tmp_path / "file").write_bytes(b"")
    os.chown(tmp_path / "file", 65_534, -1)
    with pytest.raises(NotOwnError, match="belongs to user 65534, not to user 0 that runs this: change its owner"):
        open_own(tmp_path / "file", FLAGS)


def test_the_mode_is_enforced_on_a_file_that_exists(tmp_path: Path) -> None:
    """An earlier umask or a tool may have opened it to others."""
    (tmp_path / "a.jsonl").write_bytes(b"")
    (tmp_path / "a.jsonl").chmod(0o666)
    trail = TrailFile(tmp_path / "a.jsonl", rotation())
    trail.open()
    trail.close()
    assert (tmp_path / "a.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_link_that_looks_like_a_rotated_file_is_left_alone(tmp_path: Path) -> None:
    """Otherwise its target would be zipped and the link retired, with our rights."""
    trail, secret = tmp_path / "a.jsonl", tmp_path / "secret"
    trail.write_bytes(b"")
    secret.write_bytes(b"s3cret")
    link = tmp_path / "a.jsonl.20261123T153700.123456Z"
    link.symlink_to(secret)
    Retention(trail, retention_rules(max_files=1), lambda fields: True).tidy()
    assert link.is_symlink()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.jsonl", link.name, "secret"]
