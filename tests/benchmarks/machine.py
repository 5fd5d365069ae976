"""The machine of a measurement: two cores, one for the proxy alone, and other facts that readers need."""

import os
import platform
import resource
import shutil
import sys
import sysconfig
from datetime import UTC, datetime
from pathlib import Path
from time import process_time
from typing import NamedTuple


class Cores(NamedTuple):
    """Who runs where."""

    proxy: int
    load: int  # the backend's and the load generator's


def cores() -> Cores:
    """Return the two cores. Raises `SystemExit` where there is only one."""
    available = sorted(os.sched_getaffinity(0))
    if len(available) < 2:
        raise SystemExit("benchmarks: two cores are needed, one for the proxy and one for backend and load")
    return Cores(available[-1], available[0])


def settle_on(core: int) -> None:
    """Run on this core from now on."""
    os.sched_setaffinity(0, {core})


def pinned(core: int, command: tuple[str, ...]) -> tuple[str, ...]:
    """Return the command that runs `command` on one core; the process keeps its id."""
    return ("taskset", "-c", str(core), *command)


def found(program: str) -> str | None:
    """Return a program's path: beside this interpreter, else on PATH."""
    beside = Path(sys.executable).parent
    return shutil.which(program, path=os.pathsep.join((str(beside), os.environ.get("PATH", ""))))


def raise_file_limit() -> int:
    """Allow as many open files as may be, and return how many that is."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def interpreter() -> str:
    """Name the interpreter, and say how it was built: optimisations are worth up to a factor of two.

    A distribution may optimise without the flag, so a little loop is timed as well.
    """
    arguments = sysconfig.get_config_var("CONFIG_ARGS") or ""
    flags = [option for option in ("--enable-optimizations", "--with-lto") if option in arguments]
    built = f"configured {' '.join(flags) if flags else 'without --enable-optimizations'}"
    version = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{version}, {built}; a million additions take it {min(_additions_ms() for _ in range(5)):.0f} ms"


def _additions_ms() -> float:
    began = process_time()
    for number in range(1_000_000):
        number + 1
    return (process_time() - began) * 1000


def describe() -> dict[str, str]:
    """Return what the reader of a figure must know."""
    model = [line.partition(":")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{model[0].strip() if model else platform.machine()}, {os.cpu_count()} cores, "
        f"{platform.system()} {platform.release()}",
        "interpreter": interpreter(),
    }
