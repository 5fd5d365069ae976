"""A Unix socket's file is taken from no living process, removed by its creator, and has the configured mode."""

import os
import socket
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from proxy.errors import StartError
from proxy.server.socket_file import SocketFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a free path for a socket."""
    return tmp_path / "s"


@pytest.fixture
def living(path: Path) -> Iterator[socket.socket]:
    """Listen there, as another process does."""
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen(1)
        yield other


def reached(path: Path) -> bool:
    """Tell whether somebody listens there."""
    with socket.socket(socket.AF_UNIX) as asking:
        return asking.connect_ex(str(path)) == 0


def refusal(path: Path) -> str:
    """Return why nobody can listen there."""
    with pytest.raises(StartError) as refused:
        SocketFile(str(path)).open()
    return str(refused.value)


def test_what_a_dead_process_left_is_taken_over(path: Path, living: socket.socket) -> None:
    """kill -9 leaves the file; the next start needs nobody to remove it."""
    living.close()
    assert path.exists()
    with SocketFile(str(path)).open():
        assert reached(path)


def test_a_living_process_keeps_its_socket(path: Path, living: socket.socket) -> None:
    """The second one is refused in one line, and the first one is still reached."""
    assert refusal(path) == (
        f"cannot listen on unix:{path} (listen.address): another process listens there: stop it, or set another address"
    )
    assert reached(path)


def test_a_process_too_busy_to_accept_lives(path: Path, living: socket.socket) -> None:
    """A full backlog refuses with EAGAIN, a socket of another kind with EPROTOTYPE: somebody is there all the same."""
    waiting = [socket.socket(socket.AF_UNIX) for _ in range(8)]
    for one in waiting:
        one.setblocking(False)
        one.connect_ex(str(path))
    assert "another process listens there" in refusal(path)
    for one in waiting:
        one.close()
    living.close()
    path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        assert "another process listens there" in refusal(path)


@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_what_is_no_socket_is_nobodys_to_remove(path: Path, tmp_path: Path, kind: str) -> None:
    """A path typed wrongly must not cost a file, nor what a link leads to."""
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(tmp_path / "target")
    else:
        path.write_text("precious")
    assert "the file is not a socket: remove it, or set another address" in refusal(path)
    assert os.path.lexists(path)


@pytest.mark.parametrize(("mode", "expected"), [(None, 0o755), (0o660, 0o660), (0o600, 0o600), (0o777, 0o777)])
def test_the_file_has_the_mode_that_was_asked_for(path: Path, mode: int | None, expected: int) -> None:
    """Whatever the umask is; without a mode, as the umask has it."""
    before = os.umask(0o022)
    try:
        with SocketFile(str(path), mode).open():
            assert stat.S_IMODE(path.stat().st_mode) == expected
    finally:
        os.umask(before)


def test_it_is_removed_at_the_end_and_only_by_whoever_made_it(path: Path) -> None:
    """A successor's file stays, and nothing is said where there is none any more."""
    file, successor = SocketFile(str(path)), SocketFile(str(path))
    file.remove()
    with file.open():
        path.unlink()
        with successor.open():
            file.remove()
            assert reached(path)
            successor.remove()
            assert not path.exists()
            successor.remove()


def test_of_many_who_start_at_once_one_listens(path: Path, living: socket.socket) -> None:
    """Looking and binding are one step: else two would clear one dead socket, the second the first one's new one."""
    living.close()

    def start(_: int) -> socket.socket | None:
        try:
            return SocketFile(str(path)).open()
        except StartError:
            return None

    with ThreadPoolExecutor(8) as starting:
        listening = [one for one in starting.map(start, range(40)) if one is not None]
    assert len(listening) == 1
    assert reached(path)
    listening[0].close()
