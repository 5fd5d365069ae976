"""Where the command `backstay` begins: what must be right before anything is imported, opened or printed."""

import os
import sys
from typing import NoReturn

from proxy.signals import SIGNALS

FAILED = 1
MISTAKEN = 2  # in what the user typed or configured


def main() -> NoReturn:
    """Run the command line. An expected error is one line a problem on standard error, never a traceback."""
    if sys.argv[1:2] == ["run"]:
        SIGNALS.install()
    reserve_standard_descriptors()
    from proxy.cli.commands import command
    from proxy.config.objections import ConfigError
    from proxy.errors import StartError

    try:
        sys.exit(command())
    except ConfigError as error:
        _exit(MISTAKEN, str(error))
    except StartError as error:
        _exit(FAILED, f"backstay: {error}")


def reserve_standard_descriptors() -> None:
    """Keep the numbers 0, 1 and 2 from sockets and files where the process was started without them.

    Else what is printed would go into a client's connection, and libuv aborts the process that closes one of the three.
    They are opened for reading, so that writing to them fails as it does on a closed descriptor. What is printed goes
    nowhere, as Python would have it, but is printed without an error.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # takes the lowest free number: this one
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115, PTH123 - until the process ends
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115, PTH123 - until the process ends


def _exit(status: int, text: str) -> NoReturn:
    if text:
        print(text, file=sys.stderr)
    sys.exit(status)
