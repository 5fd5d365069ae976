"""The entry point of the command `backstay`: signals, standard descriptors and exit statuses."""

import os
import sys
from typing import NoReturn

from proxy.signals import SIGNALS

FAILED = 1
MISTAKEN = 2  # an error in the arguments or in the configuration


def main() -> NoReturn:
    """Run the command line. Print one line on standard error for each expected problem, never a traceback."""
    if sys.argv[1:2] == ["run"]:
        SIGNALS.install()
    reserve_standard_descriptors()
    from proxy.cli.output import OutputError, guard_standard_streams

    guard_standard_streams()
    try:
        _command_line()
    except OutputError as error:
        _exit(error.status, error.reason and f"backstay: {error.reason}")


def _command_line() -> NoReturn:
    from proxy.cli.commands import command
    from proxy.config.objections import ConfigError
    from proxy.errors import StartError

    try:
        status = command()
    except ConfigError as error:
        _exit(MISTAKEN, str(error))
    except StartError as error:
        _exit(FAILED, f"backstay: {error}")
    sys.stdout.flush()  # while an error can still be told
    sys.exit(status)


def reserve_standard_descriptors() -> None:
    """Open the descriptors 0, 1 and 2 if the process was started without them, so that no socket gets their numbers.

    Otherwise printed text would go into a client's connection, and libuv aborts the process if one of the three is
    closed. The descriptors are opened for reading: writing to one fails as on a closed descriptor. Printed text is
    discarded without an error.
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
