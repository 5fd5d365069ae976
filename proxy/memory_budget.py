"""The memory budget of the process: refuse requests before the kernel kills it."""

import gc
import os
from collections.abc import Callable
from pathlib import Path

import structlog

SHARE = 0.9  # of a container's limit: beyond the limit the kernel kills the process
AGAIN = 0.95  # of the budget; below it requests are accepted again
TIGHT = 0.5  # of the budget; if more is in use, the memory of connections is limited to PART
PART = 0.08  # of the budget for all connections in total; beyond it the heaviest are closed
TRIM_EVERY = 8  # checks; returning memory takes about 5 ms
_PAGE = os.sysconf("SC_PAGE_SIZE")
_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_UNLIMITED = 1 << 60  # cgroup v1 reports a greater number for no limit
log = structlog.get_logger("backstay")


def resident() -> int:
    """Return the resident memory of the process in bytes; 0 if the system does not report it."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def budget_of(container: tuple[str, ...] = _CGROUPS) -> int | None:
    """Return the budget below a container's limit in bytes; None without a limit."""
    for file in container:
        try:
            text = Path(file).read_text().strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < _UNLIMITED:
            return int(int(text) * SHARE)
    return None


class MemoryBudget:
    """States: FREE --more than the budget is used--> FULL --less than 95 % of it is used--> FREE

    In FULL `shed` drops caches, and freed memory is returned to the system. Before that, above half of the budget,
    `relieve` is called with the bytes that all connections may use; cached responses may use half of that, and so may
    stored ones. It returns how many connections were closed.
    """

    def __init__(
        self,
        budget: int | None,
        shed: Callable[[], None],
        relieve: Callable[[int], int] = lambda most: 0,
        held: Callable[[], int] = resident,
    ) -> None:
        self._budget = budget
        self._shed = shed
        self._relieve = relieve
        self._held = held
        self._relieved = False
        self._tight_looks = 0
        self.full = False

    def look(self) -> bool:
        """Check the memory; return whether to refuse requests."""
        if self._budget is None:
            return False
        held = self._held()
        if not self.full and held > self._budget:
            self.full = True
            log.warning("memory_full", held=held, budget=self._budget, detail="requests are refused with 503")
            self._shed()
            gc.collect()
        elif self.full and held < AGAIN * self._budget:
            self.full = False
            log.info("memory_free", held=held, budget=self._budget)
        self._look_at_connections(held, self._budget)
        return self.full

    def _look_at_connections(self, held: int, budget: int) -> None:
        """Close the heaviest connections if memory is scarce and they use much of it."""
        tight = held > TIGHT * budget
        self._tight_looks = self._tight_looks + 1 if tight else 0
        if self.full or self._relieved or self._tight_looks % TRIM_EVERY == 1:
            _give_back()  # freed memory may not have been returned yet
        gone = self._relieve(int(PART * budget)) if tight else 0
        if gone and not self._relieved:
            log.warning(
                "memory_tight", held=held, budget=budget, gone=gone, detail="the heaviest connections are closed"
            )
        self._relieved = gone > 0


def _give_back() -> None:
    """Return freed memory to the system, if the C library can."""
    import ctypes  # imported late: it takes a megabyte that few processes need

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
