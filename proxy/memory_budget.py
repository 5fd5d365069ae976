"""How much memory the process has, and what it does when that is used up: refuse requests before it is killed."""

import gc
import os
from collections.abc import Callable
from pathlib import Path

import structlog

SHARE = 0.9  # of a container's limit: the kernel kills beyond it, and cannot be asked for more
AGAIN = 0.95  # of the budget; below it requests are taken again
TIGHT = 0.5  # of the budget; beyond it connections may hold
PART = 0.1  # of the budget together, and the heaviest have to give way
TRIM_EVERY = 8  # looks; returning memory takes some 5 ms
_PAGE = os.sysconf("SC_PAGE_SIZE")
_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_UNLIMITED = 1 << 60  # what cgroup v1 says of no limit is more
log = structlog.get_logger("backstay")


def resident() -> int:
    """Return the bytes of memory that the process holds; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def budget_of(container: tuple[str, ...] = _CGROUPS) -> int | None:
    """Return the budget that a container's limit leaves, in bytes; None where there is no limit."""
    for file in container:
        try:
            text = Path(file).read_text().strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < _UNLIMITED:
            return int(int(text) * SHARE)
    return None


class MemoryBudget:
    """FREE --more than the budget is held--> FULL --less than 95 % of it is held--> FREE

    In between `shed` lets go of what is kept only to be quick, and freed memory is given back to the system. Before
    that, beyond half of the budget, `relieve` is called with the bytes that connections may hold together; cached
    responses may take half of that, and so may stored ones. It returns how many connections had to give way.
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
        """Look how much is held; return whether requests are to be refused."""
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
        """Have the heaviest connections give way where memory gets scarce and they hold much of it."""
        tight = held > TIGHT * budget
        self._tight_looks = self._tight_looks + 1 if tight else 0
        if self.full or self._relieved or self._tight_looks % TRIM_EVERY == 1:
            _give_back()  # much of it may be free already
        gone = self._relieve(int(PART * budget)) if tight else 0
        if gone and not self._relieved:
            log.warning("memory_tight", held=held, budget=budget, gone=gone, detail="the heaviest connections give way")
        self._relieved = gone > 0


def _give_back() -> None:
    """Return what was freed to the system, where the C library can."""
    import ctypes  # a megabyte that few processes ever need

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
