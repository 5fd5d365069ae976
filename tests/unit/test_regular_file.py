"""Files that a setting or a command names: anything but a regular file is refused at once, with the cure."""

import gzip
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.audit.checkpoint import read, read_key
from proxy.audit.files import Trail, TrailError, lines, trails
from proxy.audit.redaction import read_salt
from proxy.audit.trail_end import is_written, last_link
from proxy.cli.inject import inject
from proxy.config.load import load, read_token
from proxy.config.objections import ConfigError
from proxy.config.settings import Admin
from proxy.errors import StartError
from proxy.regular_file import check_regular, read_regular
from proxy.transport.tls import TlsFiles, client_context, server_context


def pipe(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def terminal(path: Path) -> None:
    path.symlink_to("/dev/ptmx")


def folder(path: Path) -> None:
    path.mkdir()


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


MADE: dict[Callable[[Path], None], str] = {
    pipe: "is a named pipe, not a file: name a regular file",
    endless: "is a device, not a file: name a regular file",
    terminal: "is a device, not a file: name a regular file",
    folder: "Is a directory",
    unix_socket: "is a socket, not a file: name a regular file",
}


def _lines(file: Path) -> object:
    return list(lines([file]))


def _trails(file: Path) -> object:
    return [list(lines(trail.files)) for trail in trails(file)]


READERS: dict[str, tuple[Callable[[Path], object], type[Exception]]] = {
    "read_regular": (lambda file: read_regular(file, 10), OSError),
    "check_regular": (lambda file: check_regular(file, 10), OSError),
    "configuration": (lambda file: load(file, environ={}), ConfigError),
    "token": (lambda file: read_token(Admin(token_file=str(file))), ConfigError),
    "salt": (read_salt, StartError),
    "key": (read_key, TrailError),
    "checkpoints": (lambda file: list(read(file)), TrailError),
    "lines": (_lines, TrailError),
    "end": (last_link, TrailError),
    "certificate": (lambda file: server_context(TlsFiles(str(file))), StartError),
    "authority": (lambda file: client_context(TlsFiles(authorities=str(file))), StartError),
}


@pytest.mark.parametrize("make", MADE)
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_regular_file_is_refused(tmp_path: Path, make: Callable[[Path], None], name: str) -> None:
    """A pipe makes an open wait for ever, and a device a read; the error says what it is and what to do."""
    reader, refusal = READERS[name]
    make(tmp_path / "named")
    with pytest.raises(refusal) as refused:
        reader(tmp_path / "named")
    assert MADE[make] in str(refused.value)
    assert str(tmp_path) in str(refused.value)


@pytest.mark.parametrize("make", [pipe, endless, terminal, unix_socket])
def test_a_trail_that_is_no_file_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Also as a gzipped file, and a folder of trails is looked into."""
    make(tmp_path / "a.jsonl")
    with pytest.raises(TrailError, match="not a file: name a regular file"):
        _trails(tmp_path / "a.jsonl")
    (tmp_path / "b.gz").unlink(missing_ok=True)
    make(tmp_path / "b.gz")
    with pytest.raises(TrailError, match="not a file: name a regular file"):
        _lines(tmp_path / "b.gz")


@pytest.mark.parametrize("make", [pipe, folder, unix_socket])
def test_a_rotated_file_that_is_none_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A start reads where the chain continues; links beside the trail are left alone."""
    (tmp_path / "a.jsonl").touch()
    make(tmp_path / "a.jsonl.1")
    with pytest.raises(TrailError, match=MADE[make]):
        trails(tmp_path / "a.jsonl")


@pytest.mark.parametrize("make", MADE)
def test_a_lock_that_is_no_file_is_held_by_nobody(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "a.jsonl.lock")
    assert not is_written(tmp_path / "a.jsonl")


@pytest.mark.parametrize("make", MADE)
def test_a_manifest_that_is_no_file_is_one_line(
    tmp_path: Path, make: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "named")
    assert inject(str(tmp_path / "named"), None, None, None) == 2
    said = capsys.readouterr().err
    assert MADE[make].lower() in said
    assert said.count("\n") == 1


def test_a_file_that_is_too_large_is_refused_and_not_read(tmp_path: Path) -> None:
    """A sparse file of a terabyte takes no memory."""
    with (tmp_path / "named").open("wb") as file:
        file.truncate(1 << 40)
    for name in sorted(READERS.keys() - {"lines", "end", "checkpoints"}):
        reader, refusal = READERS[name]
        with pytest.raises(refusal, match=r"is larger than \d+ bytes: name another file"):
            reader(tmp_path / "named")


def test_a_link_to_a_file_is_read(tmp_path: Path) -> None:
    """Kubernetes mounts secrets as links."""
    (tmp_path / "data").write_bytes(b"k" * 40)
    (tmp_path / "named").symlink_to("data")
    assert read_regular(tmp_path / "named", 40) == b"k" * 40
    assert read_key(tmp_path / "named").name.startswith("hmac-")
    assert read_salt(tmp_path / "named") == b"k" * 40
    with pytest.raises(OSError, match="larger than 39 bytes"):
        read_regular(tmp_path / "named", 39)


def test_a_gzipped_file_is_closed_with_its_reader(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.gz", "wb") as out:
        out.write(b"one\ntwo\n")
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert [line.data for line in lines(Trail((tmp_path / "a.gz",), tmp_path).files)] == [b"one\n", b"two\n"]
    assert len(list(Path("/proc/self/fd").iterdir())) == before
