"""Reserved ports: no two are equal, in one process or in two."""

import socket
import subprocess
import sys

import pytest

from tests.e2e.sidecar import ROOT, environment
from tests.ports import RANGE, reserved_port

OTHER = "import sys; from tests import ports; ports.RANGE = [int(sys.argv[1])]; ports.reserved_port()"


def test_a_reserved_port_is_free_and_given_once() -> None:
    """It can be listened on, and is not given again."""
    ports = {reserved_port() for _ in range(20)}
    assert len(ports) == 20
    assert ports <= set(RANGE)
    socket.create_server(("127.0.0.1", ports.pop())).close()


def test_another_process_is_not_given_it() -> None:
    """Also while nobody listens on it yet."""
    command = (sys.executable, "-c", OTHER, str(reserved_port()))
    with pytest.raises(subprocess.CalledProcessError) as failed:
        subprocess.run(command, check=True, capture_output=True, text=True, env=environment(PYTHONPATH=str(ROOT)))
    assert "no free port" in failed.value.stderr


def test_an_unused_one_refuses() -> None:
    """However often it is asked: a port of the ephemeral range would now and then connect to itself."""
    port = reserved_port()
    for _ in range(2_000):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
