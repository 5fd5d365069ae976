"""TCP ports for programs that cannot report their own: each is given to only one run of the tests."""

import random
import socket

RANGE = range(15_000, 32_000)  # below what Linux gives to outgoing connections, so nobody takes one by chance
_reserved: list[socket.socket] = []


def reserved_port() -> int:
    """Return a free port of 127.0.0.1 that no other run of the tests is given while this process lives.

    The mark that says so is a socket in Linux's abstract namespace. It is as wide as the network namespace, leaves no
    file behind, and goes with the process. Because the port is outside of the ephemeral range, a connection to it
    while nobody listens is refused: it can neither meet a stranger nor, by TCP's simultaneous open, itself.
    Raises RuntimeError if there is none.
    """
    for port in random.sample(RANGE, len(RANGE)):
        mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            mark.bind(f"\0backstay-tests-port-{port}")
            with socket.create_server(("127.0.0.1", port)):
                _reserved.append(mark)
                return port
        except OSError:  # another run's, or somebody listens
            mark.close()
    raise RuntimeError("no free port")
